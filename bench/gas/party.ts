import { hexlify, randomBytes, Wallet } from "ethers";
import { type Address, type Hex, toHex } from "../../lib/protocol/hex.ts";
import {
  bitmapOf,
  EVERYONE,
  encodeItem,
  type Item,
  type Notice,
  noticeId,
  type Open,
  type Statement,
  signStatement,
  taskId,
} from "../../lib/protocol/statements.ts";
import type { GasChain } from "./chain.ts";

/** Says yes to every question of ERC-1271, so that what a wallet's receipt costs is our part of it. */
const YES = "0x631626ba7e60e01b60005260206000f3";
/** As long as a key's, which is tried first. */
const WALLET_SIGNATURE = toHex(`0x${"11".repeat(65)}`);
const HOUR = 3_600;

/** A task, its owner and its members' keys: the owner isn't a member, the first member sends. */
export class Party {
  readonly id: Hex;
  readonly members: readonly Wallet[];
  readonly #chain: GasChain;
  readonly #owner: Wallet;
  readonly #open: Open;
  #version = 1;

  private constructor(chain: GasChain, members: readonly Wallet[], others: readonly Address[]) {
    this.#chain = chain;
    this.#owner = newKey();
    this.members = members;
    const accounts = [...members.map(addressOf), ...others];
    this.#open = { kind: "open", owner: addressOf(this.#owner), salt: random(32), members: accounts };
    this.id = taskId(this.#open.owner, this.#open.salt);
  }

  static draft(chain: GasChain, members: number, others: readonly Address[] = []): Party {
    return new Party(chain, Array.from({ length: members }, newKey), others);
  }

  static async opened(chain: GasChain, members: number, others: readonly Address[] = []): Promise<Party> {
    const party = Party.draft(chain, members, others);
    await chain.relay([await party.open()]);
    return party;
  }

  open(): Promise<Item> {
    return this.#sign(this.#owner, this.#open);
  }

  /** Raises the roster's version, so it has to be relayed. */
  change(kind: "admit" | "expel", accounts: readonly Address[]): Promise<Item> {
    return this.#sign(this.#owner, { kind, task: this.id, members: accounts, roster: this.#version++ });
  }

  async notice(indices: readonly number[]): Promise<Notice> {
    return {
      ...(await this.#post()),
      kind: "notice",
      recipients: bitmapOf(indices),
      transfer: random(32),
      manifest: random(32),
    };
  }

  /** The notice's own item, or the one that takes it back. */
  noticeItem(notice: Notice, kind: "notice" | "withdraw" = "notice"): Promise<Item> {
    return this.#sign(this.members[0]!, kind === "notice" ? notice : { kind, of: notice });
  }

  async message(payload: number): Promise<Item> {
    return this.#sign(this.members[0]!, {
      ...(await this.#post()),
      kind: "message",
      recipients: EVERYONE,
      name: random(32),
      payload: random(payload),
      salt: random(32),
    });
  }

  /** One item with all these authors' receipts. */
  async receipts(notice: Notice, authors: readonly Wallet[]): Promise<Item> {
    const statement = { kind: "receipt", task: this.id, notice: noticeId(notice), outcome: "VERIFIED" } as const;
    const signed = authors.map((author) => signStatement(author, this.#chain.domain, statement));
    return encodeItem(
      statement,
      (await Promise.all(signed)).map(({ signature }) => signature),
    );
  }

  walletReceipt(notice: Notice, account: Address): Item {
    const words = { task: this.id, notice: noticeId(notice), outcome: "VERIFIED" } as const;
    return encodeItem({ kind: "walletReceipt", ...words, account }, [WALLET_SIGNATURE]);
  }

  /** What a notice and a message have in common. */
  async #post(): Promise<Pick<Notice, "task" | "sender" | "page" | "deadline">> {
    const deadline = (await this.#chain.now()) + HOUR;
    return { task: this.id, sender: addressOf(this.members[0]!), page: 0, deadline };
  }

  async #sign(signer: Wallet, statement: Statement): Promise<Item> {
    const { signature } = await signStatement(signer, this.#chain.domain, statement);
    return encodeItem(statement, [signature]);
  }
}

/** A contract wallet that agrees with whatever it is asked. */
export async function newWallet(chain: GasChain): Promise<Address> {
  const address = random(20);
  await chain.setCode(address, YES);
  return address;
}

export const addressOf = (wallet: Wallet): Address => toHex(wallet.address.toLowerCase());
export const random = (bytes: number): Hex => toHex(hexlify(randomBytes(bytes)));
const newKey = (): Wallet => new Wallet(random(32));
