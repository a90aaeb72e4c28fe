import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { id as keccakOf, Wallet } from "ethers";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import { EVERYONE, type Message, signStatement } from "../../lib/protocol/statements.ts";
import { groupsIn, waybill } from "../support/contract.ts";
import type { KillChild, Said } from "./kill-child.ts";
import { type Asked, calledOnly, FILE_CALLS, type Point, type Story } from "./kill-points.ts";
import { type KillTask, type KillWorld, PART } from "./kill-world.ts";

const PARTS = 4;
/** A trip takes seconds; on a machine that is a hundred times busier it is minutes. */
const HANGS_MS = 600_000;
/** Calls that end as they may (out of reach, withdrawn, late) are made again; none needs as many as this. */
const CALLS = 50;
type Side = "sender" | "recipient";

/** What the kills of one trip led to. */
export interface Trip {
  readonly points: readonly string[];
  /** Empty where all invariants held. */
  readonly violations: readonly string[];
  /** Parts that the store took twice. */
  readonly waste: number;
  /** Uploads of the payload that are left for the sweeper. */
  readonly orphans: number;
  readonly seconds: number;
}

/** A payload goes from one member to the other, and processes are killed on the way and started again. */
export class KillTrip {
  readonly #world: KillWorld;
  readonly #cast: KillTask;
  readonly #points: readonly Point[];
  readonly #story: Story;
  readonly #tag: string;
  readonly #home: string;
  readonly #bytes: Buffer;
  readonly #notices = new Set<string>();
  /** Points that have come, and how often the others' steps were seen. */
  readonly #fired = new Set<Point>();
  readonly #seen = new Map<Point, number>();
  /** Parts whose success was told before the sender was killed, and all that the store took, in order. */
  readonly #heard = new Set<number>();
  readonly #taken: { part: number; late: boolean }[] = [];
  readonly #children: { sender?: KillChild; recipient?: KillChild } = {};
  readonly #restarted: Promise<void>[] = [];
  /** Whether the sender's next call gives up when its notice is out. */
  #givesUp: boolean;
  #goAhead: () => void = () => {};
  /** The recipient asks for nothing until a sender that is to give up has done so, or died. */
  readonly #ahead: Promise<void>;
  #bad: Hex | null = null;
  /** One side has failed, so nobody need wait for the other. */
  #failed = false;

