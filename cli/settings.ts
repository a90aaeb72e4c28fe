import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import * as z from "zod/mini";
import { accountOf } from "../lib/options.ts";
import { type Deployment, deploymentSchema } from "../lib/protocol/deployment.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, toHex } from "../lib/protocol/hex.ts";
import { configPath } from "./places.ts";
import { printable } from "./words.ts";

/** The config file: who one is, and where. Its paths are absolute once it has been read. */
export interface Config {
  readonly deployment: string | undefined;
  readonly keystore: string | undefined;
  readonly passwordFile: string | undefined;
  readonly task: Hex | undefined;
  readonly stateDir: string | undefined;
  readonly rpc: readonly string[] | undefined;
  readonly names: ReadonlyMap<string, Address>;
}

/** A name that can't be taken for an account, an option or a path. */
const NAME = /^(?!0x)[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/i;

const PATH = "must be a path";
const TASK = "must be 0x and 64 hex digits";
const URLS = "must be an http or https URL of a JSON-RPC node, or a list of such";

const path = z.optional(z.string(PATH).check(z.minLength(1, PATH)));
const url = z.string(URLS).check(z.regex(/^https?:\/\/\S+$/, URLS));
const configSchema = z.strictObject({
  deployment: path,
  keystore: path,
  passwordFile: path,
  task: z.optional(z.string(TASK).check(z.regex(/^0x[0-9a-fA-F]{64}$/, TASK))),
  stateDir: path,
  rpc: z.optional(z.union([url, z.array(url).check(z.minLength(1, URLS))], URLS)),
  names: z.optional(z.record(z.string(), z.string("must be an account"), 'must be an object, as in { "bob": "0x…" }')),
});

/**
 * Reads the config file; without one at the usual place, it is empty.
 * @throws WaybillError USAGE with one sentence about the first mistake, and without any value.
 */
export async function readConfig(given: string | undefined): Promise<Config> {
  const file = resolve(given ?? configPath());
  const value = given === undefined ? await readJson(file, null) : await readJson(file);
  const parsed = configSchema.safeParse(value ?? {});
  if (!parsed.success) throw mistake(file, parsed.error.issues[0]!);
  const { deployment, keystore, passwordFile, stateDir, task, rpc, names = {} } = parsed.data;
  const at = (path: string | undefined): string | undefined => path && resolve(dirname(file), path);
  return {
    deployment: at(deployment),
    keystore: at(keystore),
    passwordFile: at(passwordFile),
    stateDir: at(stateDir),
    task: task === undefined ? undefined : toHex(task),
    rpc: rpc === undefined ? undefined : checkUrls([rpc].flat(), `"rpc" in ${file}`),
    names: new Map(Object.entries(names).map(([name, account]) => named(file, name, account))),
  };
}

function mistake(file: string, issue: z.core.$ZodIssue): WaybillError {
  if (issue.code === "unrecognized_keys") {
    const known = Object.keys(configSchema.shape).join(", ");
    return usage(`${file} has a setting "${printable(issue.keys[0]!, 40)}" that there is not. There are: ${known}.`);
  }
  const where = issue.path.map((step) => printable(String(step), 70)).join(".");
  return usage(where === "" ? `${file} must hold one JSON object.` : `"${where}" in ${file} ${issue.message}.`);
}

function named(file: string, name: string, account: string): [string, Address] {
  if (!NAME.test(name))
    throw usage(`${file} names somebody "${printable(name, 70)}": a name is letters, digits, ".", "_" and "-".`);
  return [name, accountOf(account, `"names.${name}" in ${file}`)];
}

/** @throws WaybillError USAGE that doesn't say them: they may carry keys. */
export function checkUrls(urls: readonly string[], where: string): readonly string[] {
  if (urls.length > 0 && urls.every((url) => /^https?:\/\//.test(url) && URL.canParse(url))) return urls;
  throw usage(`${where} ${URLS}.`);
}

/** @throws WaybillError USAGE */
export async function readDeployment(file: string): Promise<Deployment> {
  return deploymentIn(await readJson(file), file);
}

/** @throws WaybillError USAGE */
export function deploymentIn(value: unknown, file: string): Deployment {
  const parsed = deploymentSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues.map((issue) => issue.path.join(".") || "itself").join(", ");
  throw usage(`${file} is no complete deployment (${where}). Ask the operator for deployment.json.`);
}

/** @param missing What is there instead of no file; without it that is an error. */
async function readJson(file: string, missing?: unknown): Promise<unknown> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" && missing !== undefined) return null;
    throw unreadable(file, error);
  });
  if (text === null) return missing;
  try {
    return JSON.parse(text);
  } catch {
    throw usage(`${file} is no JSON.`); // the parser's words quote the file
  }
}

/** In words that say what to do. */
export function unreadable(file: string, { code = "no text" }: NodeJS.ErrnoException): WaybillError {
  if (code === "ENOENT") return usage(`There is no ${file}. Check the path.`);
  if (code === "EACCES" || code === "EPERM")
    return usage(`You may not read ${file}. Ask its owner, or change its mode.`);
  return usage(`${file} can't be read (${code}).`);
}

function usage(message: string): WaybillError {
  return new WaybillError("USAGE", message);
}
