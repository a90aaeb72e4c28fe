/** What is put on the wire. */
export interface WireRequest {
  readonly method: string;
  /** As the request line says it. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
  /** Ask the server whether it wants the body before it is sent. */
  readonly expect: boolean;
  readonly signal: AbortSignal;
  /** Told about bytes that moved, either way. */
  readonly moved: ((bytes: number) => void) | undefined;
}

const METHOD = /^[A-Z]+$/;
const TARGET = /^[\x21-\x7e]+$/;
const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const VALUE = /^[\t\x20-\x7e]*$/;

/**
 * The head of a request. Headers may come from a server, so none may end its line and begin another.
 * @throws Error which repeats nothing of it
 */
export function headOf({ method, target, headers, body, expect }: Omit<WireRequest, "signal" | "moved">): Buffer {
  const fields: Record<string, string> = { ...headers };
  if (body) fields["content-length"] = String(body.length);
  if (body && expect) fields.expect = "100-continue";
  const sound = Object.entries(fields).every(([name, value]) => NAME.test(name) && VALUE.test(value));
  if (!METHOD.test(method) || !TARGET.test(target) || !sound) throw new TypeError("A header can't be sent.");
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1");
}
