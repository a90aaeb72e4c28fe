import { randomBytes } from "node:crypto";
import { lstat, open, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import * as z from "zod/mini";

// Who wants a name writes a claim, a file that nobody else has, and then looks for others' claims: if there are none, the name
// is its own. Of two that both hold it, one would have looked after the other had written; so there is at most one. A claim
// whose process has ended counts for nothing, and anybody may remove it: its name is nobody else's, now or later, and so no
// living claim is ever removed for a dead one.

/** How often a holder says that it is there, for those who can't look at its process. */
const BEAT_MS = 3_000;
/** After so long without a word it is taken for dead. A holder whose event loop is blocked for longer loses no bytes by it. */
const STALE_MS = 15_000;
/** The one of several that goes first waits so long for the others to see it. */
const PATIENCE_MS = 1_000;
const PAUSE_MS = 20;

const claim = z.object({ machine: z.string(), pid: z.int().check(z.gte(1)), start: z.string() });

/** A name in a folder that is ours until `release`, or until this process ends, however it ends. */
export class Lock {
  /** Who owns what we make here. */
  readonly uid: number;
  readonly #path: string;
  readonly #beat: NodeJS.Timeout;

  /**
   * Null when somebody else has it.
   * @throws what the file system says when no file can be made in this folder.
   */
  static async take(dir: string, name: string): Promise<Lock | null> {
    const own = `${name}.${randomBytes(6).toString("hex")}.lock`;
    const path = join(dir, own);
    const text = JSON.stringify({ machine: await machine(), pid: process.pid, start: await startOf(process.pid) });
    try {
      await writeFile(path, text, { flag: "wx" });
      const { uid, mtimeMs } = await lstat(path);
      if (await isAlone(dir, name, own, mtimeMs)) return new Lock(path, uid, text);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
    await rm(path, { force: true });
    return null;
  }

  private constructor(path: string, uid: number, text: string) {
    this.#path = path;
    this.uid = uid;
    this.#beat = setInterval(() => void beat(path, text), BEAT_MS).unref();
  }

  async release(): Promise<void> {
    clearInterval(this.#beat);
    await rm(this.#path, { force: true }).catch(() => {}); // it dies with us at the latest
  }
}

/** @param now What time it is by the clock of the file system, which may be another machine's. */
async function isAlone(dir: string, name: string, own: string, now: number): Promise<boolean> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const rivals = await rivalsOf(dir, name, own, now);
    if (rivals.length === 0) return true;
    if (rivals.some((rival) => rival < own) || performance.now() > end) return false;
    await pause(PAUSE_MS); // the others see us, and give way unless one of them has it
  }
}

/** The living claims beside our own. Dead ones are removed. */
async function rivalsOf(dir: string, name: string, own: string, now: number): Promise<string[]> {
  const found: string[] = [];
  for (const other of await readdir(dir)) {
    if (other === own || !other.startsWith(`${name}.`) || !/^[0-9a-f]{12}\.lock$/.test(other.slice(name.length + 1)))
      continue;
    const path = join(dir, other);
    if (await isAlive(path, now)) found.push(other);
    else await rm(path, { force: true }).catch(() => {});
  }
  return found;
}

async function isAlive(path: string, now: number): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  if (!found) return false; // it has just been given up
  const { machine: there, pid, start } = await readClaim(path);
  if (there === (await machine())) {
    const running = await startOf(pid);
    if (running === null) return false;
    if (running !== "" && start !== "") return running === start; // a process id is used again
  }
  return now - found.mtimeMs < STALE_MS;
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

/** Where process ids mean the same: this host, since it was started, and within one container. */
async function machine(): Promise<string> {
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  const space = await readlink("/proc/self/ns/pid").catch(() => "");
  return [hostname(), boot.trim(), space].join(" ");
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
