import { readFile, rename, rm } from "node:fs/promises";
import * as z from "zod/mini";
import { outbound } from "../../lib/outbound.ts";
import { type Deployment, deploymentSchema } from "../../lib/protocol/deployment.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Context } from "../command.ts";
import { answer } from "../output.ts";
import { writeNew } from "./pending.ts";

export interface Options {
  readonly file: string;
  readonly outputs?: string;
  readonly api?: string;
  readonly store?: string;
  readonly force?: true;
  readonly json?: true;
}

type Origins = Pick<Deployment, "api" | "storeOrigin">;

/** What the functions say of themselves within this time, or they don't run. */
const HEALTH_TIMEOUT_MS = 10_000;

/** What `sst deploy` writes of a stage: its whole deployment, as JSON in a string. */
const outputsJson = z.object({ deployment: z.string() });
/** What the chain's half of the file must not say otherwise than the functions were told. */
const SAME = ["chainId", "contract", "confirmations", "blockTime", "fromBlock"] as const;

/** What `waybill deployment complete` does. */
export async function complete(options: Options, { signal }: Context): Promise<void> {
  const { file, json, force } = options;
  const known = await readJson(file);
  const origins = await originsOf(options, known);
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

async function originsOf({ outputs, api, store, file }: Options, known: Record<string, unknown>): Promise<Origins> {
  if (outputs === undefined) {
    if (api !== undefined && store !== undefined) return { api, storeOrigin: store };
    throw new WaybillError("USAGE", "Say where they are: --outputs FILE, or --api ORIGIN and --store ORIGIN.");
  }
  const deployed = await deployedIn(outputs);
  for (const name of SAME)
    if (known[name] !== undefined && deployed[name] !== undefined && known[name] !== deployed[name])
      throw new WaybillError(
        "USAGE",
        `${file} says ${name} ${String(known[name])}, and the functions were told ${String(deployed[name])}. Correct one of them.`,
      );
  return { api: api ?? deployed.api, storeOrigin: store ?? deployed.storeOrigin };
}

async function deployedIn(outputs: string): Promise<Deployment> {
  const found = outputsJson.safeParse(await readJson(outputs));
  const parsed = deploymentSchema.safeParse(found.success ? jsonIn(found.data.deployment) : undefined);
  if (parsed.success) return parsed.data;
  throw new WaybillError("USAGE", `${outputs} tells of no deployment. Give --api and --store.`);
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function checkHealth(api: string, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(HEALTH_TIMEOUT_MS)]);
  const status = await statusOf(`${api}/health`, limit).catch((cause: unknown) => {
    signal.throwIfAborted();
    throw new WaybillError("UNREACHABLE", `Nothing answers at ${api}. Check the origin, then run it again.`, { cause });
  });
  if (status !== 200)
    throw new WaybillError("UNREACHABLE", `${api}/health answers ${status}. Look at the functions' logs.`);
}

/** By way of the proxy that the environment names, as every other request of the command. */
async function statusOf(url: string, signal: AbortSignal): Promise<number> {
  const way = await outbound();
  try {
    return (await way.fetch(url, { redirect: "manual", signal })).status;
  } finally {
    way.close();
  }
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
