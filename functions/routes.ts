import type * as z from "zod/mini";
import { MAX_BODY, MAX_FINISH_BODY } from "../lib/protocol/limits.ts";
import * as wire from "../lib/protocol/wire.ts";
import type { Who } from "./roles.ts";

/**
 * One route of the API: what it takes and answers, and who may call it. The apps serve from this table, openapi.json is
 * written from it, and the tests try every role on every row.
 */
export interface Route<
  Body extends z.ZodMiniType = z.ZodMiniType,
  Query extends z.ZodMiniType = z.ZodMiniType,
  Answer extends z.ZodMiniType = z.ZodMiniType,
> {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** Ids in braces are 64 lower-case hex digits with 0x. */
  readonly path: string;
  readonly who: Who;
  readonly summary: string;
  /** Without one, the body must be empty. */
  readonly body?: Body;
  readonly query?: Query;
  readonly answer: Answer;
  /** Every status of success. */
  readonly status: readonly number[];
  /** A repetition of it within the signature's life does no harm, so that it takes no nonce: one is two requests to S3. */
  readonly replayable?: true;
  /** Bytes of a body. Default 64 KiB. */
  readonly limit?: number;
  /** What a body posts, in statements of the rate cap. */
  readonly statements?: (body: z.output<Body>) => number;
}

// Keeps each row's own schema types, which a type on the table would widen.
function route<B extends z.ZodMiniType, Q extends z.ZodMiniType, A extends z.ZodMiniType>(
  row: Route<B, Q, A>,
): Route<B, Q, A> {
  return row;
}

const task = "/v1/tasks/{task}";
const transfer = `${task}/transfers/{transfer}`;
const one = (): number => 1;
/** A message's bytes cost gas: so many more of them as much as another statement. */
const BYTES_PER_STATEMENT = 512;

export const openTask = route({
  method: "POST",
  path: "/v1/tasks",
  who: "operator",
  summary: "Relays the owner's signed Open.",
  body: wire.openRequest,
  answer: wire.openAnswer,
  status: [202],
  statements: one,
});
export const changeRoster = route({
  method: "POST",
  path: `${task}/roster`,
  who: "owner",
  summary: "Relays the owner's signed Admit or Expel.",
  body: wire.rosterRequest,
  answer: wire.statementAnswer,
  status: [202],
  statements: one,
});
export const readTask = route({
  method: "GET",
  path: task,
  who: "reader",
  summary: "The task's owner, members and newest event, as of the newest block with confirmations on top.",
  answer: wire.taskAnswer,
  status: [200],
});
export const readEvents = route({
  method: "GET",
  path: `${task}/events`,
  who: "reader",
  summary:
    "The task's events after an event (after, block), or before one (before, block), or without a cursor the newest one.",
  query: wire.eventsQuery,
  answer: wire.eventsAnswer,
  status: [200],
});
export const postMessage = route({
  method: "POST",
  path: `${task}/messages`,
  who: "member",
  summary: "Relays the caller's signed Message.",
  body: wire.messageRequest,
  answer: wire.statementAnswer,
  status: [202],
  statements: ({ message }) => 1 + Math.ceil((message.payload.length - 2) / 2 / BYTES_PER_STATEMENT),
});
export const postReceipt = route({
  method: "POST",
  path: `${task}/receipts`,
  who: "member",
  summary: "Relays the caller's signed Receipt.",
  body: wire.receiptRequest,
  answer: wire.statementAnswer,
  status: [202],
  statements: one,
});
export const postWithdrawal = route({
  method: "POST",
  path: `${task}/withdrawals`,
  who: "member",
  summary: "Relays the caller's signed Withdraw of a notice of its own.",
  body: wire.withdrawalRequest,
  answer: wire.statementAnswer,
  status: [202],
  statements: one,
});
export const readStatement = route({
  method: "GET",
  path: `${task}/statements/{statement}`,
  who: "reader",
  summary:
    "What became of the caller's statement (the owner: any): pending, settled, or refused with the contract's reason.",
  answer: wire.statementStateAnswer,
  status: [200],
});
export const begin = route({
  method: "POST",
  path: `${task}/transfers`,
  who: "member",
  summary: "Begins or joins the caller's transfer; answers its plan and the first part URLs.",
  body: wire.beginRequest,
  answer: wire.beginAnswer,
  status: [200],
});
export const signParts = route({
  method: "POST",
  path: `${transfer}/parts`,
  who: "member",
  summary: "Upload URLs for parts of the caller's transfer. Each takes exactly the named bytes.",
  body: wire.partsRequest,
  answer: wire.partsAnswer,
  status: [200],
});
export const listParts = route({
  method: "GET",
  path: `${transfer}/parts`,
  who: "member",
  summary: "The parts of the caller's transfer that the store holds.",
  answer: wire.storedPartsAnswer,
  status: [200],
});
export const finish = route({
  method: "POST",
  path: `${transfer}/finish`,
  who: "member",
  summary: "Completes the caller's transfer under its manifest, publishes notices over it, or both.",
  body: wire.finishRequest,
  answer: wire.finishAnswer,
  status: [200, 202],
  limit: MAX_FINISH_BODY,
  statements: (body) => body.notices.length,
});
export const abort = route({
  method: "DELETE",
  path: transfer,
  who: "member",
  summary: "Aborts the caller's unfinished transfer.",
  answer: wire.abortAnswer,
  status: [200],
});
export const readNotice = route({
  method: "GET",
  path: `${task}/notices/{notice}`,
  who: "reader",
  summary: "A notice, its manifest and the state of every recipient; for its sender, its recipients and the owner.",
  answer: wire.noticeAnswer,
  status: [200],
});
export const download = route({
  method: "POST",
  path: `${task}/notices/{notice}/download`,
  who: "member",
  summary: "The manifest and a GET URL of the payload, for the notice's recipients.",
  answer: wire.downloadAnswer,
  status: [200],
});

export const reportProgress = route({
  method: "PUT",
  path: `${task}/notices/{notice}/progress`,
  who: "member",
  summary: "How far the caller's download is, for the notice's sender to see: at most once in two seconds.",
  body: wire.progressRequest,
  answer: wire.progressAnswer,
  status: [200],
  limit: 1024,
  replayable: true,
});

/** Every signed route, by its operation's name. */
export const routes: Readonly<Record<string, Route>> = {
  openTask,
  changeRoster,
  readTask,
  readEvents,
  postMessage,
  postReceipt,
  postWithdrawal,
  readStatement,
  begin,
  signParts,
  listParts,
  finish,
  abort,
  readNotice,
  download,
  reportProgress,
} as unknown as Readonly<Record<string, Route>>;

/** Does a request to it change anything that a repetition could change again, or hand out URLs? Then it takes a nonce. */
export function needsNonce({ method, replayable }: Route): boolean {
  return method !== "GET" && !replayable;
}

/** Bytes that a route reads of a body. */
export function limitOf(row: Route): number {
  return row.body === undefined ? 0 : (row.limit ?? MAX_BODY);
}

/** The names in braces of a path. */
export function parametersOf(path: string): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
}
