import type { IncomingMessage } from "node:http";
import { S3Error } from "./errors.ts";

/** S3's own limit on a key's UTF-8 bytes. */
const MAX_KEY_BYTES = 1_024;

/** A request taken apart: what is addressed, and how. Nothing of it is believed before auth.ts has checked it. */
export interface S3Request {
  readonly method: string;
  /** As it came, still encoded: that is what was signed. */
  readonly path: string;
  readonly bucket: string;
  readonly key: string;
  readonly query: S3Query;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
}

export class S3Query {
  readonly all: ReadonlyMap<string, readonly string[]>;

  constructor(text: string) {
    const all = new Map<string, string[]>();
    for (const pair of text.split("&").filter((pair) => pair !== "")) {
      const [name = "", ...value] = pair.split("=");
      const list = all.get(decode(name)) ?? [];
      list.push(decode(value.join("=")));
      all.set(decode(name), list);
    }
    this.all = all;
  }

  has(name: string): boolean {
    return this.all.has(name);
  }

  get(name: string): string | undefined {
    return this.all.get(name)?.[0];
  }

  /** A whole number of at least `least`, or `otherwise` when absent. */
  count(name: string, otherwise: number, least = 0): number {
    return readCount(this.get(name), name, otherwise, least);
  }
}

export function readCount(text: string | undefined, name: string, otherwise: number, least = 0): number {
  if (text === undefined || text === "") return otherwise;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (value < least || value > 2_147_483_647) {
    throw new S3Error("InvalidArgument", `Argument ${name} must be an integer between ${least} and 2147483647`);
  }
  return value;
}

export function readRequest(message: IncomingMessage): S3Request {
  const url = message.url ?? "";
  if (!url.startsWith("/")) throw new S3Error("InvalidURI");
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  const [, bucket = "", ...rest] = path.split("/");
  const key = decode(rest.join("/"));
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) throw new S3Error("KeyTooLongError");
  return {
    method: message.method ?? "",
    path,
    bucket: decode(bucket),
    key,
    query: new S3Query(mark < 0 ? "" : url.slice(mark + 1)),
    headers: flatHeaders(message),
  };
}

function flatHeaders(message: IncomingMessage): Record<string, string> {
  const pairs = Object.entries(message.headersDistinct).map(([name, values]) => [name, values?.join(",") ?? ""]);
  return Object.fromEntries(pairs);
}

/** Percent-decoding alone: in a path and in what SDKs sign, a plus sign is a plus sign. */
export function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new S3Error("InvalidURI");
  }
}
