import * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import { type Reason, reasonNames } from "../lib/protocol/reasons.ts";
import { id32 } from "../lib/protocol/requests.ts";
import type { Domain } from "../lib/protocol/statements.ts";
import { Book, type Claim, type Refusal, type Slot, type Verdict } from "./book.ts";
import type { OutboxStore } from "./outbox.ts";

/** More slots of one nonce than this are not read: far above the attempts and refusals between two transactions. */
const MAX_LISTED = 10_000;
/** Slots that are read at the same time. */
const READ_AT_ONCE = 50;

const hex = z.string().check(z.regex(/^0x([0-9a-f]{2})+$/));
const wei = z.string().check(z.regex(/^[0-9]{1,40}$/));
const whole = z.int().check(z.gte(0));
const claimJson = z.strictObject({
  transaction: id32,
  raw: hex,
  gasLimit: whole,
  maxFee: wei,
  statements: z.array(id32),
  claimed: whole,
  block: whole,
  time: whole,
});
const verdictJson = z.strictObject({
  refused: z.array(z.strictObject({ id: id32, reason: z.enum(reasonNames as unknown as [Reason, ...Reason[]]) })),
});
const slotJson = z.union([claimJson, verdictJson]);

/**
 * The relayer's transactions and refusals, in the bucket: append-only, one slot after the other per nonce, and whoever
 * writes a slot first has it. A writer has read all slots before its own; so whoever loses one has missed something, and
 * must look again before it decides anything.
 */
export class Claims {
  readonly #store: OutboxStore;
  readonly #prefix: string;
  /** Slots never change under their key. */
  #read = new Map<string, Slot>();

  constructor(store: OutboxStore, domain: Domain, relayer: Address) {
    this.#store = store;
    this.#prefix = `relay/${domain.chainId}/${domain.contract}/${relayer}/`;
  }

  /** All slots of a nonce and above. */
  async since(nonce: number): Promise<Book> {
    const startAfter = `${this.#prefix}${digits(nonce, 10)}/`;
    const listed = await this.#store.list(this.#prefix, { startAfter, limit: MAX_LISTED });
    const slots: Slot[] = [];
    for (let i = 0; i < listed.length; i += READ_AT_ONCE) {
      const page = listed.slice(i, i + READ_AT_ONCE);
      slots.push(...(await Promise.all(page.map(({ key }) => this.#read.get(key) ?? this.#slot(key)))));
    }
    this.#read = new Map(listed.map(({ key }, i) => [key, slots[i]!]));
    return new Book(slots);
  }

  /** Writes a transaction into its slot; false when somebody else has it. */
  async claim({ nonce, slot, ...claim }: Claim): Promise<boolean> {
    return this.#write(nonce, slot, { ...claim, maxFee: String(claim.maxFee) });
  }

  /** Writes refusals into a slot; false when somebody else has it. */
  async refuse({ nonce, slot, refused }: Verdict): Promise<boolean> {
    return this.#write(nonce, slot, { refused });
  }

  /** After a lost answer the slot may hold our own words: then it is ours. */
  async #write(nonce: number, slot: number, json: Readonly<Record<string, unknown>>): Promise<boolean> {
    const key = `${this.#prefix}${digits(nonce, 10)}/${digits(slot, 4)}.json`;
    if (await this.#store.putJson(key, json, { ifNoneMatch: true })) return true;
    const there = await this.#store.getJson(key);
    return JSON.stringify(there?.value) === JSON.stringify(json);
  }

  async #slot(key: string): Promise<Slot> {
    const name = /^([0-9]{10})\/([0-9]{4})\.json$/.exec(key.slice(this.#prefix.length));
    const parsed = slotJson.safeParse((await this.#store.getJson(key))?.value);
    // Never passed over: a nonce whose transaction is unknown must not be claimed by guess.
    if (!name || !parsed.success) throw new WaybillError("INTERNAL", `The claim ${key} is damaged.`);
    const place = { nonce: Number(name[1]), slot: Number(name[2]) };
    if ("refused" in parsed.data) return { ...place, refused: parsed.data.refused as Refusal[] };
    const { raw, maxFee, ...claim } = parsed.data;
    return { ...place, ...claim, raw: raw as Hex, maxFee: BigInt(maxFee) };
  }
}

/** So that the order of keys is the order of numbers. */
const digits = (number: number, length: number): string => String(number).padStart(length, "0");
