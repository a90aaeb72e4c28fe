import type { Signer } from "ethers";
import type { ChainReader } from "./chain/reader.ts";
import { RelayCalls, relayData } from "./chain/relay.ts";
import type { Rpc } from "./chain/rpc.ts";
import type { Deployment } from "./protocol/deployment.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address, Hex } from "./protocol/hex.ts";
import { curable, type Reason } from "./protocol/reasons.ts";
import { encodeItem, type Item, type Signed, statementId } from "./protocol/statements.ts";
import type { Head } from "./protocol/wire.ts";
import { newestBlock, Purse } from "./purse.ts";
import { type Posted, type PostOrder, type Relay, refused, type Said } from "./relay.ts";
import { orAbort } from "./transfer/parts.ts";
import { pause } from "./waiting.ts";

/** Statements of the same moment come within this time, and travel together. */
const GATHER_MS = 30;
/** How often the chain is looked at while something is on its way. */
const POLL_MS = { least: 100, most: 2_000 };
/** Looks in a row that may fail before whoever waits is told. */
const TRIES = 6;
const BACK_OFF_MS = { first: 200, most: 5_000 };
/** How long a statement waits for another one that it needs, and that may be a block behind. */
const CURE_MS = 30_000;
/** How long a statement without a deadline is tried; its author waits no longer either. */
const LIFE_MS = 300_000;
/** Nodes refuse transactions over 128 KiB; the rest is for the envelope, its signature, and each item's frame. */
const MAX_CALL_BYTES: number = 120 * 1024;
const FRAME_BYTES = 256;

export interface SelfRelayOptions {
  readonly rpc: Rpc;
  readonly reader: ChainReader;
  readonly deployment: Deployment;
  readonly signer: Signer;
  readonly account: Address;
  readonly maxFeePerGas: bigint;
}

/**
 * A member that pays for its own statements. One transaction of ours is on its way at a time, and the next one carries
 * what has come meanwhile. What has become of a statement, the contract says in a simulation: "duplicate" at the depth that
 * counts means that it stands, whoever relayed it; so a transaction that was lost, replaced or undone is simply followed by
 * another one.
 */
export class SelfRelay implements Relay {
  readonly #options: SelfRelayOptions;
  readonly #calls: RelayCalls;
  readonly #purse: Purse;
  readonly #parcels = new Map<Hex, Parcel>();
  readonly #end = new AbortController();
  /** The chain and the contract are those of the deployment. */
  #checked: Promise<unknown> | null = null;
  #running = false;
  /** Has something come that the last turn did not see? */
  #fresh = false;
  #ring = (): void => {};

  constructor(options: SelfRelayOptions) {
    this.#options = options;
    this.#calls = new RelayCalls(options.rpc, options.deployment, options.account);
    this.#purse = new Purse({ ...options, calls: this.#calls });
  }

  check(): Promise<void> {
    return this.#purse.check();
  }

