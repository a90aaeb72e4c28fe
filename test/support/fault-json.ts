import { answered, edited } from "./fault-http.ts";
import { type Answer, type Exchange, type Fault, withBody } from "./fault-proxy.ts";

// What an API of ours, or somebody who plays it, can say wrongly in JSON.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

function parsed(answer: Answer): Json | undefined {
  try {
    return JSON.parse(answer.body.toString()) as Json;
  } catch {
    return undefined;
  }
}

/** A change of a good answer's JSON; what is none passes. */
export function changed(change: (json: Json) => Json): Fault {
  return edited((answer) => {
    const json = answer.status < 300 ? parsed(answer) : undefined;
    return json === undefined ? answer : withBody(answer, JSON.stringify(change(json)));
  });
}

const rewritten = (change: (text: string) => string): Fault =>
  edited((answer) => (answer.status < 300 ? withBody(answer, change(answer.body.toString())) : answer));

/** Each value in it, the innermost first. */
export function deeply(json: Json, change: (value: Json, name: string) => Json, name = ""): Json {
  if (Array.isArray(json))
    return change(
      json.map((value) => deeply(value, change, name)),
      name,
    );
  if (json === null || typeof json !== "object") return change(json, name);
  return change(
    Object.fromEntries(Object.entries(json).map(([key, value]) => [key, deeply(value, change, key)])),
    name,
  );
}

const numbers = (change: (value: number, name: string) => number): Fault =>
  changed((json) => deeply(json, (value, name) => (typeof value === "number" ? change(value, name) : value)));

const named = (wanted: string, change: (value: number) => number): Fault =>
  numbers((value, name) => (name === wanted ? change(value) : value));

const texts = (change: (value: string, name: string) => string): Fault =>
  changed((json) => deeply(json, (value, name) => (typeof value === "string" ? change(value, name) : value)));

const ids = (change: (id: string) => string): Fault =>
  texts((value) => (/^0x[0-9a-f]{64}$/.test(value) ? change(value) : value));

const lists = (change: (list: Json[]) => Json[]): Fault =>
  changed((json) => deeply(json, (value) => (Array.isArray(value) ? change(value) : value)));

const without = (pick: (names: string[]) => string | undefined): Fault =>
  changed((json) => {
    const gone =
      json !== null && typeof json === "object" && !Array.isArray(json) ? pick(Object.keys(json)) : undefined;
    return Object.fromEntries(Object.entries(json as object).filter(([name]) => name !== gone)) as Json;
  });

const otherId = (id: string): string => `${id.slice(0, -1)}${id.endsWith("0") ? "1" : "0"}`;

