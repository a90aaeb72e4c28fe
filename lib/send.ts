import { checkRecipients, checkSender, expelledSender } from "./membership.ts";
import { Offer } from "./offer.ts";
import { Callbacks, type SendOrder, type SendResult } from "./order.ts";
import { WaybillError } from "./protocol/errors.ts";
import { type Notice, noticeId } from "./protocol/statements.ts";
import type { Session } from "./session.ts";
import { isAnybodyOutstanding, Verdicts } from "./verdicts.ts";
import { aborted, limit } from "./waiting.ts";

/** How long an aborted call tries to take its notices back. */
const WITHDRAW_MS = 60_000;

/** Sends one payload to some recipients and waits for their answers. */
export async function send(session: Session, order: SendOrder): Promise<SendResult> {
  const sending = new Sending(session, order);
  try {
    return await sending.run();
  } catch (error) {
    throw await sending.giveUp(error);
  }
}

class Sending {
  readonly #session: Session;
  readonly #order: SendOrder;
  readonly #callbacks = new Callbacks();
  readonly #offer: Offer;
  readonly #verdicts: Verdicts;

  constructor(session: Session, order: SendOrder) {
    this.#session = session;
    this.#order = order;
    this.#offer = new Offer(session, order, this.#callbacks);
    this.#verdicts = new Verdicts(session, order, this.#offer, this.#callbacks);
  }

  async run(): Promise<SendResult> {
    await this.#session.sync(this.#order.signal);
    checkSender(this.#session);
    checkRecipients(this.#session, this.#order.recipients);
    await this.#session.relay.check();
    await this.#offer.make();
    return this.#verdicts.wait();
  }

  /** An early end takes back what this call published, so that nobody receives what nobody waits for. */
  async giveUp(error: unknown): Promise<unknown> {
    const { signal } = this.#order;
    const ended = signal?.aborted === true;
    if (!ended && !this.#callbacks.failed) return expelledSender(error);
    if (this.#order.withdraw || !ended) await this.#withdraw();
    return ended ? aborted(signal, { received: this.#verdicts.received().map(this.#order.idOf) }) : error;
  }

  async #withdraw(): Promise<void> {
    const end = limit(WITHDRAW_MS, undefined, () => new WaybillError("TIMEOUT", "Withdrawing took too long."));
    try {
      await Promise.allSettled(this.#offer.published.map((notice) => this.#withdrawOne(notice, end.signal)));
    } finally {
      end.clear();
    }
  }

  /** Resolves when nothing of the notice is open any more: withdrawn, answered, or refused, and so never open. */
  async #withdrawOne(notice: Notice, signal: AbortSignal): Promise<void> {
    const { ledger } = this.#session;
    const id = noticeId(notice);
    const posted = await this.#session.say({ kind: "withdraw", of: notice }, { signal });
    const probe = (): true | undefined => {
      const record = ledger.notice(id);
      return record && !isAnybodyOutstanding(record) ? true : undefined;
    };
    await this.#session.stands(posted, probe, { signal });
  }
}
