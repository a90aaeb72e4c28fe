import type { NoticeAnswer } from "./api.ts";
import type { NoticeRecord } from "./chain/ledger.ts";
import { WaybillError } from "./protocol/errors.ts";
import { type Address, fromBase64 } from "./protocol/hex.ts";
import { decodeManifest, type Manifest, manifestDigest } from "./protocol/manifest.ts";
import type { Session } from "./session.ts";
import { manifestOf, otherBytes, type StoredPayload, type StoreOrder } from "./stored.ts";
import { type Digested, digest } from "./transfer/upload.ts";

/** Who is to have verified a payload for the chain to have the answer. */
export interface AnswerOrder extends StoreOrder {
  readonly recipients: readonly Address[];
}

/**
 * A payload that everybody wanted has verified already: then the chain has the answer, and whether the store still has the
 * bytes doesn't matter. That these are the same ones the manifest shows that the chain commits to.
 *
 * @returns null when not all have, or nobody tells the manifest: then it must be stored.
 * @throws WaybillError CONFLICT when the tag stands for other bytes; what reading the source throws.
 */
export async function answered(session: Session, order: AnswerOrder): Promise<StoredPayload | null> {
  const verified = allVerified(session, order);
  if (verified === null) return null;
  const told = await tellNotice(session, verified, order.signal);
  const manifest = told && committed(told, verified);
  if (!told || !manifest) return null;
  if (order.source.size !== null && order.source.size !== manifest.size) throw otherBytes();
  const own = manifestDigest(manifestOf(order.tag, await read(order, manifest), manifest.contentType));
  if (own !== verified.notice.manifest) throw otherBytes();
  return { size: manifest.size, digest: own, head: told.head, notices: [] };
}

/** The newest notice over the payload that every recipient has verified, be it by this notice or by others. */
function allVerified({ ledger, account }: Session, { transfer, recipients }: AnswerOrder): NoticeRecord | null {
  const newest = ledger.noticesOf(account, transfer).at(-1);
  const same = ledger.noticesOf(account, transfer).filter(({ notice }) => notice.manifest === newest?.notice.manifest);
  const isVerified = (recipient: Address): boolean =>
    same.some((record) => record.recipients.get(recipient)?.state === "verified");
  return newest && recipients.every(isVerified) ? newest : null;
}

/** Null when the functions can't or won't tell: then they are asked to store it, and say why not. */
async function tellNotice(
  { api, task }: Session,
  { id }: NoticeRecord,
  signal: AbortSignal | undefined,
): Promise<NoticeAnswer | null> {
  try {
    return await api.noticeWithManifest(task, id, signal);
  } catch (error) {
    if (error instanceof WaybillError && error.code !== "ABORTED") return null;
    throw error;
  }
}

/** The manifest, if it is the one to which the notice commits. */
function committed({ manifest }: NoticeAnswer, { notice }: NoticeRecord): Manifest | null {
  const bytes = manifest === undefined ? null : fromBase64(manifest);
  return bytes && manifestDigest(bytes) === notice.manifest ? decodeManifest(bytes) : null;
}

async function read({ source, signal }: AnswerOrder, { size, partSize }: Manifest): Promise<Digested> {
  const reader = await source.open();
  try {
    return await digest({ reader, plan: { size, partSize }, signal });
  } finally {
    await reader.close();
  }
}
