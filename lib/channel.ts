import { randomBytes } from "ethers/crypto";
import { hexlify } from "ethers/utils";
import { type NoticeStatus, sessionOf, statusOf, type TaskContractor } from "./contractor.ts";
import { type Gathered, gather, type SourceFailure } from "./gather.ts";
import { type ComplementaryHandler, withHandler } from "./handler.ts";
import { accountOf, accountsOf, checkCount, checkNames, checkNotice, checkTag, totalOf, usage } from "./options.ts";
import type { Failure, NoticeEvent, ReceiptEvent, SendResult } from "./order.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Address, Hex } from "./protocol/hex.ts";
import type { Manifest } from "./protocol/manifest.ts";
import { contentTypeSchema, transferId } from "./protocol/manifest.ts";
import { receive } from "./receive.ts";
import { send } from "./send.ts";
import type { Session } from "./session.ts";
import type { Progress } from "./transfer/parts.ts";
import { type Payload, type Source, sourceOf } from "./transfer/source.ts";
import { type Destination, MAX_BYTES_IN_MEMORY, type Received, targetOf } from "./transfer/target.ts";
import type { Moved } from "./transfer/ticker.ts";
import type { RecipientProgress } from "./watch.ts";

/** What all sending calls take. */
interface SendCommon {
  /** Who sends; when given, it must be the signer. */
  readonly source?: string;
  /** What is sent: bytes, a Blob, `{ path }` or a stream of bytes. */
  readonly dataStream: Payload;
  /**
   * The transfer's name, 1 to 512 characters; random when left out. The same tag and bytes join the transfer that is there:
   * nothing is uploaded twice. The same tag with other bytes is CONFLICT.
   */
  readonly tag?: string;
  /**
   * Milliseconds, added to `timeout`: only their sum matters. Counted from when the payload is in the store, in the chain's
   * time. By default both together are 10 minutes and a second per MiB; 0 in either is 29 days; less than 1,000 is USAGE, and
   * too little for the chain to take a notice (a block time and its confirmations) is BAD_DEADLINE.
   */
  readonly connectionTimeout?: number;
  /** Milliseconds, added to `connectionTimeout`. */
  readonly timeout?: number;
  /** Throw NOT_ALL_RECEIVED when somebody did not verify, once all have answered or time is over. Default false. */
  readonly ensureAllSucc?: boolean;
  /**
   * Milliseconds. Give up, by withdrawing the notices that are waited for (those of earlier calls too), when none of the
   * recipients that are outstanding has shown a sign of life for so long: a report of its download, which comes every 5 s
   * while bytes move, or an answer. Counted from when the notice stands. Who is given up has failed with IDLE. The deadline
   * stays the end in any case. At least 15,000; a minute or more is wise. By default only the deadline counts.
   */
  readonly idleTimeout?: number;
  /** Ends the call: an upload stays for a later call to go on; notices of this call are withdrawn. Rejects with ABORTED. */
  readonly signal?: AbortSignal;
  /** false: `signal` leaves the notices standing, so that the same call again goes on waiting for their answers. Default true. */
  readonly withdrawOnAbort?: boolean;
  /** The payload's media type, at most 128 characters of ASCII; by default a Blob's own, or application/octet-stream. Only a new transfer heeds it. */
  readonly contentType?: string;
  /** Bytes of a part, raised to the least that the store takes (5 MiB); by default 8 MiB, more for large payloads. Only a new transfer heeds it. */
  readonly partSize?: number;
  /**
   * Gets, while the call runs, the task's messages and roster changes, and first those that nobody has had; one at a time,
   * in order. Notices and receipts go on beside it, so it may itself send and receive. What it throws ends the call, which
   * rejects with that same error; a payload whose receipt is out by then goes to the next call. The call does not wait for
   * a handler that is still busy when all else is done: an error after that is an unhandled rejection.
   */
  readonly complementaryHandler?: ComplementaryHandler;
  /** After every part. What a callback throws ends the call. */
  readonly onProgress?: (progress: Progress) => void;
  /** While bytes move, at most five times a second. What it throws ends the call. */
  readonly onBytes?: (moved: Moved) => void;
  /**
   * How far a recipient's download is, in its own words: while it is outstanding and has said anything, every few seconds, and
   * more rarely the longer it takes. Each look is a request.
   */
  readonly onRecipient?: (event: RecipientEvent) => void;
  /** When a notice is accepted or joined, before anybody has answered. */
  readonly onNotice?: (event: NoticeEvent) => void;
  /** When a recipient's answer stands on the chain. */
  readonly onReceipt?: (event: ReceiptEvent) => void;
}

