import { WaybillError } from "../protocol/errors.ts";
import type { Manifest } from "../protocol/manifest.ts";
import { type Part, partsOf } from "../protocol/plan.ts";
import { sha256 } from "./hash.ts";
import { isExpired, isUsable, type StoreResponse, type StoreUrl, type Transport, takeUrl } from "./http.ts";
import { Buffers, inParallel, type Progress, slotsFor } from "./parts.ts";
import { fatal, noAnswer, refusalOf, StoreFault, withRetries, wrongAnswer } from "./retry.ts";

/** Ranges in flight; S3 gives 85-90 MB/s to each. */
const CONCURRENCY = 8;

/** Where verified parts go. */
export interface PartSink {
  /** Memory in which the part may be gathered, if it has its own; nobody sees it before `write`. */
  memory(part: Part): Uint8Array | null;
  /** Takes a part whose digest is right. */
  write(part: Part, bytes: Uint8Array): Promise<void>;
}

/** What is needed to fetch a payload. */
export interface DownloadJob {
  readonly manifest: Manifest;
  readonly sink: PartSink;
  /** The presigned URL that came with the manifest. */
  readonly url: { readonly url: string; readonly headers: Record<string, string>; readonly expiresIn: number };
  /** When it was asked for, by performance.now. */
  readonly issued: number;
  /** Asks for a new one. */
  readonly refresh: (signal: AbortSignal) => Promise<DownloadJob["url"]>;
  readonly transport: Transport;
  readonly storeOrigin: string;
  /** How many downloads share the memory and the connections that one alone may use. Default 1. */
  readonly share?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/**
 * Fetches a payload in ranges, a few at a time, and verifies each part before the sink gets it.
 *
 * @throws WaybillError CORRUPT when a part is wrong twice, over two connections; CONFLICT when the object was replaced;
 * GONE; UNREACHABLE, UNAVAILABLE, BAD_SERVER of the store; what the sink, `refresh` and `onProgress` throw; the
 * signal's reason.
 */
export async function download(job: DownloadJob): Promise<void> {
  const { manifest, sink, signal, share = 1 } = job;
  const parts = manifest.size === 0 ? [] : partsOf(manifest);
  const urls = new DownloadUrls(job);
  const buffers = new Buffers(Math.min(manifest.partSize, manifest.size));
  const progress = tracker(job, partsOf(manifest).length);
  if (manifest.size === 0) await checkEmpty(manifest);
  await inParallel(inTurn(parts), slotsFor(manifest.partSize, CONCURRENCY, share), signal, async (part, aborted) => {
    const own = sink.memory(part);
    const memory = own ?? buffers.take();
    const bytes = memory.subarray(0, part.length);
    await getPart(job, urls, part, bytes, aborted);
    await sink.write(part, bytes);
    if (!own) buffers.give(memory);
    progress(part.length);
  });
}

async function* inTurn<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

async function checkEmpty(manifest: Manifest): Promise<void> {
  if (manifest.parts[0] !== (await sha256(new Uint8Array()))) throw corrupt(1);
}

/** Fills `bytes` with what the manifest says of this part. */
async function getPart(
  job: DownloadJob,
  urls: DownloadUrls,
  part: Part,
  bytes: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  let mismatches = 0;
  let url: StoreUrl | null = null;
  await withRetries(async (last) => {
    url = await urls.get(last?.remedy === "expired" ? url : null, signal);
    await getRange(job, url, part, bytes, mismatches > 0, signal);
    if ((await sha256(bytes)) === job.manifest.parts[part.number - 1]) return;
    if (++mismatches > 1) throw fatal(corrupt(part.number));
    throw wrongAnswer("it sent a part that is not what the manifest says");
  }, signal);
}

async function getRange(
  job: DownloadJob,
  url: StoreUrl,
  part: Part,
  into: Uint8Array,
  fresh: boolean,
  signal: AbortSignal,
): Promise<void> {
  const range = `bytes=${part.start}-${part.start + part.length - 1}`;
  const response = await job.transport
    .request({ method: "GET", url: url.url, headers: { ...url.headers, range }, signal, fresh })
    .catch((error: unknown) => {
      throw noAnswer(error);
    });
  if (response.status !== 200 && response.status !== 206) throw await refusalOf(response, isExpired(url));
  try {
    checkAnswer(response, part, job.manifest.size);
    await fill(response, into);
  } finally {
    response.discard();
  }
}

/** Status, range, length and encoding must be what was asked for, or the bytes are somebody else's. */
function checkAnswer(response: StoreResponse, part: Part, size: number): void {
  if (response.status !== 206) throw wrongAnswer("it answered a range with the whole");
  const range = response.header("content-range");
  if (range !== `bytes ${part.start}-${part.start + part.length - 1}/${size}`)
    throw wrongAnswer("it answered with another range");
  const length = response.header("content-length");
  if (length !== null && length !== String(part.length)) throw wrongAnswer("it announced another length");
  const encoding = response.header("content-encoding");
  if (encoding !== null && !/^(identity)?$/i.test(encoding)) throw wrongAnswer("it encoded the bytes");
}

async function fill(response: StoreResponse, into: Uint8Array): Promise<void> {
  try {
    if ((await response.read(into)) < into.length) throw wrongAnswer("it sent less than the range");
    if ((await response.read(new Uint8Array(1))) > 0) throw wrongAnswer("it sent more than the range");
  } catch (error) {
    throw error instanceof StoreFault ? error : noAnswer(error);
  }
}

/** One URL for all parts, renewed by whoever first needs a new one. */
class DownloadUrls {
  readonly #job: DownloadJob;
  #current: Promise<StoreUrl>;
  #renewing = false;

  constructor(job: DownloadJob) {
    this.#job = job;
    this.#current = this.#take(job.url, job.issued);
    this.#current.catch(() => {}); // whoever asks is told
  }

  /** `dead`: the URL that the store has just called expired; another may have been fetched since. */
  async get(dead: StoreUrl | null, signal: AbortSignal): Promise<StoreUrl> {
    const url = await this.#current;
    if (this.#renewing || (isUsable(url) && url !== dead)) return this.#current;
    this.#renewing = true;
    const issued = performance.now();
    this.#current = this.#job.refresh(signal).then((found) => this.#take(found, issued));
    return this.#current.finally(() => {
      this.#renewing = false;
    });
  }

  async #take(found: DownloadJob["url"], issued: number): Promise<StoreUrl> {
    return takeUrl(found, found.expiresIn, issued, this.#job.storeOrigin);
  }
}

function tracker({ manifest, onProgress }: DownloadJob, partsTotal: number): (bytes: number) => void {
  let transferredBytes = 0;
  let partsDone = manifest.size === 0 ? partsTotal : 0;
  const tell = (): void => onProgress?.({ transferredBytes, totalBytes: manifest.size, partsDone, partsTotal });
  tell();
  return (bytes) => {
    transferredBytes += bytes;
    partsDone += 1;
    tell();
  };
}

function corrupt(part: number): WaybillError {
  return new WaybillError("CORRUPT", `Part ${part} is not what its sender signed; it was fetched twice.`);
}
