import { decodeBytes32String, encodeBytes32String } from "ethers/abi";
import { getBytes, toUtf8Bytes, toUtf8String } from "ethers/utils";
import type { News } from "./chain/ledger.ts";
import { usage } from "./options.ts";
import { type Address, type Hex, toHex } from "./protocol/hex.ts";
import { MAX_MESSAGE } from "./protocol/limits.ts";

/** The body of a message about one round; more facts may stand beside its number. */
export interface RoundBody {
  /** The round's number, a whole number from 0 on. */
  readonly round: number;
  readonly [fact: string]: unknown;
}

/**
 * The kinds of messages and what their bodies are. A program adds its own:
 *
 * ```ts
 * declare module "waybill" {
 *   interface MessageKinds { evaluated: { round: number; accuracy: number } }
 * }
 * ```
 *
 * The types bind only those who post; what another member wrote is checked when it is read (`isMessage`).
 */
export interface MessageKinds {
  /** A member is there. The body is an object of the program's own facts. */
  check_in: { readonly [fact: string]: unknown };
  /** A round begins. */
  start_round: RoundBody;
  /** A round's updates may be sent. */
  ready_for_aggregation: RoundBody;
  /** A round is over. */
  close_round: RoundBody;
}

/** What the body of a message of this kind is; anything that JSON can say where the kind is not registered. */
export type BodyOf<Kind extends string> = Kind extends keyof MessageKinds ? MessageKinds[Kind] : unknown;

/** A message of a member, addressed to this one or to everyone. Its author's signature was verified. */
export interface TaskMessage<Kind extends string = string, Body = unknown> {
  readonly type: "message";
  /** Its place among the task's events, which rises by one with each. */
  readonly seq: number;
  readonly sender: Address;
  readonly kind: Kind;
  /** The JSON value, or undefined when the sender wrote none; `payload` has its bytes. Nobody has checked it. */
  readonly body: Body;
  readonly payload: Uint8Array;
  readonly transaction: Hex;
}

/** A change of the task's roster, signed by its owner. */
export interface RosterNews {
  readonly type: "roster";
  /** Its place among the task's events, which rises by one with each. */
  readonly seq: number;
  readonly change: "opened" | "admitted" | "expelled";
  /** Whom the change names. */
  readonly members: readonly Address[];
  readonly transaction: Hex;
}

/** What `events` and a `complementaryHandler` get: a message for this member or everyone, or a change of the roster. */
export type TaskNews = TaskMessage | RosterNews;

/**
 * Is this a message of that kind, with a body that is one? Bodies of the built-in kinds are checked; for a kind of your own
 * `check` does it, or else every body counts.
 */
export function isMessage<Kind extends string>(
  news: TaskNews,
  kind: Kind,
  check: (body: unknown) => boolean = checks[kind] ?? (() => true),
): news is TaskMessage<Kind, BodyOf<Kind>> {
  return news.type === "message" && news.kind === kind && check(news.body);
}

const checks: Readonly<Record<string, (body: unknown) => boolean>> = {
  check_in: isObject,
  start_round: isRound,
  ready_for_aggregation: isRound,
  close_round: isRound,
};

function isObject(body: unknown): body is Record<string, unknown> {
  return typeof body === "object" && body !== null && !Array.isArray(body);
}

function isRound(body: unknown): boolean {
  return isObject(body) && Number.isSafeInteger(body.round) && Number(body.round) >= 0;
}

/** @throws WaybillError USAGE */
export function encodeKind(kind: unknown): Hex {
  const fits = typeof kind === "string" && kind.length > 0 && toUtf8Bytes(kind).length <= 31;
  if (!fits) throw usage("A message's kind is a name of 1 to 31 bytes.");
  return encodeBytes32String(kind) as Hex;
}

/** @throws WaybillError USAGE */
export function encodeBody(body: unknown): Hex {
  const payload = toUtf8Bytes(jsonOf(body));
  if (payload.length > MAX_MESSAGE)
    throw usage(`A message's body is at most ${MAX_MESSAGE} bytes. Send it as a transfer.`);
  return toHex(payload);
}

function jsonOf(body: unknown): string {
  try {
    const text = JSON.stringify(body);
    if (text !== undefined) return text;
  } catch {
    // a cycle, or a bigint
  }
  throw usage("A message's body must be a JSON value.");
}

export function readNews(news: News): TaskNews {
  const { seq, transaction } = news.place;
  if (news.type === "roster") return { type: "roster", seq, change: news.change, members: news.members, transaction };
  const { sender, name, payload } = news.message;
  return {
    type: "message",
    seq,
    sender,
    kind: decodeKind(name),
    body: decodeBody(payload),
    payload: getBytes(payload),
    transaction,
  };
}

/** A foreign client's name may be no text; it is shown as it is. */
function decodeKind(name: Hex): string {
  try {
    return decodeBytes32String(name);
  } catch {
    return name;
  }
}

function decodeBody(payload: Hex): unknown {
  try {
    return JSON.parse(toUtf8String(payload));
  } catch {
    return undefined;
  }
}
