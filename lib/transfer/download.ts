import { WaybillError } from "../protocol/errors.ts";
import type { Manifest } from "../protocol/manifest.ts";
import { type Part, partsOf } from "../protocol/plan.ts";
import { sha256 } from "./hash.ts";
import type { Attempt } from "./hedge.ts";
import {
  isExpired,
  isUsable,
  type StoreRequest,
  type StoreResponse,
  type StoreUrl,
  type Transport,
  takeUrl,
} from "./http.ts";
import { giveMemory, takeMemory } from "./memory.ts";
import { inParallel, type Progress } from "./parts.ts";
import { fatal, noAnswer, refusalOf, StoreFault, withRetries, wrongAnswer } from "./retry.ts";
import { type Lane, type Share, Traffic } from "./traffic.ts";

/** Ranges in flight at most; S3 gives 85-90 MB/s to each, so that these fill any line of today. */
const MOST_RANGES = 32;

/** Where verified parts go. */
export interface PartSink {
  /** Parts that it has from an earlier call, verified; they are not fetched. */
  readonly held?: ReadonlySet<number>;
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
  /** Shared with the downloads that run beside this one, so that together they use no more than one alone may. */
  readonly traffic?: Traffic | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** For downloads that run at the same time. */
export function downloadTraffic(): Traffic {
  return new Traffic(MOST_RANGES);
}

interface Begun {
  readonly part: Part;
  readonly lane: Lane;
}

/**
 * Fetches a payload in ranges, as many at a time as pays, and verifies each part before the sink gets it.
 *
 * @throws WaybillError CORRUPT when a part is wrong twice, over two connections; CONFLICT when the object was replaced;
 * GONE; UNREACHABLE, UNAVAILABLE, BAD_SERVER of the store; what the sink, `refresh` and `onProgress` throw; the
 * signal's reason.
 */
export async function download(job: DownloadJob): Promise<void> {
  const { manifest, sink, signal, traffic = downloadTraffic() } = job;
  const parts = manifest.size === 0 ? [] : partsOf(manifest).filter(({ number }) => !sink.held?.has(number));
  const urls = new DownloadUrls(job);
  const progress = tracker(job);
  if (manifest.size === 0) await checkEmpty(manifest);
  const share = traffic.join(manifest.partSize);
  const feed = (aborted: AbortSignal): AsyncGenerator<Begun> => inTurn(parts, share, aborted);
  try {
    await inParallel(feed, signal, async ({ part, lane }, aborted) => {
      const own = sink.memory(part);
      const bytes = (own ?? takeMemory(part.length)).subarray(0, part.length);
      await getPart({ job, urls, part, lane, bytes }, aborted);
      await sink.write(part, bytes);
      if (!own) giveMemory(bytes);
      share.give(part.length);
      progress(part.length);
    });
  } finally {
    share.leave();
  }
}

/** A part's turn comes when there is memory for it and it may be asked for. */
async function* inTurn(parts: readonly Part[], share: Share, signal: AbortSignal): AsyncGenerator<Begun> {
  for (const part of parts) {
    await share.take(part.length, signal);
    const lane = share.lane();
    await lane.enter(signal);
    yield { part, lane };
  }
}

async function checkEmpty(manifest: Manifest): Promise<void> {
  if (manifest.parts[0] !== (await sha256(new Uint8Array()))) throw corrupt(1);
}

interface PartJob extends Begun {
  readonly job: DownloadJob;
  readonly urls: DownloadUrls;
  /** Where the part shall lie. */
  readonly bytes: Uint8Array;
}

/** Fills `bytes` with what the manifest says of this part. */
async function getPart(order: PartJob, signal: AbortSignal): Promise<void> {
  const wrongs = { count: 0 };
  let url: StoreUrl | null = null;
  const attempt = async (last: StoreFault | null): Promise<void> => {
    url = await order.urls.get(last?.remedy === "expired" ? url : null, signal);
    await fetchPart(order, url, wrongs, signal);
  };
  await withRetries(order.lane, attempt, signal);
}

/** Once, or twice at a time when the first takes too long; the second has memory of its own. */
async function fetchPart(order: PartJob, url: StoreUrl, wrongs: { count: number }, signal: AbortSignal): Promise<void> {
  const { job, part, lane, bytes } = order;
  const spares: Uint8Array[] = [];
  const fetch = async ({ second, signal, moved }: Attempt): Promise<Uint8Array> => {
    const into = second ? takeMemory(part.length) : bytes;
    if (second) spares.push(into);
    await getRange(job, url, part, into, { fresh: second || wrongs.count > 0, signal, moved });
    await verify(job.manifest, part, into, wrongs);
    return into;
  };
  const fetched = await lane.run(part.length, part.length, fetch, signal);
  if (fetched !== bytes) bytes.set(fetched);
  for (const spare of spares) giveMemory(spare);
}

/** A part that is wrong is fetched once more, over a new connection; then it is what was stored. */
async function verify(manifest: Manifest, part: Part, bytes: Uint8Array, wrongs: { count: number }): Promise<void> {
  if ((await sha256(bytes)) === manifest.parts[part.number - 1]) return;
  wrongs.count += 1;
  if (wrongs.count > 1) throw fatal(corrupt(part.number));
  throw wrongAnswer("it sent a part that is not what the manifest says");
}

async function getRange(
  job: DownloadJob,
  url: StoreUrl,
  part: Part,
  into: Uint8Array,
  how: Pick<StoreRequest, "fresh" | "signal" | "moved">,
): Promise<void> {
  const range = `bytes=${part.start}-${part.start + part.length - 1}`;
  const response = await job.transport
    .request({ method: "GET", url: url.url, headers: { ...url.headers, range }, ...how })
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

function tracker({ manifest, sink, onProgress }: DownloadJob): (bytes: number) => void {
  const parts = partsOf(manifest);
  const held = parts.filter(({ number }) => manifest.size === 0 || sink.held?.has(number));
  let transferredBytes = held.reduce((sum, { length }) => sum + length, 0);
  let partsDone = held.length;
  const partsTotal = parts.length;
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
