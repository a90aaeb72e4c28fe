import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { inspect } from "node:util";
import type { Wallet } from "ethers";
import { SharedFileDataChannel, TaskContractor, WaybillError } from "../../lib/index.ts";
import type { Delivered, End, OtherMade, ReceiveMade, SendMade } from "./oracle-evidence.ts";
import { digestOfFile } from "./oracle-gather.ts";
import type { SoakWorld } from "./soak-world.ts";

// The members of a run, and the record of what their calls gave back.

type Draft<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer U)[] ? U[] : T[K] };
export type SendDraft = Draft<SendMade>;
export type ReceiveDraft = Draft<ReceiveMade> & { target: string | null; readonly life: number };

/** A payload to be sent. */
export interface Parcel {
  readonly from: Member;
  readonly to: readonly Member[];
  readonly tag: string;
  readonly bytes: Buffer;
  readonly as: "bytes" | "file" | "stream";
}

export type Into = "bytes" | "path" | "dir" | "stream";

const PART = 64 * 1024;

/** One account in one task, as one process after the other. */
export class Member {
  readonly world: SoakWorld;
  readonly task: string;
  readonly wallet: Wallet;
  readonly account: string;
  readonly home: string;
  readonly #ownNode: boolean;
  readonly #calls = new Set<AbortController>();
  /** Which process it is. */
  life = 0;
  contractor: TaskContractor;
  channel: SharedFileDataChannel;

  constructor(world: SoakWorld, task: string, wallet: Wallet, ownNode: boolean) {
    this.world = world;
    this.task = task;
    this.wallet = wallet;
    this.account = wallet.address.toLowerCase();
    this.home = join(world.home, "members", `${task.slice(2, 10)}-${this.account}`);
    this.#ownNode = ownNode;
    world.keepSecret(wallet.privateKey.slice(2));
    this.contractor = this.#start();
    this.channel = new SharedFileDataChannel(this.contractor);
  }

