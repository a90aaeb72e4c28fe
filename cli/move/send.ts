import { basename } from "node:path";
import type { Command } from "commander";
import { type BatchSendOptions, type Failure, type Moved, type Payload, WaybillError } from "../../lib/index.ts";
import type { Context } from "../command.ts";
import { answer, emit } from "../output.ts";
import { accountOf } from "../participant.ts";
import { printable } from "../words.ts";
import { Bar } from "./bar.ts";
import { Pace } from "./pace.ts";
import { Recipients } from "./recipients.ts";
import { type Common, type Moving, moving } from "./session.ts";
import { size, span } from "./words.ts";

export interface SendFlags extends Common {
  readonly to: readonly string[];
  readonly tag?: string;
  readonly timeout?: number;
  readonly idleTimeout?: number;
  readonly contentType?: string;
  readonly ensureAll?: true;
  readonly withdrawOnInterrupt?: true;
}

/** `waybill send` */
export async function sendFile(file: string, command: Command, context: Context): Promise<void> {
  const flags = command.opts<SendFlags>();
  const tag = tagOf(file, flags);
  await moving(
    command,
    context,
    async (parts) => {
      const names = new Map(flags.to.map((name) => [accountOf(name, parts.participant), name]));
      if (names.size < flags.to.length) throw new WaybillError("USAGE", "--to names somebody twice.");
      await new Sending(file, tag, names, flags, parts).run();
    },
    file === "-" ? "with the same bytes on stdin" : undefined,
  );
}

/** The same command has to mean the same transfer, so that it can go on with it. */
function tagOf(file: string, { tag }: SendFlags): string {
  if (tag !== undefined) return tag;
  if (file !== "-") return basename(file);
  throw new WaybillError(
    "USAGE",
    "What comes from stdin has no name: give it one with --tag, such as --tag round-7/model.",
  );
}

class Sending {
  readonly #file: string;
  readonly #tag: string;
  /** What the user calls them, by account. */
  readonly #names: ReadonlyMap<string, string>;
  readonly #flags: SendFlags;
  readonly #moving: Moving;
  readonly #bar: Bar;
  readonly #recipients: Recipients;
  readonly #received: string[] = [];
  readonly #pace = new Pace();
  #noticed = false;
  #tagSaid = false;
  #heldSaid = false;

  constructor(file: string, tag: string, names: ReadonlyMap<string, string>, flags: SendFlags, parts: Moving) {
    this.#file = file;
    this.#tag = tag;
    this.#names = names;
    this.#flags = flags;
    this.#moving = parts;
    this.#bar = new Bar(printable(file === "-" ? tag : basename(file), 40));
    this.#recipients = new Recipients([...names.values()]);
  }

