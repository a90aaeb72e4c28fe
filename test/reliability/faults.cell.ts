import { randomBytes } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Result } from "ethers";
import { type SharedFileDataChannel, WaybillError } from "../../lib/index.ts";
import { isErrorCode } from "../../lib/protocol/errors.ts";
import { transferId } from "../../lib/protocol/manifest.ts";
import { noticeId } from "../../lib/protocol/statements.ts";
import { groupsIn, waybill } from "../support/contract.ts";
import { filesIn, PART_SIZE, Pair, type Rig } from "../support/fault-rig.ts";
import type { Cell } from "./faults.table.ts";

/** What came of a trip. */
export interface Verdict {
  readonly cells: readonly Cell[];
  /** "ok", the codes of both sides' first errors, or "not met" when no such request came by. */
  readonly outcome: string;
  /** How many of its faults were met. */
  readonly met: number;
  /** What must never be. */
  readonly violations: readonly string[];
  readonly seconds: number;
}

/** Far more than any cell takes, even on a slow machine with other work: more than this is a hang. */
const HANG_MS = 600_000;
/** A call that is still at it after so long bears a lasting fault until its own deadline. */
const BEARS_MS = 15_000;
/** Of a recipient that meets a lasting fault. */
const RECEIVE_TIMEOUT_MS = 8_000;
/** Until a notice's deadline; by then another call is needed, which is no fault of anybody's on a slow machine. */
const SEND_MS = 120_000;
/** How long somebody waits for an API that is silent: its own 30 s would only make the run longer. */
const SILENCE_MS = 2_500;
/** Calls that somebody makes before giving up on a system that is well again, beside one for each fault. */
const CALLS = 3;
/** What the chain keeps for good: the same call again can't change it. */
const FINAL = new Set(["CORRUPT"]);

const hasty: typeof fetch = (input, init) => {
  const limit = AbortSignal.timeout(SILENCE_MS);
  return fetch(input, { ...init, signal: init?.signal ? AbortSignal.any([init.signal, limit]) : limit });
};

/** One trip with its faults, and the judgement of what it left. */
export class Trip {
  readonly #rig: Rig;
  readonly #pair: Pair;
  readonly #cells: readonly Cell[];
  readonly #tag: string = `cell/${randomBytes(6).toString("hex")}`;
  readonly #payload: Buffer = randomBytes(3 * PART_SIZE + 77);
  readonly #violations: string[] = [];
  readonly #firsts = new Map<string, string>();
  readonly #given = new AbortController();

  constructor(rig: Rig, pair: Pair, cells: readonly Cell[]) {
    this.#rig = rig;
    this.#pair = pair;
    this.#cells = cells;
  }

