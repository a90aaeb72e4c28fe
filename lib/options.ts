import { isAddress } from "ethers/address";
import { WaybillError } from "./protocol/errors.ts";
import { type Address, type Hex, toHex } from "./protocol/hex.ts";
import { MAX_TAG, MiB } from "./protocol/limits.ts";
import { tagText } from "./protocol/manifest.ts";

// What callers may say, checked before anything is done.

/** What "without a limit" means: a day less than the contract allows, so that clocks need not agree. */
const LONGEST_MS = 29 * 24 * 3600 * 1000;
/** Anything below was meant as seconds. */
const SHORTEST_MS = 1_000;
const DEFAULT_MS = 600_000;
/** What a slow link manages. */
const DEFAULT_MS_PER_MIB = 1_000;

export function usage(message: string): WaybillError {
  return new WaybillError("USAGE", message);
}

/** An object with no other options than these: a misspelt one would silently mean its default. */
export function checkNames(options: unknown, names: readonly string[]): void {
  if (typeof options !== "object" || options === null) throw usage("The call takes one object with its options.");
  const unknown = Object.keys(options).find((name) => !names.includes(name));
  if (unknown) throw usage(`There is no option "${unknown}". There are: ${names.join(", ")}.`);
}

/** Anything that can sign as ethers' signers do. */
export function checkSigner(signer: unknown): void {
  const calls = ["getAddress", "signMessage", "signTypedData"];
  const found = signer as Record<string, unknown> | null | undefined;
  if (!calls.every((name) => typeof found?.[name] === "function"))
    throw usage("signer must be an ethers Signer, such as new Wallet(privateKey).");
}

export function checkTask(task: unknown): Hex {
  if (typeof task === "string" && /^0x[0-9a-fA-F]{64}$/.test(task)) return toHex(task);
  throw usage("A task's id is 0x and 64 hex digits.");
}

export function checkNotice(notice: unknown): Hex {
  if (typeof notice === "string" && /^0x[0-9a-fA-F]{64}$/.test(notice)) return toHex(notice);
  throw usage("A notice's id is 0x and 64 hex digits.");
}

/** An account in lower case; a mixed-case one with a wrong checksum is a typing mistake. */
export function accountOf(account: unknown, what: string): Address {
  if (typeof account === "string" && /^0x/i.test(account) && isAddress(account)) return toHex(account.toLowerCase());
  const said = typeof account === "string" ? `"${account.slice(0, 50)}"` : `a ${typeof account}`;
  throw usage(`${what} must be an account: 0x and 40 hex digits, with a right checksum if in mixed case, not ${said}.`);
}

/** At least one account, none twice. */
export function accountsOf(accounts: unknown, what: string): Address[] {
  if (!Array.isArray(accounts) || accounts.length === 0) throw usage(`${what} must be a list of at least one account.`);
  const list = accounts.map((account: unknown) => accountOf(account, `Each of ${what}`));
  const twice = list.find((account, i) => list.indexOf(account) !== i);
  if (twice) throw usage(`${what} names ${twice} twice.`);
  return list;
}

export function checkTag(tag: unknown): string {
  const found = tagText.safeParse(tag);
  if (!found.success)
    throw usage(`A tag is a string of 1 to ${MAX_TAG} characters, none of them a control, such as "round-7/model".`);
  return found.data;
}

/** Milliseconds of the times that were given, added up; null when none was. 0 is the longest. */
export function totalOf(times: Readonly<Record<string, unknown>>): number | null {
  const given = Object.entries(times).filter(([, ms]) => ms !== undefined);
  for (const [name, ms] of given) checkTime(name, ms);
  if (given.length === 0) return null;
  if (given.some(([, ms]) => ms === 0)) return LONGEST_MS;
  const total = given.reduce((sum, [, ms]) => sum + Number(ms), 0);
  if (total > LONGEST_MS) throw usage(`${given.map(([name]) => name).join(" and ")} may be 29 days in all.`);
  return total;
}

function checkTime(name: string, ms: unknown): void {
  if (typeof ms !== "number" || !Number.isFinite(ms) || ms < 0)
    throw usage(`${name} must be a number of milliseconds, not ${String(ms).slice(0, 30)}.`);
  if (ms > 0 && ms < SHORTEST_MS)
    throw usage(`${name} is in milliseconds: ${ms} is less than a second. Use at least 1000, or 0 for 29 days.`);
}

/** What a transfer of this size is given when nobody says: 10 minutes and a second per MiB. */
export function defaultTime(size: number): number {
  return Math.min(LONGEST_MS, DEFAULT_MS + Math.ceil(size / MiB) * DEFAULT_MS_PER_MIB);
}

export function checkCount(name: string, value: unknown, least: number): void {
  if (value !== undefined && !(Number.isSafeInteger(value) && Number(value) >= least))
    throw usage(`${name} must be a whole number, at least ${least}.`);
}