  async post(signed: Signed<Said>, { at, signal }: PostOrder = {}): Promise<Posted> {
    this.#end.signal.throwIfAborted();
    const id = statementId(signed.statement, signed.author);
    const parcel = this.#parcels.get(id) ?? new Parcel(id, signed, at);
    this.#parcels.set(id, parcel);
    this.#fresh = true;
    if (this.#running) this.#ring();
    else void this.#run();
    await (signal ? orAbort(parcel.out, signal) : parcel.out);
    return parcel;
  }

  close(): void {
    this.#end.abort(new WaybillError("ABORTED", "The contractor was closed."));
    for (const parcel of this.#parcels.values()) parcel.fail(this.#end.signal.reason as WaybillError);
  }

  /** Never rejects: whatever happens is told to the parcels. */
  async #run(): Promise<void> {
    this.#running = true;
    let failures = 0;
    let wait = GATHER_MS;
    while (this.#parcels.size > 0 && (await this.#rest(wait))) {
      try {
        await this.#turn();
        failures = 0;
      } catch (error) {
        failures += 1;
        if (failures >= TRIES || !isPassing(error)) this.#failAll(error);
      }
      this.#expire();
      const { least, most } = POLL_MS;
      wait = Math.min(most, Math.max(least, this.#options.deployment.blockTime / 2));
      if (failures > 0) wait = Math.random() * Math.min(BACK_OFF_MS.most, BACK_OFF_MS.first * 2 ** failures);
    }
    this.#running = false;
  }

  /** Waits, or a little when something new comes. False when all is over. */
  async #rest(ms: number): Promise<boolean> {
    const rung = new AbortController();
    this.#ring = () => rung.abort();
    const early = AbortSignal.any([rung.signal, this.#end.signal]);
    await pause(this.#fresh ? GATHER_MS : ms, early).catch(() => pause(GATHER_MS, this.#end.signal).catch(() => {}));
    return !this.#end.signal.aborted;
  }

  /** What is out may come to stand, and is tried on. */
  #failAll(error: unknown): void {
    for (const parcel of this.#parcels.values()) if (!parcel.isOut) this.#fail(parcel, faultOf(error));
  }

  /** Of what is out the chain alone tells, to whoever waits for it: it is only not tried any more. */
  #expire(): void {
    for (const parcel of this.#parcels.values()) {
      if (!parcel.isOver()) continue;
      if (parcel.isOut) this.#parcels.delete(parcel.id);
      else this.#fail(parcel, unsent());
    }
  }

  /** One look at the chain, and at most one transaction. */
  async #turn(): Promise<void> {
    this.#fresh = false;
    const tip = await this.#tip();
    for (const parcel of this.#parcels.values()) parcel.live(tip, this.#options.deployment.maxBlockAge);
    const [way, gasCap] = await Promise.all([this.#purse.look(tip.block), this.#calls.gasCap(tip.block)]);
    const ready = await this.#judge({ block: tip.block, gasCap });
    if (way === "stuck") await this.#purse.bump();
    else if (way === "free") await this.#send(this.#again(ready), gasCap);
  }

  /** Of the node that answers all else, too: another one may be a block ahead. */
  async #tip(): Promise<Head> {
    const { reader, rpc } = this.#options;
    this.#checked ??= reader.tip().catch((error: unknown) => {
      this.#checked = null;
      throw error;
    });
    await this.#checked;
    return newestBlock(rpc);
  }

  /** Parts with what stands and what never will; answers what can be relayed now. */
  async #judge(scene: Scene): Promise<Parcel[]> {
    const verdicts = await this.#ask([...this.#parcels.values()], scene);
    const by = (test: (reason: Reason) => boolean): Parcel[] =>
      [...verdicts].filter(([, reason]) => test(reason)).map(([parcel]) => parcel);
    const ready = by((reason) => reason === "OK");
    for (const parcel of ready) parcel.ailing = null;
    await this.#settle(
      by((reason) => reason === "DUPLICATE"),
      scene,
    );
    const refusals = by((reason) => reason !== "OK" && reason !== "DUPLICATE");
    // Only what the chain says as it stands counts, and not what goes before in the same simulation.
    const standing = ready.length > 0 && refusals.length > 0 ? await this.#alone(refusals, scene) : verdicts;
    for (const parcel of refusals) this.#refuse(parcel, standing.get(parcel));
    return ready;
  }

  async #alone(parcels: readonly Parcel[], scene: Scene): Promise<Map<Parcel, Reason>> {
    const found = await Promise.all(parcels.map((parcel) => this.#ask([parcel], scene)));
    return new Map(found.flatMap((verdicts) => [...verdicts]));
  }

  #refuse(parcel: Parcel, reason: Reason | undefined): void {
    if (reason === undefined || reason === "OK" || reason === "DUPLICATE") return;
    parcel.ailing ??= performance.now();
    if (!curable.has(reason) || performance.now() - parcel.ailing > CURE_MS) this.#fail(parcel, refused(reason));
  }

  /** What stands at the newest block is out; it is done with at the block that counts. */
  async #settle(parcels: readonly Parcel[], { block, gasCap }: Scene): Promise<void> {
    for (const parcel of parcels) parcel.leave();
    if (parcels.length === 0) return;
    const head = Math.max(0, block - this.#options.deployment.confirmations);
    const verdicts = await this.#ask(parcels, { block: head, gasCap });
    for (const [parcel, reason] of verdicts) if (reason === "DUPLICATE") this.#parcels.delete(parcel.id);
  }

  /** What the contract would say to each; nothing where that can't be learned. */
  async #ask(parcels: readonly Parcel[], scene: Scene): Promise<Map<Parcel, Reason>> {
    const verdicts = new Map<Parcel, Reason>();
    for (let rest = parcels; rest.length > 0; ) {
      let some = fitting(rest);
      for (;;) {
        const results = await this.#calls.simulate(some.map(itemOf), scene.block, scene.gasCap);
        for (const [i, parcel] of some.entries()) if (results?.[i]?.[0]) verdicts.set(parcel, results[i][0]);
        if (results || some.length === 1) break;
        some = some.slice(0, Math.ceil(some.length / 2));
      }
      rest = rest.slice(some.length);
    }
    return verdicts;
  }

