import { WaybillError } from "../protocol/errors.ts";
import { MAX_PARTS, MAX_PAYLOAD } from "../protocol/limits.ts";
import { partAt, partCount } from "../protocol/plan.ts";
import type { PartRequest } from "../protocol/requests.ts";
import type { PartUrl } from "../protocol/wire.ts";
import { sha256 } from "./hash.ts";
import type { Attempt } from "./hedge.ts";
import { isExpired, isUsable, type StoreRequest, type StoreUrl, type Transport } from "./http.ts";
import { giveMemory, takeMemory } from "./memory.ts";
import { inParallel, type Progress } from "./parts.ts";
import { noAnswer, refusalOf, refusesDigest, withRetries, wrongAnswer } from "./retry.ts";
import { Room } from "./room.ts";
import type { PartReader } from "./source.ts";
import { type Moved, startTicker } from "./ticker.ts";
import { type Lane, type Share, Traffic } from "./traffic.ts";
import { UploadUrls } from "./upload-urls.ts";

/** Requests at a time at most; S3 takes about 20 MB/s in each, so that it takes more of them than a download does. */
const MOST_PUTS = 64;
/** Parts that are read and not done, at most: small ones are bounded by their number, not by their memory. */
const MOST_BEGUN = 128;
/** Parts that are read and hashed at a time where nothing is sent: one is read while threads have work. */
const MOST_HASHED = 3;
/** Of the memory, for parts that are being sent; what is read, hashed and signed ahead of them has the rest. */
const IN_LANES = 0.75;
/** Of the parts that may be begun, so many are signed in one call: few calls, and some parts always have their URLs. */
const SIGNED_AT_ONCE = 1 / 8;

/** What is needed to bring a payload into the store. */
export interface UploadJob {
  readonly reader: PartReader;
  /** The recorded plan; `size` null for a stream. */
  readonly plan: { readonly size: number | null; readonly partSize: number };
  /** SHA-256 of the parts that the store has already, by number. */
  readonly stored: ReadonlyMap<number, string>;
  /** Asks for presigned URLs. */
  readonly sign: (parts: PartRequest[], signal: AbortSignal) => Promise<{ urls: PartUrl[]; expiresIn: number }>;
  readonly transport: Transport;
  readonly storeOrigin: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly onBytes?: ((moved: Moved) => void) | undefined;
}

/** What was read: enough for a manifest. */
export interface Digested {
  readonly size: number;
  readonly partSize: number;
  /** base64 SHA-256 of each part, in order. */
  readonly parts: readonly string[];
}

interface ReadPart {
  readonly number: number;
  readonly bytes: Uint8Array;
  readonly done: () => void;
}

/**
 * Reads a payload and puts its parts into the store, a few at a time; parts that the store has are read, compared and
 * passed over. It has no effect but parts of an upload that is not complete yet.
 *
 * @throws WaybillError SOURCE_CHANGED; CONFLICT when the payload does not fit the recorded plan; PAYLOAD_TOO_LARGE; GONE
 * with `details.storeCode` "NoSuchUpload" when the upload was aborted meanwhile; UNREACHABLE, UNAVAILABLE, BAD_SERVER of
 * the store; what `sign` and `onProgress` throw; the signal's reason.
 */
export async function upload(job: UploadJob): Promise<Digested> {
  const { plan, stored } = job;
  const digests: string[] = [];
  const progress = tracker(job);
  progress(0);
  const share = new Traffic(MOST_PUTS).join(plan.partSize, IN_LANES);
  const enough = Math.ceil(Math.min(MOST_BEGUN, share.most) * SIGNED_AT_ONCE);
  const urls = new UploadUrls(job.sign, job.storeOrigin, enough, () => share.idle);
  const begun = new Room(MOST_BEGUN);
  let held = 0;
  const heldBytes = storedBytes(job);
  const moved = (): Moved => ({ movedBytes: held + share.moved, totalBytes: plan.size, heldBytes });
  const ticker = startTicker(moved, job.onBytes, job.signal);
  const feed = (aborted: AbortSignal): AsyncGenerator<ReadPart> =>
    readParts(job, () => begin(share, begun, bufferSize(plan), aborted));
  try {
    await inParallel(feed, ticker.signal, async (part, aborted) => {
      const digest = await sha256(part.bytes);
      digests[part.number - 1] = digest;
      if (stored.get(part.number) === digest) held += part.bytes.length;
      else await putPart(job.transport, urls, share.lane(), part, digest, aborted);
      urls.hurry();
      progress(part.bytes.length);
      part.done();
    });
  } finally {
    ticker.stop();
    share.leave();
  }
  return digested(job.reader, plan.partSize, digests, progress.bytes());
}

function storedBytes({ plan, stored }: UploadJob): number {
  const { size, partSize } = plan;
  if (size === null) return 0; // a stream begins anew
  const lengths = [...stored.keys()].map((number) => Math.min(partSize, size - (number - 1) * partSize));
  return lengths.reduce((sum, length) => sum + Math.max(0, length), 0);
}

/** Waits until there is memory for another part. @returns what gives it back. */
async function begin(share: Share, begun: Room, bytes: number, signal: AbortSignal): Promise<() => void> {
  await begun.take(1, signal);
  await share.take(bytes, signal);
  return () => {
    share.give(bytes);
    begun.give(1);
  };
}

