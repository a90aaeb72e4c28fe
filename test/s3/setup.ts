import { defaultProvider } from "@aws-sdk/credential-provider-node";
import type { TestProject } from "vitest/node";
import { makeBucket } from "../support/s3-bucket.ts";
import { serverOf } from "./differences.ts";

/** The set-up of `npm run test:s3`: finds the server, and makes a bucket for the run unless it is given one. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { WAYBILL_S3_ENDPOINT, WAYBILL_S3_BUCKET: given, WAYBILL_S3_REGION, AWS_REGION } = process.env;
  if (!WAYBILL_S3_ENDPOINT)
    throw new Error("WAYBILL_S3_ENDPOINT is not set: the URL of the server to try, such as http://127.0.0.1:7070.");
  const endpoint = new URL(WAYBILL_S3_ENDPOINT).origin;
  const { accessKeyId, secretAccessKey, sessionToken } = await defaultProvider()();
  const credentials = { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) };
  const place = { endpoint, region: WAYBILL_S3_REGION ?? AWS_REGION ?? "us-east-1", credentials };
  const name = (await fetch(endpoint)).headers.get("server") ?? "";
  process.stdout.write(`\n S3 at ${endpoint}: "${name}", judged as "${serverOf(name)}"\n`);
  const own = given === undefined ? await makeBucket(place) : null;
  project.provide("s3", { ...place, bucket: own?.bucket ?? given ?? "", server: serverOf(name) });
  return async () => own?.remove();
}
