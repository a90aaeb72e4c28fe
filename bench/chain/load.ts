import { randomBytes } from "node:crypto";
import type { Wallet } from "ethers";
import { type Address, type Hex, toHex } from "../../lib/protocol/hex.ts";
import {
  bitmapOf,
  EVERYONE,
  encodeItem,
  type Message,
  type Notice,
  noticeId,
  type Signed,
  type Statement,
  signStatement,
  taskId,
} from "../../lib/protocol/statements.ts";
import { type Bed, keys } from "./bed.ts";

export const kinds = ["messages", "notices", "receipts grouped", "receipts ungrouped"] as const;
export type Kind = (typeof kinds)[number];

/** Recipients of a notice, hence receipts with the same words. */
const GROUP = 10;
const MEMBERS = 1 + 5 * GROUP;
/** Bytes of a message's payload: a small JSON object. */
const MESSAGE_BYTES = 100;
/** A notice costs up to 66k gas, so that these fit a transaction. */
const NOTICES_AT_ONCE = 150;

/** A task whose members say what is to be published. Each of its loads is new to the chain. */
export class Party {
  readonly #bed: Bed;
  readonly #members: readonly Wallet[];
  readonly #task: Hex;

  private constructor(bed: Bed, members: readonly Wallet[], task: Hex) {
    this.#bed = bed;
    this.#members = members;
    this.#task = task;
  }

  static async open(bed: Bed): Promise<Party> {
    const members = keys(MEMBERS);
    const owner = addressOf(members[0]!);
    const salt = random32();
    const open = { kind: "open", owner, salt, members: members.map(addressOf) } as const;
    const { statement, signature } = await signStatement(members[0]!, bed.domain, open);
    await bed.relay([encodeItem(statement, [signature])], 1);
    return new Party(bed, members, taskId(owner, salt));
  }

  /** So many statements that the contract would take now. */
  async load(kind: Kind, count: number): Promise<Signed[]> {
    if (kind === "messages") return this.#all(count, () => this.#message());
    if (kind === "notices") return this.#all(count, () => this.#notice(GROUP, 0));
    const group = kind === "receipts grouped" ? GROUP : 1;
    const notices = await this.#standing(Math.ceil(count / group), group);
    const receipts = notices.flatMap((notice) => this.#receiptsOf(notice));
    return Promise.all(receipts.slice(0, count));
  }

  /** Notices on the chain, each to the next `group` members. */
  async #standing(count: number, group: number): Promise<Notice[]> {
    const signed = await this.#all(count, (i) => this.#notice(group, (i * group) % (MEMBERS - 1)));
    const items = signed.map(({ statement, signature }) => encodeItem(statement, [signature]));
    await this.#bed.relay(items, NOTICES_AT_ONCE);
    return signed.map(({ statement }) => statement);
  }

  #receiptsOf(notice: Notice): Promise<Signed>[] {
    const receipt = { kind: "receipt", task: this.#task, notice: noticeId(notice), outcome: "VERIFIED" } as const;
    const recipients = this.#members.filter((_, index) => (notice.recipients >> BigInt(index)) & 1n);
    return recipients.map((member) => signStatement(member, this.#bed.domain, receipt));
  }

  #notice(recipients: number, from: number): Promise<Signed<Notice>> {
    return this.#sign({
      kind: "notice",
      task: this.#task,
      sender: addressOf(this.#members[0]!),
      page: 0,
      recipients: bitmapOf(Array.from({ length: recipients }, (_, i) => 1 + from + i)),
      transfer: random32(),
      manifest: random32(),
      deadline: inAnHour(),
    });
  }

  #message(): Promise<Signed<Message>> {
    return this.#sign({
      kind: "message",
      task: this.#task,
      sender: addressOf(this.#members[0]!),
      page: 0,
      recipients: EVERYONE,
      name: random32(),
      payload: toHex(randomBytes(MESSAGE_BYTES)),
      salt: random32(),
      deadline: inAnHour(),
    });
  }

  #sign<S extends Statement>(statement: S): Promise<Signed<S>> {
    return signStatement(this.#members[0]!, this.#bed.domain, statement);
  }

  #all<T>(count: number, make: (i: number) => Promise<T>): Promise<T[]> {
    return Promise.all(Array.from({ length: count }, (_, i) => make(i)));
  }
}

const addressOf = (wallet: Wallet): Address => toHex(wallet.address.toLowerCase());
const random32 = (): Hex => toHex(randomBytes(32));
const inAnHour = (): number => Math.floor(Date.now() / 1000) + 3600;
