import { mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Wallet } from "ethers";
import { type Hex, TaskContractor, WaybillError } from "../../lib/index.ts";
import { MiB } from "../../lib/protocol/limits.ts";
import { type Stack, startStack } from "../../local/stack.ts";
import { ProgressLine } from "./progress.ts";

/** Room for the chain, the records and the file system's own needs. */
const SPARE_DISK: number = 64 * MiB;

/** Where a demo plays: an embedded stack, a folder, and a line for what is to be said meanwhile. */
export interface Stage {
  readonly dir: string;
  readonly stack: Stack;
  readonly line: ProgressLine;
  /** Aborted when the demo shall end early. */
  readonly signal: AbortSignal;
  /** Has this done when the demo is over, however it ends; at once if it is over already. */
  readonly atEnd: (step: () => Promise<void>) => void;
}

/** Undoes what was begun, newest first, however far the demo came. */
class Undo {
  readonly #steps: (() => Promise<void>)[] = [];
  #over = false;

  readonly push = (step: () => Promise<void>): void => {
    // An interrupted demo may still be about to start something.
    if (this.#over) void step().catch(() => {});
    else this.#steps.push(step);
  };

  async run(): Promise<void> {
    this.#over = true;
    for (const step of this.#steps.reverse()) await step();
  }
}

/**
 * Plays a demo on a stage of its own, which needs `disk` bytes. `signal` ends it early; whatever happens, no process and no
 * file of it is left behind.
 */
export async function play<T>(disk: number, signal: AbortSignal, act: (stage: Stage) => Promise<T>): Promise<T> {
  const undo = new Undo();
  const line = new ProgressLine();
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
  const whole = async (): Promise<T> => {
    await needDisk(tmpdir(), disk);
    const dir = await mkdtemp(join(tmpdir(), "waybill-demo-"));
    undo.push(() => rm(dir, { recursive: true, force: true }));
    line.note("starting the store, the chain and the functions …");
    // Should we be killed, the stack's guardian removes our folder too.
    const stack = await startStack({ scratch: [dir] });
    undo.push(() => stack.stop());
    signal.throwIfAborted();
    return await act({ dir, stack, line, signal, atEnd: undo.push });
  };
  try {
    return await Promise.race([whole(), aborted]);
  } finally {
    line.clear();
    await undo.run();
  }
}

/** Opens a task for these accounts; its owner is nobody of them. */
export async function openTask({ stack }: Stage, members: readonly string[]): Promise<Hex> {
  const contractor = await TaskContractor.open({
    signer: Wallet.createRandom(),
    members,
    deployment: stack.deployment,
  });
  await contractor.close();
  return contractor.task;
}

/**
 * Checks that `dir` can take `bytes` more, before anything is written.
 * @throws WaybillError NO_SPACE
 */
async function needDisk(dir: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  const free = bavail * bsize;
  if (free >= bytes + SPARE_DISK) return;
  const message = `The demo needs ${mebibytes(bytes + SPARE_DISK)} in ${dir}, where ${mebibytes(free)} are free. Free some, or set TMPDIR to a larger disk.`;
  throw new WaybillError("NO_SPACE", message);
}

export function mebibytes(bytes: number): string {
  return bytes < MiB ? `${bytes} B` : `${(bytes / MiB).toFixed(1)} MiB`;
}