/** What a recipient says of its download. */
export interface RecipientEvent extends RecipientProgress {
  /** The recipient's id as the caller wrote it. */
  readonly recipient: string;
}

/** How to send to one member. */
export interface SendOptions extends SendCommon {
  /** The recipient's account. */
  readonly target: string;
}

/** How to send to several members. */
export interface BatchSendOptions extends SendCommon {
  /** The recipients' accounts, none twice, and not the sender's own. */
  readonly target: readonly string[];
}

/** What both receiving calls take. */
interface ReceiveCommon {
  /** Who receives; when given, it must be the signer. */
  readonly receiver?: string;
  /** Only the transfer with this name; by default the oldest open notice of a listed source. */
  readonly tag?: string;
  /**
   * Where the payload goes: "bytes" (default), `{ path }`, `{ dir }`, which makes a file `<sender>-<tag>` there, or
   * "stream", which gives nothing before all is verified. A file appears whole, fsynced and verified, or not at all. One that
   * is there already and is the payload counts as received. A call that ended early, or whose process was killed, left what it
   * had verified beside the file (`.part` and `.journal`), and the next one for it goes on from there; "bytes" and "stream"
   * begin anew.
   */
  readonly to?: Destination;
  /** Overwrite an existing file. Default false. */
  readonly force?: boolean;
  /** Larger payloads are answered TOO_LARGE. Default 1 GiB for bytes, no limit for files and streams. */
  readonly maxBytes?: number;
  /**
   * Asked before a payload is fetched: its manifest (tag, size, content type, the parts' digests), and who sends it. False:
   * the sender is told REFUSED, and the call throws it (in a batch, the source has failed). What it throws ends the call; the
   * notice stays open.
   */
  readonly accept?: (manifest: Manifest, sender: string) => boolean | Promise<boolean>;
  /**
   * Milliseconds for the notice to come and the payload to be fetched; the receipt's standing is waited for beyond it, until
   * the notice's deadline. Default 10 minutes, and for the fetching as much again and a second per MiB. 0 is 29 days.
   */
  readonly timeout?: number;
  /**
   * Gets, while the call runs, the task's messages and roster changes, and first those that nobody has had; one at a time,
   * in order. Notices and receipts go on beside it, so it may itself send and receive. What it throws ends the call, which
   * rejects with that same error; a payload whose receipt is out by then goes to the next call. The call does not wait for
   * a handler that is still busy when all else is done: an error after that is an unhandled rejection.
   */
  readonly complementaryHandler?: ComplementaryHandler;
  /**
   * Tell the sender how far the download is: first after 5 s, then every 5 s at most, so that a slow recipient doesn't look
   * like a dead one. Nothing depends on it, and it delays nothing. Default true.
   */
  readonly reportProgress?: boolean;
  /** When a notice was found, before its payload is asked for. What it throws ends the call. */
  readonly onNotice?: (event: { readonly source: string; readonly notice: Hex }) => void;
  /** Ends the call with ABORTED. A payload that was verified already goes to the next call for its source (and tag). */
  readonly signal?: AbortSignal;
}

/** How to receive one payload. */
export interface ReceiveOptions extends ReceiveCommon {
  /** The member, or the members, from whom a payload is accepted. Others' notices stay for other calls. */
  readonly source?: string | readonly string[];
  /**
   * Only this notice, which stands on the chain. Then `source` may be left out, and a payload that this member has verified
   * already, in this process or another, is read once more as long as the store keeps it (GONE after that).
   */
  readonly notice?: string;
  /** "sent": resolve as soon as the receipt is handed over, without waiting for the chain. Default "standing". */
  readonly receipt?: "standing" | "sent";
  /** After every part that was verified. What it throws ends the call. */
  readonly onProgress?: (progress: Progress) => void;
  /** While bytes move, at most five times a second. What it throws ends the call. */
  readonly onBytes?: (moved: Moved) => void;
}

