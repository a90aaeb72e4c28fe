import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import { cache, installed, made, root } from "./tools.ts";

const run = promisify(execFile);
const require = createRequire(import.meta.url);

/** SST's own parts, as `sst install` lays them out, in a folder of ours: the checkout gets no .sst. */
export interface Platform {
  /** A folder with sst.config.ts and .sst, and nothing else of the project. */
  readonly home: string;
  /** SST's components, types and their packages (Pulumi's SDK, the AWS provider's). */
  readonly folder: string;
  /** The `sst` program itself. */
  readonly sst: string;
}

/** What keeps `sst` from calling home, and from fetching what only a real deployment needs. */
export const quiet: Readonly<Record<string, string>> = {
  SST_TELEMETRY_DISABLED: "1",
  DO_NOT_TRACK: "1",
  SST_SKIP_DEPENDENCY_CHECK: "1",
  NO_COLOR: "1",
};

/** Installs the platform of the project's `sst` for sst.config.ts, once for each version of both. */
export async function preparePlatform(): Promise<Platform> {
  const version = await readFile(join(root, "node_modules/sst/package.json"), "utf8");
  const sst = programOf();
  const config = await readFile(join(root, "sst.config.ts"));
  const key = createHash("sha256").update(version).update(config).digest("hex").slice(0, 16);
  const home = join(cache, `platform-${key}`);
  if (!existsSync(home)) {
    await removeOthers();
    await made(home, (fresh) => install(sst, fresh));
  }
  return { home, folder: join(home, ".sst/platform"), sst };
}

/** Those of other versions: each has a third of a gigabyte. */
async function removeOthers(): Promise<void> {
  const there = existsSync(cache) ? await readdir(cache) : [];
  const platforms = there.filter((name) => name.startsWith("platform-"));
  await Promise.all(platforms.map((name) => rm(join(cache, name), { recursive: true, force: true })));
}

async function install(sst: string, home: string): Promise<void> {
  await copyFile(join(root, "sst.config.ts"), join(home, "sst.config.ts"));
  // `sst` bundles the whole config to learn its providers. It runs none of it.
  await mkdir(join(home, "infra"));
  await writeFile(join(home, "infra/deploy.ts"), "export const deploy = () => ({});\n");
  // What `sst` and Bun keep for themselves stays here, and out of the home folder.
  const own = { XDG_CONFIG_HOME: join(home, "config"), BUN_INSTALL_CACHE_DIR: join(cache, "bun") };
  // Pulumi's engine is not needed to lay out the platform.
  const nothing = { SST_PULUMI_PATH: process.platform === "darwin" ? "/usr/bin/true" : "/bin/true" };
  const env = { ...process.env, ...quiet, ...own, ...(await installer()), ...nothing };
  await run(sst, ["install", "--stage", "test"], { cwd: home, env, maxBuffer: 2 ** 26 }).catch((error: unknown) => {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`sst install failed:\n${stdout}${stderr}`, { cause: error });
  });
}

/** The platform's program itself: npm's wrapper would be one more process to end. */
function programOf(): string {
  const { platform, arch } = process;
  return require.resolve(`sst-${platform}-${arch}/bin/sst${platform === "win32" ? ".exe" : ""}`);
}

const BUN = "1.4.5";

/** `sst` installs by Bun, eight times as fast as by npm; where there is no Bun for this machine npm does it. */
async function installer(): Promise<Record<string, string>> {
  const { platform, arch } = process;
  if (platform === "win32") return { SST_NO_BUN: "1" };
  // "baseline": for processors without AVX2, which nobody promises us.
  const name = `@oven/bun-${platform}-${arch === "arm64" ? "aarch64" : "x64-baseline"}`;
  return { SST_BUN_PATH: join(await installed(name, BUN), "bin/bun") };
}
