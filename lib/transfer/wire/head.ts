import { garbage } from "./fault.ts";

// The head of a response, by RFC 9112; what RFC 9112 lets a client forgive is not forgiven.

/** Of a head, and of all trailers, in bytes; Node's own limit. */
export const MAX_HEAD: number = 16 * 1024;
/** S3 sends about fifteen. */
const MAX_FIELDS = 100;
/** Exact in a double. */
const LENGTH = /^\d{1,15}$/;

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: .*)?$/;
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Control characters, among them NUL and a CR or LF of its own. */
const CONTROL = /[^\t\x20-\x7e\x80-\xff]/;

/** What a response says before its body. */
export interface Head {
  /** HTTP/1.0 or 1.1. */
  readonly minor: 0 | 1;
  readonly status: number;
  /** By lower-case name; values of the same name are joined with ", ". */
  readonly fields: ReadonlyMap<string, string>;
}

/** How long the body is: so many bytes, in chunks, or whatever comes until the connection ends. */
export type Framing = number | "chunked" | "close";

/** Takes a line off its CRLF. @throws WireFault */
export function bare(line: string): string {
  if (!line.endsWith("\r\n")) throw garbage("a line ends without CR");
  const text = line.slice(0, -2);
  if (CONTROL.test(text)) throw garbage("a control character");
  return text;
}

/** Gathers a head line by line. */
export class HeadLines {
  #first: { minor: 0 | 1; status: number } | null = null;
  #count = 0;
  readonly #fields = new Map<string, string>();

  /** Takes the next line; at the empty one the head is whole. @throws WireFault */
  add(line: string): Head | null {
    if (!this.#first) this.#first = statusOf(line);
    else if (line === "") return { ...this.#first, fields: this.#fields };
    else this.#field(line);
    return null;
  }

  #field(line: string): void {
    const [name, value] = fieldOf(line);
    if (++this.#count > MAX_FIELDS) throw garbage("too many fields");
    const before = this.#fields.get(name);
    this.#fields.set(name, before === undefined ? value : `${before}, ${value}`);
  }
}

function statusOf(line: string): { minor: 0 | 1; status: number } {
  const found = STATUS_LINE.exec(line);
  if (!found) throw garbage("no status line");
  return { minor: found[1] === "0" ? 0 : 1, status: Number(found[2]) };
}

/** A continued line begins with a space, which no name contains. @throws WireFault */
export function fieldOf(line: string): [name: string, value: string] {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(0, colon));
  if (!NAME.test(name)) throw garbage("no field");
  let from = colon + 1;
  let to = line.length;
  while (from < to && isBlank(line, from)) from += 1;
  while (to > from && isBlank(line, to - 1)) to -= 1;
  return [name.toLowerCase(), line.slice(from, to)];
}

function isBlank(line: string, at: number): boolean {
  return line[at] === " " || line[at] === "\t";
}

/** @throws WireFault when it can be read in two ways. */
export function framingOf(method: string, { minor, status, fields }: Head): Framing {
  const length = fields.get("content-length");
  const coding = fields.get("transfer-encoding");
  if (length !== undefined && coding !== undefined) throw garbage("Content-Length and Transfer-Encoding");
  if (length !== undefined && !LENGTH.test(length)) throw garbage("a Content-Length that is none, or two");
  if (coding !== undefined && (minor === 0 || coding.toLowerCase() !== "chunked"))
    throw garbage("a Transfer-Encoding that nobody asked for");
  if (method === "HEAD" || status === 204 || status === 304) return 0;
  if (method === "CONNECT" && status < 300) return 0;
  if (coding !== undefined) return "chunked";
  return length === undefined ? "close" : Number(length);
}

/** Whether the connection lives on after this answer. */
export function keepsAlive(head: Head, framing: Framing): boolean {
  return framing !== "close" && head.minor === 1 && !saysClose(head);
}

/** Another answer must follow this one, so it can't bring a body or end the connection. @throws WireFault */
export function checkInterim(head: Head): void {
  const { status, fields } = head;
  if (status === 101 || saysClose(head) || fields.has("content-length") || fields.has("transfer-encoding"))
    throw garbage("an interim answer that is none");
}

function saysClose({ fields }: Head): boolean {
  const options = (fields.get("connection") ?? "").toLowerCase().split(",");
  return options.some((option) => option.trim() === "close");
}
