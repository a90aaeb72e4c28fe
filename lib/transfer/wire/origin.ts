import { Addresses, type Resolve } from "./addresses.ts";
import { Connection } from "./connection.ts";
import { dial, type Route } from "./dial.ts";
import type { Answer } from "./exchange.ts";
import { WireFault } from "./fault.ts";
import { inTime } from "./patience.ts";
import { headOf, type WireRequest } from "./request.ts";

/** All connections to one origin. */
export class Origin {
  readonly #route: Route;
  readonly #addresses: Addresses;
  readonly #stallMs: number;
  readonly #all = new Set<Connection>();
  readonly #closing = new AbortController();
  /** The one used last lives longest. */
  readonly #free: Connection[] = [];
  /** Whether to ask before sending a body: until one was taken, and again after a refusal; never if it isn't understood. */
  #expect: "yes" | "no" | "never" = "yes";

  constructor(route: Route, resolve: Resolve, stallMs: number) {
    this.#route = route;
    this.#addresses = new Addresses((route.proxy ?? route).host, resolve);
    this.#stallMs = stallMs;
  }

  /** @param fresh Over a new connection, to an address that was asked for just now. */
  async request(request: Omit<WireRequest, "expect">, fresh: boolean): Promise<Answer> {
    const expect = this.#expect === "yes" && request.body !== undefined;
    const head = headOf({ ...request, expect });
    const connection = (fresh ? null : this.#takeFree()) ?? (await this.#open(fresh, request.signal));
    const answer = await connection.exchange({ ...request, expect }, head).catch((error: unknown) => {
      this.#askAgain(request); // who ends a connection in the middle of a body may have said why, and nobody could hear it
      throw error;
    });
    const { status } = answer.head;
    if (expect && status === 417) {
      this.#expect = "never";
      answer.discard();
      return this.request(request, fresh);
    }
    if (status >= 300) this.#askAgain(request);
    else if (request.body !== undefined && this.#expect !== "never") this.#expect = "no";
    return answer;
  }

  #askAgain({ body }: Omit<WireRequest, "expect">): void {
    if (body !== undefined && this.#expect !== "never") this.#expect = "yes";
  }

  close(reason: Error): void {
    this.#closing.abort(reason);
    for (const connection of this.#all) connection.destroy(reason);
  }

  #takeFree(): Connection | null {
    for (let found = this.#free.pop(); found; found = this.#free.pop()) if (found.isAlive) return found;
    return null;
  }

  async #open(fresh: boolean, asked: AbortSignal): Promise<Connection> {
    const signal = AbortSignal.any([asked, this.#closing.signal]);
    let last: unknown = new WireFault("CUT_SHORT", "The name has no address.");
    for (const address of await inTime(this.#addresses.list(fresh), { signal, ms: this.#stallMs })) {
      try {
        return await this.#dial(address, signal);
      } catch (error) {
        signal.throwIfAborted();
        this.#addresses.failed(address);
        last = error;
      }
    }
    throw last;
  }

  async #dial(address: string, signal: AbortSignal): Promise<Connection> {
    const connection = new Connection(this.#stallMs, {
      onFree: () => void this.#free.push(connection),
      onGone: () => this.#forget(connection),
    });
    connection.attach(await dial(this.#route, address, connection.onread, this.#stallMs, signal));
    this.#all.add(connection);
    return connection;
  }

  #forget(connection: Connection): void {
    this.#all.delete(connection);
    const at = this.#free.indexOf(connection);
    if (at >= 0) this.#free.splice(at, 1);
  }
}
