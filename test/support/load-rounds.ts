import { createHash, randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { parseLogs, taskEventOf } from "../../lib/chain/events.ts";
import { type Address, type Hex, toBase64 } from "../../lib/protocol/hex.ts";
import { DEFAULT_PART_SIZE } from "../../lib/protocol/limits.ts";
import {
  compositeChecksum,
  encodeManifest,
  type Manifest,
  manifestDigest,
  transferId,
} from "../../lib/protocol/manifest.ts";
import { bitmapOf, type Notice, noticeId, placeOf } from "../../lib/protocol/statements.ts";
import { Dice } from "./crowd.ts";
import type { Generator, Step } from "./load.ts";

/** Bytes of a payload: the functions never see any. */
const PAYLOAD = 512;
const RECIPIENTS = 2;
/** Seconds; no run lasts longer. */
const DEADLINE = 6 * 3600;
const LOOK_MS = 250;

/** Whose task it is in which rounds are made. */
export interface RoundsTask {
  readonly task: Hex;
  /** In the order of their indices. */
  readonly accounts: readonly Address[];
  readonly rpc: string;
  readonly contract: Address;
}

interface Url {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * What members ask in a round, each asking on when it has its answer: a sender begins, has a part's URL signed, uploads and
 * finishes; two recipients look at the events, ask for the download, fetch it and sign their receipts; at the end the sender
 * looks at its notice. Ten signed requests, of which three carry statements for the chain.
 */
export class Rounds {
  readonly #task: RoundsTask;
  readonly #generator: Generator;
  readonly #dice: Dice;
  readonly #seen: Seen;
  readonly #running = new Set<Promise<void>>();
  begun = 0;
  finished = 0;
  /** Answers that nobody should get, whatever the load. */
  readonly faults: string[] = [];

  constructor(task: RoundsTask, generator: Generator, seed: number) {
    this.#task = task;
    this.#generator = generator;
    this.#dice = new Dice(seed);
    this.#seen = new Seen(task);
  }

  start(): void {
    this.begun += 1;
    const round = this.#toItsEnd();
    this.#running.add(round);
    void round.then(() => this.#running.delete(round));
  }

  get running(): number {
    return this.#running.size;
  }

  stop(): void {
    this.#seen.stop();
  }

  async #toItsEnd(): Promise<void> {
    try {
      await this.#round();
      this.finished += 1;
    } catch (error) {
      this.faults.push((error as Error).message);
    }
  }

  async #round(): Promise<void> {
    const { sender, recipients, page, bits } = this.#cast();
    const path = `/v1/tasks/${this.#task.task}`;
    const payload = randomBytes(PAYLOAD);
    const part = { number: 1, length: PAYLOAD, sha256: createHash("sha256").update(payload).digest("base64") };
    const manifest = manifestOf(`load/${randomBytes(12).toString("hex")}`, part.sha256);
    const transfer = transferId(manifest.tag);
    const own = `${path}/transfers/${transfer}`;
    const ask = (who: number, route: string, step: Pick<Step, "method" | "path"> & Partial<Step>): Promise<unknown> =>
      this.#generator.ask({ who, route, ...step });

    await ask(sender, "begin", { method: "POST", path: `${path}/transfers`, body: { transfer, size: PAYLOAD } });
    const signed = await ask(sender, "signParts", { method: "POST", path: `${own}/parts`, body: { parts: [part] } });
    await exchange("PUT", (signed as { urls: readonly Url[] }).urls[0]!, payload);
    const bytes = encodeManifest(manifest);
    const notice: Notice = {
      ...{ kind: "notice", task: this.#task.task, sender: this.#task.accounts[sender]!, page, transfer },
      ...{ recipients: bitmapOf(bits), manifest: manifestDigest(bytes) },
      deadline: Math.floor(Date.now() / 1000) + DEADLINE,
    };
    const accounts = recipients.map((who) => this.#task.accounts[who]!);
    const body = { manifest: toBase64(bytes), notices: [{ notice, signature: "$signature", recipients: accounts }] };
    const finish = { method: "POST", path: `${own}/finish`, body, statement: notice } as const;
    while (((await ask(sender, "finish", finish)) as { state: string }).state === "completing");
    const id = noticeId(notice);
    await this.#seen.noticed(id);
    await Promise.all(recipients.map((who) => this.#receive(who, path, id, payload)));
    await this.#seen.received(id, RECIPIENTS);
    await ask(sender, "readNotice", { method: "GET", path: `${path}/notices/${id}` });
  }

  async #receive(who: number, path: string, notice: Hex, payload: Buffer): Promise<void> {
    const ask = (route: string, step: Pick<Step, "method" | "path"> & Partial<Step>): Promise<unknown> =>
      this.#generator.ask({ who, route, ...step });
    await ask("readEvents", { method: "GET", path: `${path}/events` });
    const granted = (await ask("download", { method: "POST", path: `${path}/notices/${notice}/download` })) as Url;
    const got = await exchange("GET", granted);
    if (!payload.equals(got)) throw new Error("other bytes came than were sent");
    await ask("postReceipt", {
      ...{ method: "POST", path: `${path}/receipts` },
      body: { notice, outcome: "VERIFIED", signature: "$signature" },
      statement: { kind: "receipt", task: this.#task.task, notice, outcome: "VERIFIED" },
    });
  }

  /** Whoever it is, recipients of one notice are of one page. */
  #cast(): { sender: number; recipients: number[]; page: number; bits: number[] } {
    const all = this.#task.accounts.map((_, index) => index);
    const { page } = placeOf(this.#dice.pick(all.slice(0, -RECIPIENTS)));
    const onPage = all.filter((index) => placeOf(index).page === page);
    const recipients = this.#dice.some(onPage, RECIPIENTS).toSorted((a, b) => a - b);
    const sender = this.#dice.pick(all.filter((index) => !recipients.includes(index)));
    return { sender, recipients, page, bits: recipients.map((index) => placeOf(index).bit) };
  }
}

function manifestOf(tag: string, digest: string): Manifest {
  const parts = [digest];
  return {
    ...{ version: 1, tag, size: PAYLOAD, partSize: DEFAULT_PART_SIZE, parts, checksum: compositeChecksum(parts) },
    contentType: "application/octet-stream",
  };
}

/** One presigned request of the store, which has nothing to refuse. */
async function exchange(method: string, { url, headers }: Url, body?: Buffer): Promise<Buffer> {
  const answer = await fetch(url, { method, headers: { ...headers }, ...(body && { body: new Uint8Array(body) }) });
  const bytes = Buffer.from(await answer.arrayBuffer());
  if (!answer.ok) throw new Error(`the store answered ${method} with ${answer.status}`);
  return bytes;
}

/** What stands on the chain, read past the server: what it accepted must come there. */
class Seen {
  readonly #task: RoundsTask;
  readonly #receipts = new Map<Hex, number>();
  readonly #waiting = new Map<Hex, { least: number; reach: () => void }>();
  #next: number | null = null;
  #stopped = false;

  constructor(task: RoundsTask) {
    this.#task = task;
    void this.#watch();
  }

  stop(): void {
    this.#stopped = true;
  }

  noticed(notice: Hex): Promise<void> {
    return this.received(notice, 0);
  }

  received(notice: Hex, least: number): Promise<void> {
    if ((this.#receipts.get(notice) ?? -1) >= least) return Promise.resolve();
    return new Promise((reach) => this.#waiting.set(notice, { least, reach }));
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      await this.#look().catch(() => undefined); // the next look sees the same blocks
      await delay(LOOK_MS);
    }
  }

  async #look(): Promise<void> {
    const head = Number(await this.#rpc("eth_blockNumber"));
    this.#next ??= head;
    if (head < this.#next) return;
    const range = { fromBlock: `0x${this.#next.toString(16)}`, toBlock: `0x${head.toString(16)}` };
    const logs = parseLogs(await this.#rpc("eth_getLogs", { address: this.#task.contract, ...range }));
    this.#next = head + 1;
    for (const log of logs) {
      const event = taskEventOf(log);
      if (event?.type === "noticed") this.#count(noticeId({ ...event, kind: "notice" }), 0);
      if (event?.type === "receipts")
        for (const { notice, signatures } of event.receipts) this.#count(notice, signatures.length);
    }
  }

  #count(notice: Hex, more: number): void {
    const count = (this.#receipts.get(notice) ?? 0) + more;
    this.#receipts.set(notice, count);
    const waiting = this.#waiting.get(notice);
    if (waiting === undefined || count < waiting.least) return;
    this.#waiting.delete(notice);
    waiting.reach();
  }

  async #rpc(method: string, ...params: unknown[]): Promise<unknown> {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(this.#task.rpc, { method: "POST", headers, body });
    return ((await answer.json()) as { result: unknown }).result;
  }
}
