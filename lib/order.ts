import type { WaybillError } from "./protocol/errors.ts";
import type { Address, Hex } from "./protocol/hex.ts";
import type { Outcome } from "./protocol/reasons.ts";
import type { Progress } from "./transfer/parts.ts";
import type { Source } from "./transfer/source.ts";
import type { Moved } from "./transfer/ticker.ts";
import type { RecipientProgress } from "./watch.ts";

/** Why a recipient's id is not among those that verified. */
export type Failure = Exclude<Outcome, "VERIFIED"> | "WITHDRAWN" | "EXPELLED" | "TIMEOUT" | "IDLE" | "NOT_PUBLISHED";

/** A recipient's answer, as it stands on the chain. */
export interface ReceiptEvent {
  /** The recipient's id as the caller wrote it. */
  readonly recipient: string;
  readonly outcome: Outcome;
  readonly notice: Hex;
  readonly transaction: Hex;
}

/** A notice that this call published or joined. */
export interface NoticeEvent {
  readonly notice: Hex;
  /** Seconds of chain time. */
  readonly deadline: number;
  /** Whether an earlier call published it. */
  readonly joined: boolean;
}

/** What `sendStream` and `batchSendStream` come down to. */
export interface SendOrder {
  readonly recipients: readonly Address[];
  /** A recipient's id as the caller wrote it. */
  readonly idOf: (recipient: Address) => string;
  readonly source: Source;
  readonly tag: string;
  /** Milliseconds; null for the default. */
  readonly time: number | null;
  readonly partSize: number | undefined;
  /** Milliseconds without a sign of life of anybody who is outstanding, after which the call gives up; null: none. */
  readonly idle: number | null;
  /** Whether a signal takes the notices of this call back. */
  readonly withdraw: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  readonly onBytes: ((moved: Moved) => void) | undefined;
  readonly onRecipient: ((event: { recipient: Address } & RecipientProgress) => void) | undefined;
  readonly onNotice: ((event: NoticeEvent) => void) | undefined;
  readonly onReceipt: ((event: { recipient: Address } & Omit<ReceiptEvent, "recipient">) => void) | undefined;
}

export interface SendResult {
  readonly received: readonly Address[];
  readonly failed: ReadonlyMap<Address, Failure>;
  /** Why a notice did not get onto the chain, if one did not and somebody knows. */
  readonly why: WaybillError | null;
}

/** Runs the caller's own functions, and knows whether it was one of them that ended the call. */
export class Callbacks {
  failed = false;

  run(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.failed = true;
      throw error;
    }
  }
}
