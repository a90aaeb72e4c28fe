import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startStore } from "../../local/store/store.ts";
import { Link } from "./link.ts";
import { type Cast, eventually, Scene } from "./members.ts";
import { ROOT } from "./packed.ts";
import { type Running, start } from "./process.ts";
import { openShell, openTerminal, type Terminal } from "./terminal.ts";

/** One process with all that it says. */
export interface Said {
  readonly process: Running;
  readonly stdout: () => string;
  /** What it said with --json. */
  readonly events: () => Record<string, unknown>[];
  readonly stderr: () => string;
}

/** Members of a task who type commands, each a process of its own, over a line to the store whose speed the test owns. */
export class Commands {
  readonly scene: Scene;
  readonly link: Link;
  readonly cast: Cast;
  /** Where the commands run, and where config.json (with everybody's name) and deployment.json lie. */
  readonly home: string;
  /** Parts of payloads that came to the store, and ranges that left it, since the last call of `forget`. */
  moved: { UploadPart: number; GetObject: number };
  readonly #names: readonly string[];
  readonly #running = new Set<Running>();
  readonly #terminals = new Set<Terminal>();
  readonly #stopStore: () => Promise<void>;

  private constructor(
    parts: Pick<Commands, "scene" | "link" | "cast" | "home" | "moved">,
    names: readonly string[],
    stopStore: () => Promise<void>,
  ) {
    this.scene = parts.scene;
    this.link = parts.link;
    this.cast = parts.cast;
    this.home = parts.home;
    this.moved = parts.moved;
    this.#names = names;
    this.#stopStore = stopStore;
  }

  static async start(names: readonly string[]): Promise<Commands> {
    let commands: Commands | undefined;
    const store = await startStore({
      onRequest: ({ operation, key }) => {
        if (commands && key?.startsWith("payload/") && (operation === "UploadPart" || operation === "GetObject"))
          commands.moved[operation] += 1;
      },
    });
    const link = await Link.to(store.endpoint);
    const { bucket, region, credentials: s3Credentials } = store;
    const scene = await Scene.start({ config: { s3Endpoint: link.origin, bucket, region, s3Credentials } });
    const home = await mkdtemp(join(tmpdir(), "waybill-test-commands-"));
    const cast = await scene.cast(names.length);
    const accounts = Object.fromEntries(names.map((name, i) => [name, cast.accounts[i]]));
    await writeFile(join(home, "config.json"), JSON.stringify({ names: accounts }));
    const deployment = { ...scene.stack.deployment, storeOrigin: link.origin };
    await writeFile(join(home, "deployment.json"), JSON.stringify(deployment));
    const moved = { UploadPart: 0, GetObject: 0 };
    commands = new Commands({ scene, link, cast, home, moved }, names, () => store.stop());
    return commands;
  }

  async stop(): Promise<void> {
    await this.link.stop();
    await this.scene.stop();
    await this.#stopStore();
    await rm(this.home, { recursive: true, force: true });
  }

  /** Ends what still runs, counts anew, and lets the line go as fast as it can. */
  async forget(): Promise<void> {
    this.link.rate = null;
    this.link.held = false;
    this.link.lanes = Number.POSITIVE_INFINITY;
    for (const one of this.#running) await one.end("SIGKILL");
    for (const one of this.#terminals) one.kill();
    this.#running.clear();
    this.#terminals.clear();
    this.moved = { UploadPart: 0, GetObject: 0 };
  }

  /** Says who a member is. */
  envOf(name: string): Record<string, string> {
    return {
      WAYBILL_CONFIG: join(this.home, "config.json"),
      WAYBILL_DEPLOYMENT: join(this.home, "deployment.json"),
      WAYBILL_KEY: this.cast.wallets[this.#names.indexOf(name)]!.privateKey,
      WAYBILL_TASK: this.cast.task,
    };
  }

  /** Starts a command as a member. */
  as(name: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, before: readonly string[] = []): Said {
    const process = start(args, this.home, { ...this.envOf(name), ...env }, before);
    this.#running.add(process);
    let text = "";
    process.child.stdout!.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
    const events = (): Record<string, unknown>[] =>
      text
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    return { process, stdout: () => text, events, stderr: process.stderr };
  }

  /** As `as`, in a terminal of its own. */
  inTerminal(name: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Terminal {
    const terminal = openTerminal(args, this.home, { ...this.envOf(name), ...env });
    this.#terminals.add(terminal);
    return terminal;
  }

  /** A member's interactive shell, which knows `waybill`. */
  inShell(name: string): Terminal {
    const terminal = openShell("bash", this.home, this.envOf(name));
    terminal.type(`waybill() { ${process.execPath} ${join(ROOT, "dist/cli/waybill.js")} "$@"; }\r`);
    this.#terminals.add(terminal);
    return terminal;
  }

  /** A file of its own with so many bytes. */
  async file(bytes: number): Promise<{ path: string; name: string; sum: string }> {
    const name = `${randomBytes(4).toString("hex")}.bin`;
    const content = randomBytes(bytes);
    await writeFile(join(this.home, name), content);
    return { path: join(this.home, name), name, sum: sumOf(content) };
  }

  /** A folder to receive into. */
  folder(): Promise<string> {
    return mkdtemp(join(this.home, "in-"));
  }
}

export const sumOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const sum = async (path: string): Promise<string> => sumOf(await readFile(path));

/** Until a process has told of so many bytes. */
export async function movedBytes(said: Said, least: number): Promise<void> {
  await eventually(() => {
    const bytes = said.events().filter(({ event }) => event === "progress");
    return Number(bytes.at(-1)?.movedBytes ?? -1) >= least || null;
  });
}

/** Until a sender has told of its notice. */
export function noticed(said: Said): Promise<Record<string, unknown>> {
  return eventually(() => said.events().find(({ event }) => event === "notice") ?? null);
}

/** Parts that lie verified beside a file that is being received. */
export async function held(dir: string): Promise<number> {
  const journal = (await readdir(dir)).find((name) => name.endsWith(".journal"));
  const text = journal ? await readFile(join(dir, journal), "utf8").catch(() => "") : "";
  return text.split("\n").length - 2;
}
