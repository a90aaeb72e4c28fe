import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { RequestLog } from "../../local/store/store.ts";

/**
 * The store's log of requests, read when it is complete: a line is written some time after its answer. The store is in this
 * process, so Node tells of each request that reaches it.
 */
export class StoreLog {
  readonly #seen: RequestLog[];
  readonly #port: number;
  readonly #heard: ReadonlyMap<Server, { count: number }>;
  readonly #unsubscribe: () => void;
  #taken = 0;

  /** `begin` starts the store, and answers where it listens and the array of its log's lines. */
  static async of<T extends { endpoint: string; seen: RequestLog[] }>(begin: () => Promise<T>): Promise<[StoreLog, T]> {
    const heard = new Map<Server, { count: number }>();
    const count = (message: unknown): void => {
      const { server } = message as { server: Server };
      const of = heard.get(server) ?? { count: 0 };
      heard.set(server, of);
      of.count += 1;
    };
    subscribe(CHANNEL, count);
    try {
      const begun = await begin();
      return [new StoreLog(begun, heard, () => unsubscribe(CHANNEL, count)), begun];
    } catch (error) {
      unsubscribe(CHANNEL, count);
      throw error;
    }
  }

  private constructor(
    { endpoint, seen }: { endpoint: string; seen: RequestLog[] },
    heard: ReadonlyMap<Server, { count: number }>,
    unsubscribe: () => void,
  ) {
    this.#port = Number(new URL(endpoint).port);
    this.#seen = seen;
    this.#heard = heard;
    this.#unsubscribe = unsubscribe;
  }

  /** The lines since the last call. Nobody else may take any. */
  async take(): Promise<RequestLog[]> {
    while (this.#taken + this.#seen.length < this.#begun()) await new Promise((resolve) => setImmediate(resolve));
    const lines = this.#seen.splice(0);
    this.#taken += lines.length;
    return lines;
  }

  close(): void {
    this.#unsubscribe();
  }

  #begun(): number {
    for (const [server, { count }] of this.#heard)
      if ((server.address() as AddressInfo | null)?.port === this.#port) return count;
    return 0;
  }
}

const CHANNEL = "http.server.request.start";
