import { mkdir, stat } from "node:fs/promises";
import { basename } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import { type Address, type Moved, type NoticeStatus, WaybillError } from "../../lib/index.ts";
import type { Context } from "../command.ts";
import { READER_GONE } from "../exit.ts";
import { unwritten } from "../files.ts";
import { answer, emit, note } from "../output.ts";
import { accountOf } from "../participant.ts";
import { inCommandWords } from "../wording.ts";
import { harmless, printable } from "../words.ts";
import { Bars } from "./bars.ts";
import { Pace } from "./pace.ts";
import { type Common, type Moving, moving } from "./session.ts";
import { size } from "./words.ts";

export interface ReceiveFlags extends Common {
  readonly from: readonly string[];
  readonly out: string;
  readonly tag?: string;
  readonly timeout?: number;
  readonly force?: true;
  readonly maxBytes?: number;
  readonly atLeast?: number;
  readonly grace?: number;
}

type Place = "stdout" | { readonly path: string } | { readonly dir: string; readonly named?: "tag" };

/** `waybill receive` */
export async function receiveFiles(command: Command, context: Context): Promise<void> {
  const flags = command.opts<ReceiveFlags>();
  checkFlags(flags);
  await moving(command, context, async (parts) => {
    const names = new Map(flags.from.map((name) => [accountOf(name, parts.participant), name]));
    if (names.size < flags.from.length) throw usage("--from names somebody twice.");
    const place = await placeOf(flags);
    await new Receiving(place, names, flags, parts).run();
  });
}

function checkFlags({ from, out, json, atLeast, grace }: ReceiveFlags): void {
  if (out === "-" && json) throw usage("--json and --out - both want stdout. Leave one of them out.");
  if (out === "-" && from.length > 1) throw usage("Several payloads don't go to stdout. Name a folder with --out.");
  if (grace !== undefined && atLeast === undefined) throw usage("--grace goes with --at-least.");
  if (atLeast !== undefined && atLeast > from.length)
    throw usage(`--at-least is ${atLeast}, and --from names ${from.length}.`);
}

/** A folder that is there, or whose name ends with a slash; everything else is a file. */
async function placeOf({ out, from }: ReceiveFlags): Promise<Place> {
  if (out === "-") return "stdout";
  const slash = /[/\\]$/.test(out);
  if (slash) await mkdir(out, { recursive: true }).catch((cause: unknown) => Promise.reject(unmade(out, cause)));
  const isFolder = slash || (await stat(out).catch(() => null))?.isDirectory() === true;
  if (isFolder) return from.length === 1 ? { dir: out, named: "tag" } : { dir: out };
  if (from.length > 1) throw usage(`Several payloads need a folder, and ${printable(out)} is none.`);
  return { path: out };
}

class Receiving {
  readonly #place: Place;
  /** What the user calls them, by account. */
  readonly #names: ReadonlyMap<Address, string>;
  readonly #flags: ReceiveFlags;
  readonly #moving: Moving;
  readonly #bars: Bars;
  readonly #paces = new Map<string, Pace>();
  readonly #heldSaid = new Set<string>();
  readonly #received: { readonly source: string; readonly path: string }[] = [];

  constructor(place: Place, names: ReadonlyMap<Address, string>, flags: ReceiveFlags, parts: Moving) {
    this.#place = place;
    this.#names = names;
    this.#flags = flags;
    this.#moving = parts;
    this.#bars = new Bars([...names.values()]);
  }

