import { id as keccakOf, Wallet } from "ethers";
import type { Hex } from "../../lib/protocol/hex.ts";
import type { Outcome } from "../../lib/protocol/reasons.ts";
import {
  bitmapOf,
  type Domain,
  EVERYONE,
  type Notice,
  noticeId,
  placeOf,
  type Signed,
  type Statement,
  signStatement,
  taskId,
} from "../../lib/protocol/statements.ts";
import { addressOf } from "./contract.ts";

/** A reproducible source of everything that is random (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** At least 0, below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number of `least` .. `most`. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  pick<T>(from: readonly T[]): T {
    return from[this.whole(0, from.length - 1)]!;
  }

  /** Some of them, each once. */
  some<T>(from: readonly T[], count: number): T[] {
    const rest = [...from];
    return Array.from(
      { length: Math.min(count, rest.length) },
      () => rest.splice(this.whole(0, rest.length - 1), 1)[0]!,
    );
  }

  word(): Hex {
    return keccakOf(String(this.next())) as Hex;
  }
}

/** What must become of a statement: "either" where it depends on which of two comes first. */
export type Fate = "stands" | "refused" | "either";
export interface Said {
  readonly signed: Signed;
  readonly fate: Fate;
}

/** How many members are there from the start, and how many are admitted later. */
const FIRST = 180;
const LATER = 20;
/** Members of the first who are expelled on the way; nobody's fate depends on what they say. */
const EXPELLED = 6;
const WITHDRAWN = 60;

/** A task of 200 members with more to say than one transaction holds, in an order in which it could be said. */
export class Crowd {
  readonly #dice: Dice;
  readonly #domain: Domain;
  readonly #owner: Wallet;
  readonly #members: readonly Wallet[];
  readonly #salt: Hex;
  readonly #task: Hex;
  readonly #deadline: number;

  /** `now` in seconds of chain time. */
  constructor(dice: Dice, domain: Domain, now: number) {
    this.#dice = dice;
    this.#domain = domain;
    this.#owner = new Wallet(dice.word());
    this.#members = Array.from({ length: FIRST + LATER }, () => new Wallet(dice.word()));
    this.#salt = dice.word();
    this.#task = taskId(addressOf(this.#owner), this.#salt);
    this.#deadline = now + 3600;
  }