  /** What a wallet's owner has cancelled is not put before it once more. */
  #again(ready: readonly Parcel[]): Parcel[] {
    if (!this.#purse.isWallet) return [...ready];
    for (const parcel of ready) if (parcel.isOut) this.#fail(parcel, cancelled());
    return ready.filter(({ isOut }) => !isOut);
  }

  async #send(ready: readonly Parcel[], gasCap: number): Promise<void> {
    if (ready.length === 0) return;
    for (let some = fitting(ready); ; some = some.slice(0, Math.ceil(some.length / 2))) {
      const items = some.map(itemOf);
      const gasLimit = await this.#calls.gasLimit(items, gasCap);
      if (gasLimit === null && some.length > 1) continue;
      if (gasLimit === null) return this.#fail(some[0]!, tooLarge());
      if (await this.#purse.send(relayData(items), gasLimit)) for (const parcel of some) parcel.leave();
      return;
    }
  }

  #fail(parcel: Parcel, error: WaybillError): void {
    this.#parcels.delete(parcel.id);
    parcel.fail(error);
  }
}

/** The block that is asked, and what a transaction may use there. */
interface Scene {
  readonly block: number;
  readonly gasCap: number;
}

/** A statement of ours on its way. */
class Parcel implements Posted {
  readonly id: Hex;
  readonly item: Item;
  /** Since when it waits for another statement. */
  ailing: number | null = null;
  isOut = false;
  /** Resolves when a node has it, or when it stands. */
  readonly out: Promise<void>;
  readonly #at: number | undefined;
  readonly #failed: Promise<WaybillError>;
  #leave!: () => void;
  #reject!: (error: WaybillError) => void;
  #tell!: (error: WaybillError) => void;
  #end: number | null = null;

  constructor(id: Hex, { statement, signature }: Signed<Said>, at: number | undefined) {
    this.id = id;
    this.item = encodeItem(statement, [signature]);
    this.#at = at;
    this.out = new Promise((resolve, reject) => {
      this.#leave = resolve;
      this.#reject = reject;
    });
    this.out.catch(() => {}); // heard by whoever posts
    this.#failed = new Promise((resolve) => {
      this.#tell = resolve;
    });
  }

  leave(): void {
    this.isOut = true;
    this.#leave();
  }

  fail(error: WaybillError): void {
    this.#reject(error);
    this.#tell(error);
  }

  failure(signal: AbortSignal): Promise<WaybillError> {
    return orAbort(this.#failed, signal);
  }

  /** The contract says when it is too late; but on a chain that stands still, and without a deadline, our own clock does. */
  live(tip: Head, grace: number): void {
    const life = this.#at === undefined ? LIFE_MS : Math.max(0, this.#at - tip.timestamp) * 1000 + grace;
    this.#end ??= performance.now() + life;
  }

  isOver(): boolean {
    return this.#end !== null && performance.now() > this.#end;
  }
}

const itemOf = ({ item }: Parcel): Item => item;

/** As many, from the first, as one transaction may carry; at least one. */
function fitting(parcels: readonly Parcel[]): readonly Parcel[] {
  let bytes = MAX_CALL_BYTES;
  const end = parcels.findIndex(({ item }) => {
    bytes -= FRAME_BYTES + (item.data.length + item.signatures.length) / 2;
    return bytes < 0;
  });
  return end < 0 ? parcels : parcels.slice(0, Math.max(1, end));
}

/** Does this pass by itself? */
function isPassing(error: unknown): boolean {
  return error instanceof WaybillError && error.code === "UNAVAILABLE";
}

/** What is none of ours comes from the signer. */
function faultOf(error: unknown): WaybillError {
  if (error instanceof WaybillError) return error;
  const message = "The signer did not sign the transaction that would have relayed the statement.";
  return new WaybillError("NOT_PUBLISHED", message, { cause: error, details: { reason: "NOT_SIGNED" } });
}

function cancelled(): WaybillError {
  const message = "The wallet's transaction took no effect: it was cancelled or replaced.";
  return new WaybillError("NOT_PUBLISHED", message, { details: { reason: "WALLET_REFUSED" } });
}

function unsent(): WaybillError {
  const message =
    "The statement could not be relayed in time: gas was above maxFeePerGas, or another transaction of your account kept it waiting. Try again.";
  return new WaybillError("NOT_PUBLISHED", message, { details: { reason: "NOT_RELAYED" } });
}

function tooLarge(): WaybillError {
  const message = "The statement takes more gas than one transaction may use on this chain.";
  return new WaybillError("NOT_PUBLISHED", message, { retryable: false, details: { reason: "TOO_MUCH_GAS" } });
}
