import { WaybillError } from "../lib/protocol/errors.ts";

/** Our deepest body (a finish) nests five levels. */
const MAX_DEPTH = 16;

/**
 * Reads JSON as two readers could never read it differently: UTF-8 without errors, no key twice, no `__proto__`, no NUL or
 * lone surrogate in a text, and no nesting beyond what any body of ours has.
 * @throws WaybillError BAD_REQUEST
 */
export function parseJson(bytes: Uint8Array): unknown {
  const text = readText(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse("is not JSON");
  }
  checkTokens(text);
  return value;
}

function readText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse("is not UTF-8");
  }
}

/** Walks the tokens of text that JSON.parse has accepted, which shows what its result hides. */
function checkTokens(text: string): void {
  const open: (Set<string> | null)[] = []; // the keys of each object that we are in; null for an array
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === "{" || token === "[") {
      if (open.push(token === "{" ? new Set() : null) > MAX_DEPTH) refuse("is nested too deeply");
    } else if (token === "}" || token === "]") open.pop();
    else if (token.endsWith(":")) checkKey(token, open.at(-1));
    else checkString(JSON.parse(token) as string);
  }
}

function checkKey(token: string, keys: Set<string> | null | undefined): void {
  const key = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)) as string;
  if (keys?.has(key)) refuse("names a key twice");
  if (key === "__proto__") refuse("names a key that no body has");
  checkString(key);
  keys?.add(key);
}

function checkString(text: string): void {
  if (/[\0\p{Cs}]/u.test(text)) refuse("holds a NUL or half of a surrogate pair");
}

function refuse(what: string): never {
  throw new WaybillError("BAD_REQUEST", `The body ${what}. Send UTF-8 JSON as /openapi.json describes it.`);
}
