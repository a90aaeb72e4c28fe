import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address } from "../lib/protocol/hex.ts";
import type { Caps, Config } from "./config.ts";
import { nonceMinute } from "./keys.ts";
import { overLimit } from "./limit.ts";
import type { Objects } from "./objects.ts";

type Rates = Pick<Caps, "requests" | "statements">;

/**
 * The replay guard, and because it writes down every request that writes or issues URLs, the rate cap too.
 */
export interface Nonces {
  /**
   * Uses up a nonce, which nobody can do twice with one request.
   * @param created Seconds, from the signature.
   * @param statements What the request posts, in statements of the rate cap.
   * @throws WaybillError REPLAYED, RATE_LIMITED
   */
  claim(account: Address, created: number, nonce: string, statements: number): Promise<void>;
}

/** A claim's name carries its statements, so that a LIST counts them: "{nonce}" or "{nonce}.{statements}". */
const nameOf = (nonce: string, statements: number) => (statements === 0 ? nonce : `${nonce}.${statements}`);

/** The replay guard of a configuration. Apps in one process share theirs, or in memory each would have caps of its own. */
export function noncesOf({ config, store }: { config: Pick<Config, "nonces" | "caps">; store: Objects }): Nonces {
  return config.nonces === "memory" ? new MemoryNonces(config.caps) : new StoredNonces(store, config.caps);
}

const minuteOf = (created: number) => Math.floor(created / 60);

/** So many minutes of accounts are remembered, the newest. */
const MAX_FULL = 1_000;

/** Nonces as small objects: one If-None-Match write claims, one LIST of the minute counts. */
class StoredNonces implements Nonces {
  readonly #store: Objects;
  readonly #caps: Rates;
  /** An account's minute that is full stays so: who goes on all the same must not cost a write and a LIST each time. */
  readonly #full = new Set<string>();

  constructor(store: Objects, caps: Rates) {
    this.#store = store;
    this.#caps = caps;
  }

  async claim(account: Address, created: number, nonce: string, statements: number): Promise<void> {
    const prefix = nonceMinute(account, minuteOf(created));
    if (this.#full.has(prefix)) throw tooManyRequests(this.#caps, created);
    await this.#write(prefix + nameOf(nonce, statements));
    // Counted after it is written: of many at once, none is left out of every count.
    const used = await this.#store.list(prefix, { limit: this.#caps.requests + 1 });
    const names = used.map((entry) => entry.key);
    if (names.length > this.#caps.requests) this.#note(prefix);
    checkRate(names, statements, this.#caps, created);
  }

  #note(prefix: string): void {
    this.#full.add(prefix);
    if (this.#full.size > MAX_FULL) this.#full.delete(this.#full.values().next().value!);
  }

  async #write(key: string): Promise<void> {
    // A retry below us may meet our own write: whose it is, this token tells.
    const claim = crypto.randomUUID();
    if (await this.#store.putJson(key, { claim }, { ifNoneMatch: true })) return;
    const found = await this.#store.getJson(key);
    if ((found?.value as { claim?: unknown } | undefined)?.claim !== claim) throw replayed();
  }
}

/** Nonces in memory, for one process that serves all requests. */
class MemoryNonces implements Nonces {
  readonly #minutes = new Map<number, Map<Address, Set<string>>>();
  readonly #caps: Rates;

  constructor(caps: Rates) {
    this.#caps = caps;
  }

  async claim(account: Address, created: number, nonce: string, statements: number): Promise<void> {
    const used = this.#usedBy(account, minuteOf(created));
    const name = nameOf(nonce, statements);
    if (used.has(name)) throw replayed();
    used.add(name);
    checkRate([...used], statements, this.#caps, created);
  }

  #usedBy(account: Address, minute: number): Set<string> {
    // A signature lives for less than two minutes, so no older nonce can come again.
    for (const old of this.#minutes.keys()) if (old < minute - 3) this.#minutes.delete(old);
    const accounts = this.#minutes.get(minute) ?? new Map<Address, Set<string>>();
    this.#minutes.set(minute, accounts);
    const used = accounts.get(account) ?? new Set<string>();
    accounts.set(account, used);
    return used;
  }
}

function replayed(): WaybillError {
  return new WaybillError("REPLAYED", "This request was made before. Sign it again with a new nonce.");
}

/** `used`: all of the minute, the request in question too. */
function checkRate(used: readonly string[], statements: number, caps: Rates, created: number): void {
  const posted = used.reduce((sum, name) => sum + Number(/\.(\d+)$/.exec(name)?.[1] ?? 0), 0);
  if (used.length > caps.requests) throw tooManyRequests(caps, created);
  if (statements > 0 && posted > caps.statements) throw tooMany("statements", caps, "statements", created);
}

function tooManyRequests(caps: Rates, created: number): WaybillError {
  return tooMany("requests", caps, "requests that write or issue URLs", created);
}

function tooMany(name: keyof Rates, caps: Rates, what: string, created: number): WaybillError {
  const value = caps[name];
  const limit = { name, value, unit: `${name} in a minute` };
  const rest = 60 - (created % 60);
  return overLimit("RATE_LIMITED", `An account may make ${value} ${what} in a minute. Wait for the next.`, limit, rest);
}
