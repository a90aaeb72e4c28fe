import type { BeginAnswer, PublishedNotice } from "./api.ts";
import { WaybillError } from "./protocol/errors.ts";
import { fromBase64, type Hex } from "./protocol/hex.ts";
import { compositeChecksum, contentTypeSchema, encodeManifest, manifestDigest } from "./protocol/manifest.ts";
import { planOf } from "./protocol/plan.ts";
import { signerOf } from "./protocol/statements.ts";
import type { Head } from "./protocol/wire.ts";
import type { Session } from "./session.ts";
import type { Progress } from "./transfer/parts.ts";
import type { PartReader, Source } from "./transfer/source.ts";
import type { Moved } from "./transfer/ticker.ts";
import { type Digested, digest, upload } from "./transfer/upload.ts";
import { pause } from "./waiting.ts";

/** A payload that is to be in the store. */
export interface StoreOrder {
  readonly tag: string;
  readonly transfer: Hex;
  readonly source: Source;
  readonly partSize: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  readonly onBytes: ((moved: Moved) => void) | undefined;
}

/** A payload that is in the store, finished under its manifest. */
export interface StoredPayload {
  readonly size: number;
  readonly digest: Hex;
  /** Where the chain stood when that was so. */
  readonly head: Head;
  /** Notices of ours over this payload that the functions know, mined or not. */
  readonly notices: readonly PublishedNotice[];
}

/** Others may send other bytes under this id at the same time, or the upload may be swept; that it goes on so is no accident. */
const TRIES = 4;
/** S3 completes 10,000 parts within minutes. */
const COMPLETING_MS = 900_000;
const COMPLETING_POLL_MS = 1_000;

/**
 * Brings a payload into the store, or joins it if it is there: nothing that the store has is sent again.
 * @throws WaybillError CONFLICT when the tag stands for other bytes, and what `upload` throws.
 */
export async function store(session: Session, order: StoreOrder): Promise<StoredPayload> {
  if (order.source.size !== null) planOf(order.source.size, order.partSize);
  const doubtful = new Set<number>();
  for (let tries = 1; ; tries++) {
    try {
      return await storeOnce(session, order, doubtful);
    } catch (error) {
      if (!isLost(error)) throw error;
      for (const part of partsIn(error)) doubtful.add(part);
      if (!order.source.replayable) throw lost(error, "A stream can't be read again: send it anew.");
      if (tries === TRIES)
        throw new WaybillError("CONFLICT", "Another process sends other bytes under this tag. Use another tag.", {
          cause: error,
        });
    }
  }
}

/** The upload went away, or holds other parts than we sent: only a new beginning helps. */
function isLost(error: unknown): error is WaybillError {
  if (!(error instanceof WaybillError)) return false;
  if (error.code === "GONE") return error.details.storeCode === "NoSuchUpload";
  return ["NOT_STORED", "UNKNOWN_TRANSFER", "FINISHED"].includes(error.code);
}

function lost(cause: unknown, advice: string): WaybillError {
  return new WaybillError("NOT_STORED", `The upload was ended by somebody else. ${advice}`, { cause, retryable: true });
}

/** The parts that NOT_STORED names: whatever the store lists, they are sent again. */
function partsIn({ details }: WaybillError): number[] {
  return Array.isArray(details.parts) ? details.parts.map(Number) : [];
}

async function storeOnce(session: Session, order: StoreOrder, doubtful: ReadonlySet<number>): Promise<StoredPayload> {
  const { api, task } = session;
  const { source, transfer, partSize, signal } = order;
  const contentType = contentTypeSchema.safeParse(source.contentType);
  const begun = await api.begin(
    task,
    {
      transfer,
      size: source.size,
      ...(partSize !== undefined && { partSize }),
      ...(contentType.success && { contentType: contentType.data }),
    },
    signal,
  );
  checkBegun(begun, source);
  const digested = await read(session, order, begun, doubtful);
  const manifest = manifestOf(order.tag, digested, begun.contentType);
  const own = manifestDigest(manifest);
  if (begun.manifest !== undefined && digestOf(begun.manifest) !== own) throw otherBytes();
  const head = begun.state === "finished" ? begun.head : await finish(session, order, manifest);
  return { size: digested.size, digest: own, head, notices: ownNotices(session, transfer, own, begun.notices ?? []) };
}

