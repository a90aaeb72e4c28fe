import { readFile, rename, rm } from "node:fs/promises";
import { type Command, Option } from "commander";
import * as z from "zod/mini";
import { deploymentSchema } from "../../lib/protocol/deployment.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import { type Context, newAction, origin } from "../command.ts";
import { writeNew } from "../deploy/pending.ts";
import { answer } from "../output.ts";

interface Options {
  readonly file: string;
  readonly outputs?: string;
  readonly api?: string;
  readonly store?: string;
  readonly region?: string;
  readonly force?: true;
  readonly json?: true;
}

/** What the functions say of themselves within this time, or they don't run. */
const HEALTH_TIMEOUT_MS = 10_000;

const outputsJson = z.object({ api: z.string(), bucket: z.string().check(z.regex(/^[a-z0-9-]{3,63}$/)) });

const HELP = `
After this the file is what every participant is given, by a way that they trust: it says which chain, contract and origins they believe.

  $ waybill deployment complete --outputs .sst/outputs.json --region eu-central-1
  $ waybill deployment complete --api https://waybill.example.org --store https://bucket.s3.eu-central-1.amazonaws.com`;

/** `waybill deployment complete` */
export function deploymentComplete(context: Context): Command {
  const command = newAction("complete")
    .description("adds to deployment.json where the functions and the bucket are")
    .option("--file <file>", "what contract deploy wrote", "deployment.json")
    .option("--outputs <file>", "what sst deploy wrote: the API and the bucket, instead of --api and --store")
    .addOption(new Option("--region <region>", "the AWS region of that bucket").env("AWS_REGION"))
    .option("--api <origin>", "where the functions are", origin)
    .option("--store <origin>", "where presigned URLs lead", origin)
    .option("--force", "change origins that are there already")
    .addHelpText("after", HELP);
  return command.action(() => run(command.opts<Options>(), context));
}

async function run(options: Options, { signal }: Context): Promise<void> {
  const { file, json, force } = options;
  const known = await readJson(file);
  const origins = await originsOf(options);
  for (const [name, value] of Object.entries(origins))
    if (!force && known[name] !== undefined && known[name] !== value)
      throw new WaybillError("TARGET_EXISTS", `${file} names another ${name}: ${String(known[name])}. Use --force.`);
  const parsed = deploymentSchema.safeParse({ ...known, ...origins });
  if (!parsed.success) {
    const where = parsed.error.issues.map((issue) => issue.path.join(".") || "itself").join(", ");
    throw new WaybillError("USAGE", `${file} is no deployment (${where}). Make it with: waybill contract deploy`);
  }
  await checkHealth(origins.api, signal);
  await replace(file, `${JSON.stringify(parsed.data, null, 2)}\n`);
  answer(json, { ...parsed.data, file }, `${file} is complete: ${origins.api} answers.`);
}

async function originsOf({ outputs, api, store, region }: Options): Promise<{ api: string; storeOrigin: string }> {
  if (api !== undefined && store !== undefined) return { api, storeOrigin: store };
  if (outputs === undefined)
    throw new WaybillError("USAGE", "Say where they are: --outputs FILE, or --api ORIGIN and --store ORIGIN.");
  const found = outputsJson.safeParse(await readJson(outputs));
  if (!found.success) throw new WaybillError("USAGE", `${outputs} tells no api and bucket. Give --api and --store.`);
  if (store === undefined && region === undefined)
    throw new WaybillError("USAGE", "Say the bucket's region: --region or AWS_REGION.");
  // As the functions' presigned URLs begin: each bucket has a host of its own.
  const host = `https://${found.data.bucket}.s3.${region}.amazonaws.com`;
  return { api: api ?? new URL(found.data.api).origin, storeOrigin: store ?? host };
}

async function checkHealth(api: string, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(HEALTH_TIMEOUT_MS)]);
  const answered = await fetch(`${api}/health`, { redirect: "manual", signal: limit }).catch((cause: unknown) => {
    signal.throwIfAborted();
    throw new WaybillError("UNREACHABLE", `Nothing answers at ${api}. Check the origin, then run it again.`, { cause });
  });
  if (answered.status !== 200)
    throw new WaybillError("UNREACHABLE", `${api}/health answers ${answered.status}. Look at the functions' logs.`);
}

async function readJson(file: string): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(await readFile(file, "utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (error) {
    const { code = "no JSON" } = error as NodeJS.ErrnoException;
    throw new WaybillError("USAGE", `${file} can't be read (${code}).`);
  }
  throw new WaybillError("USAGE", `${file} is no JSON object.`);
}

async function replace(file: string, text: string): Promise<void> {
  await rm(`${file}.new`, { force: true });
  await writeNew(`${file}.new`, text);
  await rename(`${file}.new`, file);
}
