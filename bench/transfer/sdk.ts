import { createReadStream, createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type * as S3Sdk from "@aws-sdk/client-s3";

// The AWS SDK as its users call it: node sdk.js ORDER.json. It is the one that --install brought, in a folder of its own.

interface LibStorage {
  readonly Upload: new (options: {
    client: S3Sdk.S3Client;
    params: S3Sdk.PutObjectCommandInput;
    queueSize: number;
    partSize: number;
  }) => { done(): Promise<unknown> };
}

interface Order {
  readonly way: "download" | "upload";
  readonly items: readonly { readonly key: string; readonly name: string; readonly path: string }[];
  readonly to: string;
  readonly endpoint: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly bucket: string;
  readonly checksum: "SHA256" | null;
}

const AT_ONCE = 16;
const PART_SIZE: number = 8 * 2 ** 20;

const installed = createRequire(join(process.env.WAYBILL_BENCH_SDK ?? "", "index.js"));
const order = JSON.parse(await readFile(process.argv[2] ?? "", "utf8")) as Order;
const { S3Client, GetObjectCommand } = installed("@aws-sdk/client-s3") as typeof S3Sdk;
const { endpoint, credentials, bucket: Bucket } = order;
const client = new S3Client({ endpoint, credentials, region: "us-east-1", forcePathStyle: true });

async function get({ key, name }: Order["items"][number]): Promise<void> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: key }));
  await pipeline(Body as Readable, createWriteStream(join(order.to, name), { highWaterMark: 2 ** 20 }));
}

async function put({ path, name }: Order["items"][number]): Promise<void> {
  const { Upload } = installed("@aws-sdk/lib-storage") as LibStorage;
  const Body = createReadStream(path, { highWaterMark: 2 ** 20 });
  const params = {
    Bucket,
    Key: `${order.to}/${name}`,
    Body,
    ...(order.checksum && { ChecksumAlgorithm: order.checksum }),
  };
  await new Upload({ client, params, queueSize: AT_ONCE, partSize: PART_SIZE }).done();
}

const rest = order.items.values();
const worker = async (): Promise<void> => {
  for (const item of rest) await (order.way === "download" ? get(item) : put(item));
};
await Promise.all(Array.from({ length: AT_ONCE }, worker));
client.destroy();
