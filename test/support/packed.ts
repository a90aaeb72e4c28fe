import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A project that has installed the packed package, and nothing else. */
export interface Consumer {
  readonly dir: string;
  /** The package as `npm publish` would send it. */
  readonly tarball: string;
  remove(): Promise<void>;
}

export interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The repository's own folder. */
export const ROOT: string = fileURLToPath(new URL("../../", import.meta.url));

/** Packs what is built and installs it in an empty folder. */
export async function packedConsumer(): Promise<Consumer> {
  const dir = await mkdtemp(join(tmpdir(), "waybill-test-consumer-"));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true });
  try {
    const packed = await succeed("npm", ["pack", "--json", "--pack-destination", dir], ROOT);
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    await writeFile(join(dir, "package.json"), JSON.stringify({ private: true, type: "module" }));
    // What it depends on was installed here a moment ago, so npm has most of it in its cache.
    await succeed("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", `./${filename}`], dir);
    return { dir, tarball: join(dir, filename), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Runs a program to its end. */
export function run(program: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<Run> {
  // What `npm test` tells its scripts about this package is not true of another one.
  const kept = Object.entries(process.env).filter(([name]) => !/^npm_(package|lifecycle|command)|^NODE_/.test(name));
  const options = { cwd, env: { ...Object.fromEntries(kept), ...env }, maxBuffer: 64 * 2 ** 20 };
  return new Promise((resolve) => {
    const child = execFile(program, args, options, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

async function succeed(program: string, args: readonly string[], cwd: string): Promise<string> {
  const { code, stdout, stderr } = await run(program, args, cwd);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}: ${stderr}${stdout}`);
  return stdout;
}