  async run(): Promise<void> {
    const { screen } = this.#moving;
    screen.show(this.#bars);
    const had = await this.#verified();
    for (const [source, notice] of had) await this.#readAgain(source, notice);
    const sources = [...this.#names.keys()].filter((source) => !had.has(source));
    const failed: Record<string, string> = {};
    if (this.#names.size === 1 && sources.length === 1) await this.#one(sources[0]!);
    else if (sources.length > 0) await this.#several(sources, failed);
    screen.end();
    if (this.#place === "stdout") return;
    if (this.#flags.json) answer(true, { event: "result", received: this.#received, failed }, "");
    const missing = Object.keys(failed);
    const enough = this.#flags.atLeast ?? this.#names.size;
    if (this.#received.length >= enough) return;
    const message = `Not all payloads have come: ${missing.map((name) => `${name} (${failed[name]})`).join(", ")}.`;
    const code = this.#received.length > 0 ? "NOT_ALL_RECEIVED" : "TIMEOUT";
    throw new WaybillError(code, message, { details: { failed } });
  }

  /**
   * The notices whose payload this member has verified already, where the same command can mean no other: a tag counts once, and
   * a file that is there can't become another.
   */
  async #verified(): Promise<Map<Address, NoticeStatus>> {
    const { tag, force } = this.#flags;
    const { channel, participant } = this.#moving;
    const found = new Map<Address, NoticeStatus>();
    const place = this.#place;
    const there = typeof place === "object" && "path" in place && !force && (await isFile(place.path));
    if (tag === undefined && !there) return found;
    for (const source of this.#names.keys()) {
      const notices = await channel.notices({ source, ...(tag !== undefined && { tag }) });
      const mine = ({ recipients }: NoticeStatus): string | undefined =>
        recipients.find(({ account }) => account === participant.account)?.state;
      const last = notices.findLast((notice) => mine(notice) === "verified");
      if (last) found.set(source, last);
    }
    return found;
  }

  /** It counts already; only the bytes are brought here once more, or found to be here. */
  async #readAgain(source: Address, { notice }: NoticeStatus): Promise<void> {
    this.#moving.screen.note(`You have verified it before.`);
    await this.#one(source, notice);
  }

  async #one(source: Address, notice?: string): Promise<void> {
    const { channel } = this.#moving;
    const name = this.#names.get(source)!;
    const order = {
      ...this.#common(),
      source,
      ...(notice !== undefined && { notice }),
      onBytes: (moved: Moved) => this.#moved(name, moved),
    };
    if (this.#place === "stdout") {
      const [, stream] = await channel.receiveStream({ ...order, to: "stream" });
      this.#moving.screen.end();
      await pipeline(stream, process.stdout, { end: false }).catch(endIfUnread);
      note(harmless(counted("The payload", name)));
      return;
    }
    const [, path] = await channel.receiveStream({ ...order, to: this.#place });
    this.#arrived(name, path);
  }

  async #several(sources: readonly Address[], failed: Record<string, string>): Promise<void> {
    const { channel, screen } = this.#moving;
    const { atLeast, grace } = this.#flags;
    const still = atLeast === undefined ? undefined : Math.max(1, atLeast - this.#received.length);
    const payloads = await channel.batchReceiveStream({
      ...this.#common(),
      sourceList: sources,
      to: this.#place as { dir: string },
      ...(still !== undefined && { atLeast: still, graceAfter: grace ?? 0 }),
      onBytes: ({ source, ...moved }) => this.#moved(this.#nameOf(source), moved),
      onFailure: ({ source, reason, error }) => {
        const name = this.#nameOf(source);
        failed[name] = reason;
        if (this.#flags.json) emit({ event: "failed", source: name, reason });
        screen.note(`Nothing from ${name}: ${inCommandWords(error.message)} (${reason})`);
      },
    });
    for (const [source, path] of payloads) this.#arrived(this.#nameOf(source), path);
  }

  #common() {
    const { tag, timeout, maxBytes, force, json } = this.#flags;
    return {
      signal: this.#moving.signal,
      ...(tag !== undefined && { tag }),
      ...(timeout !== undefined && { timeout }),
      ...(maxBytes !== undefined && { maxBytes }),
      ...(force && { force }),
      onNotice: ({ source, notice }: { readonly source: string; readonly notice: string }) => {
        if (json) emit({ event: "notice", source: this.#nameOf(source), notice });
      },
    };
  }

  #moved(source: string, moved: Moved): void {
    this.#sayHeld(source, moved);
    this.#bars.update(source, moved);
    if (!this.#flags.json) return;
    const pace = this.#paces.get(source) ?? new Pace();
    this.#paces.set(source, pace);
    if (pace.isDue(moved)) emit({ event: "progress", source, ...moved });
  }

  #sayHeld(source: string, { heldBytes, totalBytes }: Moved): void {
    if (heldBytes === 0 || this.#heldSaid.has(source)) return;
    this.#heldSaid.add(source);
    const held = `of ${size(totalBytes ?? heldBytes)} from ${source}, ${size(heldBytes)}`;
    this.#moving.screen.note(`Going on: ${held} are here, verified, and are not fetched again.`);
  }

  #arrived(source: string, path: string): void {
    this.#received.push({ source, path });
    this.#bars.done(source);
    this.#moving.screen.note(counted(printable(basename(path)), source));
    if (this.#flags.json) emit({ event: "received", source, path });
    else this.#moving.screen.print(path);
  }

  #nameOf(source: string): string {
    return this.#names.get(source as Address) ?? source;
  }
}

function counted(what: string, source: string): string {
  return `${what} from ${source} is verified, and its receipt is on the chain.`;
}

async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  return found?.isFile() === true && found.size > 0;
}

/** Whoever reads us has had enough, as `| head` has: that ends us as it ends other programs, without a word. */
function endIfUnread(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE" || error.code === "ERR_STREAM_PREMATURE_CLOSE") process.exit(READER_GONE);
  throw error instanceof WaybillError ? error : unwritten(error);
}

function unmade(dir: string, cause: unknown): WaybillError {
  const { code = "unknown" } = cause as NodeJS.ErrnoException;
  return new WaybillError("TARGET_UNWRITABLE", `The folder ${printable(dir)} can't be made (${code}).`, { cause });
}

function usage(message: string): WaybillError {
  return new WaybillError("USAGE", message);
}