/** The manifest of what was read. */
export function manifestOf(tag: string, { size, partSize, parts }: Digested, contentType: string): Uint8Array {
  const checksum = compositeChecksum(parts);
  return encodeManifest({ version: 1, tag, size, partSize, parts, checksum, contentType });
}

/** The recorded plan counts, as long as it is one; a size that is not ours means other bytes. */
function checkBegun(begun: BeginAnswer, source: Source): void {
  try {
    planOf(begun.size ?? 0, begun.partSize);
  } catch (cause) {
    throw new WaybillError("BAD_SERVER", "The API answered with a plan that nobody can follow.", { cause });
  }
  if (!contentTypeSchema.safeParse(begun.contentType).success)
    throw new WaybillError("BAD_SERVER", "The API answered with a content type that no manifest may have.");
  if (begun.size !== null && source.size !== null && begun.size !== source.size) throw otherBytes();
}

/** Reads the payload once: sends what is missing, or only compares when all is there. */
async function read(
  session: Session,
  order: StoreOrder,
  begun: BeginAnswer,
  doubtful: ReadonlySet<number>,
): Promise<Digested> {
  const plan = { size: begun.size, partSize: begun.partSize };
  const reader = await order.source.open();
  try {
    if (begun.state !== "open") return await digest({ reader, plan, signal: order.signal });
    return await send(session, order, plan, reader, doubtful);
  } finally {
    await reader.close();
  }
}

async function send(
  session: Session,
  { transfer, signal, onProgress, onBytes }: StoreOrder,
  plan: { size: number | null; partSize: number },
  reader: PartReader,
  doubtful: ReadonlySet<number>,
): Promise<Digested> {
  const { api, task, transport, deployment } = session;
  // One part is sent again sooner than asked after.
  const small = plan.size !== null && plan.size <= plan.partSize;
  const listed = small ? [] : await api.storedParts(task, transfer, signal);
  const stored = listed.filter(({ number }) => !doubtful.has(number));
  return upload({
    reader,
    plan,
    stored: new Map(stored.map((part) => [part.number, part.sha256])),
    sign: (parts, aborted) => api.signParts(task, transfer, parts, aborted),
    transport,
    storeOrigin: deployment.storeOrigin,
    signal,
    onProgress,
    onBytes,
  });
}

async function finish({ api, task }: Session, order: StoreOrder, manifest: Uint8Array): Promise<Head> {
  const end = performance.now() + COMPLETING_MS;
  for (;;) {
    const answer = await api.finish(task, order.transfer, { manifest, notices: [] }, order.signal);
    if (answer.state === "finished") return answer.head;
    if (performance.now() > end)
      throw new WaybillError(
        "UNAVAILABLE",
        "The store has not completed the upload yet. Send again to go on from here.",
      );
    await pause(COMPLETING_POLL_MS, order.signal);
  }
}

function digestOf(manifest: string): Hex | null {
  const bytes = fromBase64(manifest);
  return bytes && manifestDigest(bytes);
}

/** Our own signature tells which notices are ours, and the digest which are over these bytes. */
function ownNotices(
  { deployment, account, task }: Session,
  transfer: Hex,
  digest: Hex,
  notices: readonly PublishedNotice[],
): PublishedNotice[] {
  return notices.filter(({ notice, signature }) => {
    const same = notice.task === task && notice.transfer === transfer && notice.manifest === digest;
    return same && notice.sender === account && signerOf(deployment, notice, signature) === account;
  });
}

export function otherBytes(): WaybillError {
  return new WaybillError("CONFLICT", "This tag stands for other bytes. Send yours under another tag.");
}