export const jsonFaults: Readonly<Record<string, Fault>> = {
  "JSON cut in half": rewritten((text) => text.slice(0, text.length >> 1)),
  "JSON with something behind": rewritten((text) => `${text}}`),
  "null for JSON": rewritten(() => "null"),
  "an empty object": rewritten(() => "{}"),
  "an array for the object": rewritten((text) => `[${text}]`),
  "a string for the object": rewritten((text) => JSON.stringify(text)),
  "the first field missing": without((names) => names[0]),
  "the last field missing": without((names) => names.at(-1)),
  "numbers as strings": changed((json) => deeply(json, (value) => (typeof value === "number" ? String(value) : value))),
  "strings as numbers": changed((json) => deeply(json, (value) => (typeof value === "string" ? 7 : value))),
  "each value null": changed((json) => deeply(json, (value) => (typeof value === "object" ? value : null))),
  "numbers below zero": numbers((value) => -value - 1),
  "numbers with fractions": numbers((value) => value + 0.5),
  "numbers beyond all": rewritten((text) => text.replace(/:\d+/g, ":1e400")),
  "numbers of 2^53": numbers(() => 2 ** 53),
  "ids of others": ids(otherId),
  "ids in capitals": ids((id) => `0x${id.slice(2).toUpperCase()}`),
  "ids too short": ids((id) => id.slice(0, -2)),
  "lists empty": lists(() => []),
  "lists without their last": lists((list) => list.slice(0, -1)),
  "lists without their first": lists((list) => list.slice(1)),
  "lists backwards": lists((list) => list.toReversed()),
  "lists twice": lists((list) => [...list, ...list]),
  "__proto__ and constructor as fields": rewritten((text) =>
    text.replace("{", '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},'),
  ),
  "50,000 levels deep": rewritten((text) => text.replace("{", `{"deep":${"[".repeat(50_000)}${"]".repeat(50_000)},`)),
  "keys twice": rewritten((text) => text.replace(/^\{(.*)\}$/s, "{$1,$1}")),
  "10 MiB of white space": rewritten((text) => `${" ".repeat(10 * 1024 * 1024)}${text}`),
  "a byte order mark": rewritten((text) => `\ufeff${text}`),
  "bytes that are no UTF-8": edited((answer) => withBody(answer, Buffer.concat([Buffer.of(0xff, 0xfe), answer.body]))),
  "chain time 20 minutes ahead": named("timestamp", (value) => value + 1_200),
  "chain time 20 minutes behind": named("timestamp", (value) => value - 1_200),
  "blocks 1,000 ahead": named("block", (value) => value + 1_000),
  "blocks 1 behind": named("block", (value) => Math.max(0, value - 1)),
  "events counted from elsewhere": named("seq", (value) => value + 3),
  "sizes other": named("size", (value) => value + 1),
  "URLs to another host": texts((value) => value.replace(/^http:\/\/127\.0\.0\.1:/, "http://localhost:")),
  "URLs of another key": texts((value) =>
    value.startsWith("http") ? value.replace(/\/payload\/0x../, "/payload/0xff") : value,
  ),
  "URLs with an account": texts((value) => value.replace(/^http:\/\//, "http://user:word@")),
  "URLs cut": texts((value) => (value.startsWith("http") ? value.slice(0, -6) : value)),
  "URLs that are dead already": named("expiresIn", () => 0),
  "a manifest with a bit flipped": texts((value, name) =>
    name === "manifest" && value.length > 70
      ? `${value.slice(0, 60)}${value[60] === "A" ? "B" : "A"}${value.slice(61)}`
      : value,
  ),
  "signatures of nobody": texts((value, name) =>
    /signature/i.test(name) ? `${value.slice(0, 20)}00${value.slice(22)}` : value,
  ),
};

function problem(status: number, code: string, facts: Readonly<Record<string, Json>> = {}): Answer {
  const body = JSON.stringify({ type: "about:blank", title: code, status, code, detail: "It is said.", ...facts });
  const answer = { status, reason: "Said", body: Buffer.alloc(0) };
  return withBody({ ...answer, headers: [["content-type", "application/problem+json"]] }, body);
}

const says =
  (status: number, code: string, facts?: (exchange: Exchange) => Record<string, Json>): Fault =>
  async (exchange) => {
    await exchange.body();
    await exchange.answer(problem(status, code, facts?.(exchange)));
  };

const serverTime = (minutes: number) => (): Record<string, Json> => ({
  serverTime: Math.floor(Date.now() / 1000) + minutes * 60,
});

/** Codes of ours that are not true, without the request being carried out. */
export const problemFaults: Readonly<Record<string, Fault>> = {
  ...Object.fromEntries(
    (
      [
        [400, "BAD_REQUEST"],
        [400, "WRONG_CHAIN"],
        [401, "UNAUTHENTICATED"],
        [401, "REPLAYED"],
        [403, "EXPELLED"],
        [403, "NOT_MEMBER"],
        [403, "NOT_RECIPIENT"],
        [404, "NOT_FOUND"],
        [404, "UNKNOWN_TASK"],
        [404, "UNKNOWN_TRANSFER"],
        [404, "UNKNOWN_NOTICE"],
        [409, "CONFLICT"],
        [409, "FINISHED"],
        [409, "NOTICE_EXISTS"],
        [409, "NOT_STORED"],
        [410, "GONE"],
        [413, "PAYLOAD_TOO_LARGE"],
        [422, "BAD_DEADLINE"],
        [422, "BAD_MANIFEST"],
        [422, "BAD_SIGNATURE"],
        [429, "RATE_LIMITED"],
        [500, "INTERNAL"],
        [503, "UNAVAILABLE"],
        [422, "CORRUPT"],
        [500, "MADE_UP"],
      ] as const
    ).map(([status, code]) => [`falsely ${code}`, says(status, code)]),
  ),
  "falsely CLOCK_SKEW, 20 minutes ahead": says(401, "CLOCK_SKEW", serverTime(20)),
  "falsely CLOCK_SKEW, 20 minutes behind": says(401, "CLOCK_SKEW", serverTime(-20)),
  "falsely CLOCK_SKEW, without a time": says(401, "CLOCK_SKEW"),
  "falsely INTERNAL though it was done": answered((exchange) => exchange.answer(problem(500, "INTERNAL"))),
  "falsely CONFLICT though it was done": answered((exchange) => exchange.answer(problem(409, "CONFLICT"))),
};
