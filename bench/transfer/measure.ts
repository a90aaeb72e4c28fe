import { spawn } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";

/** A command to run as its user would. */
export interface Command {
  readonly path: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What one run took. The processor time is that of the process and of all that it started and waited for. */
export interface Sample {
  readonly wallS: number;
  readonly cpuS: number;
  /** Peak of the largest process. */
  readonly rssMiB: number;
}

/** A tool that takes this long hangs. */
const MOST_MS = 120_000;
/** Of what a failed tool said, this much is told. */
const TOLD = 300;

/** Measures commands with GNU time, because Node can't ask the system what a child used. */
export class Stopwatch {
  readonly #time: string;
  readonly #report: string;

  constructor(time: string, dir: string) {
    this.#time = time;
    this.#report = join(dir, "used");
  }

  /** @throws Error with the end of what the command said, when it fails. */
  async run(command: Command): Promise<Sample> {
    const report = `${this.#report}-${counter++}`;
    const args = ["-o", report, "-f", "%U %S %M", command.path, ...command.args];
    const began = performance.now();
    const { code, said } = await end(this.#time, args, { ...plainEnvironment(), ...command.env });
    const wallS = (performance.now() - began) / 1_000;
    if (code !== 0) throw new Error(`It ended with ${code}: ${said.trim().slice(-TOLD)}`);
    const [user = 0, system = 0, kib = 0] = (await readFile(report, "utf8")).trim().split(" ").map(Number);
    await rm(report);
    return { wallS, cpuS: user + system, rssMiB: kib / 1_024 };
  }
}

let counter = 0;

/** Neither what measures us nor what a user's profile says of AWS is the tools' business. */
function plainEnvironment(): Record<string, string> {
  const { PATH = "", HOME = "", LANG = "C.UTF-8", LD_LIBRARY_PATH } = process.env;
  return { PATH, HOME, LANG, ...(LD_LIBRARY_PATH && { LD_LIBRARY_PATH }) };
}

async function end(
  path: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number | null; said: string }> {
  const child = spawn(path, args, { env, stdio: ["ignore", "pipe", "pipe"], timeout: MOST_MS, killSignal: "SIGKILL" });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text: Buffer) => {
      said = (said + text).slice(-10 * TOLD);
    });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, said }));
  });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median of each figure by itself. */
export function medians(samples: readonly Sample[]): Sample {
  const of = (figure: (sample: Sample) => number): number => median(samples.map(figure));
  return { wallS: of(({ wallS }) => wallS), cpuS: of(({ cpuS }) => cpuS), rssMiB: of(({ rssMiB }) => rssMiB) };
}