  async run(): Promise<Verdict> {
    const begun = performance.now();
    await mkdir(this.#dir, { recursive: true });
    const hang = setTimeout(() => this.#giveUp("somebody hangs"), HANG_MS);
    this.#rig.plant(this.#cells);
    const bearing = this.#lasts ? setInterval(() => this.#heal("bears it"), BEARS_MS) : undefined;
    try {
      const [sent, received] = await Promise.all([
        this.#until("sender", (channel) => this.#send(channel)),
        this.#until("recipient", (channel) => this.#receive(channel)),
      ]);
      this.#rig.heal(true);
      await this.#judge(sent, received);
    } finally {
      clearTimeout(hang);
      clearInterval(bearing);
      this.#rig.heal(true);
      await this.#pair.close();
      await rm(this.#dir, { recursive: true, force: true });
    }
    const seconds = (performance.now() - begun) / 1000;
    const { met } = this.#rig;
    return { cells: this.#cells, outcome: this.#outcome(), met, violations: this.#violations, seconds };
  }

  get #lasts(): boolean {
    return this.#cells.some(({ lasting }) => lasting);
  }

  get #dir(): string {
    return join(this.#rig.dir, this.#tag.replace("/", "-"));
  }

  get #file(): string {
    return join(this.#dir, "payload");
  }

  #outcome(): string {
    if (this.#rig.met === 0) return "not met";
    const words = [...this.#firsts].map(([who, code]) => `${who}: ${code}`);
    return words.length === 0 ? "ok" : words.sort().join("; ");
  }

  /** What lasts ends, once it was met: on a slow machine its request may come later than somebody gives up. */
  #heal(why?: string): void {
    if (this.#rig.met === 0) return;
    if (why && !this.#firsts.has("both")) this.#firsts.set("both", why);
    this.#rig.heal();
  }

  #giveUp(why: string): void {
    this.#violations.push(why);
    this.#given.abort();
  }

  async #send(channel: SharedFileDataChannel): Promise<void> {
    const target = this.#pair.wallets[1].address;
    const common = { partSize: PART_SIZE, tag: this.#tag, signal: this.#given.signal, ensureAllSucc: true };
    const sent = await channel.sendStream({ target, dataStream: this.#payload, timeout: SEND_MS, ...common });
    if (sent !== target) throw new Error(`sendStream resolved with ${sent}`);
    if (!(await this.#stands()).verified) this.#violations.push("the sender counts somebody whose receipt isn't there");
  }

  async #receive(channel: SharedFileDataChannel): Promise<void> {
    const source = this.#pair.wallets[0].address;
    const waits = this.#lasts && this.#firsts.size === 0 ? { timeout: RECEIVE_TIMEOUT_MS } : {};
    const to = { path: this.#file };
    const [from] = await channel.receiveStream({ source, tag: this.#tag, to, signal: this.#given.signal, ...waits });
    if (from !== source) this.#violations.push("the payload is another's");
    await this.#checkFile("delivered");
  }

  /** Calls until it works, as a person would: again, and then in a new process. @returns whether it did. */
  async #until(who: "sender" | "recipient", call: (channel: SharedFileDataChannel) => Promise<void>): Promise<boolean> {
    const silent = this.#cells.some(({ group, link }) => group === "Silence" && link === "client-api");
    const ownNode = this.#cells.some(({ link }) => link === "client-rpc");
    const options = { ownNode, stallTimeout: 1_000, ...(silent && { fetch: hasty }) };
    let channel = this.#pair.process(who === "sender" ? 0 : 1, options);
    for (let calls = 1; calls <= CALLS + this.#cells.length && !this.#given.signal.aborted; calls++) {
      try {
        await call(channel);
        return true;
      } catch (error) {
        const code = this.#note(who, error);
        await this.#checkReceipt();
        this.#heal();
        if (FINAL.has(code)) break;
      }
      if (calls > 1) channel = this.#pair.process(who === "sender" ? 0 : 1, options);
    }
    this.#given.abort(); // nothing will come for the other
    return false;
  }

  #note(who: string, error: unknown): string {
    if (this.#given.signal.aborted) return "ABORTED";
    if (!(error instanceof WaybillError) || !isErrorCode(error.code)) {
      this.#violations.push(`${who}: an error that is none of ours: ${String(error)}`);
      return "none";
    }
    if (/X-Amz|Signature=/i.test(`${error.message} ${String(error.cause)}`))
      this.#violations.push(`${who}: an error tells a URL`);
    if (!this.#firsts.has(who)) this.#firsts.set(who, error.code);
    return error.code;
  }

  /** A receipt implies the bytes. */
  async #checkReceipt(): Promise<void> {
    if ((await this.#stands()).verified) await this.#checkFile("receipted");
  }

  async #checkFile(word: string): Promise<void> {
    const found = await readFile(this.#file).catch(() => null);
    if (found === null) this.#violations.push(`${word}, and no file`);
    else if (!found.equals(this.#payload)) this.#violations.push(`${word}, and wrong bytes`);
  }

  /** What the chain says of this transfer, by its raw logs. */
  async #stands(): Promise<{ verified: boolean; answers: number }> {
    const events = await this.#events();
    const mine = transferId(this.#tag);
    const notices = events.filter(({ name, args }) => name === "Noticed" && args.transfer === mine);
    const ids = new Set(notices.map(({ args }) => idOf(args)));
    const groups = events.filter(({ name }) => name === "Receipts").flatMap(groupsIn);
    const answers = groups.filter(({ notice }) => ids.has(notice));
    return { verified: answers.some(({ outcome }) => outcome === 1), answers: answers.length };
  }

  async #events() {
    const { contract } = this.#rig.deployment;
    const filter = { address: contract, topics: [null, this.#pair.task], fromBlock: 0 };
    return (await this.#rig.chain.getLogs(filter)).map((log) => waybill.parseLog(log)!);
  }

  /** At rest: both sides agree, each statement stands once, and nothing is left over. */
  async #judge(sent: boolean, received: boolean): Promise<void> {
    const wrong = (what: string): unknown => this.#violations.push(what);
    const final = [...this.#firsts.values()].some((code) => FINAL.has(code));
    if (!final && !(sent && received)) wrong(`no recovery: sent ${sent}, received ${received}`);
    await this.#untilQuiet();
    const { verified } = await this.#stands();
    if (verified !== received) wrong(`received ${received}, and its receipt stands: ${verified}`);
    if (sent !== verified) wrong(`sent ${sent}, and the receipt stands: ${verified}`);
    const files = [...(await filesIn(this.#dir)).keys()].filter((name) => name !== "payload");
    if (received && files.length > 0) wrong(`left behind: ${files.join()}`);
    if (verified) await this.#checkFile("in the end");
    await this.#checkLine();
  }

  async #checkLine(): Promise<void> {
    const events = await this.#events();
    const line = events.map(({ args }) => Number(args.seq));
    if (line.some((seq, i) => seq !== i + 1)) this.#violations.push(`events out of line: ${line.join()}`);
    const signatures = events.flatMap((event) =>
      event.name === "Receipts" ? groupsIn(event).flatMap((group) => group.signatures) : [String(event.args.signature)],
    );
    if (new Set(signatures).size !== signatures.length) this.#violations.push("a statement stands twice");
  }

  /** Until the outbox is empty: whatever was accepted has ended. */
  async #untilQuiet(): Promise<void> {
    const end = performance.now() + HANG_MS;
    while ((await this.#rig.store.list("outbox/", { limit: 1 })).length > 0) {
      if (performance.now() > end) return void this.#violations.push("the outbox stays full");
      await delay(20);
    }
  }
}

/** A notice's id, from its event. */
function idOf({ task, sender, page, recipients, transfer, manifest, deadline }: Result): string {
  const numbers = { page: Number(page), recipients: BigInt(recipients), deadline: Number(deadline) };
  return noticeId({ kind: "notice", task, sender: sender.toLowerCase(), transfer, manifest, ...numbers });
}

/** Cells of one stack, one after the other, with a new task now and then so that nobody reads long histories. */
export class Bench {
  readonly #rig: Rig;
  #pair: Pair | null = null;
  #trips = 0;

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  async run(...cells: readonly Cell[]): Promise<Verdict> {
    if (this.#pair === null || this.#trips % TRIPS_PER_TASK === 0) this.#pair = await Pair.open(this.#rig);
    this.#trips += 1;
    return new Trip(this.#rig, this.#pair, cells).run();
  }
}

const TRIPS_PER_TASK = 6;
