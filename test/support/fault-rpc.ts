import { answered } from "./fault-http.ts";
import { deeply, type Json } from "./fault-json.ts";
import { type Answer, type Fault, withBody } from "./fault-proxy.ts";
import { type RpcCall, rpcCalls, rpcStep } from "./fault-steps.ts";

// What an RPC node can say wrongly of a single call, the others of its batch being answered well.

interface Reply {
  readonly jsonrpc: "2.0";
  readonly id: Json;
  readonly result?: Json;
  readonly error?: Json;
}

/** What becomes of the reply to one call. */
type Twist = (reply: Reply, call: RpcCall) => Reply;

/** Twists the replies to the calls of that step. */
export type RpcFault = (step: string) => Fault;

function repliesOf(answer: Answer): Reply | Reply[] {
  return JSON.parse(answer.body.toString()) as Reply | Reply[];
}

function json(answer: Answer, value: unknown): Answer {
  return withBody(answer, JSON.stringify(value));
}

function twisted(twist: Twist): RpcFault {
  return (step) =>
    answered(async (exchange, answer) => {
      const calls = await rpcCalls(exchange);
      const one = (reply: Reply): Reply => {
        const call = calls.find(({ id }) => id === reply.id);
        return call && rpcStep(call) === step ? twist(reply, call) : reply;
      };
      const replies = repliesOf(answer);
      await exchange.answer(json(answer, Array.isArray(replies) ? replies.map(one) : one(replies)));
    });
}

/** Not carried out, and refused in these words. */
function refused(code: number, message: string): RpcFault {
  return () => async (exchange) => {
    const calls = await rpcCalls(exchange);
    const replies = calls.map(({ id }) => ({ jsonrpc: "2.0", id, error: { code, message } }));
    const answer = {
      status: 200,
      reason: "OK",
      headers: [["content-type", "application/json"]] as const,
      body: Buffer.alloc(0),
    };
    await exchange.answer(json(answer, replies.length === 1 ? replies[0] : replies));
  };
}

/** Carried out, and refused in these words. */
const denied = (code: number, message: string): RpcFault =>
  twisted(({ jsonrpc, id }) => ({ jsonrpc, id, error: { code, message } }));

const result = (change: (result: Json) => Json): RpcFault =>
  twisted((reply) => (reply.result === undefined ? reply : { ...reply, result: change(reply.result) }));

const logs = (change: (logs: Json[]) => Json[]): RpcFault =>
  result((found) => (Array.isArray(found) ? change(found) : found));

const field = (name: string, change: (value: bigint) => bigint): RpcFault =>
  result((found) =>
    deeply(found, (value, key) =>
      key === name && typeof value === "string" ? `0x${max(0n, change(BigInt(value))).toString(16)}` : value,
    ),
  );

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);

const batch =
  (change: (replies: Reply[]) => unknown): RpcFault =>
  () =>
    answered((exchange, answer) => {
      const replies = repliesOf(answer);
      return exchange.answer(json(answer, Array.isArray(replies) ? change(replies) : change([replies])));
    });

/** A hexadecimal quantity or bytes, with a digit changed. */
function nearby(found: Json): Json {
  return deeply(found, (value) =>
    typeof value === "string" && /^0x[0-9a-f]+$/.test(value)
      ? value.replace(/.$/, (c) => (c === "0" ? "1" : "0"))
      : value,
  );
}

export const rpcFaults: Readonly<Record<string, RpcFault>> = {
  "refused: range too large": refused(-32005, "query returned more than 10000 results"),
  "refused: limit exceeded": refused(-32005, "daily request count exceeded, request rate limited"),
  "refused: header not found": refused(-32000, "header not found"),
  "refused: missing trie node": refused(-32000, "missing trie node 0x00 (path )"),
  "refused: method not found": refused(-32601, "the method does not exist"),
  "refused: invalid params": refused(-32602, "invalid argument 0"),
  "refused: internal error": refused(-32603, "Internal error"),
  "refused: execution reverted": refused(3, "execution reverted"),
  "refused: out of gas": refused(-32000, "out of gas"),
  "refused: nonce too low": refused(-32000, "nonce too low"),
  "refused: underpriced": refused(-32000, "replacement transaction underpriced"),
  "refused: insufficient funds": refused(-32000, "insufficient funds for gas * price + value"),
  "refused: txpool is full": refused(-32000, "txpool is full"),
  "done, and said to be already known": denied(-32000, "already known"),
  "done, and said to be nonce too low": denied(-32000, "nonce too low"),
  "done, and said to be an internal error": denied(-32603, "Internal error"),
  "an error that is a string": twisted(({ jsonrpc, id }) => ({ jsonrpc, id, error: "no" })),
  "no result and no error": twisted(({ jsonrpc, id }) => ({ jsonrpc, id })),
  "result null": result(() => null),
  "result 0x": result(() => "0x"),
  "result of a wrong type": result((found) => (Array.isArray(found) ? {} : typeof found === "object" ? [] : { found })),
  "result an empty object": result(() => ({})),
  "result with a digit changed": result(nearby),
  "result cut": result((found) => (typeof found === "string" ? found.slice(0, found.length >> 1) : found)),
  "another chain": twisted((reply, call) => (call.method === "eth_chainId" ? { ...reply, result: "0x1" } : reply)),
  "logs left out": logs(() => []),
  "the last log left out": logs((found) => found.slice(0, -1)),
  "the first log left out": logs((found) => found.slice(1)),
  "logs twice": logs((found) => [...found, ...found]),
  "logs backwards": logs((found) => found.toReversed()),
  "logs removed": logs((found) => found.map((log) => ({ ...(log as object), removed: true }))),
  "logs of another block": field("blockNumber", (value) => value + 1n),
  "logs of another address": logs((found) =>
    found.map((log) => ({ ...(log as object), address: `0x${"1".repeat(40)}` })),
  ),
  "a block 1 behind": field("number", (value) => value - 1n),
  "a block 50 behind": field("number", (value) => value - 50n),
  "a block 1,000 ahead": field("number", (value) => value + 1_000n),
  "block time 20 minutes ahead": field("timestamp", (value) => value + 1_200n),
  "block time 20 minutes behind": field("timestamp", (value) => value - 1_200n),
  "a number beyond all": result((found) => (typeof found === "string" ? `0x${"f".repeat(64)}` : found)),
  "a receipt that failed": result((found) => (found === null ? null : nearbyStatus(found))),
  "the batch without its last": batch((replies) => replies.slice(0, -1)),
  "the batch backwards": batch((replies) => replies.toReversed()),
  "the batch empty": batch(() => []),
  "the batch with ids as strings": batch((replies) => replies.map((reply) => ({ ...reply, id: String(reply.id) }))),
  "the batch with each reply under the next id": batch((replies) =>
    replies.map((reply, i) => ({ ...reply, id: replies[(i + 1) % replies.length]!.id })),
  ),
  "one error for the batch": batch(([reply]) => ({
    jsonrpc: "2.0",
    id: reply?.id ?? null,
    error: { code: -32600, message: "batch limit" },
  })),
};

function nearbyStatus(found: Json): Json {
  return deeply(found, (value, name) => (name === "status" ? "0x0" : value));
}