  /** Exactly `count` statements, the Open first. */
  async statements(count: number): Promise<Said[]> {
    const rosters = await this.#rosters();
    const bad = await this.#bad();
    const notices = await this.#notices(Math.floor(count * 0.08));
    const withdrawn = notices.slice(0, WITHDRAWN);
    const withdrawals = await Promise.all(withdrawn.map(({ notice }) => this.#withdrawal(notice)));
    const answers = await this.#answers(notices, new Set(withdrawn), Math.floor(count * 0.6));
    const fixed = 1 + rosters.length + bad.length + notices.length + withdrawals.length + answers.length;
    const messages = await Promise.all(Array.from({ length: count - fixed }, () => this.#message()));
    const open = await this.#open();
    const said = notices.map(({ said }) => said);
    return [open, ...bad, ...this.#mixed([said, [...answers, ...withdrawals], messages, rosters])];
  }

  /** Interleaves the lists and keeps each one's order; the first begins, because others build on it. */
  #mixed(lists: readonly (readonly Said[])[]): Said[] {
    const rest = lists.map((list) => [...list]);
    const all: Said[] = rest[0]!.splice(0, 40);
    while (rest.some((list) => list.length > 0)) {
      const chances = rest.flatMap((list) => list.map(() => list)); // the longer a list, the likelier
      all.push(this.#dice.pick(chances).shift()!);
    }
    return all;
  }

  #open(): Promise<Said> {
    const owner = addressOf(this.#owner);
    const members = this.#members.slice(0, FIRST).map(addressOf);
    return this.#say(this.#owner, { kind: "open", owner, salt: this.#salt, members }, "stands");
  }

  /** The owner's changes, each against the version that the one before it makes. */
  #rosters(): Promise<Said[]> {
    const admitted = this.#members.slice(FIRST).map((one) => ["admit", one] as const);
    const expelled = this.#members.slice(0, EXPELLED).map((one) => ["expel", one] as const);
    const changes = this.#dice.some([...admitted, ...expelled], LATER + EXPELLED);
    return Promise.all(
      changes.map(([kind, member], i) =>
        this.#say(this.#owner, { kind, task: this.#task, members: [addressOf(member)], roster: 1 + i }, "stands"),
      ),
    );
  }

  /** Those who are members from the first block to the last. */
  get #lasting(): readonly Wallet[] {
    return this.#members.slice(EXPELLED, FIRST);
  }

  async #notices(count: number): Promise<{ notice: Notice; said: Said; recipients: Wallet[] }[]> {
    return Promise.all(
      Array.from({ length: count }, async () => {
        const sender = this.#dice.pick(this.#lasting);
        const page = this.#dice.whole(0, 1);
        const onPage = this.#lasting.filter((one) => one !== sender && placeOf(this.#indexOf(one)).page === page);
        const recipients = this.#dice.some(onPage, this.#dice.whole(4, 16));
        const bits = recipients.map((one) => placeOf(this.#indexOf(one)).bit);
        const notice: Notice = {
          ...{ kind: "notice", task: this.#task, sender: addressOf(sender), page, recipients: bitmapOf(bits) },
          ...{ transfer: this.#dice.word(), manifest: this.#dice.word(), deadline: this.#deadline },
        };
        return { notice, recipients, said: await this.#say(sender, notice, "stands") };
      }),
    );
  }

  /** Recipients answer in the notices' order; some say two things of one notice, of which the first counts. */
  async #answers(
    notices: readonly { notice: Notice; recipients: readonly Wallet[] }[],
    withdrawn: ReadonlySet<unknown>,
    count: number,
  ): Promise<Said[]> {
    const pairs = notices.flatMap((one) => {
      const [, ...others] = one.recipients; // somebody is silent, or there is nothing left to be withdrawn
      return (withdrawn.has(one) ? others : one.recipients).map((recipient) => ({ one, recipient }));
    });
    const all: Promise<Said>[] = [];
    for (const { one, recipient } of pairs) {
      const outcome: Outcome = this.#dice.next() < 0.9 ? "VERIFIED" : "CORRUPT";
      const twice = this.#dice.next() < 0.03;
      const fate = twice || withdrawn.has(one) ? "either" : "stands";
      all.push(this.#receipt(recipient, one.notice, outcome, fate));
      if (twice) all.push(this.#receipt(recipient, one.notice, "REFUSED", fate));
    }
    return Promise.all(all.slice(0, count));
  }

  #receipt(recipient: Wallet, notice: Notice, outcome: Outcome, fate: Fate): Promise<Said> {
    return this.#say(recipient, { kind: "receipt", task: this.#task, notice: noticeId(notice), outcome }, fate);
  }

  #withdrawal(notice: Notice): Promise<Said> {
    const sender = this.#members.find((one) => addressOf(one) === notice.sender)!;
    return this.#say(sender, { kind: "withdraw", of: notice }, "stands");
  }

  /** By anybody, also by those who are expelled or admitted on the way: then it depends. */
  #message(): Promise<Said> {
    const sender = this.#dice.pick(this.#members);
    return this.#say(sender, this.#words(sender), this.#lasting.includes(sender) ? "stands" : "either");
  }

  #words(sender: Wallet): Statement {
    return {
      ...{ kind: "message", task: this.#task, sender: addressOf(sender), page: 0, recipients: EVERYONE },
      ...{ name: this.#dice.word(), payload: this.#dice.word(), salt: this.#dice.word(), deadline: this.#deadline },
    };
  }

  /** What the contract never takes, among all the rest. */
  async #bad(): Promise<Said[]> {
    const [alice, bob] = this.#lasting as [Wallet, Wallet];
    const outsider = new Wallet(this.#dice.word());
    const message = this.#words(alice) as Extract<Statement, { kind: "message" }>;
    const nowhere = { kind: "receipt", task: this.#task, notice: this.#dice.word(), outcome: "VERIFIED" } as const;
    const forged = await this.#say(bob, message, "refused"); // and not by its sender
    const all = [
      this.#say(alice, { ...message, deadline: 1 }, "refused"),
      this.#say(outsider, this.#words(outsider), "refused"),
      this.#say(bob, nowhere, "refused"),
      this.#say(this.#owner, { kind: "admit", task: this.#task, members: [addressOf(bob)], roster: 0 }, "refused"),
      this.#say(outsider, { kind: "expel", task: this.#task, members: [addressOf(bob)], roster: 1 }, "refused"),
    ];
    const claimed = { ...forged.signed, author: addressOf(alice) };
    return [{ signed: claimed, fate: "refused" }, ...(await Promise.all(all))];
  }

  async #say(author: Wallet, statement: Statement, fate: Fate): Promise<Said> {
    return { signed: await signStatement(author, this.#domain, statement), fate };
  }

  #indexOf(member: Wallet): number {
    return this.#members.indexOf(member);
  }
}
