import { keccak256, Transaction } from "ethers";
import type { FeePolicy, Fees } from "../lib/chain/fees.ts";
import { relayData } from "../lib/chain/relay.ts";
import { type Address, type Hex, toHex } from "../lib/protocol/hex.ts";
import type { Reason } from "../lib/protocol/reasons.ts";
import type { Domain, Item } from "../lib/protocol/statements.ts";
import { Ahead } from "./ahead.ts";
import { costOf, isOverdue, MAX_ATTEMPTS, maxFeeOf, NOOP_GAS, policyFor, raised } from "./attempts.ts";
import type { Book, Claim, Line } from "./book.ts";
import { broadcast, isMined } from "./broadcast.ts";
import type { Claims } from "./claims.ts";
import { Endings } from "./endings.ts";
import type { Failures } from "./failures.ts";
import type { Notes } from "./notes.ts";
import type { Entry, Outbox } from "./outbox.ts";
import { gasFor, itemOf, type Packet } from "./packing.ts";
import type { Relayer } from "./relay.ts";
import { type Simulate, type Skip, select } from "./selection.ts";
import type { Standing, Teller } from "./telling.ts";
import { judge, standingReasons } from "./verdicts.ts";
import type { Scene, Viewpoint } from "./viewpoint.ts";

/** What every turn works with. */
export interface Desk {
  readonly domain: Domain;
  readonly relayer: Relayer;
  readonly fees: FeePolicy;
  readonly blockTime: number;
  readonly maxWait: number;
  readonly now: () => number;
  readonly outbox: Outbox;
  readonly claims: Claims;
  readonly notes: Notes;
  readonly teller: Teller;
}

/** `pending` statements are not settled; `moved`: something happened, so another step at once may do more. */
export interface Progress {
  readonly pending: number;
  readonly moved: boolean;
}

/** Claims below the final nonce that are looked at, so that a restarted worker still finds its transactions. */
const CLAIMS_BACK = 32;
/** Transactions that may be on their way at the same time: a few blocks full, and no more than nodes keep of one account. */
const MAX_UNMINED = 8;
/** What a transaction does. */
interface Deed {
  readonly to: Address;
  readonly data: Hex;
  readonly gasLimit: number;
  readonly statements: readonly Hex[];
}

/** What goes nowhere now. */
interface Left {
  readonly skips: readonly Skip[];
  readonly tooLarge: readonly Entry[];
}

/** What goes as one transaction. */
interface Fitted {
  readonly packets: readonly Packet[];
  readonly items: readonly Item[];
  readonly gasLimit: number;
}

/**
 * One step of a publisher, at one node.
 *
 * Why each statement is on the chain exactly once or refused, whoever dies and however many work: the contract counts none
 * twice; an entry goes only after its settlement is written, and that only on the word of a final block; and a statement that
 * we refuse although it could take effect some day is first written into a slot, after which nobody claims it (see #refuse).
 */
export class Turn {
  readonly #desk: Desk;
  readonly #node: Viewpoint;
  readonly #others: readonly Viewpoint[];
  #scene: Scene;
  #book: Book;
  readonly #endings: Endings;
  /** Somebody else wrote what we wanted to write: what we know is old. */
  #overtaken = false;