/** Reads a payload and puts nothing anywhere: to find out whether it is what was sent before. */
export async function digest(job: Pick<UploadJob, "reader" | "plan" | "signal">): Promise<Digested> {
  const digests: string[] = [];
  let size = 0;
  const begun = new Room(MOST_HASHED);
  const feed = (aborted: AbortSignal): AsyncGenerator<ReadPart> =>
    readParts(job, async () => {
      await begun.take(1, aborted);
      return () => begun.give(1);
    });
  await inParallel(feed, job.signal, async (part) => {
    digests[part.number - 1] = await sha256(part.bytes);
    size += part.bytes.length;
    part.done();
  });
  return digested(job.reader, job.plan.partSize, digests, size);
}

async function digested(reader: PartReader, partSize: number, parts: string[], size: number): Promise<Digested> {
  await reader.verify();
  return { size, partSize, parts };
}

/** A small payload needs no memory of a whole part. A reader is asked for a whole one, lest it has more than was said. */
function bufferSize({ size, partSize }: UploadJob["plan"]): number {
  return Math.min(partSize, (size ?? partSize) + 1);
}

/** The payload in parts; zero bytes are one empty part. Nothing is read before it may `begin`. */
async function* readParts(
  job: Pick<UploadJob, "reader" | "plan">,
  begin: () => Promise<() => void>,
): AsyncGenerator<ReadPart> {
  const { reader, plan } = job;
  for (let number = 1; ; number++) {
    const end = await begin();
    let buffer: Uint8Array | null = null;
    const take = (): Uint8Array => {
      buffer = takeMemory(bufferSize(plan));
      return buffer;
    };
    const bytes = await reader.next(bufferSize(plan), take);
    if (bytes.length === 0 && number > 1) return checkEnd(plan, number - 1);
    checkPart(plan, number, bytes.length);
    const done = (): void => {
      if (buffer) giveMemory(buffer);
      end();
    };
    yield { number, bytes, done };
    if (bytes.length < plan.partSize) return checkEnd(plan, number);
  }
}

function checkPart(plan: UploadJob["plan"], number: number, length: number): void {
  if (number > MAX_PARTS || (number - 1) * plan.partSize + length > MAX_PAYLOAD)
    throw new WaybillError(
      "PAYLOAD_TOO_LARGE",
      `The stream is over 10,000 parts of ${plan.partSize} bytes. Send a file.`,
    );
  const { size, partSize } = plan;
  if (size === null) return;
  const fits = number <= partCount({ size, partSize }) && partAt({ size, partSize }, number).length === length;
  if (!fits) throw otherSize();
}

function checkEnd({ size, partSize }: UploadJob["plan"], number: number): void {
  if (size !== null && number !== partCount({ size, partSize })) throw otherSize();
}

function otherSize(): WaybillError {
  return new WaybillError(
    "CONFLICT",
    "This tag stands for a payload of another size. Send different bytes under another tag.",
  );
}

async function putPart(
  transport: Transport,
  urls: UploadUrls,
  lane: Lane,
  { number, bytes }: ReadPart,
  digest: string,
  signal: AbortSignal,
): Promise<void> {
  const request: PartRequest = { number, length: bytes.length, sha256: digest };
  let url = await urls.get(request, signal);
  await withRetries(
    lane,
    async (last) => {
      if (last?.remedy === "expired" || !isUsable(url)) url = await urls.get(request, signal, true);
      if (last && refusesDigest(last) && (await sha256(bytes)) !== digest)
        throw new WaybillError("SOURCE_CHANGED", "The bytes changed while they were being sent. Send them again.");
      const put = ({ second, signal, moved }: Attempt): Promise<void> =>
        putOnce(transport, url, bytes, digest, { fresh: second, signal, moved });
      await lane.run(bytes.length, 0, put, signal);
    },
    signal,
  );
}

async function putOnce(
  transport: Transport,
  url: StoreUrl,
  body: Uint8Array,
  digest: string,
  how: Pick<StoreRequest, "fresh" | "signal" | "moved">,
): Promise<void> {
  const response = await transport
    .request({ method: "PUT", url: url.url, headers: url.headers, body, ...how })
    .catch((error: unknown) => {
      throw noAnswer(error);
    });
  if (response.status !== 200) throw await refusalOf(response, isExpired(url));
  const stored = response.header("x-amz-checksum-sha256");
  response.discard();
  if (stored !== null && stored !== digest) throw wrongAnswer("it stored a part with another SHA-256");
}

/** Counts what is done and tells the caller. */
function tracker({ plan, onProgress }: UploadJob): { (bytes: number): void; bytes(): number } {
  let transferredBytes = 0;
  let partsDone = -1; // the first call says only that it begins
  const totals = {
    totalBytes: plan.size,
    partsTotal: plan.size === null ? null : partCount({ size: plan.size, partSize: plan.partSize }),
  };
  const add = (bytes: number): void => {
    transferredBytes += bytes;
    partsDone += 1;
    onProgress?.({ transferredBytes, partsDone, ...totals });
  };
  return Object.assign(add, { bytes: () => transferredBytes });
}
