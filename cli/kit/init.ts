import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import type { Command } from "commander";
import { Wallet } from "ethers";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Context } from "../command.ts";
import { createOwn, replaceOwn } from "../files.ts";
import { makeKeystore } from "../key/make.ts";
import { answer, note } from "../output.ts";
import { participantOf } from "../participant.ts";
import { configPath } from "../places.ts";
import { type Config, checkUrls, readConfig } from "../settings.ts";
import { harmless } from "../words.ts";
import { type Check, checksOf } from "./checks.ts";
import { deploymentFrom } from "./source.ts";

interface Options {
  readonly config?: string;
  readonly keystore?: string;
  readonly passwordFile?: string;
  readonly task?: string;
  readonly rpc?: string;
  readonly check?: true;
  readonly force?: true;
  readonly json?: true;
}

/** What `waybill participant init` does. */
export async function initParticipant(given: string | undefined, command: Command, context: Context): Promise<void> {
  const options = command.opts<Options>();
  const { check, json } = options;
  if (check && given !== undefined)
    throw new WaybillError("USAGE", "--check changes nothing: leave the deployment out.");
  const file = resolve(options.config || configPath());
  if (!check) await new Kit(file, command, context).complete(given);
  const participant = await participantOf(command, context);
  const checks = await checksOf(participant, context.signal);
  const { account, task } = participant;
  answer(json, { account, config: file, task: task ?? null, checks }, table(checks, account));
  const wrong = checks.find(({ state }) => state === "failed");
  if (wrong) throw new WaybillError(wrong.code ?? "INTERNAL", `${wrong.name}: ${wrong.said}`);
}

const MARKS = { ok: "ok", warning: "warning", failed: "FAILED", skipped: "-" };

function table(checks: readonly Check[], account: string): string {
  const lines = checks.map(({ name, state, said }) => `${name.padEnd(8)} ${MARKS[state].padEnd(8)} ${harmless(said)}`);
  const isIn = checks.some(({ name, state }) => name === "task" && state === "ok");
  return [...lines, "", `${isIn ? "Your account" : "Tell the task's owner your account"}: ${account}`].join("\n");
}

/** The files of a participant. */
class Kit {
  readonly #file: string;
  readonly #command: Command;
  readonly #options: Options;
  readonly #signal: AbortSignal;

  constructor(file: string, command: Command, { signal }: Context) {
    this.#file = file;
    this.#command = command;
    this.#options = command.opts<Options>();
    this.#signal = signal;
  }

  /** Makes what is missing. What was typed goes into the config file; what is there already stays. */
  async complete(given: string | undefined): Promise<void> {
    const before = existsSync(this.#file) ? await readFile(this.#file, "utf8") : null;
    const config = before === null ? null : await readConfig(this.#file);
    const settings: Record<string, unknown> = before === null ? {} : JSON.parse(before);
    const deployment = await this.#deployment(given, config);
    const keystore = await this.#key(config);
    settings.deployment ??= deployment;
    if (this.#isTyped("keystore")) settings.keystore = keystore;
    else if (keystore !== undefined) settings.keystore ??= keystore;
    const { passwordFile, task, rpc } = this.#options;
    if (passwordFile && this.#isTyped("passwordFile")) settings.passwordFile = this.#beside(passwordFile);
    if (task && this.#isTyped("task")) settings.task = task;
    if (rpc && this.#isTyped("rpc")) settings.rpc = checkUrls(rpc.split(","), "--rpc");
    const after = `${JSON.stringify(settings, null, 2)}\n`;
    if (before !== null && JSON.stringify(JSON.parse(before)) === JSON.stringify(settings)) return;
    await replaceOwn(this.#file, after);
    note(`${before === null ? "Made" : "Changed"} ${this.#file}`);
  }

  async #deployment(given: string | undefined, config: Config | null): Promise<string> {
    const file = config?.deployment ?? join(dirname(this.#file), "deployment.json");
    if (given !== undefined) await this.#take(given, file);
    else if (!existsSync(file))
      throw new WaybillError(
        "USAGE",
        "Give the operator's deployment: waybill participant init deployment.json (a file, - for stdin, or an https URL).",
      );
    return this.#beside(file);
  }

  async #take(given: string, file: string): Promise<void> {
    const { bytes, fingerprint } = await deploymentFrom(given, this.#signal);
    note(`The deployment's fingerprint, to be compared with the operator's: sha256 ${fingerprint}`);
    if (!existsSync(file)) await createOwn(file, bytes);
    else if (Buffer.compare(await readFile(file), bytes) !== 0) {
      if (!this.#options.force)
        throw new WaybillError(
          "TARGET_EXISTS",
          `${file} is another deployment. Compare them; --force takes the new one.`,
        );
      await replaceOwn(file, bytes);
    }
  }

  /** Undefined when the key comes from the environment. */
  async #key(config: Config | null): Promise<string | undefined> {
    const { keystore, passwordFile } = this.#options;
    if (process.env.WAYBILL_KEY && !this.#isTyped("keystore")) return undefined;
    const file = resolve(keystore || (config?.keystore ?? join(dirname(this.#file), "key.json")));
    if (!existsSync(file)) {
      const password = passwordFile || config?.passwordFile;
      await makeKeystore(file, async () => new Wallet(Wallet.createRandom().privateKey), password, this.#signal);
      note(`Made ${file}. Keep a copy of it and of its password: nobody can restore them.`);
    }
    return keystore && !this.#isTyped("keystore") ? undefined : this.#beside(file);
  }

  #isTyped(name: keyof Options): boolean {
    return this.#command.getOptionValueSource(name) === "cli";
  }

  /** As the config file names it: relative where it lies in the same folder. */
  #beside(path: string): string {
    const way = relative(dirname(this.#file), resolve(path));
    return way.startsWith("..") ? resolve(path) : way;
  }
}