/** How to receive one payload of each of several members. */
export interface BatchReceiveOptions extends ReceiveCommon {
  /** The members, each with a payload of its own. Others' notices stay for other calls. */
  readonly sourceList: readonly string[];
  /** Where the payloads go: "bytes" (default), `{ dir }`, which gets a file `<sender>-<tag>` of each, or "stream". */
  readonly to?: Exclude<Destination, { readonly path: string }>;
  /**
   * Throw NOT_ALL_RECEIVED when a source has failed, once all have delivered or failed. Default false: what arrived is the
   * result. Goes with no `atLeast`.
   */
  readonly ensureAllSucc?: boolean;
  /** End early when so many sources have delivered. By default all are waited for. */
  readonly atLeast?: number;
  /** Milliseconds that the other sources get from then on. Default 0. Payloads whose receipt is out are waited for. */
  readonly graceAfter?: number;
  /** After every part that was verified. What it throws ends the call. */
  readonly onProgress?: (progress: Progress & { readonly source: string }) => void;
  /** While bytes move, at most five times a second for each source. What it throws ends the call. */
  readonly onBytes?: (moved: Moved & { readonly source: string }) => void;
  /** When it is certain that a source's payload doesn't come. What it throws ends the call. */
  readonly onFailure?: (failure: {
    readonly source: string;
    readonly reason: SourceFailure;
    readonly error: WaybillError;
  }) => void;
}

/** Three reports of a recipient may get lost. */
const LEAST_IDLE_MS = 15_000;

const SEND = [
  ...["source", "target", "dataStream", "tag", "connectionTimeout", "timeout", "ensureAllSucc", "signal", "partSize"],
  ...["complementaryHandler", "onProgress", "onBytes", "onRecipient", "onNotice", "onReceipt"],
  ...["idleTimeout", "withdrawOnAbort", "contentType"],
];
const RECEIVE_COMMON = [
  ...[
    "receiver",
    "tag",
    "to",
    "force",
    "maxBytes",
    "accept",
    "timeout",
    "complementaryHandler",
    "signal",
    "onProgress",
    "onBytes",
    "onNotice",
    "reportProgress",
  ],
];
const RECEIVE = ["source", "notice", "receipt", ...RECEIVE_COMMON];
const RECEIVE_BATCH = ["sourceList", "ensureAllSucc", "atLeast", "graceAfter", "onFailure", ...RECEIVE_COMMON];

/**
 * Sends and receives large payloads between the members of a task. "Received" means verified: in the recipient's memory or,
 * fsynced, in its file, with its signed receipt on the chain.
 *
 * Every method throws WaybillError. Before anything is uploaded: USAGE (no or repeated recipients, oneself, ids and times
 * that are none), NOT_MEMBER, EXPELLED, UNKNOWN_TASK, SOURCE_MISSING. ABORTED when `signal` ended it. UNREACHABLE,
 * UNAVAILABLE and CHAIN_STALLED are retryable: the same call again goes on from where it was. BAD_SERVER when a server's
 * answer can't be true.
 */
export class SharedFileDataChannel {
  readonly #contractor: TaskContractor;

  constructor(contractor: TaskContractor) {
    this.#contractor = contractor;
  }

  /**
   * Sends a payload to one member.
   * @returns the recipient's id, as written, once its VERIFIED receipt stands on the chain; null when it turned the payload
   * down, was expelled, or did not answer in time (with `ensureAllSucc` NOT_ALL_RECEIVED is thrown instead).
   * @throws WaybillError CONFLICT when the tag stands for other bytes; NOT_PUBLISHED (retryable, with the reason) when the
   * notice did not reach the chain; SOURCE_CHANGED; PAYLOAD_TOO_LARGE.
   */
  async sendStream(options: SendOptions): Promise<string | null> {
    checkNames(options, SEND);
    if (typeof options.target !== "string") throw usage("target must be one account. For several use batchSendStream.");
    const received = await this.#send({ ...options, target: [options.target] });
    return received[0] ?? null;
  }

  /**
   * Sends one payload to several members: one upload, and one notice per 104 members.
   * @returns the ids that verified, as written, when all have answered or time is over.
   * @throws WaybillError as `sendStream`; NOT_ALL_RECEIVED and NOT_PUBLISHED carry `received` and `failed` (id → reason).
   */
  batchSendStream(options: BatchSendOptions): Promise<string[]> {
    return this.#send(options);
  }

