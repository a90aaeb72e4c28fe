import { randomBytes } from "node:crypto";
import { getBytes, type Wallet } from "ethers";
import type * as z from "zod/mini";
import { createApi } from "../../functions/api.ts";
import { type Config, DEFAULT_CAPS, DEFAULT_RETENTION } from "../../functions/config.ts";
import type { PostingDeps } from "../../functions/deps.ts";
import { Registry } from "../../functions/metrics.ts";
import { Outbox } from "../../functions/outbox.ts";
import { Store } from "../../functions/store.ts";
import { ChainReader } from "../../lib/chain/reader.ts";
import { type Address, fromBase64, type Hex, toBase64 } from "../../lib/protocol/hex.ts";
import {
  contentDigest,
  coveredComponents,
  keyIdOf,
  type SignedRequest,
  signatureBase,
  signatureInput,
} from "../../lib/protocol/httpsig.ts";
import {
  compositeChecksum,
  encodeManifest,
  type Manifest,
  manifestDigest,
  transferId,
} from "../../lib/protocol/manifest.ts";
import { partsOf, planOf } from "../../lib/protocol/plan.ts";
import { wireText } from "../../lib/protocol/requests.ts";
import { bitmapOf, type Notice, noticeId, placeOf, type Signed } from "../../lib/protocol/statements.ts";
import { beginAnswer, finishAnswer } from "../../lib/protocol/wire.ts";
import { type Store as LocalStore, type RequestLog, startStore } from "../../local/store/store.ts";
import { addressOf, item, Task, World } from "./contract.ts";
import { secret } from "./secrets.ts";

/** Not where any test listens: a signature counts for the configured origin, whatever host a request went to. */
export const ORIGIN = "https://api.waybill.test";
const MIN_PART = 16;

/** Takes a request to the API and brings its answer, on one of the ways on which the functions are reached. */
export type Drive = (request: Request) => Promise<Response>;

/** What a test bends about a signature. */
export interface Bend {
  readonly authority?: string;
  readonly chainId?: number;
  readonly account?: Address;
  /** Seconds. */
  readonly created?: number;
  readonly expires?: number;
  /** null: none. */
  readonly nonce?: string | null;
  /** The body that is signed, when another one is sent. */
  readonly signed?: Uint8Array;
  readonly signature?: (bytes: Uint8Array) => Uint8Array;
  readonly headers?: Record<string, string>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly json: Record<string, unknown>;
}

/** The functions over a real store and a real chain. */
export class ApiWorld {
  readonly world: World;
  readonly s3: LocalStore;
  readonly deps: PostingDeps<Store, ChainReader>;
  /** Every request that reached the store. */
  readonly seen: RequestLog[];
  /** The functions' log. */
  readonly lines: string[];
  readonly counted: Registry;
  readonly #owners: Address[];
  drive: Drive;

  private constructor(
    world: World,
    s3: LocalStore,
    deps: PostingDeps<Store, ChainReader>,
    told: Pick<ApiWorld, "seen" | "lines" | "counted">,
    owners: Address[],
  ) {
    this.world = world;
    this.s3 = s3;
    this.deps = deps;
    this.seen = told.seen;
    this.lines = told.lines;
    this.counted = told.counted;
    this.#owners = owners;
    const app = createApi(deps);
    this.drive = async (request) => app.fetch(request);
  }

  static async start(over: Partial<Config> = {}, clock?: () => number): Promise<ApiWorld> {
    const world = await World.start();
    const seen: RequestLog[] = [];
    const s3 = await startStore({ minPartSize: MIN_PART, onRequest: (entry) => seen.push(entry) });
    const owners: Address[] = [];
    const config: Config = {
      apiOrigin: ORIGIN,
      ...world.domain,
      rpc: world.provider._getConnection().url,
      confirmations: 0,
      blockTime: 1000,
      fromBlock: 0,
      owners,
      bucket: s3.bucket,
      region: s3.region,
      s3Endpoint: s3.endpoint,
      s3Credentials: s3.credentials,
      longPoll: false,
      retention: DEFAULT_RETENTION,
      minPartSize: MIN_PART,
      caps: DEFAULT_CAPS,
      nonces: "store",
      ...over,
    };
    secret(s3.credentials.secretAccessKey);
    const store = new Store(config);
    const lines: string[] = [];
    const counted = new Registry();
    const deps: PostingDeps<Store, ChainReader> = {
      config,
      store,
      chain: new ChainReader(config),
      outbox: new Outbox(store, config),
      log: (line) => void lines.push(line),
      metricsOf: (service) => counted.of(service),
      ...(clock && { clock }),
    };
    return new ApiWorld(world, s3, deps, { seen, lines, counted }, owners);
  }