  async run(): Promise<void> {
    const { screen } = this.#moving;
    screen.show(this.#bar);
    const failed: Record<string, Failure> = {};
    try {
      await this.#moving.channel.batchSendStream(this.#options());
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "NOT_ALL_RECEIVED") throw await this.#inWords(error);
      Object.assign(failed, this.#named(error.details.failed as Record<string, Failure>));
    } finally {
      screen.end();
    }
    this.#conclude(failed);
  }

  #options(): BatchSendOptions {
    const { timeout, idleTimeout, contentType, withdrawOnInterrupt = false, json } = this.#flags;
    const { screen, signal } = this.#moving;
    return {
      target: [...this.#names.keys()],
      dataStream: this.#payload(),
      tag: this.#tag,
      ensureAllSucc: true, // so that it says who failed, and why
      signal,
      withdrawOnAbort: withdrawOnInterrupt,
      ...(timeout !== undefined && { timeout }),
      ...(idleTimeout !== undefined && { idleTimeout }),
      ...(contentType !== undefined && { contentType }),
      onBytes: (moved) => {
        this.#sayTag();
        this.#sayHeld(moved);
        this.#bar.update(moved);
        if (json && this.#pace.isDue(moved)) emit({ event: "progress", ...moved });
      },
      onNotice: (event) => {
        this.#sayTag();
        if (json) emit({ event: "notice", ...event });
        const left = span(event.deadline * 1000 - Date.now());
        if (!this.#noticed)
          screen.note(
            `${event.joined ? "It was sent before" : "It is in the store"}; waiting ${left} at most for answers.`,
          );
        this.#noticed = true;
        this.#recipients.deadline = event.deadline;
        screen.show(this.#recipients);
      },
      onRecipient: (event) => {
        const named = { ...event, recipient: this.#nameOf(event.recipient) };
        this.#recipients.update(named);
        if (json) emit({ event: "recipient", ...named });
      },
      onReceipt: (event) => {
        const named = { ...event, recipient: this.#nameOf(event.recipient) };
        if (event.outcome === "VERIFIED") this.#received.push(named.recipient);
        this.#recipients.answered(named);
        if (json) emit({ event: "receipt", ...named });
        screen.note(
          `${named.recipient} ${event.outcome === "VERIFIED" ? "has verified it" : `rejected it (${event.outcome})`}.`,
        );
      },
    };
  }

  /** Once, and not before it is known that there is something to send. */
  #sayTag(): void {
    if (this.#flags.tag !== undefined || this.#tagSaid) return;
    this.#tagSaid = true;
    this.#moving.screen.note(`The tag is "${printable(this.#tag)}", the file's name.`);
  }

  #sayHeld({ heldBytes, totalBytes }: Moved): void {
    if (heldBytes === 0 || this.#heldSaid) return;
    this.#heldSaid = true;
    this.#moving.screen.note(
      `Going on: of ${size(totalBytes ?? heldBytes)} the store has ${size(heldBytes)}, which are compared and not sent again.`,
    );
  }

  #payload(): Payload {
    return this.#file === "-" ? process.stdin : { path: this.#file };
  }

  #nameOf(account: string): string {
    return this.#names.get(account) ?? account;
  }

  /** What happened to each, on stdout, and in the exit code. */
  #conclude(failed: Readonly<Record<string, Failure>>): void {
    const received = this.#received;
    const lines = received.map((name) => `${name} verified`);
    for (const [name, why] of Object.entries(failed)) lines.push(`${name} ${why}`);
    answer(this.#flags.json, { event: "result", tag: this.#tag, received, failed }, lines.join("\n"));
    const reasons = Object.values(failed);
    if (reasons.length === 0) return;
    const details = { received, failed };
    if (received.length > 0 || this.#flags.ensureAll)
      throw new WaybillError(
        "NOT_ALL_RECEIVED",
        `Not all have verified it: ${Object.keys(failed).join(", ")} did not.`,
        { details },
      );
    const late = reasons.every((why) => why === "TIMEOUT" || why === "IDLE");
    if (late)
      throw new WaybillError("TIMEOUT", "Nobody has verified it in time. What is stored is not sent again.", {
        details,
      });
    throw new WaybillError("REFUSED", "Nobody has verified it. The reasons are above.", { details });
  }

  #named(failures: Readonly<Record<string, Failure>>): Record<string, Failure> {
    return Object.fromEntries(Object.entries(failures).map(([account, why]) => [this.#nameOf(account), why]));
  }

  async #inWords(error: unknown): Promise<unknown> {
    if (!(error instanceof WaybillError)) return error;
    if (error.code === "CONFLICT" && /tag/.test(error.message)) return this.#otherTag(error);
    if (error.code !== "ABORTED") return error;
    const stays = this.#noticed && !this.#flags.withdrawOnInterrupt;
    const message = stays
      ? "Interrupted. The notice stands until its deadline, and who comes until then can still receive it."
      : this.#noticed
        ? "Interrupted, and the notice is withdrawn."
        : "Interrupted. What the store has by now is not sent again.";
    return new WaybillError("ABORTED", message, { cause: error });
  }

  /** The next free name. */
  async #otherTag(cause: WaybillError): Promise<WaybillError> {
    for (let n = 2; ; n++) {
      const tag = `${this.#tag}-${n}`;
      const known = await this.#moving.channel.notices({ tag }).catch(() => []);
      if (known.length > 0) continue;
      const message = `You have sent other bytes as "${printable(this.#tag)}". For these give another name: --tag ${printable(tag)}`;
      return new WaybillError("CONFLICT", message, { cause });
    }
  }
}