  /**
   * Waits for a payload and verifies every part of it against the manifest that its sender signed on the chain.
   * @returns the sender's id as written (in lower case if it wasn't), and the payload: bytes, the file's absolute path, or a
   * stream; once the receipt stands.
   * @throws WaybillError TIMEOUT; LATE (with `details.payload`) when the deadline or a withdrawal came before the receipt;
   * CORRUPT, TOO_LARGE and REFUSED, which the sender is told; NOT_MEMBER also when every source was expelled; with `notice`
   * UNKNOWN_NOTICE, NOT_RECIPIENT and GONE; CONFLICT and GONE when the stored payload was replaced or deleted;
   * TARGET_EXISTS, TARGET_UNWRITABLE, NO_SPACE, and TARGET_BUSY while another call or process receives the same file, after
   * which the notice is still open.
   */
  receiveStream(options: ReceiveOptions & { readonly to?: "bytes" }): Promise<[string, Uint8Array]>;
  receiveStream(
    options: ReceiveOptions & { readonly to: Exclude<Destination, "bytes" | "stream"> },
  ): Promise<[string, string]>;
  receiveStream(options: ReceiveOptions & { readonly to: "stream" }): Promise<[string, ReadableStream<Uint8Array>]>;
  async receiveStream(options: ReceiveOptions): Promise<[string, Received]> {
    checkNames(options, RECEIVE);
    const { to = "bytes", onProgress, onBytes, receipt = "standing" } = options;
    const notice = options.notice === undefined ? undefined : checkNotice(options.notice);
    const written = typeof options.source === "string" ? [options.source] : options.source;
    const sources = notice && written === undefined ? [] : accountsOf(written, "source");
    if (receipt !== "standing" && receipt !== "sent") throw usage('receipt must be "standing" or "sent".');
    const target = await targetOf(to, { force: options.force });
    const { session, ...order } = await this.#receiving(options, sources, written ?? []);
    const waitForReceipt = receipt === "standing";
    const { sender, payload } = await withHandler(session, handlerOf(options), (signal) =>
      receive(session, { ...order, notice, target, waitForReceipt, signal, onProgress, onBytes }),
    );
    return [order.idOf(sender), payload];
  }

  /**
   * Receives one payload of each of several members, in parallel, as `receiveStream` does. A source that fails (its payload
   * is corrupt, too large, late, gone; it was expelled) fails alone.
   * @returns Map from the sender's id, as written, to its payload, in the order of `sourceList`: when all have delivered or
   * failed, at the timeout, or early (`atLeast`).
   * @throws WaybillError NOT_ALL_RECEIVED (with `ensureAllSucc`) carrying `received`, the Map, and `failed` (id → reason).
   * When anything else ends the call, payloads that it has received go to the next calls for their sources (and tag).
   */
  batchReceiveStream(options: BatchReceiveOptions & { readonly to?: "bytes" }): Promise<Map<string, Uint8Array>>;
  batchReceiveStream(
    options: BatchReceiveOptions & { readonly to: { readonly dir: string } },
  ): Promise<Map<string, string>>;
  batchReceiveStream(
    options: BatchReceiveOptions & { readonly to: "stream" },
  ): Promise<Map<string, ReadableStream<Uint8Array>>>;
  async batchReceiveStream(options: BatchReceiveOptions): Promise<Map<string, Received>> {
    checkNames(options, RECEIVE_BATCH);
    const {
      to = "bytes",
      sourceList,
      ensureAllSucc = false,
      atLeast,
      graceAfter = 0,
      force,
      onProgress,
      onBytes,
      onFailure,
    } = options;
    const sources = accountsOf(sourceList, "sourceList");
    checkEarly(options);
    if (typeof to === "object" && "path" in to) throw usage("Several payloads don't go into one file. Name a { dir }.");
    await targetOf(to, { force });
    const { session, ...order } = await this.#receiving(options, sources, sourceList);
    const collection = {
      ...order,
      targetFor: () => targetOf(to, { force }),
      atLeast: atLeast ?? null,
      graceAfter,
      onProgress:
        onProgress &&
        ((source: Address, progress: Progress) => onProgress({ ...progress, source: order.idOf(source) })),
      onBytes: onBytes && ((source: Address, moved: Moved) => onBytes({ ...moved, source: order.idOf(source) })),
      onFailure:
        onFailure &&
        ((source: Address, reason: SourceFailure, error: WaybillError) =>
          onFailure({ source: order.idOf(source), reason, error })),
    };
    const gathered = await withHandler(session, handlerOf(options), (signal) =>
      gather(session, { ...collection, signal }),
    );
    return concludeGathering(gathered, order.idOf, ensureAllSucc);
  }