  async stop(): Promise<void> {
    this.deps.chain.close();
    this.deps.store.close();
    await Promise.all([this.s3.stop(), this.world.stop()]);
  }

  /** A task of an owner whom the API serves. */
  async task(members: number | readonly Wallet[]): Promise<Task> {
    const task = await Task.opened(this.world, members);
    this.serve(task.owner);
    return task;
  }

  serve(owner: Wallet): void {
    this.#owners.push(addressOf(owner));
  }

  caller(wallet: Wallet): Caller {
    return new Caller(this, wallet);
  }

  /** Brings statements onto the chain, past the publisher. */
  async relay(...signed: Signed[]): Promise<void> {
    const { results } = await this.world.relay(signed.map(item));
    const refused = results.flat().filter((reason) => reason !== "OK");
    if (refused.length > 0) throw new Error(`the test's own statement was skipped: ${refused.join()}`);
  }

  /** What waits in the outbox. */
  async posted(): Promise<Signed[]> {
    return (await this.deps.outbox.pending()).map(({ signed }) => signed);
  }
}

/** Somebody with a key who speaks to the API. */
export class Caller {
  readonly api: ApiWorld;
  readonly wallet: Wallet;
  readonly account: Address;

  constructor(api: ApiWorld, wallet: Wallet) {
    this.api = api;
    this.wallet = wallet;
    this.account = addressOf(wallet);
  }

  get(target: string, bend: Bend = {}): Promise<Answer> {
    return this.send("GET", target, undefined, { nonce: null, ...bend });
  }

  post(target: string, body?: unknown, bend: Bend = {}): Promise<Answer> {
    return this.send("POST", target, body, bend);
  }

  delete(target: string, bend: Bend = {}): Promise<Answer> {
    return this.send("DELETE", target, undefined, bend);
  }

  async send(method: string, target: string, body?: unknown, bend: Bend = {}): Promise<Answer> {
    return answerOf(await this.api.drive(await this.sign(method, target, body, bend)));
  }

  /** The request with its signature, to be sent more than once or edited. */
  async sign(method: string, target: string, body?: unknown, bend: Bend = {}): Promise<Request> {
    const bytes = bytesOf(body);
    const { pathname, search } = new URL(target, ORIGIN);
    const authority = bend.authority ?? new URL(ORIGIN).host;
    const request: SignedRequest = { method, authority, path: pathname, query: search, body: bend.signed ?? bytes };
    const created = bend.created ?? Math.floor((this.api.deps.clock ?? Date.now)() / 1000);
    const nonce = bend.nonce === undefined ? randomBytes(16).toString("base64url") : bend.nonce;
    const input = signatureInput(coveredComponents(request), {
      created,
      expires: bend.expires ?? created + 60,
      ...(nonce !== null && { nonce }),
      keyid: keyIdOf(bend.chainId ?? this.api.world.domain.chainId, bend.account ?? this.account),
    });
    const signed = getBytes(await this.wallet.signMessage(signatureBase(request, coveredComponents(request), input)));
    return new Request(new URL(target, ORIGIN), {
      method,
      headers: {
        "signature-input": `eth=${input}`,
        signature: `eth=:${toBase64(bend.signature?.(signed) ?? signed)}:`,
        ...(request.body.length > 0 && { "content-digest": contentDigest(request.body) }),
        ...(bytes.length > 0 && { "content-type": "application/json" }),
        ...bend.headers,
      },
      ...(bytes.length > 0 && { body: bytes }),
    });
  }

  // ---- one transfer

  transfers(task: Task): string {
    return `/v1/tasks/${task.id}/transfers`;
  }

  async begin(task: Task, tag: string, size: number | null, more: object = {}): Promise<z.infer<typeof beginAnswer>> {
    const answer = await this.post(this.transfers(task), { transfer: transferId(tag), size, ...more });
    return beginAnswer.parse(expectStatus(answer, 200));
  }

  /** Begins a transfer and sends its parts. */
  async upload(task: Task, tag: string, bytes: Uint8Array, partSize: number = MIN_PART): Promise<Payload> {
    const begun = await this.begin(task, tag, bytes.length, { partSize });
    const payload = payloadOf(tag, bytes, begun.partSize, begun.contentType);
    await this.putParts(task, payload);
    return payload;
  }

  async putParts(task: Task, payload: Payload): Promise<void> {
    const path = `${this.transfers(task)}/${payload.transfer}/parts`;
    const { urls } = expectStatus(await this.post(path, { parts: payload.parts }), 200) as {
      urls: { number: number; url: string; headers: Record<string, string> }[];
    };
    for (const { number, url, headers } of urls) {
      const { status } = await fetch(url, { method: "PUT", headers, body: payload.slices[number - 1]! });
      if (status !== 200) throw new Error(`the store answered ${status} to part ${number}`);
    }
  }

