import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { id as keccakOf } from "ethers";
import { groupsIn, waybill } from "../support/contract.ts";
import type { KillChild, Said } from "./kill-child.ts";
import type { Asked, Point } from "./kill-points.ts";
import { type KillTask, type KillWorld, PART } from "./kill-world.ts";

const PARTS = 4;
/** A trip takes seconds; on a machine that is twenty times busier it is a minute. */
const HANGS_MS = 240_000;

/** What one kill led to. */
export interface Trip {
  readonly point: string;
  /** Empty where all invariants held. */
  readonly violations: readonly string[];
  /** Parts that the store took twice. */
  readonly waste: number;
  /** Uploads of the payload that are left for the sweeper. */
  readonly orphans: number;
  readonly seconds: number;
}

/** A payload goes from one member to the other, and one process is killed on the way and started again. */
export class KillTrip {
  readonly #world: KillWorld;
  readonly #cast: KillTask;
  readonly #point: Point;
  readonly #tag: string;
  readonly #home: string;
  readonly #bytes: Buffer;
  readonly #members = new Set<KillChild>();
  readonly #notices = new Set<string>();
  /** Parts whose success was told before the kill, and all that the store took, in order. */
  readonly #heard = new Set<number>();
  readonly #taken: { part: number; late: boolean }[] = [];
  #hanging: NodeJS.Timeout | undefined;
  #killed = false;
  #seen = 0;
  #restarted: Promise<void> = Promise.resolve();
  #children: { sender?: KillChild; recipient?: KillChild } = {};

  constructor(world: KillWorld, cast: KillTask, point: Point, name: string) {
    this.#world = world;
    this.#cast = cast;
    this.#point = point;
    this.#tag = name;
    this.#home = join(world.home, createHash("sha256").update(name).digest("hex").slice(0, 16));
    const rounds = Array.from({ length: 2 }, (_, i) => createHash("sha256").update(`${name}/${i}`).digest());
    this.#bytes = Buffer.concat(rounds).subarray(0, (PARTS - 1) * PART + 5);
  }

  async run(): Promise<Trip> {
    const begun = performance.now();
    const late = new Promise<null>((resolve) => {
      this.#hanging = setTimeout(() => resolve(null), HANGS_MS);
    });
    const trip = await Promise.race([this.#run(begun), late]);
    clearTimeout(this.#hanging);
    if (trip) return trip;
    for (const child of this.#members) child.kill();
    const violations = [this.#killed ? "it hung" : "it hung, and the point was never reached"];
    return { point: this.#point.name, violations, waste: 0, orphans: 0, seconds: HANGS_MS / 1000 };
  }

  async #run(begun: number): Promise<Trip> {
    const fromBlock = await this.#world.rpc<string>("eth_blockNumber");
    await mkdir(join(this.#home, "in"), { recursive: true });
    await writeFile(join(this.#home, "out"), this.#bytes);
    this.#world.onPart = (part, whole) => {
      this.#taken.push({ part, late: this.#killed });
      if (whole && !this.#killed) this.#heard.add(part);
    };
    this.#world.rule = (place, asked) => this.#ruled(place, asked);
    const ends = await Promise.all([this.#call("sender"), this.#call("recipient")]);
    await this.#restarted;
    await this.#outboxEmpty();
    this.#world.rule = () => null;
    const violations = [...this.#wrongEnds(ends), ...(await this.#wrongFiles()), ...this.#wrongParts()];
    violations.push(...(await this.#wrongChain(fromBlock)));
    const orphans = (await this.#world.openUploads()).filter((key) => key.includes(keccakOf(this.#tag))).length;
    await rm(this.#home, { recursive: true });
    const waste = this.#taken.length - new Set(this.#taken.map(({ part }) => part)).size;
    return { point: this.#point.name, violations, waste, orphans, seconds: (performance.now() - begun) / 1000 };
  }

  #ruled(place: string, asked: Asked): "dropped" | "carried out" | null {
    const { at, matches, nth, fate } = this.#point;
    if (this.#killed || place !== at || !matches(asked) || ++this.#seen !== nth) return null;
    this.#kill();
    return fate;
  }

  #kill(): void {
    this.#killed = true;
    const { victim } = this.#point;
    if (victim === "sender" || victim === "recipient") this.#children[victim]!.kill();
    else {
      this.#world.kill(victim);
      this.#restarted = this.#world.restart(victim);
    }
  }

  /** One side's call; the same again when its process was killed. */
  async #call(side: "sender" | "recipient"): Promise<Said> {
    for (;;) {
      const child = this.#world.pool.take();
      this.#members.add(child);
      this.#children[side] = child;
      await child.order(this.#order(side), ({ notice }) => notice !== undefined && this.#noticed(notice));
      const said = await child.result();
      await this.#world.pool.end(child);
      if (said) return said;
      if (!this.#killed || this.#point.victim !== side) return { code: "it ended by itself" };
    }
  }

  #noticed(notice: string): void {
    this.#notices.add(notice);
    if (this.#point.at === "notice" && !this.#killed) this.#kill();
  }

  #order(side: "sender" | "recipient"): object {
    const { task, keys, accounts } = this.#cast;
    const common = { role: "member", deployment: this.#world.deployment, task };
    const payload = { dataStream: { path: join(this.#home, "out") }, tag: this.#tag, partSize: PART };
    if (side === "sender")
      return { ...common, key: keys[0], call: "sendStream", options: { target: accounts[1], ...payload } };
    const options = { source: accounts[0], tag: this.#tag, to: { path: this.#target } };
    return { ...common, key: keys[1], call: "receiveStream", options };
  }

  get #target(): string {
    return join(this.#home, "in", "payload");
  }

  async #outboxEmpty(): Promise<void> {
    while ((await this.#world.store.list("outbox/", { limit: 1 })).length > 0)
      await new Promise((resolve) => setTimeout(resolve, 20));
  }

  #wrongEnds([sent, received]: readonly Said[]): string[] {
    const found = this.#killed ? [] : ["the point was never reached"];
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
    const events = logs.flatMap((log) => waybill.parseLog(log) ?? []);
    const mine = events.filter(({ args }) => args.task === this.#cast.task);
    const notices = mine.filter(({ name, args }) => name === "Noticed" && args.transfer === keccakOf(this.#tag));
    const receipts = mine.filter(({ name }) => name === "Receipts").flatMap(groupsIn);
    const wrong: string[] = [];
    if (notices.length !== 1) wrong.push(`${notices.length} notices stand on the chain`);
    if (this.#notices.size > 1) wrong.push(`the sender spoke of ${this.#notices.size} notices`);
    const mineReceived = receipts.filter(({ notice }) => this.#notices.has(notice));
    const signatures = mineReceived.flatMap((group) => group.signatures);
    if (signatures.length !== 1) wrong.push(`${signatures.length} receipts stand on the chain`);
    if (mineReceived.some(({ outcome }) => outcome !== 1))
      wrong.push("a receipt doesn't say that the payload is right");
    return wrong;
  }
}
