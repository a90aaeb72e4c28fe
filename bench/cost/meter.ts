import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { RequestLog } from "../../local/store/store.ts";

/** How often each thing happened, by name. */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(name: string, by = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  get(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** The sum of all whose name begins so. */
  sum(prefix: string): number {
    return [...this.#counts].reduce((sum, [name, count]) => sum + (name.startsWith(prefix) ? count : 0), 0);
  }

  entries(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** What was added since then. */
  since(before: Tally): Tally {
    const rest = new Tally();
    for (const [name, count] of this.#counts) rest.add(name, count - before.get(name));
    return rest;
  }

  copy(): Tally {
    return this.since(new Tally());
  }
}

/** S3's price classes. Deletions and aborts are free; so is what fails with 403 and is not ours, which doesn't happen here. */
const CLASSES: Readonly<Record<string, "put" | "get" | "free">> = {
  PutObject: "put",
  UploadPart: "put",
  CreateMultipartUpload: "put",
  CompleteMultipartUpload: "put",
  ListObjectsV2: "put",
  ListParts: "put",
  ListMultipartUploads: "put",
  GetObject: "get",
  HeadObject: "get",
  GetObjectAttributes: "get",
  DeleteObject: "free",
  DeleteObjects: "free",
  AbortMultipartUpload: "free",
};

/** @throws Error for an operation whose class nobody has looked up. */
export function classOf({ operation }: Pick<RequestLog, "operation">): "put" | "get" | "free" {
  const found = CLASSES[operation];
  if (found === undefined) throw new Error(`Which price has S3's ${operation}? Say so in bench/cost/meter.ts.`);
  return found;
}

export interface RpcMeter {
  readonly url: string;
  stop(): Promise<void>;
}

/** A node that counts its calls under a name, and answers as late as one that is some way off. */
export async function startRpcMeter(target: string, late: number, tally: Tally, name: string): Promise<RpcMeter> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    tally.add(`${name}:calls`, [JSON.parse(body.toString())].flat().length);
    tally.add(`${name}:requests`);
    const headers = { "content-type": "application/json" };
    const [answer] = await Promise.all([fetch(target, { method: "POST", headers, body }), sleep(late)]);
    response.writeHead(answer.status, headers).end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop };
}