  #start(): TaskContractor {
    const { deployment, chain } = this.world;
    const reading = this.#ownNode ? { ...deployment, rpc: chain.proxy.url } : deployment;
    const stateDir = join(this.home, "state");
    return new TaskContractor({
      task: this.task,
      signer: this.wallet,
      deployment: reading,
      stateDir,
      stallTimeout: 3_000,
    });
  }

  /** Its process ends in the midst of everything, and another one begins with its files. */
  async restart(): Promise<void> {
    const old = this.contractor;
    this.life += 1;
    await old.close();
    this.contractor = this.#start();
    this.channel = new SharedFileDataChannel(this.contractor);
  }

  close(): Promise<void> {
    return this.contractor.close();
  }

  /** Ends one of its calls. @returns Whether there was one. */
  abort(which: number): boolean {
    const all = [...this.#calls];
    const one = all[which % Math.max(1, all.length)];
    one?.abort();
    return one !== undefined;
  }

  abortAll(): void {
    for (const call of this.#calls) call.abort();
  }

  /** Sends and notes what came of it. */
  async send(parcel: Parcel, options: { ms: number; all: boolean; calm: boolean }): Promise<SendDraft> {
    const draft: SendDraft = {
      ...{ kind: "send", name: this.#name("send", parcel.tag), task: this.task, by: this.account, tag: parcel.tag },
      ...{ targets: parcel.to.map(({ account }) => account), received: [], notices: [] },
      ...{ end: { state: "unfinished" }, calm: options.calm },
    };
    this.world.calls.push(draft);
    await this.#noting(draft, async (signal) => {
      const received = await this.channel.batchSendStream({
        ...{ target: parcel.to.map(({ wallet }) => wallet.address), tag: parcel.tag, signal, partSize: PART },
        ...{ dataStream: await this.#source(parcel), timeout: options.ms, ensureAllSucc: options.all },
        onNotice: ({ notice }) => draft.notices.push(notice),
      });
      draft.received = received.map((id) => id.toLowerCase());
    }).catch((error: unknown) => {
      const { received } = error instanceof WaybillError ? error.details : {};
      if (Array.isArray(received)) draft.received = received.map((id) => String(id).toLowerCase());
    });
    return draft;
  }

  async #source({ tag, bytes, as }: Parcel) {
    if (as === "bytes") return bytes;
    if (as === "stream") return new Blob([bytes]).stream();
    const path = join(this.home, "out", createHash("sha256").update(tag).digest("hex").slice(0, 16));
    await mkdir(join(this.home, "out"), { recursive: true });
    await writeFile(path, bytes);
    return { path };
  }

  /** Receives one payload and notes what came of it. `place`: names the file or folder. */
  async receive(options: {
    readonly sources: readonly Member[];
    readonly tag: string | null;
    readonly into: Into;
    readonly place: string;
    readonly ms: number;
    readonly calm: boolean;
    readonly notice?: string;
  }): Promise<ReceiveDraft> {
    const { sources, tag, into, place, notice } = options;
    const target = into === "path" || into === "dir" ? join(this.home, "in", place) : null;
    const draft = this.#receiving(options, target);
    await mkdir(join(this.home, "in"), { recursive: true });
    await this.#noting(draft, async (signal) => {
      const common = {
        ...{ source: sources.map(({ account }) => account), ...(tag !== null && { tag }), timeout: options.ms, signal },
        ...(notice !== undefined && { notice }),
        onNotice: (told: { notice: string }) => void draft.notices.push(told.notice),
      };
      const given = async ([source, data]: [string, Uint8Array | string]): Promise<void> =>
        void draft.delivered.push(await delivered(source, data, draft.notices.at(-1) ?? null));
      if (into === "bytes") await given(await this.channel.receiveStream(common));
      else if (into === "stream") {
        const [source, stream] = await this.channel.receiveStream({ ...common, to: "stream" });
        await given([source, new Uint8Array(await new Response(stream).arrayBuffer())]);
      } else
        await given(
          await this.channel.receiveStream({ ...common, to: into === "path" ? { path: target! } : { dir: target! } }),
        );
    }).catch(() => {});
    draft.files.push(...(await filesIn(target, into, sources)));
    return draft;
  }

  /** Receives one payload of each source. */
  async gather(options: {
    sources: readonly Member[];
    ms: number;
    calm: boolean;
    all: boolean;
  }): Promise<ReceiveDraft> {
    const draft = this.#receiving({ ...options, tag: null }, null);
    const noticeOf = new Map<string, string>();
    await this.#noting(draft, async (signal) => {
      const got = await this.channel.batchReceiveStream({
        ...{ sourceList: options.sources.map(({ account }) => account), timeout: options.ms, signal },
        ensureAllSucc: options.all,
        onNotice: ({ source, notice }) => {
          noticeOf.set(source, notice);
          draft.notices.push(notice);
        },
      });
      for (const [source, data] of got)
        draft.delivered.push(await delivered(source, data, noticeOf.get(source) ?? null));
    }).catch(async (error: unknown) => {
      const { received } = error instanceof WaybillError && error.code === "NOT_ALL_RECEIVED" ? error.details : {};
      if (!(received instanceof Map)) return;
      for (const [source, data] of received as Map<string, Uint8Array>)
        draft.delivered.push(await delivered(source, data, noticeOf.get(source) ?? null));
    });
    return draft;
  }

  #receiving(
    { sources, tag, calm, notice }: { sources: readonly Member[]; tag: string | null; calm: boolean; notice?: string },
    target: string | null,
  ): ReceiveDraft {
    const name = this.#name("receive", tag ?? `anything of ${sources.length}`);
    const draft: ReceiveDraft = {
      ...{ kind: "receive", name, task: this.task, by: this.account, tag, delivered: [], notices: [], files: [] },
      ...{ end: { state: "unfinished" }, calm, again: notice !== undefined, target, life: this.life },
    };
    this.world.calls.push(draft);
    return draft;
  }

  /** Anything else that it asks for. */
  async other(what: string, calm: boolean, work: (signal: AbortSignal) => Promise<unknown>): Promise<Draft<OtherMade>> {
    const draft: Draft<OtherMade> = {
      ...{ kind: "other", name: this.#name(what, ""), task: this.task, by: this.account },
      ...{ end: { state: "unfinished" }, calm },
    };
    this.world.calls.push(draft);
    await this.#noting(draft, work).catch(() => {});
    return draft;
  }

  #name(what: string, tag: string): string {
    return `${what} ${tag} of ${this.account.slice(0, 8)} (process ${this.life}, call ${this.world.calls.length})`;
  }

  /** Runs a call with a signal of its own and notes its end. @throws what it throws. */
  async #noting(draft: { end: End; calm: boolean }, work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const call = new AbortController();
    this.#calls.add(call);
    try {
      await work(call.signal);
      draft.end = { state: "resolved" };
    } catch (error) {
      await letGo(error);
      const words = inspect(error, { depth: 6, maxArrayLength: 8, maxStringLength: 4_000 });
      this.world.lines.push(words);
      draft.end = { state: "rejected", code: error instanceof WaybillError ? error.code : null, words };
      throw error;
    } finally {
      if (call.signal.aborted) draft.calm = false;
      this.#calls.delete(call);
    }
  }
}

/** An error may carry a payload, and a stream holds a file until somebody reads or ends it. */
async function letGo(error: unknown): Promise<void> {
  const { payload } = error instanceof WaybillError ? error.details : {};
  if (payload instanceof ReadableStream) await payload.cancel();
}

async function delivered(source: string, data: Uint8Array | string, notice: string | null): Promise<Delivered> {
  const sender = source.toLowerCase();
  if (typeof data === "string") {
    return { source: sender, ...factsOf(await readFile(data)), notice };
  }
  return { source: sender, ...factsOf(data), notice };
}

export function factsOf(bytes: Uint8Array): { size: number; sha256: string } {
  return { size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** What a call could have written, by whose it is: in a folder each file's name begins with its sender. */
async function filesIn(target: string | null, into: Into, sources: readonly Member[]): Promise<ReceiveMade["files"]> {
  if (target === null) return [];
  if (into === "path") return [{ source: sources[0]!.account, sha256: await digestOfFile(target) }];
  const names = await readdir(target).catch(() => []);
  const whole = names.filter((name) => !isUnfinished(name));
  return Promise.all(
    whole.map(async (name) => ({
      source: sources.find(({ account }) => name.toLowerCase().startsWith(account))?.account ?? name,
      sha256: await digestOfFile(join(target, name)),
    })),
  );
}

/** What a receiving call may leave, to go on from there. */
export const isUnfinished = (name: string): boolean => /\.(part|journal|lock)$/.test(name);
