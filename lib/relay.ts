import type { Api } from "./api.ts";
import { WaybillError } from "./protocol/errors.ts";
import type { Reason } from "./protocol/reasons.ts";
import {
  noticeId,
  type Signed,
  type Statement,
  statementId,
  taskOf,
  type WalletReceipt,
} from "./protocol/statements.ts";
import { pause } from "./waiting.ts";

/** What a member that signs with a key says. */
export type Said = Exclude<Statement, WalletReceipt>;

export interface PostOrder {
  /** The statement's own end, in seconds of chain time, if it has one. */
  readonly at?: number | undefined;
  /** Ends the waiting, not the statement. */
  readonly signal?: AbortSignal | undefined;
}

/** A statement that is on its way. */
export interface Posted {
  /** Resolves with the reason once it is certain that the statement will not stand; otherwise the signal ends it. */
  failure(signal: AbortSignal): Promise<WaybillError>;
}

/** How a member's own statements get onto the chain. */
export interface Relay {
  /** Before anything is begun: throws when nothing could be relayed anyway. */
  check(): Promise<void>;
  /**
   * Resolves when the statement is out: from then on it may come to stand, whatever happens to us.
   * @throws WaybillError REFUSED_STATEMENT, NOT_PUBLISHED, and why nobody could be reached.
   */
  post(signed: Signed<Said>, order?: PostOrder): Promise<Posted>;
  close(): void;
}

/** Why the contract would never take the statement, or null when it has or still may. */
export type Judge = (signed: Signed<Said>) => Promise<Reason | null>;

/** Most statements stand within a few blocks; only those that don't are asked after, ever more rarely. */
const ASK_MS = { first: 2_000, most: 15_000 };

/** Hands statements to the functions, whose publisher pays. */
export class ApiRelay implements Relay {
  readonly #api: Api;
  readonly #judge: Judge | null;

  /** @param judge Asks the contract itself; without a node of one's own the functions' word has to do. */
  constructor(api: Api, judge: Judge | null) {
    this.#api = api;
    this.#judge = judge;
  }

  async check(): Promise<void> {}

  async post(signed: Signed<Said>): Promise<Posted> {
    await this.#hand(signed);
    return { failure: (signal) => this.#failure(signed, signal) };
  }

  close(): void {}

  async #hand({ statement, author, signature }: Signed<Said>): Promise<unknown> {
    switch (statement.kind) {
      case "open":
        return this.#api.openTask({ statement, author, signature });
      case "admit":
      case "expel":
        return this.#api.changeRoster({ statement, author, signature });
      case "message":
        return this.#api.message({ statement, author, signature });
      case "receipt":
        return this.#api.receipt(statement.task, statement.notice, statement.outcome, signature);
      case "withdraw":
        return this.#api.withdraw(statement.of.task, noticeId(statement.of), signature);
      case "notice":
        return undefined; // finish has handed it over
    }
  }

  async #failure(signed: Signed<Said>, signal: AbortSignal): Promise<WaybillError> {
    const [task, id] = [taskOf(signed.statement), statementId(signed.statement, signed.author)];
    for (let wait = ASK_MS.first; ; wait = Math.min(ASK_MS.most, wait * 1.5)) {
      await pause(wait, signal);
      // That this question fails is no news about the statement; the chain is watched by others.
      const found = await this.#api.statement(task, id, signal).catch(() => null);
      if (found?.state !== "refused") continue;
      const reason = this.#judge ? await this.#judge(signed).catch(() => null) : found.reason;
      if (reason !== null) return refused(reason);
    }
  }
}

/** What is said of a statement that the contract refuses. One that only came too late may be said again. */
export function refused(reason: Reason): WaybillError {
  const late = reason === "EXPIRED" ? " It did not get there before its deadline, and may be said anew." : "";
  const message = `The contract refuses the statement: ${reason}.${late}`;
  return new WaybillError("REFUSED_STATEMENT", message, { details: { reason }, retryable: reason === "EXPIRED" });
}
