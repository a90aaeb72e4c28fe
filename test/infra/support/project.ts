import { chmod, cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { spawnGuarded } from "../../../local/guard.ts";
import { node24 } from "./node24.ts";
import { preparePlatform, quiet } from "./platform.ts";
import { root } from "./tools.ts";

/** What sst is to believe about the account that it deploys to. */
export interface Account {
  readonly id: string;
  readonly region: string;
  /** Where AWS answers. */
  readonly endpoint: string;
  /** Where its HTTP APIs are reached. */
  readonly api: string;
}

export interface Ran {
  readonly code: number;
  /** All that it said, without colours. */
  readonly output: string;
}

/** What a deployment is made from; the rest of the checkout has no part in it. */
const PARTS = ["sst.config.ts", "infra", "functions", "lib", "package.json", "tsconfig.json"];
/** What the operator's other commands are made of, and the packages of all of them. */
const LINKED = ["node_modules", "dist", "contracts"];
/** Whom AWS takes the operator for. */
export const OPERATOR_KEY = "operator";
const ENGINE = fileURLToPath(new URL("engine/main.ts", import.meta.url));
/** A first deploy takes some ten seconds on two cores. A test waits for 300: the run's own words are to come first. */
const RUN_MS = 280_000;

/**
 * The project as an operator has it, in a folder of its own, with the real `sst` over it. In place of Pulumi's engine there is
 * ours, and in place of AWS whatever `account` names; home and configuration are folders of its own, too.
 */
export class SstProject {
  readonly #folder: string;
  readonly #sst: string;
  readonly #env: Readonly<Record<string, string>>;

  private constructor(folder: string, sst: string, env: Readonly<Record<string, string>>) {
    this.#folder = folder;
    this.#sst = sst;
    this.#env = env;
  }

  static async create(account: Account): Promise<SstProject> {
    const [platform, node] = await Promise.all([preparePlatform(), node24()]);
    const folder = await mkdtemp(join(tmpdir(), "waybill-sst-"));
    const home = join(folder, "home");
    try {
      await copyProject(join(folder, "project"), platform.home);
      const engine = await installEngine(home, node);
      return new SstProject(folder, platform.sst, { ...environmentOf(account, home), SST_PULUMI_PATH: engine });
    } catch (error) {
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
      throw error;
    }
  }

  /** The operator's settings of a stage, as they stand in its .env file. */
  async configure(stage: string, settings: Readonly<Record<string, string>>): Promise<void> {
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    await writeFile(this.path(`.env.${stage}`), lines.join(""));
  }

  /** Where a file of the project is. */
  path(name: string): string {
    return join(this.#folder, "project", name);
  }

  /** Runs `sst` to its end. @throws when a signal ended it, ours included, with what it had said. */
  sst(...args: readonly string[]): Promise<Ran> {
    return this.#run(this.#sst, args, this.#env);
  }

  /** The same of a script in the project's folder, as an operator types it; `sst` is $SST there. */
  shell(script: string, env: Readonly<Record<string, string>> = {}): Promise<Ran> {
    return this.#run("bash", ["-euo", "pipefail", "-c", script], { ...this.#env, SST: this.#sst, ...env });
  }

  async #run(command: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ran> {
    const child = await spawnGuarded(command, args, { env, cwd: join(this.#folder, "project") });
    const chunks: string[] = [];
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => void chunks.push(text));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      void child.stop();
    }, RUN_MS);
    const { code, signal } = await child.ended.finally(() => clearTimeout(timer));
    const output = stripVTControlCharacters(chunks.join(""));
    if (code !== null && !late) return { code, output };
    const why = late ? `was not done after ${RUN_MS} ms and was killed` : `was ended by ${signal}`;
    throw new Error(`${basename(command)} ${args.join(" ")} ${why}. It said:\n${output}`);
  }

  remove(): Promise<void> {
    return rm(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function copyProject(to: string, platform: string): Promise<void> {
  for (const part of PARTS) await cp(join(root, part), join(to, part), { recursive: true });
  for (const part of LINKED) await symlink(join(root, part), join(to, part));
  await linkPlatform(platform, to);
}

/** The platform's packages are many thousand files: they are shared, and what sst writes beside them is not. */
async function linkPlatform(from: string, to: string): Promise<void> {
  await mkdir(join(to, ".sst"));
  for (const name of await readdir(join(from, ".sst")))
    if (name === "platform") await symlink(join(from, ".sst", name), join(to, ".sst", name));
    else await cp(join(from, ".sst", name), join(to, ".sst", name), { recursive: true });
}

/** Puts our engine where sst looks for Pulumi's. */
async function installEngine(home: string, node: string): Promise<string> {
  const configuration = process.platform === "darwin" ? "Library/Application Support" : ".config";
  const engine = join(home, configuration, "sst/bin/pulumi");
  await mkdir(dirname(engine), { recursive: true });
  await writeFile(engine, `#!/bin/sh\nexec "${node}" "${ENGINE}" "$@"\n`);
  await chmod(engine, 0o755);
  return engine;
}

/** All that sst gets to see: nothing of this machine's user, and no way to AWS itself. */
function environmentOf({ id, region, endpoint, api }: Account, home: string): Record<string, string> {
  return {
    ...quiet,
    PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
    HOME: home,
    XDG_CONFIG_HOME: join(home, ".config"),
    AWS_ACCESS_KEY_ID: OPERATOR_KEY,
    AWS_SECRET_ACCESS_KEY: "operator",
    AWS_REGION: region,
    AWS_ENDPOINT_URL: endpoint,
    AWS_EC2_METADATA_DISABLED: "true",
    STAND_IN_ACCOUNT: id,
    STAND_IN_API: api,
  };
}
