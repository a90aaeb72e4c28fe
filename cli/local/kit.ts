import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BaseWallet, encryptKeystoreJson, Wallet } from "ethers";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Hex } from "../../lib/protocol/hex.ts";

/** Somebody who takes part, with a folder that has all it needs. */
export interface Party {
  readonly name: string;
  readonly wallet: BaseWallet;
  /** Its config file's path, as WAYBILL_CONFIG takes it. */
  readonly config: string;
}

const NAMES = [
  ...["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "karl", "laura", "mallory"],
  ...[
    "nina",
    "olivia",
    "peggy",
    "quinn",
    "rupert",
    "sybil",
    "trent",
    "ursula",
    "victor",
    "wendy",
    "xavier",
    "yara",
    "zoe",
  ],
];
/** Tells our folder from others', and which process works with it. */
const MARK = ".waybill-local.json";
/** The password lies beside the keystore: a dear one would cost every command a second and guard nothing. */
const CHEAP = { scrypt: { N: 1024, r: 8, p: 1 } };
/** Others on this machine shall not read keys. */
const OWN = 0o600;

export function nameOf(index: number): string {
  return NAMES[index] ?? `member-${index + 1}`;
}

/** The folder of a stack's participants. */
export class Kit {
  readonly dir: string;

  constructor(dir: string) {
    this.dir = dir;
  }

  /**
   * Takes the folder, which may be one of ours from before.
   * @throws WaybillError USAGE when it is somebody else's, or in use; TARGET_UNWRITABLE.
   */
  async claim(): Promise<void> {
    await this.#checked(async () => {
      await mkdir(this.dir, { recursive: true, mode: 0o700 });
      const found = await readdir(this.dir);
      const mark = found.includes(MARK) ? await this.#readMark() : null;
      if (found.length > 0 && mark === null)
        throw usage(`${this.dir} is there already, and is not a folder of "waybill local". Choose another with --dir.`);
      if (mark?.pid && mark.pid !== process.pid && isAlive(mark.pid))
        throw usage(`Another "waybill local" (process ${mark.pid}) works with ${this.dir}. Choose another with --dir.`);
      await this.#mark(process.pid);
    });
  }

  /** Each participant's key: the one that it had, or a new one. */
  parties(count: number): Promise<Party[]> {
    return this.#checked(() => Promise.all(Array.from({ length: count }, (_, index) => this.#party(nameOf(index)))));
  }

  /** Writes what makes them participants; their config files come last, when all else is there. */
  write(deployment: Deployment, task: Hex, parties: readonly Party[]): Promise<void> {
    return this.#checked(async () => {
      await writeFile(join(this.dir, "deployment.json"), json(deployment));
      const names = Object.fromEntries(parties.map(({ name, wallet }) => [name, wallet.address.toLowerCase()]));
      for (const { name, config } of parties) {
        await rm(join(this.dir, name, "state"), { recursive: true, force: true }); // of a chain that is gone
        const own = { keystore: "keystore.json", passwordFile: "password", stateDir: "state" };
        await writeFile(config, json({ deployment: "../deployment.json", ...own, task, names }));
      }
    });
  }

  /** Leaves the folder to whoever comes next. */
  release(): Promise<void> {
    return this.#checked(() => this.#mark(null));
  }

  async #party(name: string): Promise<Party> {
    const dir = join(this.dir, name);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const config = join(dir, "config.json");
    await rm(config, { force: true }); // it names a task of before
    return { name, config, wallet: (await openKey(dir)) ?? (await makeKey(dir)) };
  }

  async #readMark(): Promise<{ pid?: number } | null> {
    try {
      return JSON.parse(await readFile(join(this.dir, MARK), "utf8")) as { pid?: number };
    } catch {
      return null;
    }
  }

  #mark(pid: number | null): Promise<void> {
    return writeFile(join(this.dir, MARK), json(pid === null ? {} : { pid }));
  }

  async #checked<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof WaybillError) throw cause;
      const { code = "unknown" } = cause as NodeJS.ErrnoException;
      throw new WaybillError("TARGET_UNWRITABLE", `The folder ${this.dir} can't be written (${code}).`, { cause });
    }
  }
}

/** Null when there is none, or it can't be opened. */
async function openKey(dir: string): Promise<BaseWallet | null> {
  try {
    const password = await readFile(join(dir, "password"), "utf8");
    return Wallet.fromEncryptedJsonSync(await readFile(join(dir, "keystore.json"), "utf8"), password.trim());
  } catch {
    return null;
  }
}

async function makeKey(dir: string): Promise<BaseWallet> {
  const wallet = Wallet.createRandom();
  const password = randomBytes(18).toString("base64url");
  const { address, privateKey } = wallet;
  const keystore = await encryptKeystoreJson({ address, privateKey }, password, CHEAP);
  for (const [name, text] of [
    ["password", `${password}\n`],
    ["keystore.json", `${keystore}\n`],
  ] as const) {
    await rm(join(dir, name), { force: true }); // so that the mode is that of a new file
    await writeFile(join(dir, name), text, { mode: OWN, flag: "wx" });
  }
  return wallet;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function usage(message: string): WaybillError {
  return new WaybillError("USAGE", message);
}