  finish(task: Task, transfer: Hex, body: { manifest?: string; notices: readonly Recipient[] }): Promise<Answer> {
    return this.post(`${this.transfers(task)}/${transfer}/finish`, body);
  }

  /** A finished transfer. */
  async stored(task: Task, tag: string, bytes: Uint8Array): Promise<Payload> {
    const payload = await this.upload(task, tag, bytes);
    const answer = await this.finish(task, payload.transfer, { manifest: payload.text, notices: [] });
    finishAnswer.parse(expectStatus(answer, 200));
    return payload;
  }

  /** A signed notice over a payload to members of the task's first page, by their index. */
  async notice(
    task: Task,
    payload: Payload,
    indices: readonly number[],
    over: Partial<Notice> = {},
  ): Promise<Recipient> {
    const notice: Notice = {
      kind: "notice",
      task: task.id,
      sender: this.account,
      page: 0,
      recipients: bitmapOf(indices.map((index) => placeOf(index).bit)),
      transfer: payload.transfer,
      manifest: payload.digest,
      deadline: (await this.api.world.now()) + 600,
      ...over,
    };
    const { signature } = await task.sign(this.wallet, notice);
    return { notice, signature, recipients: indices.map((index) => addressOf(task.members[index]!)) };
  }

  /** A stored payload with a notice that stands on the chain. */
  async published(task: Task, tag: string, bytes: Uint8Array, indices: readonly number[]): Promise<Published> {
    const payload = await this.stored(task, tag, bytes);
    const signed = await this.notice(task, payload, indices);
    finishAnswer.parse(expectStatus(await this.finish(task, payload.transfer, { notices: [signed] }), 202));
    await this.api.relay({ statement: signed.notice, author: this.account, signature: signed.signature });
    return { ...payload, signed, id: noticeId(signed.notice) };
  }

  download(task: Task, notice: Hex): Promise<Answer> {
    return this.post(`/v1/tasks/${task.id}/notices/${notice}/download`);
  }
}

/** A notice as finish takes it. */
export interface Recipient {
  readonly notice: Notice;
  readonly signature: Hex;
  readonly recipients: readonly Address[];
}

export interface Payload {
  readonly tag: string;
  readonly transfer: Hex;
  readonly manifest: Manifest;
  /** The manifest's bytes in base64. */
  readonly text: string;
  readonly digest: Hex;
  readonly slices: readonly Uint8Array[];
  readonly parts: readonly { number: number; length: number; sha256: string }[];
}

export interface Published extends Payload {
  readonly signed: Recipient;
  readonly id: Hex;
}

/** Everything about a payload that its sender knows. */
export function payloadOf(tag: string, bytes: Uint8Array, partSize: number, contentType: string): Payload {
  const plan = planOf(bytes.length, partSize);
  const slices = partsOf(plan).map(({ start, length }) => bytes.subarray(start, start + length));
  const digests = slices.map((slice) => contentDigest(slice).slice("sha-256=:".length, -1));
  const checksum = compositeChecksum(digests);
  const manifest: Manifest = { version: 1, tag, ...plan, parts: digests, checksum, contentType };
  return { tag, transfer: transferId(tag), ...encoded(manifest), slices, parts: partsWith(slices, digests) };
}

/** A manifest in the forms in which it travels. */
export function encoded(manifest: Manifest): Pick<Payload, "manifest" | "text" | "digest"> {
  const bytes = encodeManifest(manifest);
  return { manifest, text: toBase64(bytes), digest: manifestDigest(bytes) };
}

function partsWith(slices: readonly Uint8Array[], digests: readonly string[]): Payload["parts"] {
  return slices.map((slice, i) => ({ number: i + 1, length: slice.length, sha256: digests[i]! }));
}

export async function answerOf(response: Response): Promise<Answer> {
  const { status, headers } = response;
  return { status, headers, json: (await response.json()) as Record<string, unknown> };
}

export function expectStatus(answer: Answer, status: number): Record<string, unknown> {
  if (answer.status !== status) throw new Error(`${answer.status} ${JSON.stringify(answer.json)}`);
  return answer.json;
}

function bytesOf(body: unknown): Uint8Array {
  if (body === undefined) return new Uint8Array();
  return body instanceof Uint8Array ? body : new TextEncoder().encode(wireText(body));
}

/** The exact bytes of an answer's base64. */
export function decoded(text: unknown): Uint8Array {
  return fromBase64(String(text)) ?? new Uint8Array();
}