  private constructor(
    desk: Desk,
    nodes: readonly [Viewpoint, ...Viewpoint[]],
    seen: { scene: Scene; book: Book; waiting: readonly Entry[] },
  ) {
    this.#desk = desk;
    [this.#node, ...this.#others] = nodes;
    this.#scene = seen.scene;
    this.#book = seen.book;
    this.#endings = new Endings(desk, seen.waiting);
  }

  /** Looks at the chain, then at the claims (so those of every mined nonce are among them), then at the outbox. */
  static async begin(desk: Desk, node: Viewpoint, others: readonly Viewpoint[]): Promise<Turn> {
    const scene = await node.look();
    const book = await claimsOf(desk, scene);
    return new Turn(desk, [node, ...others], { scene, book, waiting: await desk.outbox.pending() });
  }

  /** Whether a transaction of ours is on its way. */
  get unmined(): boolean {
    return this.#book.lines(this.#scene.next).length > 0;
  }

  get standing(): Standing {
    const { tip, balance } = this.#scene;
    return { tip, balance, pending: this.#endings.size, oldest: this.#endings.waiting()[0]?.arrival ?? null };
  }

  async run(signal?: AbortSignal): Promise<Progress> {
    const before = this.#endings.size;
    const failures = await this.#moveOut();
    await this.#replace();
    const left = await this.#fill(failures);
    await this.#closeGap();
    await this.#broadcast();
    // While the chain is at it, there is time for the bucket.
    await this.#endings.settle();
    await this.#judge(left, failures);
    await this.#endings.settle();
    const mined = await this.#mined(signal);
    if (mined) {
      this.#scene = await this.#node.look();
      await this.#moveOut();
      await this.#endings.settle();
    }
    this.#desk.notes.turn();
    return { pending: this.#endings.size, moved: mined || this.#endings.size < before };
  }

  #moveOut(): Promise<Failures> {
    return this.#endings.moveOut(this.#node, this.#scene, this.#book);
  }

  // ---- what goes on its way

  /** A transaction that the chain waits for and doesn't take gets a successor that pays more, and in the end does nothing. */
  async #replace(): Promise<void> {
    const line = this.#book.at(this.#scene.next);
    const last = line.attempts.at(-1);
    if (!last || !isOverdue(line, { ...this.#scene, now: this.#desk.now() })) return;
    const attempt = line.attempts.length;
    const policy = policyFor(attempt, this.#desk.fees);
    const market = await this.#fees(policy);
    const fees = market && raised(last, market, policy);
    if (!fees) return;
    const { to, data } = Transaction.from(last.raw);
    const same = { ...last, to: toHex(String(to).toLowerCase()), data: toHex(data) };
    if (attempt === MAX_ATTEMPTS)
      this.#desk.notes.alarm("NONCE_GIVEN_UP", "a nonce is given up", { nonce: line.nonce, attempt });
    await this.#claim(line, attempt < MAX_ATTEMPTS ? same : this.#nothing(), fees, last);
  }

  /**
   * Claims transactions for what would take effect, and answers what wouldn't. One fills up before the next one begins, and
   * they are mined in their order; what needs one that isn't mined yet waits for the next turn (see Ahead).
   */
  async #fill(failures: Failures): Promise<Left> {
    const { gasCap, tip, time, next } = this.#scene;
    const inFlight = this.#book.statements(this.#scene.final);
    const ahead = new Ahead();
    ahead.add(this.#endings.of(this.#book.statements(next)));
    const idle = this.#endings.waiting().filter(({ id }) => !inFlight.has(id));
    const groups = failures.groups(idle, time);
    const left = { skips: [] as Skip[], tooLarge: [] as Entry[] };
    const simulate: Simulate = (items) => this.#node.simulate(items, tip, gasCap);
    while (groups.length > 0 && !this.#overtaken && this.#book.lines(next).length < MAX_UNMINED) {
      const { entries, suspicious } = groups.shift()!;
      const free = entries.filter((entry) => !ahead.holds(entry));
      const { packets, skips, tooLarge, rest } = await select(free, gasCap, simulate, ahead.touched);
      left.skips.push(...skips);
      left.tooLarge.push(...tooLarge);
      if (packets.length === 0) continue;
      const sent = await this.#write(packets, suspicious);
      if (!sent) break;
      // One that can't go alone holds up its own task, because others may build on it, but nobody else's.
      if (sent.length === 0) ahead.close(packets[0]!.task);
      ahead.add(sent.flatMap((packet) => packet.entries));
      const more = [...packets.slice(sent.length).flatMap((packet) => packet.entries), ...rest];
      if (more.length > 0) groups.unshift({ entries: more, suspicious });
    }
    return left;
  }

  /** Claims the next free nonce for the packets, or as many of them as fit; null if nothing can be claimed now. */
  async #write(packets: readonly Packet[], suspicious: boolean): Promise<readonly Packet[] | null> {
    const fees = await this.#fees(policyFor(0, this.#desk.fees));
    if (!fees) return null;
    const all = { gasLimit: this.#scene.gasCap, maxFee: maxFeeOf(fees) };
    const fitted = await this.#fit(packets, suspicious && this.#affords(all));
    if (!fitted) return [];
    const deed = {
      to: this.#desk.domain.contract,
      data: relayData(fitted.items),
      gasLimit: fitted.gasLimit,
      statements: fitted.packets.flatMap(({ entries }) => entries.map(({ id }) => id)),
    };
    const line = this.#book.at(this.#book.free(this.#scene.next));
    return (await this.#claim(line, deed, fees)) ? fitted.packets : null;
  }

  /**
   * As many of the packets, from the first, as one transaction can carry. What is suspected to use more gas on the chain
   * than when simulated may use all, if that can be paid: what isn't used isn't paid.
   */
  async #fit(packets: readonly Packet[], withAll: boolean): Promise<Fitted | null> {
    const { tip, gasCap } = this.#scene;
    const gasLimit = withAll ? gasCap : Math.min(gasCap, Math.ceil(gasFor(packets)));
    const items = packets.map(itemOf);
    if (await this.#node.simulate(items, tip, gasLimit)) return { packets, items, gasLimit };
    const estimated = await this.#estimate(packets); // this chain prices gas in its own way
    if (!estimated) this.#desk.notes.tell("the node can't estimate the next statement's gas: waiting");
    return estimated;
  }

  async #estimate(packets: readonly Packet[]): Promise<Fitted | null> {
    for (let some = packets; ; some = some.slice(0, Math.ceil(some.length / 2))) {
      const items = some.map(itemOf);
      const gasLimit = await this.#node.gasLimit(items, this.#scene.gasCap);
      if (gasLimit !== null) return { packets: some, items, gasLimit };
      if (some.length === 1) return null;
    }
  }

  /**
   * Fills a nonce that nobody claimed below one that somebody did: there was a foreign transaction of our key that a reorg
   * undid. The others would wait for it for ever.
   */
  async #closeGap(): Promise<void> {
    for (;;) {
      const line = this.#book.at(this.#book.free(this.#scene.next));
      if (line.nonce > this.#book.highest || this.#overtaken) return;
      const fees = await this.#fees(policyFor(0, this.#desk.fees));
      if (!fees || !(await this.#claim(line, this.#nothing(), fees))) return;
    }
  }

  #nothing(): Deed {
    return { to: this.#desk.relayer.address, data: "0x", gasLimit: NOOP_GAS, statements: [] };
  }

  async #fees(policy: FeePolicy): Promise<Fees | null> {
    const fees = await this.#node.fees(policy);
    if (!fees) this.#desk.notes.alarm("FEES_ABOVE_CAP", "fees are above the cap: waiting until they fall");
    return fees;
  }

  /** Signs a transaction and writes it down, before anybody else can see it. */
  async #claim(line: Line, { to, data, gasLimit, statements }: Deed, fees: Fees, replaced?: Claim): Promise<boolean> {
    const { relayer, domain, claims, now, teller } = this.#desk;
    const maxFee = maxFeeOf(fees);
    if (!this.#canPay({ gasLimit, maxFee }, replaced)) return false;
    const { nonce, nextSlot: slot } = line;
    const raw = await relayer.sign({ ...fees, chainId: domain.chainId, nonce, to, data, gasLimit, value: 0 });
    const { tip: block, time } = this.#scene;
    const signed = { transaction: toHex(keccak256(raw)), raw, gasLimit, maxFee, statements };
    const claim = { nonce, slot, ...signed, claimed: now(), block, time };
    if (await claims.claim(claim)) {
      this.#book = this.#book.with(claim);
      teller.claimed(claim, line.attempts.length, this.#endings.of(statements));
    } else this.#overtaken = true;
    return !this.#overtaken;
  }

  /** Nodes drop what the account can't pay together with everything before it; and a raise would not cure that. */
  #canPay(wanted: Pick<Claim, "gasLimit" | "maxFee">, replaced?: Claim): boolean {
    const enough = this.#affords(wanted, replaced);
    const { relayer, notes } = this.#desk;
    if (!enough)
      notes.alarm("NO_FUNDS", "insufficient funds: waiting until the account is filled", { account: relayer.address });
    return enough;
  }

  #affords(wanted: Pick<Claim, "gasLimit" | "maxFee">, replaced?: Claim): boolean {
    const unmined = this.#book.lines(this.#scene.next).flatMap(({ attempts }) => attempts.at(-1) ?? []);
    const costs = [wanted, ...unmined.filter((claim) => claim !== replaced)].map(costOf);
    return costs.reduce((sum, cost) => sum + cost, 0n) <= this.#scene.balance;
  }

  // ---- what goes nowhere

  async #judge({ skips, tooLarge }: Left, failures: Failures): Promise<void> {
    const isOld = (entry: Entry): boolean => this.#isOld(entry);
    const { head, gasCap, final } = this.#scene;
    const skipped = skips.map(({ entry }) => entry);
    const atHead = await standingReasons(skipped, (items) => this.#node.simulate(items, head, gasCap));
    const verdicts = judge(skips, atHead, isOld);
    for (const entry of verdicts.there) this.#endings.end(entry, { state: "settled", transaction: null, block: head });
    for (const [entry, reason] of verdicts.void) this.#endings.end(entry, { state: "refused", reason });
    const inFlight = this.#book.statements(final);
    const old = this.#endings.waiting().filter((entry) => isOld(entry) && !inFlight.has(entry.id));
    const hopeless = old.flatMap((entry) => {
      const reason = failures.verdictOn(entry.id);
      return reason ? [[entry, reason] as const] : [];
    });
    const never = tooLarge.filter(isOld).map((entry) => [entry, "TOO_LARGE"] as const);
    await this.#refuse(new Map<Entry, Reason>([...verdicts.refused, ...hopeless, ...never]));
  }

  /** It has had its time, and the chain too: where no block was made since, nothing that it waits for could come. */
  #isOld({ arrival }: Entry): boolean {
    const { now, maxWait } = this.#desk;
    return now() - arrival > maxWait && this.#scene.time >= Math.floor(arrival / 1000);
  }

  /**
   * Refuses what could still take effect some day: so it must be certain that no worker has claimed it, or ever will.
   *
   * The refusal is written into the next slot of the first free nonce. Everybody who claims writes into the first free
   * slot that it knows of: whoever doesn't know of the refusal has lost that slot, and looks again; whoever knows of it
   * doesn't claim what it names. And where every nonce that isn't final has a transaction, there is no other place to claim,
   * unless another node shows a transaction of somebody else's there: who saw that has claimed a higher nonce. So the claims
   * are looked at once more, and a refusal is void when a higher one names its statement.
   */
  async #refuse(refused: ReadonlyMap<Entry, Reason>): Promise<void> {
    const { final, next } = this.#scene;
    const line = this.#book.at(this.#book.free(final));
    if (refused.size === 0 || this.#overtaken || line.nonce < next) return;
    const { nonce, nextSlot: slot } = line;
    const named = [...refused].map(([{ id }, reason]) => ({ id, reason }));
    if (!(await this.#desk.claims.refuse({ nonce, slot, refused: named }))) return;
    this.#book = await claimsOf(this.#desk, this.#scene);
    const standing = new Set(this.#book.refusals.map(({ id }) => id));
    for (const [entry, reason] of refused)
      if (standing.has(entry.id)) this.#endings.end(entry, { state: "refused", reason });
  }

  // ---- what is under way

  /** What the chain waits for, and what the node doesn't know: it may have forgotten it, or whoever claimed it died. */
  async #broadcast(): Promise<void> {
    const { next, known } = this.#scene;
    const lines = this.#book.lines(next).filter((line) => line.nonce === next || line.nonce >= known);
    await broadcast(
      [this.#node, ...this.#others],
      lines.map(({ attempts }) => attempts.at(-1)!),
      this.#desk.notes,
    );
  }

  /** Waits until something of ours is mined. */
  async #mined(signal?: AbortSignal): Promise<boolean> {
    const { next } = this.#scene;
    return this.#book.lines(next).length > 0 && isMined(this.#node, next, this.#desk.blockTime, signal);
  }
}

function claimsOf({ claims }: Desk, { final }: Scene): Promise<Book> {
  return claims.since(Math.max(0, final - CLAIMS_BACK));
}
