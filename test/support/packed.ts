import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
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
    await writeProject(dir, filename);
    await succeed("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund"], dir);
    return { dir, tarball: join(dir, filename), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

interface Locked {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  readonly peer?: boolean;
  readonly optional?: boolean;
}

/** A project with the package, and with our own versions of what that depends on: npm has just had them, so no network is needed. */
async function writeProject(dir: string, filename: string): Promise<void> {
  const { lockfileVersion, packages } = JSON.parse(await readFile(join(ROOT, "package-lock.json"), "utf8"));
  const ours = Object.entries<Locked>(packages).filter(
    ([path, { dev, devOptional, peer, optional }]) => path !== "" && !(dev || devOptional || peer || optional),
  );
  const project = { private: true, type: "module", dependencies: { waybill: `file:${filename}` } };
  const lock = { lockfileVersion, packages: { "": project, ...Object.fromEntries(ours) } };
  await writeFile(join(dir, "package.json"), JSON.stringify(project));
  await writeFile(join(dir, "package-lock.json"), JSON.stringify(lock));
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
