import type * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import { toBase64 } from "../lib/protocol/hex.ts";
import { choosePartSize, partAt, partCount, planOf } from "../lib/protocol/plan.ts";
import type { beginRequest, PartRequest } from "../lib/protocol/requests.ts";
import type { beginAnswer } from "../lib/protocol/wire.ts";
import type { Config } from "./config.ts";
import type { Deps } from "./deps.ts";
import { payloadKey, payloadsOf, type TransferRef } from "./keys.ts";
import { overLimit } from "./limit.ts";
import { contended, Records, type SignedNotice, type TransferRecord, type Versioned } from "./records.ts";

type Request = z.output<typeof beginRequest>;
type Answer = z.output<typeof beginAnswer>;

const DEFAULT_CONTENT_TYPE = "application/octet-stream";
/** Each lost race makes another one the winner, so two tries settle almost all. */
const TRIES = 6;
/** A notice with its 104 recipients takes 5.5 kB, and Lambda answers at most 6 MB. */
const MAX_NOTICES = 256;

/**
 * Begins a transfer, or joins the one that is under way or done: one upload, however many begin at once.
 * @throws WaybillError CONFLICT when the id is bound to a payload of another size, PAYLOAD_TOO_LARGE, RATE_LIMITED.
 */
export async function beginTransfer(deps: Deps, ref: TransferRef, request: Request): Promise<Answer> {
  const records = new Records(deps.store);
  checkSize(deps.config, request.size);
  for (let tries = 0; tries < TRIES; tries++) {
    const found = await records.read(ref);
    if (found) checkSameSize(found.record, request.size);
    const standing = found && (await whereItStands(deps, ref, found.record));
    if (found && standing !== "restart") return answer(deps, records, ref, found.record, request, standing!);
    const record = await startUpload(deps, records, ref, request, found);
    if (record) return answer(deps, records, ref, record, request, "open");
  }
  throw contended();
}

/** What a record amounts to now. The store knows better than the record whether an open upload was completed or lost. */
async function whereItStands(
  { store }: Deps,
  ref: TransferRef,
  record: TransferRecord,
): Promise<Answer["state"] | "restart"> {
  const key = payloadKey(ref, record.generation);
  switch (record.state) {
    case "finished":
      // Whoever took it away did so past the sweeper: an operator, or a bucket's lifecycle. Its bytes may come again.
      return (await store.head(key)) ? "finished" : "restart";
    case "aborted":
    case "swept":
      return "restart";
    case "open":
      if (await store.listParts(key, record.uploadId)) return "open";
      return (await store.head(key)) ? "stored" : "restart";
  }
}

/** Creates an upload and makes the record name it; null when another begin was faster, whose upload then counts. */
async function startUpload(
  deps: Deps,
  records: Records,
  ref: TransferRef,
  request: Request,
  found: Versioned | null,
): Promise<TransferRecord | null> {
  await checkOpenUploads(deps, ref, 1);
  // A swept transfer is bound to its digest and so to its plan; and whoever began it may still be at work by that plan.
  const kept = found && found.record.state !== "aborted" ? found.record : null;
  const contentType = kept?.contentType ?? request.contentType ?? DEFAULT_CONTENT_TYPE;
  const generation = nextGeneration(found);
  const key = payloadKey(ref, generation);
  const uploadId = await deps.store.createUpload(key, contentType);
  const record: TransferRecord = {
    state: "open",
    uploadId,
    size: kept ? kept.size : request.size,
    partSize: kept ? kept.partSize : partSizeFor(deps.config, request),
    contentType,
    digest: kept?.digest ?? null,
    storedAt: null,
    keepUntil: 0,
    notices: kept?.notices ?? [],
    ...(generation > 0 && { generation }),
  };
  try {
    await checkOpenUploads(deps, ref, 0); // again: of many begins at once, each has counted the others by now
    const won = found ? await records.replace(ref, found.etag, record) : await records.create(ref, record);
    if (won) return record;
  } catch (error) {
    await deps.store.abort(key, uploadId).catch(() => undefined); // else the sweeper's
    throw error;
  }
  // Our own write too can look like a lost race, when its first answer got lost.
  if ((await records.read(ref))?.record.uploadId === uploadId) return record;
  await deps.store.abort(key, uploadId);
  return null;
}