  /** What both receiving calls check and work out. */
  async #receiving(options: ReceiveCommon, sources: readonly Address[], written: readonly string[]) {
    const { to = "bytes", tag } = options;
    checkCount("maxBytes", options.maxBytes, 0);
    checkCallback("accept", options.accept);
    checkFlag("reportProgress", options.reportProgress);
    const time = totalOf({ timeout: options.timeout });
    const transfer: Hex | null = tag === undefined ? null : transferId(checkTag(tag));
    const session = await sessionOf(this.#contractor);
    checkSelf(session, options.receiver, "receiver");
    if (sources.includes(session.account)) throw usage("You can't receive from yourself.");
    const idOf = (source: Address): string => written[sources.indexOf(source)] ?? source;
    const { onNotice } = options;
    const tellNotice = ({ sender, notice }: { readonly sender: Address; readonly notice: Hex }): void =>
      onNotice?.({ source: idOf(sender), notice });
    const maxBytes = options.maxBytes ?? (to === "bytes" ? MAX_BYTES_IN_MEMORY : Number.POSITIVE_INFINITY);
    return {
      session,
      sources,
      transfer,
      place: placeOf(to),
      time,
      maxBytes,
      accept: options.accept,
      idOf,
      onNotice: tellNotice,
      report: options.reportProgress ?? true,
    };
  }

  /**
   * How a notice of the task stands on the chain: who has verified it, who answered what, who is outstanding.
   * @throws WaybillError UNKNOWN_NOTICE when it does not stand there, or not yet.
   */
  status(notice: string): Promise<NoticeStatus> {
    return this.#contractor.status(notice);
  }

  /**
   * The notices on the chain that this member sent or that name it, oldest first. So a process that is started again finds
   * out what it has answered already, and reads it once more with `receiveStream({ notice })`.
   * @param options.source Only this member's notices.
   * @param options.tag Only those of transfers with this name.
   */
  async notices(options: { readonly source?: string; readonly tag?: string } = {}): Promise<NoticeStatus[]> {
    const source = options.source === undefined ? null : accountOf(options.source, "source");
    const transfer = options.tag === undefined ? null : transferId(checkTag(options.tag));
    const session = await sessionOf(this.#contractor);
    await session.sync();
    const { account, ledger } = session;
    const mine = [...ledger.notices()].filter(({ notice, recipients }) => {
      const wanted = (source ?? notice.sender) === notice.sender && (transfer ?? notice.transfer) === notice.transfer;
      return wanted && (notice.sender === account || recipients.has(account));
    });
    return mine.map(statusOf);
  }

  async #send(options: BatchSendOptions): Promise<string[]> {
    checkNames(options, SEND);
    const recipients = accountsOf(options.target, "target");
    const written = new Map(recipients.map((account, i) => [account, options.target[i]!]));
    const tag = checkTag(options.tag ?? hexlify(randomBytes(16)));
    const time = totalOf({ connectionTimeout: options.connectionTimeout, timeout: options.timeout });
    checkCount("partSize", options.partSize, 1);
    checkFlag("withdrawOnAbort", options.withdrawOnAbort);
    const { partSize, onProgress, onBytes, onRecipient, onNotice, onReceipt, withdrawOnAbort = true } = options;
    const idle = idleOf(options.idleTimeout);
    const source = withType(await sourceOf(options.dataStream), options.contentType);
    const session = await sessionOf(this.#contractor);
    checkSelf(session, options.source, "source");
    if (recipients.includes(session.account)) throw usage("You can't send to yourself.");
    const tell =
      onReceipt &&
      ((event: ReceiptEvent & { recipient: Address }) =>
        onReceipt({ ...event, recipient: written.get(event.recipient)! }));
    const idOf = (account: Address): string => written.get(account)!;
    const tellRecipient =
      onRecipient &&
      ((event: RecipientProgress & { recipient: Address }) =>
        onRecipient({ ...event, recipient: written.get(event.recipient)! }));
    const told = { onProgress, onBytes, onRecipient: tellRecipient, onNotice, onReceipt: tell };
    const order = { recipients, idOf, source, tag, time, partSize, idle, withdraw: withdrawOnAbort, ...told };
    const sent = await withHandler(session, handlerOf(options), (signal) => send(session, { ...order, signal }));
    return conclude(sent, written, options.ensureAllSucc ?? false);
  }
}

function placeOf(to: Destination): string {
  return typeof to === "string" ? to : JSON.stringify(to);
}

function checkCallback(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") throw usage(`${name} must be a function.`);
}

function withType(source: Source, contentType: unknown): Source {
  if (contentType === undefined) return source;
  const found = contentTypeSchema.safeParse(contentType);
  if (!found.success) throw usage('contentType must be a media type, such as "application/octet-stream".');
  return { ...source, contentType: found.data };
}

/** Null without one. */
function idleOf(idleTimeout: unknown): number | null {
  const ms = totalOf({ idleTimeout });
  if (ms !== null && ms < LEAST_IDLE_MS)
    throw usage(`idleTimeout is at least ${LEAST_IDLE_MS} ms: recipients speak every 5 s at most.`);
  return ms;
}

function checkFlag(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "boolean") throw usage(`${name} must be true or false.`);
}