  /** @param points Each of another victim, and of one story. */
  constructor(world: KillWorld, cast: KillTask, points: readonly Point[], name: string) {
    this.#world = world;
    this.#cast = cast;
    this.#points = points;
    this.#story = points[0]!.story;
    this.#tag = name;
    this.#home = join(world.home, createHash("sha256").update(name).digest("hex").slice(0, 16));
    const rounds = Array.from({ length: 2 }, (_, i) => createHash("sha256").update(`${name}/${i}`).digest());
    this.#bytes = Buffer.concat(rounds).subarray(0, (PARTS - 1) * PART + 5);
    this.#givesUp = this.#story === "change of mind";
    this.#ahead = new Promise((resolve) => {
      this.#goAhead = resolve;
    });
  }

  async run(): Promise<Trip> {
    const begun = performance.now();
    let hanging: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      hanging = setTimeout(() => resolve(null), HANGS_MS);
    });
    const found = await Promise.race([this.#run(), late]).finally(() => clearTimeout(hanging));
    const { violations, orphans } = found ?? { violations: ["it hung", ...this.#unreached()], orphans: 0 };
    const waste = this.#taken.length - new Set(this.#taken.map(({ part }) => part)).size;
    const names = this.#points.map(({ name }) => name);
    return { points: names, violations, waste, orphans, seconds: (performance.now() - begun) / 1000 };
  }

  async #run(): Promise<{ violations: string[]; orphans: number }> {
    const fromBlock = await this.#world.rpc<string>("eth_blockNumber");
    await mkdir(join(this.#home, "in"), { recursive: true });
    await writeFile(join(this.#home, "out"), this.#bytes);
    this.#world.onPart = (part, whole) => {
      const late = this.#hasFired("sender");
      this.#taken.push({ part, late });
      if (whole && !late) this.#heard.add(part);
    };
    this.#world.rule = (place, asked) => this.#ruled(place, asked);
    if (this.#points.some(({ refusal }) => refusal)) await this.#postBad();
    if (!this.#givesUp) this.#goAhead();
    const ends = await Promise.all([this.#calls("sender"), this.#ahead.then(() => this.#calls("recipient"))]);
    await Promise.all(this.#restarted);
    await this.#outboxEmpty();
    this.#world.rule = () => null;
    const violations = [...this.#unreached(), ...this.#wrongEnds(ends), ...(await this.#wrongFiles())];
    violations.push(...this.#wrongParts(), ...(await this.#wrongChain(fromBlock)), ...(await this.#wrongRefusal()));
    const orphans = (await this.#world.openUploads()).filter((key) => key.includes(keccakOf(this.#tag))).length;
    await rm(this.#home, { recursive: true });
    return { violations, orphans };
  }

  #ruled(place: Point["at"], asked: Asked): "dropped" | "carried out" | null {
    for (const point of this.#points) {
      if (this.#fired.has(point) || point.at !== place || !point.matches(asked)) continue;
      const seen = (this.#seen.get(point) ?? 0) + 1;
      this.#seen.set(point, seen);
      if (seen >= point.nth && this.#kill(point)) return point.fate;
    }
    return null;
  }

  /** False when nobody is there to be killed: what came is of a call that has ended. */
  #kill(point: Point): boolean {
    const { victim } = point;
    if (victim === "sender" || victim === "recipient") {
      const child = this.#children[victim];
      if (!child) return false;
      child.kill();
    } else {
      this.#world.kill(victim);
      this.#restarted.push(this.#world.restart(victim));
    }
    this.#fired.add(point);
    return true;
  }

  #hasFired(victim: Point["victim"]): boolean {
    return [...this.#fired].some((point) => point.victim === victim);
  }

  #unreached(): string[] {
    return this.#points.filter((point) => !this.#fired.has(point)).map(({ name }) => `"${name}" was never reached`);
  }

  /** One side's calls until one ends as it should; the same again when its process was killed. */
  async #calls(side: Side): Promise<Said> {
    for (let calls = 1; ; calls++) {
      const said = await this.#call(side);
      if (side === "sender") {
        this.#givesUp = false;
        this.#goAhead();
      }
      if (said && (calls === CALLS || !this.#isFair(side, said))) return this.#ended(said);
      if (!said && (this.#failed || !this.#hasFired(side))) return this.#ended({ code: "nothing: it died" });
    }
  }

  #ended(said: Said): Said {
    this.#failed ||= said.code !== undefined || said.done === null;
    if (this.#failed) for (const child of Object.values(this.#children)) child.kill();
    return said;
  }

  /**
   * An end that isn't the last: functions that take long to start are out of reach for a call. Who has changed its mind twice
   * calls again, and so does who came too late for a notice.
   */
  #isFair(side: Side, { done, code, retryable }: Said): boolean {
    if (this.#failed) return false;
    if (retryable) return true;
    if (this.#story !== "change of mind") return false;
    return side === "sender" ? code === "ABORTED" || done === null : code === "LATE" || code === "GONE";
  }

  async #call(side: Side): Promise<Said | null> {
    const { pool } = this.#world;
    const child = pool.take("member");
    this.#children[side] = child;
    await child.order(this.#order(side), ({ notice, stopped }) => {
      if (notice !== undefined) this.#noticed(notice);
      if (stopped) for (const point of this.#points) if (point.at === "file") this.#kill(point);
    });
    const said = await child.result();
    delete this.#children[side];
    if (said) pool.giveBack(child);
    else await pool.end(child);
    return said;
  }

  #noticed(notice: string): void {
    this.#notices.add(notice);
    for (const point of this.#points) if (point.at === "notice" && !this.#fired.has(point)) this.#kill(point);
  }

  #order(side: Side): object {
    const { task, keys, accounts } = this.#cast;
    const common = { deployment: this.#world.deployment, task };
    const payload = { dataStream: { path: join(this.#home, "out") }, tag: this.#tag, partSize: PART };
    if (side === "sender") {
      const options = { target: accounts[1], ...payload };
      return { ...common, key: keys[0], call: "sendStream", options, giveUp: this.#givesUp };
    }
    const at = this.#points.find((point) => point.at === "file" && !this.#fired.has(point));
    const stop = at && {
      what: FILE_CALLS.find((method) => at.matches(calledOnly(method))),
      nth: at.nth,
      fate: at.fate,
    };
    const options = { source: accounts[0], tag: this.#tag, to: { path: this.#target } };
    return { ...common, key: keys[1], call: "receiveStream", options, ...(stop && { stop }) };
  }

  get #target(): string {
    return join(this.#home, "in", "payload");
  }

  /** The sender's word, which somebody else has signed: as of a wallet that has taken its signature back. */
  async #postBad(): Promise<void> {
    const { task, keys, accounts } = this.#cast;
    const { deployment, outbox } = this.#world;
    const word = (text: string): Hex => keccakOf(`${this.#tag}/${text}`) as Hex;
    const statement: Message = {
      ...{ kind: "message", task: task as Hex, sender: accounts[0].toLowerCase() as Address, page: 0 },
      ...{
        recipients: EVERYONE,
        name: word("name"),
        payload: "0x",
        salt: word("salt"),
        deadline: Math.floor(Date.now() / 1000) + 86_400,
      },
    };
    const { signature } = await signStatement(new Wallet(keys[1]), deployment, statement);
    this.#bad = await outbox.post({ statement, author: statement.sender, signature });
  }

  async #outboxEmpty(): Promise<void> {
    while (!(await this.#world.outbox.isEmpty())) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  #wrongEnds([sent, received]: readonly Said[]): string[] {
    const found: string[] = [];
    if (sent!.done !== this.#cast.accounts[1]) found.push(`the sender ended with ${sent!.code ?? String(sent!.done)}`);
    if (JSON.stringify(received!.done) !== JSON.stringify([this.#cast.accounts[0], this.#target]))
      found.push(`the recipient ended with ${received!.code ?? JSON.stringify(received!.done)}`);
    return found;
  }

  async #wrongFiles(): Promise<string[]> {
    const names = await readdir(join(this.#home, "in"));
    if (names.join() !== "payload") return [`the recipient has the files ${names.join()}`];
    return this.#bytes.equals(await readFile(this.#target)) ? [] : ["the recipient has other bytes"];
  }

  /** Who is killed sends no part again whose success it had heard of. */
  #wrongParts(): string[] {
    const again = this.#taken.filter(({ part, late }) => late && this.#heard.has(part)).map(({ part }) => part);
    return again.length === 0 ? [] : [`parts ${again.join()} were sent again although they were known to be stored`];
  }

  async #wrongChain(fromBlock: string): Promise<string[]> {
    const filter = { address: this.#world.deployment.contract, fromBlock, toBlock: "latest" };
    const logs = await this.#world.rpc<{ topics: string[]; data: string }[]>("eth_getLogs", filter);
    const mine = logs.flatMap((log) => waybill.parseLog(log) ?? []).filter(({ args }) => args.task === this.#cast.task);
    const notices = mine.filter(({ name, args }) => name === "Noticed" && args.transfer === keccakOf(this.#tag));
    const withdrawn = mine.filter(({ name }) => name === "Withdrawn");
    const receipts = mine.filter(({ name }) => name === "Receipts").flatMap(groupsIn);
    const wrong: string[] = [];
    const takenBack = this.#points.some(({ name }) => name === "sender: the withdrawal, dropped")
      ? 0
      : Number(this.#story === "change of mind");
    if (withdrawn.length !== takenBack) wrong.push(`${withdrawn.length} notices were withdrawn on the chain`);
    if (notices.length !== 1 + takenBack) wrong.push(`${notices.length} notices stand on the chain`);
    if (this.#notices.size > 1 + takenBack) wrong.push(`the sender spoke of ${this.#notices.size} notices`);
    if (mine.some(({ name }) => name === "Posted")) wrong.push("a statement that nobody signed stands on the chain");
    const mineReceived = receipts.filter(({ notice }) => this.#notices.has(notice));
    const signatures = mineReceived.flatMap((group) => group.signatures);
    if (signatures.length !== 1) wrong.push(`${signatures.length} receipts stand on the chain`);
    if (mineReceived.some(({ outcome }) => outcome !== 1))
      wrong.push("a receipt doesn't say that the payload is right");
    return wrong;
  }

  async #wrongRefusal(): Promise<string[]> {
    if (this.#bad === null) return [];
    const became = JSON.stringify(await this.#world.outbox.state(this.#bad));
    const right = JSON.stringify({ state: "refused", reason: "BAD_SIGNATURE" });
    return became === right ? [] : [`a statement that nobody signed became ${became}`];
  }
}
