import { createCipheriv, createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { id as keccakOf, Wallet } from "ethers";
import { TaskContractor } from "../../lib/index.ts";
import { Dice } from "../support/crowd.ts";
import { type Judgement, judge } from "./oracle.ts";
import { type Story, storyOf, VERIFIED } from "./oracle-chain.ts";
import type { Evidence } from "./oracle-evidence.ts";
import type { Break, Coming } from "./oracle-fronts.ts";
import { digestOfFile, readBucket } from "./oracle-gather.ts";
import { factsOf, isUnfinished, Member, type Parcel, type ReceiveDraft, type SendDraft } from "./soak-cast.ts";
import type { Deed, Plan, Trouble } from "./soak-plan.ts";
import { SoakWorld } from "./soak-world.ts";

// Plays a round: does its deeds one after the other while calls are under way, then makes everything well again, lets all
// unfinished work be done, and has the oracle judge.

export interface Counts {
  readonly deeds: Readonly<Record<string, number>>;
  readonly calls: number;
  readonly transfers: number;
  readonly bytes: number;
  readonly receipts: number;
  /** What the last sends failed with before they worked. */
  readonly again: readonly string[];
  readonly faults: number;
  readonly ended: number;
  readonly reorgs: number;
}

export interface Round extends Judgement {
  readonly evidence: Evidence;
  readonly plan: Plan;
  readonly counts: Counts;
}

/** All of the calm's calls together end long before, tries and all; what doesn't has hung. */
const HANGS_MS = 1_800_000;
/** What the last sends have time for, by the chain's clock. */
const LAST_SEND_MS = 180_000;
/** As long it is tried again: everybody lives in one process, and one that is starved keeps store and publisher waiting, too. */
const LAST_SENDS_MS = HANGS_MS - 2 * LAST_SEND_MS;
/** Last sends at a time: what all do at once would need all of their time together. */
const LAST_SENDS = 4;
const LAST_LOOK_MS = 60_000;
/** What is held ready is given at once, but for a look at the chain. */
const HELD_MS = 600_000;
const HOLD_MS = 1_500;

export async function play(plan: Plan): Promise<Round> {
  const stage = await Stage.open(plan);
  try {
    return await stage.play();
  } finally {
    await stage.close();
  }
}

interface Cast {
  readonly id: string;
  readonly owner: Member;
  readonly members: readonly Member[];
}

class Stage {
  readonly #plan: Plan;
  readonly #world: SoakWorld;
  readonly #casts: Cast[] = [];
  readonly #parcels = new Map<string, Parcel & { readonly reach: Set<Member> }>();
  readonly #work = new Set<Promise<unknown>>();
  readonly #deeds: Record<string, number> = {};
  readonly #complaints: string[] = [];
  #ended = 0;
  #rpcFaults = 0;

  private constructor(plan: Plan, world: SoakWorld) {
    this.#plan = plan;
    this.#world = world;
  }

  static async open(plan: Plan): Promise<Stage> {
    let stage: Stage | undefined;
    const world = await SoakWorld.start(async (account, notice) => stage?.fileOf(account, notice));
    stage = new Stage(plan, world);
    try {
      await stage.#cast();
      return stage;
    } catch (error) {
      await world.stop();
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#everyone.map((member) => member.close()));
    await this.#world.stop();
  }

  async play(): Promise<Round> {
    for (const step of this.#plan.steps) {
      this.#deeds[step.do] = (this.#deeds[step.do] ?? 0) + 1;
      await this.#do(step);
      await this.#blocks(step.wait);
    }
    await this.#calm();
    await this.#complete();
    return this.#judge();
  }

  // ---- the cast

  async #cast(): Promise<void> {
    const dice = new Dice(this.#plan.seed + 1);
    const { deployment } = this.#world;
    const ownNode = [...this.#plan.shape.ownNode];
    for (const { members } of this.#plan.shape.tasks) {
      const signer = new Wallet(dice.word());
      const wallets = Array.from({ length: members }, () => new Wallet(dice.word()));
      const options = { signer, members: wallets.map(({ address }) => address), salt: dice.word(), deployment };
      const opened = await TaskContractor.open(options);
      await opened.close();
      const { task: id } = opened;
      const all = wallets.map((wallet) => new Member(this.#world, id, wallet, ownNode.shift() ?? false));
      this.#casts.push({ id, owner: new Member(this.#world, id, signer, false), members: all });
    }
  }

  get #everyone(): Member[] {
    return this.#casts.flatMap(({ owner, members }) => [owner, ...members]);
  }

  // ---- deeds

  async #do(deed: Deed): Promise<void> {
    const world = this.#world;
    switch (deed.do) {
      case "send":
        return this.#start(this.#send(deed));
      case "receive":
        return this.#start(this.#receive(deed));
      case "gather": {
        const { members } = this.#casts[deed.task]!;
        const sources = deed.from.map((one) => members[one]!);
        return this.#start(members[deed.by]!.gather({ ...deed, sources, calm: false }));
      }
      case "post":
        return this.#start(this.#post(deed));
      case "abort":
        return void this.#casts[deed.task]!.members[deed.by]!.abort(deed.which);
      case "restart":
        this.#ended += 1;
        return this.#casts[deed.task]!.members[deed.by]!.restart();
      case "expel":
      case "admit": {
        const { owner, members } = this.#casts[deed.task]!;
        const { account } = members[deed.by]!;
        return this.#start(
          owner.other(deed.do, false, () => owner.contractor[deed.do as "expel" | "admit"]([account])),
        );
      }
      case "reorg":
        return world.reorganise(deed.depth);
      case "stop publisher":
        this.#ended += 1;
        return world.stopPublisher();
      case "start publisher":
        return world.publishers < 3 ? world.startPublisher() : undefined;
      case "restart api":
        this.#ended += 1;
        await world.stopApi();
        await this.#blocks(2);
        return world.startApi();
      case "restart store":
        this.#ended += 1;
        await world.stopStore();
        await this.#blocks(2);
        return world.startStore();
      case "fault":
        return this.#trouble(deed.trouble);
      case "calm":
        return this.#noTrouble();
      case "pass":
        return world.pass(deed.seconds);
      case "clock":
        world.ahead[deed.whose] = deed.seconds * 1000;
        return undefined;
    }
  }

  #start(work: Promise<unknown>): void {
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work)).catch(() => {});
  }

  #send(deed: Extract<Deed, { do: "send" }>): Promise<SendDraft> {
    const { members, id } = this.#casts[deed.task]!;
    const [from, to] = [members[deed.from]!, deed.to.map((one) => members[one]!)];
    const known = this.#parcels.get(`${id}/${deed.tag}`);
    const bytes = known?.bytes ?? contents(this.#plan.seed, deed.tag, deed.size);
    const parcel = { from, to, tag: deed.tag, bytes, as: deed.as };
    if (!known) {
      this.#world.payloads.push({ task: id, sender: from.account, tag: deed.tag, ...factsOf(bytes) });
      this.#parcels.set(`${id}/${deed.tag}`, { ...parcel, reach: new Set() });
    }
    for (const member of to) this.#parcels.get(`${id}/${deed.tag}`)!.reach.add(member);
    return from.send(parcel, { ms: deed.ms, all: deed.all, calm: false });
  }

  #receive(deed: Extract<Deed, { do: "receive" }>): Promise<ReceiveDraft> {
    const { members } = this.#casts[deed.task]!;
    // Of its own: a file that another call has left there would be taken for its.
    const place = `${deed.into}-${this.#world.calls.length}`;
    return members[deed.by]!.receive({ ...deed, sources: deed.from.map((one) => members[one]!), place, calm: false });
  }

  #post({ task, by, to }: Extract<Deed, { do: "post" }>): Promise<unknown> {
    const { members } = this.#casts[task]!;
    const member = members[by]!;
    const targets = to === null ? {} : { targets: to.map((one) => members[one]!.account) };
    const body = { from: by, at: this.#world.calls.length };
    return member.other("post", false, (signal) => member.contractor.post({ kind: "soak", body, ...targets, signal }));
  }

  // ---- faults

  #trouble(trouble: Trouble): void {
    let count = 0;
    const hits = (): boolean => ++count % trouble.every === 0;
    if (trouble.at === "rpc") {
      const { proxy } = this.#world.chain;
      const hit = (): boolean => {
        const isHit = hits();
        if (isHit) this.#rpcFaults += 1;
        return isHit;
      };
      if (trouble.kind === "refuse") proxy.refuse = () => (hit() ? "too many requests" : null);
      else proxy.cut = () => (hit() ? (trouble.kind === "lost" ? "after" : "before") : null);
      return;
    }
    const front = trouble.at === "api" ? this.#world.api : this.#world.s3;
    front.rule = (coming) => (fits(trouble, coming) && hits() ? breakOf(trouble, count) : null);
  }

  #noTrouble(): void {
    const { api, s3, chain, ahead } = this.#world;
    for (const front of [api, s3]) front.rule = () => null;
    chain.proxy.cut = () => null;
    chain.proxy.refuse = () => null;
    ahead.api = 0;
    ahead.store = 0;
  }

  // ---- the end

  /** All pieces run, nothing is broken, everybody is a member. */
  async #calm(): Promise<void> {
    this.#noTrouble();
    if (this.#world.publishers === 0) this.#world.startPublisher();
    await this.#ends(this.#casts.map(({ owner }) => this.#whileRetryable(owner)));
  }

  /** A roster change of before may come in between; the next one is told of it. */
  async #whileRetryable(owner: Member): Promise<void> {
    const { members } = this.#casts.find((cast) => cast.owner === owner)!;
    for (let tries = 0; tries < 10; tries++) {
      const all = members.map(({ account }) => account);
      const { end } = await owner.other("admit all", false, () => owner.contractor.admit(all));
      if (end.state === "resolved") return;
    }
    this.#complaints.push("9: the owner could not admit everybody again");
  }

  /** Everything that was sent is sent to all its recipients, and they receive until there is nothing more. */
  async #complete(): Promise<void> {
    const before = [...this.#work];
    const receiving = new AbortController();
    const readers = this.#casts.flatMap(({ members }) =>
      members.map((one) => this.#drain(one, members, receiving.signal)),
    );
    await this.#ends(before);
    const parcels = this.#parcels.values(); // each goes to whoever is free
    await this.#ends(Array.from({ length: LAST_SENDS }, () => this.#sendAll(parcels)));
    receiving.abort();
    for (const { members } of this.#casts) for (const member of members) member.abortAll();
    await this.#ends(readers);
    const story = storyOf(await this.#world.chainFacts());
    await this.#ends(this.#everyone.map((member) => this.#takeWhatIsHeld(member, story)));
    if (!(await this.#world.settled(HANGS_MS))) this.#complaints.push("9: the outbox does not empty itself");
  }

  /** A machine that is busy with other things may need more than one try. */
  async #sendAll(parcels: Iterable<Parcel & { readonly reach: Set<Member> }>): Promise<void> {
    const end = performance.now() + LAST_SENDS_MS;
    for (const parcel of parcels) {
      const order = { ...parcel, to: [...parcel.reach] };
      while (!(await this.#sends(order)) && performance.now() < end) await delay(1_000);
    }
  }

  async #sends(order: Parcel): Promise<boolean> {
    const { end } = await order.from.send(order, { ms: LAST_SEND_MS, all: true, calm: true });
    return end.state === "resolved";
  }

  async #drain(member: Member, members: readonly Member[], until: AbortSignal): Promise<void> {
    const sources = members.filter((one) => one !== member);
    while (!until.aborted && sources.length > 0) {
      const place = `last-${this.#world.calls.length}`;
      const draft = await member.receive({ sources, tag: null, into: "bytes", place, ms: LAST_LOOK_MS, calm: true });
      if (draft.end.state === "rejected" && draft.end.code !== "TIMEOUT") await delay(500);
    }
  }

  /** What it verified and no call gave back: this process must hold it ready, an earlier one's is read once more. */
  async #takeWhatIsHeld(member: Member, { notices }: Story): Promise<void> {
    const { account, task } = member;
    for (const { from, tag, bytes } of this.#parcels.values()) {
      const calls = this.#receivedBy(account);
      const verified = [...notices.values()].filter(
        (one) => one.task === task && one.sender === from.account && one.transfer === keccakOf(tag),
      );
      const mine = verified.filter(({ answers }) => answers.get(account)?.outcome === VERIFIED).map(({ id }) => id);
      const { sha256 } = factsOf(bytes);
      const has = calls.some(({ delivered }) =>
        delivered.some((one) => one.source === from.account && one.sha256 === sha256),
      );
      if (mine.length === 0 || has) continue;
      const common = { sources: [from], into: "bytes", place: "", ms: LAST_SEND_MS, calm: true } as const;
      const ready = calls.find((call) => call.life === member.life && call.notices.some((id) => mine.includes(id)));
      const held = ready && (await member.receive({ ...common, tag, ms: HELD_MS }));
      if (held?.delivered.length === 0)
        this.#complaints.push(`8: ${ready!.name} verified ${tag}, and the next call was not given it`);
      if (!held?.delivered.length) await member.receive({ ...common, tag: null, notice: mine[0]! });
    }
  }

  #receivedBy(account: string): ReceiveDraft[] {
    return this.#world.calls.filter((call): call is ReceiveDraft => call.kind === "receive" && call.by === account);
  }

  async #judge(): Promise<Round> {
    await Promise.all(this.#everyone.map((member) => member.close()));
    const evidence = await this.#world.evidence(await this.#leftovers());
    const { violations, facts } = judge(evidence);
    const said = this.#complaints.map((text) => {
      const [number, ...words] = text.split(": ");
      return { invariant: Number(number), name: "seen by the run itself", sentence: words.join(": ") };
    });
    await this.#world.sweep();
    const { uploads } = await readBucket(join(this.#world.home, "store"), "waybill");
    const open = uploads.map(({ key }) => ({
      invariant: 11,
      name: "after a sweep in two days",
      sentence: `an upload of ${key} is open`,
    }));
    return { violations: [...violations, ...said, ...open], facts, evidence, plan: this.#plan, counts: this.#counts() };
  }

  #counts(): Counts {
    const { calls, payloads, exchanges, api, s3, reorgs } = this.#world;
    return {
      ...{ deeds: this.#deeds, calls: calls.length, transfers: payloads.length, ended: this.#ended },
      bytes: payloads.reduce((sum, { size }) => sum + size, 0),
      receipts: exchanges.filter(({ path, status }) => path.endsWith("/receipts") && status < 300).length,
      again: calls.flatMap(({ kind, calm, end }) =>
        kind === "send" && calm && end.state === "rejected" ? [end.words] : [],
      ),
      faults: api.broken + s3.broken + this.#rpcFaults,
      reorgs: reorgs.length / 2,
    };
  }

  /** Files beside what calls have received, where the last call for that place resolved. */
  async #leftovers(): Promise<string[]> {
    const drafts = this.#world.calls.filter((call): call is ReceiveDraft => call.kind === "receive");
    const found: string[] = [];
    for (const member of this.#everyone) {
      const names = await readdir(join(member.home, "in"), { recursive: true }).catch(() => []);
      for (const name of names.filter(isUnfinished)) {
        const path = join(member.home, "in", name);
        const last = drafts.findLast(({ target }) => target !== null && path.startsWith(target));
        if (last?.end.state === "resolved" || name.endsWith(".lock")) found.push(name);
      }
    }
    return found;
  }

  /** What stands in the file into which a member receives that notice. */
  async fileOf(account: string, notice: string): Promise<string | null | undefined> {
    const drafts = this.#world.calls.filter((call): call is ReceiveDraft => call.kind === "receive");
    const mine = drafts.find(
      ({ by, end, target, notices }) =>
        by === account && end.state === "unfinished" && target !== null && notices.at(-1) === notice,
    );
    if (!mine) return undefined;
    const names = await readdir(mine.target!).catch(() => null);
    const whole = names?.find((name) => !isUnfinished(name));
    if (names !== null) return whole === undefined ? null : digestOfFile(join(mine.target!, whole));
    return digestOfFile(mine.target!);
  }

  /** Until all have ended; what hasn't after that is left as it is, and the oracle finds it unfinished. */
  async #ends(all: readonly Promise<unknown>[]): Promise<void> {
    const patience = new AbortController();
    const late = delay(HANGS_MS, undefined, { signal: patience.signal }).catch(() => {});
    await Promise.race([Promise.allSettled(all), late]);
    patience.abort();
  }

  async #blocks(count: number): Promise<void> {
    const until = (await this.#world.block()) + count;
    while ((await this.#world.block()) < until) await delay(50);
  }
}

/** Bits are flipped in payloads alone: what the functions keep in the store they read over TLS. */
function fits({ at, kind }: Trouble, { method, target }: Coming): boolean {
  const isPayload = target.includes("/payload/") && target.includes("X-Amz-Signature");
  if (at === "store" && (kind === "flip" || kind === "cut")) return method === "GET" && isPayload;
  if (kind === "spoil") return method === "PUT" && isPayload;
  return true;
}

function breakOf({ at, kind }: Trouble, count: number): Break {
  switch (kind) {
    case "lost":
      return { kind: "reset", when: "after" };
    case "hold":
      return { kind, ms: HOLD_MS };
    case "503": {
      const problem = JSON.stringify({ code: "UNAVAILABLE", detail: "Not now.", status: 503 });
      const body =
        at === "api"
          ? problem
          : "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
      return { kind: "status", status: 503, body };
    }
    case "cut":
      return { kind, bytes: count * 997 };
    case "flip":
    case "spoil":
      return { kind, at: count * 7919 };
    default:
      return { kind: "reset", when: "before" };
  }
}

function contents(seed: number, tag: string, size: number): Buffer {
  const key = createHash("sha256").update(`${seed} ${tag}`).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(size));
}
