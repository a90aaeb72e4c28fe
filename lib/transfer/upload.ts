import { WaybillError } from "../protocol/errors.ts";
import { MAX_PARTS, MAX_PAYLOAD } from "../protocol/limits.ts";
import { partAt, partCount } from "../protocol/plan.ts";
import type { PartRequest, PartUrl } from "../protocol/wire.ts";
import { sha256 } from "./hash.ts";
import { isExpired, isUsable, type StoreUrl, type Transport } from "./http.ts";
import { Buffers, inParallel, type Progress, slotsFor } from "./parts.ts";
import { noAnswer, refusalOf, refusesDigest, withRetries, wrongAnswer } from "./retry.ts";
import type { PartReader } from "./source.ts";
import { UploadUrls } from "./upload-urls.ts";

/** Parts in flight. Six fill a line of several hundred megabits, and are gentle to a store. */
const CONCURRENCY = 6;

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
  const { plan, stored, signal } = job;
  const urls = new UploadUrls(job.sign, job.storeOrigin);
  const buffers = new Buffers(plan.partSize);
  const digests: string[] = [];
  const progress = tracker(job);
  progress(0);
  await inParallel(readParts(job, buffers), slotsFor(plan.partSize, CONCURRENCY), signal, async (part, aborted) => {
    const digest = await sha256(part.bytes);
    digests[part.number - 1] = digest;
    if (stored.get(part.number) !== digest) await putPart(job.transport, urls, part, digest, aborted);
    progress(part.bytes.length);
    part.done();
  });
  return digested(job.reader, plan.partSize, digests, progress.bytes());
}

/** Reads a payload and puts nothing anywhere: to find out whether it is what was sent before. */
export async function digest(job: Pick<UploadJob, "reader" | "plan" | "signal">): Promise<Digested> {
  const buffers = new Buffers(job.plan.partSize);
  const digests: string[] = [];
  let size = 0;
  for await (const part of readParts(job, buffers)) {
    job.signal?.throwIfAborted();
    digests.push(await sha256(part.bytes));
    size += part.bytes.length;
    part.done();
  }
  return digested(job.reader, job.plan.partSize, digests, size);
}

async function digested(reader: PartReader, partSize: number, parts: string[], size: number): Promise<Digested> {
  await reader.verify();
  return { size, partSize, parts };
}

/** The payload in parts; zero bytes are one empty part. */
async function* readParts(job: Pick<UploadJob, "reader" | "plan">, buffers: Buffers): AsyncGenerator<ReadPart> {
  const { reader, plan } = job;
  for (let number = 1; ; number++) {
    let buffer: Uint8Array | null = null;
    const take = (): Uint8Array => {
      buffer = buffers.take();
      return buffer;
    };
    const bytes = await reader.next(plan.partSize, take);
    if (bytes.length === 0 && number > 1) return checkEnd(plan, number - 1);
    checkPart(plan, number, bytes.length);
    yield { number, bytes, done: () => buffer && buffers.give(buffer) };
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
  { number, bytes }: ReadPart,
  digest: string,
  signal: AbortSignal,
): Promise<void> {
  const request: PartRequest = { number, length: bytes.length, sha256: digest };
  let url: StoreUrl | null = null;
  await withRetries(async (last) => {
    if (!url || last?.remedy === "expired" || !isUsable(url)) url = await urls.get(request, signal);
    if (last && refusesDigest(last) && (await sha256(bytes)) !== digest)
      throw new WaybillError("SOURCE_CHANGED", "The bytes changed while they were being sent. Send them again.");
    await putOnce(transport, url, bytes, digest, signal);
  }, signal);
}

async function putOnce(
  transport: Transport,
  url: StoreUrl,
  body: Uint8Array,
  digest: string,
  signal: AbortSignal,
): Promise<void> {
  const response = await transport
    .request({ method: "PUT", url: url.url, headers: url.headers, body, signal })
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
