import { randomBytes } from "node:crypto";
import { lstat, open, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import * as z from "zod/mini";
import { removeFile } from "./file.ts";

// Who wants a name writes a claim, a file that nobody else has, and then looks for others' claims: if there are none, the name
// is its own. Of two that both hold it, one would have looked after the other had written; so there is at most one. A claim
// whose process has ended counts for nothing, and anybody may remove it: its name is nobody else's, now or later, and so no
// living claim is ever removed for a dead one. Where processes can't be looked at (on another machine, in a container that was
// started again) a claim is living that is written anew from time to time.

/** How often a holder says that it is there. */
const BEAT_MS = 3_000;
/** After so long without a word it is taken for dead. A holder whose event loop is blocked for longer loses no bytes by it. */
const STALE_MS = 15_000;
/** The one of several that goes first waits so long for the others to see it. */
const PATIENCE_MS = 1_000;
/** Others come and go meanwhile; nobody waits for the name longer than this. */
const LONGEST_MS: number = STALE_MS + 5_000;
const PAUSE_MS = 20;

const claim = z.object({ machine: z.string(), pid: z.int().check(z.gte(1)), start: z.string() });

/** A claim that may be living, and when it was last written. */
interface Rival {
  readonly name: string;
  readonly written: number;
  /** Whether its process is known to live; else it may be a dead one's that has not been silent for long enough. */
  readonly sure: boolean;
}

/** A name in a folder that is ours until `release`, or until this process ends, however it ends. */
export class Lock {
  /** Who owns what we make here. */
  readonly uid: number;
  readonly #path: string;
  readonly #beat: NodeJS.Timeout;

  /**
   * Null when somebody else has it. Whether somebody does may take some seconds to find out, if it is not a process of this
   * machine.
   * @throws what the file system says when no file can be made in this folder; the signal's reason.
   */
  static async take(dir: string, name: string, signal?: AbortSignal): Promise<Lock | null> {
    const end = performance.now() + LONGEST_MS;
    for (;;) {
      const found = await Lock.#try(dir, name);
      if (found instanceof Lock) return found;
      if (performance.now() > end || (await isHeld(dir, found, signal))) return null;
    }
  }

  static async #try(dir: string, name: string): Promise<Lock | Rivals> {
    const own = `${name}.${randomBytes(6).toString("hex")}.lock`;
    const path = join(dir, own);
    const text = JSON.stringify({ machine: await machine(), pid: process.pid, start: await ownStart() });
    try {
      await writeFile(path, text, { flag: "wx" });
      const { uid, mtimeMs } = await lstat(path);
      const rivals = await contend(dir, name, own, mtimeMs);
      if (rivals.all.length === 0) return new Lock(path, uid, text);
      await removeFile(path);
      return rivals;
    } catch (error) {
      await removeFile(path);
      throw error;
    }
  }

  private constructor(path: string, uid: number, text: string) {
    this.#path = path;
    this.uid = uid;
    this.#beat = setInterval(() => void beat(path, text), BEAT_MS).unref();
  }

  async release(): Promise<void> {
    clearInterval(this.#beat);
    await removeFile(this.#path).catch(() => {}); // it dies with us at the latest
  }
}

/** The living claims beside our own, and what time it was then by the file system's clock, which may be another machine's. */
interface Rivals {
  readonly all: readonly Rival[];
  readonly now: number;
}

/** @returns those who have the name or go before us. */
async function contend(dir: string, name: string, own: string, now: number): Promise<Rivals> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const all = await rivalsOf(dir, name, own, now);
    if (all.length === 0 || all.some((rival) => rival.name < own) || performance.now() > end) return { all, now };
    await pause(PAUSE_MS); // the others see us, and give way unless one of them has it
  }
}

/** False when none of these claims stands any more, or none needs to. */
async function isHeld(dir: string, { all, now }: Rivals, signal: AbortSignal | undefined): Promise<boolean> {
  if (all.some(({ sure }) => sure)) return true;
  const begun = performance.now();
  for (const { name, written } of all) {
    for (;;) {
      signal?.throwIfAborted();
      const found = await lstat(join(dir, name)).catch(() => null);
      if (!found || now - written + performance.now() - begun > STALE_MS) break;
      if (found.mtimeMs !== written) return true;
      await pause(PAUSE_MS);
    }
  }
  return false;
}

/** The living claims beside our own. Dead ones are removed. */
async function rivalsOf(dir: string, name: string, own: string, now: number): Promise<Rival[]> {
  const found: Rival[] = [];
  for (const other of await readdir(dir)) {
    if (other === own || !other.startsWith(`${name}.`) || !/^[0-9a-f]{12}\.lock$/.test(other.slice(name.length + 1)))
      continue;
    const path = join(dir, other);
    const rival = await look(path, other, now);
    if (rival) found.push(rival);
    else await removeFile(path).catch(() => {});
  }
  return found;
}

/** Null when it is a dead one's, or has just been given up. */
async function look(path: string, name: string, now: number): Promise<Rival | null> {
  const found = await lstat(path).catch(() => null);
  if (!found) return null;
  const written = found.mtimeMs;
  const { machine: there, pid, start } = await readClaim(path);
  if (there === (await machine())) {
    const running = await startOf(pid);
    if (running === null) return null;
    if (running !== "" && start !== "") return running === start ? { name, written, sure: true } : null; // ids are used again
  }
  return now - written < STALE_MS ? { name, written, sure: false } : null;
}

/** What is not written yet, or is none, says nothing; its age decides. */
async function readClaim(path: string): Promise<z.infer<typeof claim>> {
  try {
    return claim.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return { machine: "", pid: 1, start: "" };
  }
}

/** Writes, rather than sets the time: then it is the file system's own. */
async function beat(path: string, text: string): Promise<void> {
  const file = await open(path, "r+").catch(() => null);
  await file?.writeFile(text).catch(() => {});
  await file?.close().catch(() => {});
}

let here: Promise<string> | null = null;

/** Where process ids mean the same: this host, since it was started, and within one container. */
function machine(): Promise<string> {
  here ??= findMachine();
  return here;
}

async function findMachine(): Promise<string> {
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  const space = await readlink("/proc/self/ns/pid").catch(() => "");
  return [hostname(), boot.trim(), space].join(" ");
}

let begun: Promise<string | null> | null = null;

/** It is asked for with every claim, and stays the same. */
function ownStart(): Promise<string | null> {
  begun ??= startOf(process.pid);
  return begun;
}

/** When a process was started, in the system's own words: "" where it doesn't say, null when it has ended. */
async function startOf(pid: number): Promise<string | null> {
  try {
    process.kill(pid, 0); // asks only whether it is there
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return null;
  }
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // what is before may hold anything
  if (fields[0] === "Z" || fields[0] === "X") return null; // dead, and its parent has not looked yet
  return fields[19] ?? "";
}
