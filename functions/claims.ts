import * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import type { Domain } from "../lib/protocol/statements.ts";
import { id32 } from "../lib/protocol/wire.ts";
import type { OutboxStore } from "./outbox.ts";

/** A transaction that was signed for a nonce, written down before anybody could see it. */
export interface Claim {
  readonly nonce: number;
  /** 0 for the first; a later one carries the same statements at a higher fee. */
  readonly attempt: number;
  readonly transaction: Hex;
  readonly raw: Hex;
  /** The ids of its statements. */
  readonly statements: readonly Hex[];
  /** When it was claimed, in milliseconds. */
  readonly claimed: number;
}

const hex = z.string().check(z.regex(/^0x([0-9a-f]{2})+$/));
const claimJson = z.strictObject({
  transaction: id32,
  raw: hex,
  statements: z.array(id32),
  claimed: z.int().check(z.gte(0)),
});

/** The relayer's transactions: append-only, one writer per nonce and attempt. */
export class Claims {
  readonly #store: OutboxStore;
  readonly #prefix: string;
  /** Claims never change under their key. */
  #read = new Map<string, Claim>();

  constructor(store: OutboxStore, domain: Domain, relayer: Address) {
    this.#store = store;
    this.#prefix = `relay/${domain.chainId}/${domain.contract}/${relayer}/`;
  }

  /** All claims of a nonce and above, in order. */
  async since(nonce: number): Promise<Claim[]> {
    const startAfter = `${this.#prefix}${digits(nonce)}/`;
    const listed = await this.#store.list(this.#prefix, { startAfter });
    const claims = await Promise.all(listed.map(({ key }) => this.#read.get(key) ?? this.#claim(key)));
    this.#read = new Map(listed.map(({ key }, i) => [key, claims[i]!]));
    return claims;
  }

  /** Writes a claim, unless somebody else has; answers the one that holds the nonce and attempt now. */
  async claim(claim: Claim): Promise<Claim> {
    const { nonce, attempt, ...rest } = claim;
    const key = `${this.#prefix}${digits(nonce)}/${attempt}.json`;
    const written = await this.#store.putJson(key, rest, { ifNoneMatch: true });
    if (!written) return this.#claim(key);
    this.#read.set(key, claim);
    return claim;
  }

  async #claim(key: string): Promise<Claim> {
    const name = /^([0-9]{10})\/([0-9])\.json$/.exec(key.slice(this.#prefix.length));
    const parsed = claimJson.safeParse((await this.#store.getJson(key))?.value);
    // Never passed over: a nonce whose transaction is unknown must not be claimed by guess.
    if (!name || !parsed.success) throw new WaybillError("INTERNAL", `The claim ${key} is damaged.`);
    const { transaction, raw, statements, claimed } = parsed.data;
    return { nonce: Number(name[1]), attempt: Number(name[2]), transaction, raw: raw as Hex, statements, claimed };
  }
}

/** So that the order of keys is the order of nonces. */
const digits = (nonce: number): string => String(nonce).padStart(10, "0");