function checkEarly({ ensureAllSucc, atLeast, graceAfter, sourceList }: BatchReceiveOptions): void {
  checkCount("atLeast", atLeast, 1);
  checkCount("graceAfter", graceAfter, 0);
  if (atLeast === undefined && graceAfter !== undefined) throw usage("graceAfter goes with atLeast.");
  if (atLeast === undefined) return;
  if (ensureAllSucc) throw usage("ensureAllSucc wants all, and atLeast fewer. Say one of them.");
  if (atLeast > sourceList.length) throw usage(`atLeast is ${atLeast}, and sourceList names ${sourceList.length}.`);
}

function concludeGathering(
  { received, failed }: Gathered,
  idOf: (source: Address) => string,
  ensureAllSucc: boolean,
): Map<string, Received> {
  const payloads = new Map([...received].map(([account, payload]) => [idOf(account), payload]));
  if (!ensureAllSucc || failed.size === 0) return payloads;
  const missing = Object.fromEntries([...failed].map(([account, reason]) => [idOf(account), reason]));
  const list = Object.entries(missing).map(([id, reason]) => `${id} (${reason})`);
  throw new WaybillError("NOT_ALL_RECEIVED", `Not all payloads have come: ${list.join(", ")}.`, {
    details: { received: payloads, failed: missing },
  });
}

function handlerOf({ complementaryHandler: handler, signal }: SendCommon | ReceiveCommon) {
  checkCallback("complementaryHandler", handler);
  return { handler, signal };
}

function checkSelf(session: Session, account: string | undefined, name: string): void {
  if (account !== undefined && accountOf(account, name) !== session.account)
    throw usage(`${name}, when given, must be the contractor's own account ${session.account}.`);
}

/** The result in the caller's own words, or the error that says who is missing. */
function conclude(
  { received, failed, why }: SendResult,
  written: ReadonlyMap<Address, string>,
  ensureAllSucc: boolean,
): string[] {
  const ids = received.map((account) => written.get(account)!);
  const missing: Record<string, Failure> = {};
  for (const [account, failure] of failed) missing[written.get(account)!] = failure;
  const details = { received: ids, failed: missing };
  if ([...failed.values()].includes("NOT_PUBLISHED")) {
    const said = why?.message ?? "It did not get onto the chain in time.";
    throw new WaybillError("NOT_PUBLISHED", `A notice was not published. ${said} Send again.`, {
      details: { ...why?.details, ...details },
      ...(why && { cause: why }),
    });
  }
  if (ensureAllSucc && failed.size > 0) {
    const list = Object.entries(missing).map(([id, failure]) => `${id} (${failure})`);
    throw new WaybillError("NOT_ALL_RECEIVED", `Not all have verified the payload: ${list.join(", ")}.`, { details });
  }
  return ids;
}
