import type { Address } from "../lib/protocol/hex.ts";
import type { Caps } from "./config.ts";
import { overLimit } from "./limit.ts";

type ReadCaps = Pick<Caps, "reads" | "readBytes">;

/** So many accounts are remembered, the newest: whoever makes up more has no standing with any of them. */
const MAX_ACCOUNTS = 10_000;

type Used = { -readonly [name in keyof ReadCaps]: number };

/**
 * The cap on GETs, which leave no nonce in the bucket to be counted by: what leaves AWS is paid for. It is counted in memory, so
 * each instance counts for itself. A client that asks one thing after the other is answered by few, and who asks so much at once
 * that there are many is held up by the API's own rate; an exact count would cost two requests to the bucket for each read.
 */
export class Reads {
  readonly #caps: ReadCaps;
  readonly #clock: () => number;
  #minute = 0;
  readonly #used = new Map<Address, Used>();

  constructor(caps: ReadCaps, clock: () => number) {
    this.#caps = caps;
    this.#clock = clock;
  }

  /** Counts a read; answers what counts its bytes. @throws WaybillError RATE_LIMITED */
  begin(account: Address): (bytes: number) => void {
    const seconds = Math.floor(this.#clock() / 1000);
    const used = this.#of(account, Math.floor(seconds / 60));
    for (const name of ["reads", "readBytes"] as const)
      if (used[name] >= this.#caps[name]) throw tooMuch(name, this.#caps[name], 60 - (seconds % 60));
    used.reads += 1;
    return (bytes) => {
      used.readBytes += bytes;
    };
  }

  #of(account: Address, minute: number): Used {
    if (minute !== this.#minute) this.#used.clear();
    this.#minute = minute;
    const used = this.#used.get(account) ?? { reads: 0, readBytes: 0 };
    this.#used.set(account, used);
    if (this.#used.size > MAX_ACCOUNTS) this.#used.delete(this.#used.keys().next().value!);
    return used;
  }
}

function tooMuch(name: keyof ReadCaps, value: number, rest: number): Error {
  const unit = name === "reads" ? "reads in a minute" : "bytes in a minute";
  const message = `An account may read ${value} ${name === "reads" ? "times" : "bytes"} in a minute. Wait for the next.`;
  return overLimit("RATE_LIMITED", message, { name, value, unit }, rest);
}
