import type * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import { fromBase64, type Hex } from "../lib/protocol/hex.ts";
import { decodeManifest, type Manifest, manifestDigest, transferId } from "../lib/protocol/manifest.ts";
import type { finishRequest } from "../lib/protocol/requests.ts";
import { noticeId } from "../lib/protocol/statements.ts";
import type { finishAnswer } from "../lib/protocol/wire.ts";
import { checkSize } from "./begin.ts";
import { completeUpload } from "./complete.ts";
import { nowOf, type PostingDeps } from "./deps.ts";
import { payloadKey, type TransferRef } from "./keys.ts";
import type { Metrics } from "./metrics.ts";
import { publishNotices } from "./notices.ts";
import { Records, type TransferRecord, unknownTransfer } from "./records.ts";

type Request = z.output<typeof finishRequest>;
type Answer = z.output<typeof finishAnswer>;

/** A manifest with the bytes that are stored and the digest that the chain will commit to. */
interface Bound {
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  readonly digest: Hex;
}

/** By which request, and where it is counted. */
interface Asked {
  readonly requestId: string;
  readonly metrics: Metrics;
}

/**
 * Finishes a transfer under its manifest, publishes notices over it, or both. Every step may be repeated, and a repeated
 * finish answers as the first one did.
 */
export async function finishTransfer(
  deps: PostingDeps,
  ref: TransferRef,
  request: Request,
  asked: Asked,
): Promise<Answer> {
  const records = new Records(deps.store);
  const { record } = (await records.read(ref)) ?? unknownTransfer();
  if (request.manifest !== undefined) {
    const bound = readManifest(ref, request.manifest);
    const bond = await bind(deps, records, ref, record, bound);
    if (bond === "completing") return { state: "completing", notices: [], head: await deps.chain.tip() };
    if (bond === "finished") countTransfer(asked.metrics, bound.manifest);
  } else if (record.state !== "finished") throw notFinished(record);
  if (request.notices.length > 0) await publishNotices(deps, records, ref, request.notices, asked.requestId);
  return {
    state: "finished",
    notices: request.notices.map(({ notice }) => noticeId(notice)),
    head: await deps.chain.tip(),
  };
}

function readManifest(ref: TransferRef, text: string): Bound {
  const bytes = fromBase64(text);
  if (bytes === null) throw new WaybillError("BAD_MANIFEST", "The manifest is not base64.");
  const manifest = decodeManifest(bytes);
  if (transferId(manifest.tag) !== ref.transfer)
    throw new WaybillError("BAD_MANIFEST", "The manifest's tag is not the one that this transfer's id was made of.");
  return { bytes, manifest, digest: manifestDigest(bytes) };
}

function countTransfer(metrics: Metrics, { size }: Manifest): void {
  metrics.count("Transfers");
  metrics.count("TransferBytes", size);
}

/**
 * Complete, then the manifest, then the record: whatever crashes in between, the same finish goes on from there. Only one
 * that wrote the record answers "finished", the others "known".
 */
async function bind(
  deps: PostingDeps,
  records: Records,
  ref: TransferRef,
  record: TransferRecord,
  bound: Bound,
): Promise<"finished" | "known" | "completing"> {
  checkDigest(record, bound.digest);
  if (record.state === "finished") return "known";
  if (record.state !== "open") throw notFinished(record);
  checkPlan(deps, record, bound.manifest);
  const key = payloadKey(ref, record.generation);
  if ((await completeUpload(deps.store, key, record.uploadId, bound.manifest)) === "completing") return "completing";
  await writeManifest(records, ref, bound);
  const storedAt = Math.floor(nowOf(deps) / 1000);
  let ours = true;
  await records.amend(ref, (current) => {
    checkDigest(current, bound.digest);
    ours = current.state !== "finished";
    if (!ours) return current;
    // In another generation our object lies under a key that is given up.
    if (current.state !== "open" || current.generation !== record.generation) throw notFinished(current);
    // Published is nothing yet; the sweeper may have noted until when an unfinished payload is kept.
    return { ...current, state: "finished", digest: bound.digest, size: bound.manifest.size, storedAt, keepUntil: 0 };
  });
  return ours ? "finished" : "known";
}

async function writeManifest(records: Records, ref: TransferRef, { bytes, digest }: Bound): Promise<void> {
  if (await records.createManifest(ref, bytes)) return;
  if ((await records.manifest(ref, digest)) === null) throw otherManifest();
}

/**
 * Aborts an unfinished transfer. First the upload, then the record: so a finish that is under way either has its object
 * by now, or can't get it any more.
 * @throws WaybillError UNKNOWN_TRANSFER, FINISHED with the notices whose deadline is ahead.
 */
export async function abortTransfer(deps: PostingDeps, ref: TransferRef): Promise<{ state: "aborted" }> {
  const records = new Records(deps.store);
  const { record } = (await records.read(ref)) ?? unknownTransfer();
  const key = payloadKey(ref, record.generation);
  if (record.state === "open") await deps.store.abort(key, record.uploadId);
  const stored = record.state === "open" && (await deps.store.head(key)) !== null;
  const open = await openNotices(deps, records, ref, record);
  await records.amend(ref, (current) => {
    if (current.state === "aborted" || current.state === "swept") return current;
    if (current.state !== "open" || stored) throw finished(open);
    if (current.uploadId !== record.uploadId)
      throw new WaybillError("UNAVAILABLE", "Another begin opened this transfer again at the same time. Try again.");
    // One that was swept before stays bound to its digest.
    return { ...current, state: current.digest === null ? "aborted" : "swept" };
  });
  return { state: "aborted" };
}

async function openNotices(
  deps: PostingDeps,
  records: Records,
  ref: TransferRef,
  record: TransferRecord,
): Promise<Hex[]> {
  if (record.notices.length === 0) return [];
  const [{ timestamp }, notices] = await Promise.all([
    deps.chain.tip(),
    Promise.all(record.notices.map((id) => records.notice(ref.task, id))),
  ]);
  return notices.flatMap((found) => (found && found.notice.deadline >= timestamp ? [noticeId(found.notice)] : []));
}

function checkDigest(record: TransferRecord, digest: Hex): void {
  if (record.digest !== null && record.digest !== digest) throw otherManifest();
}

/** The manifest must be what begin answered, so that two senders of the same bytes write the same one. */
function checkPlan(deps: PostingDeps, record: TransferRecord, manifest: Manifest): void {
  checkSize(deps.config, manifest.size);
  const same = manifest.partSize === record.partSize && manifest.contentType === record.contentType;
  if (same && (record.size === null || record.size === manifest.size)) return;
  throw new WaybillError(
    "BAD_MANIFEST",
    "The manifest's size, part size and content type must be those of begin's answer.",
  );
}

function otherManifest(): WaybillError {
  return new WaybillError("CONFLICT", "This tag stands for another payload. Send yours under a new tag.");
}

function notFinished(record: TransferRecord): WaybillError {
  const what = {
    open: "not finished yet: send its manifest",
    aborted: "aborted: begin it again",
    swept: "deleted: send it again",
  };
  const state = record.state === "finished" ? "open" : record.state;
  return new WaybillError("NOT_STORED", `This transfer is ${what[state]}.`);
}

function finished(notices: readonly Hex[]): WaybillError {
  const message = "This transfer is finished. To take it back, withdraw its open notices by signed Withdraws.";
  return new WaybillError("FINISHED", message, { details: { notices } });
}
