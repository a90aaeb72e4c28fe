import type * as z from "zod/mini";
import { MAX_BODY, MAX_FINISH_BODY } from "../lib/protocol/limits.ts";
import * as requests from "../lib/protocol/requests.ts";
import type * as wire from "../lib/protocol/wire.ts";
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
  /** Without one, the body must be empty. */
  readonly body?: Body;
  readonly query?: Query;
  /** Never set: what is answered is known by its type. The schema itself is openapi.ts's, and in no function's bundle. */
  readonly answer?: Answer;
  /** Every status of success. */
  readonly status: readonly number[];
  /** A repetition of it within the signature's life does no harm, so that it takes no nonce: one is two requests to S3. */
  readonly replayable?: true;
  /** Bytes of a body. Default 64 KiB. */
  readonly limit?: number;
  /** What a body posts, in statements of the rate cap. */
  readonly statements?: (body: z.output<Body>) => number;
}

/** Keeps each row's own schema types, which a type on the table would widen. */
function answering<A extends z.ZodMiniType>() {
  return <B extends z.ZodMiniType, Q extends z.ZodMiniType>(row: Route<B, Q, A>): Route<B, Q, A> => row;
}

const task = "/v1/tasks/{task}";
const transfer = `${task}/transfers/{transfer}`;
const one = (): number => 1;
/** A message's bytes cost gas: so many more of them as much as another statement. */
const BYTES_PER_STATEMENT = 512;

export const openTask = answering<typeof wire.openAnswer>()({
  method: "POST",
  path: "/v1/tasks",
  who: "operator",
  body: requests.openRequest,
  status: [202],
  statements: one,
});
export const changeRoster = answering<typeof wire.statementAnswer>()({
  method: "POST",
  path: `${task}/roster`,
  who: "owner",
  body: requests.rosterRequest,
  status: [202],
  statements: one,
});
export const readTask = answering<typeof wire.taskAnswer>()({
  method: "GET",
  path: task,
  who: "reader",
  status: [200],
});
export const readEvents = answering<typeof wire.eventsAnswer>()({
  method: "GET",
  path: `${task}/events`,
  who: "reader",
  query: requests.eventsQuery,
  status: [200],
});
export const postMessage = answering<typeof wire.statementAnswer>()({
  method: "POST",
  path: `${task}/messages`,
  who: "member",
  body: requests.messageRequest,
  status: [202],
  statements: ({ message }) => 1 + Math.ceil((message.payload.length - 2) / 2 / BYTES_PER_STATEMENT),
});
export const postReceipt = answering<typeof wire.statementAnswer>()({
  method: "POST",
  path: `${task}/receipts`,
  who: "member",
  body: requests.receiptRequest,
  status: [202],
  statements: one,
});
export const postWithdrawal = answering<typeof wire.statementAnswer>()({
  method: "POST",
  path: `${task}/withdrawals`,
  who: "member",
  body: requests.withdrawalRequest,
  status: [202],
  statements: one,
});
export const readStatement = answering<typeof wire.statementStateAnswer>()({
  method: "GET",
  path: `${task}/statements/{statement}`,
  who: "reader",
  status: [200],
});
export const begin = answering<typeof wire.beginAnswer>()({
  method: "POST",
  path: `${task}/transfers`,
  who: "member",
  body: requests.beginRequest,
  status: [200],
});
export const signParts = answering<typeof wire.partsAnswer>()({
  method: "POST",
  path: `${transfer}/parts`,
  who: "member",
  body: requests.partsRequest,
  status: [200],
});
export const listParts = answering<typeof wire.storedPartsAnswer>()({
  method: "GET",
  path: `${transfer}/parts`,
  who: "member",
  status: [200],
});
export const finish = answering<typeof wire.finishAnswer>()({
  method: "POST",
  path: `${transfer}/finish`,
  who: "member",
  body: requests.finishRequest,
  status: [200, 202],
  limit: MAX_FINISH_BODY,
  statements: (body) => body.notices.length,
});
export const abort = answering<typeof wire.abortAnswer>()({
  method: "DELETE",
  path: transfer,
  who: "member",
  status: [200],
});
export const readNotice = answering<typeof wire.noticeAnswer>()({
  method: "GET",
  path: `${task}/notices/{notice}`,
  who: "reader",
  query: requests.noticeQuery,
  status: [200],
});
export const download = answering<typeof wire.downloadAnswer>()({
  method: "POST",
  path: `${task}/notices/{notice}/download`,
  who: "member",
  status: [200],
});

export const reportProgress = answering<typeof wire.progressAnswer>()({
  method: "PUT",
  path: `${task}/notices/{notice}/progress`,
  who: "member",
  body: requests.progressRequest,
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
