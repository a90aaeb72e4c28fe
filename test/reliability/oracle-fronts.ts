import { createHash } from "node:crypto";
import {
  createServer,
  request as forward,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { verifyMessage } from "ethers";
import type { Exchange, Served } from "./oracle-evidence.ts";

// Fronts that stand before the API and the store, note what passes, and break it where a run says so.

/** A request that has come whole, before it goes on. */
export interface Coming {
  readonly method: string;
  /** The path with its query. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** An answer of the server behind. */
interface Going {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/**
 * What is done to a request: `reset` before or after it is carried out, a status in the server's place, an answer cut off after so
 * many bytes, one with a bit flipped, one that is held back, or a request (`spoil`) that gets there with a bit flipped.
 */
export type Break =
  | { readonly kind: "reset"; readonly when: "before" | "after" }
  | { readonly kind: "status"; readonly status: number; readonly body: string; readonly retryAfter?: number }
  | { readonly kind: "cut"; readonly bytes: number }
  | { readonly kind: "flip" | "spoil"; readonly at: number }
  | { readonly kind: "hold"; readonly ms: number };

type Watch = (coming: Coming) => Promise<(going: Going, sent: number, whole: boolean) => void | Promise<void>>;

/** A reverse proxy that passes everything on, with the host that was asked for. */
export class Front {
  /** The server behind; null while it is away, and then connections end. */
  target: string | null = null;
  /** What to break; null lets a request pass. */
  rule: (coming: Coming) => Break | null = () => null;
  /** How many requests were broken. */
  broken = 0;
  readonly origin: string;
  readonly #stop: () => void;

  private constructor(origin: string, stop: () => void) {
    this.origin = origin;
    this.#stop = stop;
  }

  static async start(watch: Watch): Promise<Front> {
    const server = createServer({ keepAliveTimeout: 5_000, requestTimeout: 0 });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const front = new Front(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, () => {
      server.close();
      server.closeAllConnections();
    });
    server.on("request", (message: IncomingMessage, response: ServerResponse) => {
      front.#relay(watch, message, response).catch(() => response.destroy());
    });
    return front;
  }

  stop(): void {
    this.#stop();
  }

  async #relay(watch: Watch, message: IncomingMessage, response: ServerResponse): Promise<void> {
    const coming = {
      method: message.method!,
      target: message.url!,
      headers: message.headers,
      body: await all(message),
    };
    const fault = this.rule(coming);
    if (fault) this.broken += 1;
    if (this.target === null || (fault?.kind === "reset" && fault.when === "before")) return void response.destroy();
    if (fault?.kind === "status") return refuse(response, fault);
    const seen = await watch(coming);
    if (fault?.kind === "spoil" && coming.body.length > 0) coming.body[fault.at % coming.body.length]! ^= 1;
    const going = await this.#ask(coming, response);
    if (fault?.kind === "hold") await new Promise((resolve) => setTimeout(resolve, fault.ms));
    const sent = fault?.kind === "cut" ? Math.min(fault.bytes, going.body.length) : going.body.length;
    const flipped = fault?.kind === "flip" && going.body.length > 0;
    // Before it goes: who gets it may speak of it at once.
    await seen(going, flipped || fault?.kind === "reset" ? 0 : sent, sent === going.body.length && !flipped);
    if (fault?.kind === "reset") return void response.destroy();
    if (flipped) going.body[fault.at % going.body.length]! ^= 1;
    response.writeHead(going.status, going.headers);
    if (sent === going.body.length) return void response.end(going.body);
    response.write(going.body.subarray(0, sent), () => response.destroy());
  }

  #ask({ method, target, headers, body }: Coming, response: ServerResponse): Promise<Going> {
    const { hostname, port } = new URL(this.target!);
    return new Promise((resolve, reject) => {
      // Its body is here already, so there is nothing to be asked before it is sent.
      const { expect: _expect, "transfer-encoding": _coding, ...kept } = headers;
      const length = { "content-length": String(body.length) };
      const onward = forward({ hostname, port, path: target, method, headers: { ...kept, ...length }, agent: false });
      onward.on("error", reject);
      onward.on("response", (answer) => {
        all(answer).then(
          (bytes) => resolve({ status: answer.statusCode!, headers: answer.headers, body: bytes }),
          reject,
        );
      });
      if (method === "GET") response.on("close", () => onward.destroy()); // what writes is carried out to its end
      onward.end(body);
    });
  }
}

async function all(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function refuse(response: ServerResponse, { status, body, retryAfter }: Extract<Break, { kind: "status" }>): void {
  const headers = { "content-type": body.startsWith("<") ? "application/xml" : "application/problem+json" };
  response.writeHead(status, { ...headers, ...(retryAfter !== undefined && { "retry-after": String(retryAfter) }) });
  response.end(body);
}

export interface ApiFrontOptions {
  /** The chain's newest block. */
  readonly block: () => Promise<number>;
  /** What stands in the file that this member receives that notice into; undefined where it receives into no file. */
  readonly fileOf: (account: string, notice: string) => Promise<string | null | undefined>;
}

/** Before the API. `exchanges`: all that passed; a member's reads of events and news are not kept. */
export async function apiFront({ block, fileOf }: ApiFrontOptions): Promise<{ front: Front; exchanges: Exchange[] }> {
  const exchanges: Exchange[] = [];
  const front = await Front.start(async (coming) => {
    const { method, target, body } = coming;
    if (method === "GET") return () => {};
    const [account, asked, from] = [signerOf(coming, new URL(front.origin).host), jsonIn(body), await block()];
    const { notice, outcome } = (asked ?? {}) as { notice?: unknown; outcome?: unknown };
    const says = target.endsWith("/receipts") && outcome === "VERIFIED" && account !== null;
    const file = says ? await fileOf(account, String(notice)) : undefined;
    return async (going) => {
      const passed = {
        account,
        method,
        path: target.split("?")[0]!,
        asked,
        status: going.status,
        answer: jsonIn(going.body),
      };
      exchanges.push({ ...passed, from, to: await block(), at: Date.now(), ...(file !== undefined && { file }) });
    };
  });
  return { front, exchanges };
}

/** Before the store, for functions and members alike. */
export async function storeFront(bucket: string): Promise<{ front: Front; served: Served[] }> {
  const served: Served[] = [];
  const front = await Front.start(async ({ method, target }) => {
    const url = new URL(target, "http://store");
    const signature = url.searchParams.get("X-Amz-Signature");
    if (method !== "GET" || signature === null) return () => {};
    const key = decodeURIComponent(url.pathname).replace(`/${bucket}/`, "");
    return ({ status, headers }, sent) => {
      const from = Number(/^bytes (\d+)-/.exec(String(headers["content-range"] ?? ""))?.[1] ?? 0);
      if (status === 200 || status === 206) served.push({ signature, key, from, length: sent });
    };
  });
  return { front, served };
}

function jsonIn(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return null;
  }
}

/** Who signed a request to the API (RFC 9421, EIP-191), or null. */
function signerOf({ method, target, headers, body }: Coming, authority: string): string | null {
  const input = /^eth=(\(([^)]*)\);.*)$/.exec(String(headers["signature-input"] ?? ""));
  const signature = /^eth=:(.*):$/.exec(String(headers.signature ?? ""));
  if (!input || !signature) return null;
  const at = target.indexOf("?");
  const values: Record<string, string> = {
    "@authority": authority,
    "@method": method,
    "@path": at < 0 ? target : target.slice(0, at),
    "@query": at < 0 ? "?" : target.slice(at),
    "content-digest": `sha-256=:${createHash("sha256").update(body).digest("base64")}:`,
  };
  const lines = input[2]!.split(" ").map((name) => `${name}: ${values[name.replaceAll('"', "")]}`);
  try {
    const base = [...lines, `"@signature-params": ${input[1]}`].join("\n");
    return verifyMessage(base, `0x${Buffer.from(signature[1]!, "base64").toString("hex")}`).toLowerCase();
  } catch {
    return null;
  }
}