/** What was given up may be deleted at any time, so nothing ever comes under its key again. */
function nextGeneration(found: Versioned | null): number {
  if (found === null) return 0;
  const { state, generation = 0 } = found.record;
  return state === "open" ? generation : generation + 1;
}

async function answer(
  deps: Deps,
  records: Records,
  ref: TransferRef,
  record: TransferRecord,
  request: Request,
  state: Answer["state"],
): Promise<Answer> {
  const wanted = state === "open" ? (request.parts ?? []) : [];
  for (const part of wanted) checkPart(deps.config, record, part);
  const [signed, head, manifest, notices] = await Promise.all([
    deps.store.presignParts(payloadKey(ref, record.generation), record.uploadId, wanted),
    deps.chain.tip(),
    record.digest ? records.manifest(ref, record.digest) : null,
    state === "finished" ? noticesOf(records, ref, record) : null,
  ]);
  return {
    state,
    size: record.size,
    partSize: record.partSize,
    contentType: record.contentType,
    ...signed,
    head,
    ...(manifest && { manifest: toBase64(manifest.bytes) }),
    ...(notices && { notices }),
  };
}

/** The newest notices over a transfer. One whose record was never written (a crash in between) was never published. */
async function noticesOf(records: Records, ref: TransferRef, record: TransferRecord): Promise<SignedNotice[]> {
  const ids = record.notices.slice(-MAX_NOTICES);
  const notices = await Promise.all(ids.map((id) => records.notice(ref.task, id)));
  return notices.filter((notice) => notice !== null);
}

/** A part URL is given only for a part of the recorded plan. @throws WaybillError BAD_REQUEST, PAYLOAD_TOO_LARGE */
export function checkPart(config: Config, record: TransferRecord, part: PartRequest): void {
  const { size, partSize } = record;
  if (size === null) {
    if (part.length > partSize) throw offPlan(part.number);
    checkSize(config, (part.number - 1) * partSize + part.length);
    return;
  }
  const plan = { size, partSize };
  if (part.number > partCount(plan) || part.length !== partAt(plan, part.number).length) throw offPlan(part.number);
}

export function checkSize(config: Config, size: number | null): void {
  if (size !== null && size > config.caps.payload)
    throw overLimit("PAYLOAD_TOO_LARGE", `A payload may have ${config.caps.payload} bytes here.`, {
      name: "payload",
      value: config.caps.payload,
      unit: "bytes",
    });
}

function checkSameSize(record: TransferRecord, size: number | null): void {
  if (record.state === "aborted" || record.size === null || size === null || record.size === size) return;
  throw new WaybillError("CONFLICT", "This tag stands for a payload of another size. Send yours under a new tag.");
}

async function checkOpenUploads({ store, config }: Deps, { task, sender }: TransferRef, more: number): Promise<void> {
  const { openUploads } = config.caps;
  if ((await store.countUploads(payloadsOf(task, sender), openUploads + 1)) + more <= openUploads) return;
  throw overLimit("RATE_LIMITED", `You have ${openUploads} unfinished uploads. Finish or abort one first.`, {
    name: "openUploads",
    value: openUploads,
    unit: "uploads",
  });
}

/** The caller's part size where the store takes it, else the usual one. */
function partSizeFor(config: Config, { size, partSize }: Request): number {
  const wanted = Math.max(partSize ?? choosePartSize(size), config.minPartSize);
  return size === null ? wanted : planOf(size, wanted).partSize;
}

function offPlan(number: number): WaybillError {
  return new WaybillError("BAD_REQUEST", `Part ${number} does not fit the plan that begin answered.`);
}
