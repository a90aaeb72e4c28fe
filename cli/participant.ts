import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Signer } from "ethers";
import type { Deployment } from "../lib/protocol/deployment.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import { passwordOf } from "./ask.ts";
import type { Context } from "./command.ts";
import type { Holder } from "./keystore.ts";
import { stateHome } from "./places.ts";
import type { Config } from "./settings.ts";
import { printable } from "./words.ts";

// Nothing here loads ethers or zod before an action asks who takes part: --help and usage errors are quick.

/** Who runs a command, and where. */
export interface Participant {
  /** With the RPC nodes that were chosen, if any. */
  readonly deployment: Deployment;
  /** Opens the keystore when the first signature is needed. */
  readonly signer: Signer;
  readonly account: Address;
  /** A folder for this account's part in this task; whoever keeps something there makes it. */
  readonly stateDir: string;
  /** Accounts by the names that the config file gives them. */
  readonly names: ReadonlyMap<string, Address>;
  readonly task: Hex | undefined;
  /** Opens the keystore now, so that no question for a password comes in the midst of what is shown. */
  unlock(): Promise<void>;
  /** An account in lower case. @throws WaybillError USAGE */
  readAccount(text: string): Address;
}

interface Options {
  readonly config?: string;
  readonly deployment?: string;
  readonly keystore?: string;
  readonly passwordFile?: string;
  readonly rpc?: string;
  readonly stateDir?: string;
  readonly task?: Hex;
}

/** The options that say who takes part, and where. The key itself is none of them: others see a command line. */
export function addParticipantOptions(command: Command): Command {
  addConfigOption(command);
  add(command, "--deployment <file>", "the operator's deployment.json", "WAYBILL_DEPLOYMENT");
  addKeyOptions(command);
  addRpcOption(command);
  return add(command, "--state-dir <folder>", "keeps the reading position", "WAYBILL_STATE_DIR");
}

export function addConfigOption(command: Command): Command {
  return add(command, "--config <file>", "the settings that are not given otherwise", "WAYBILL_CONFIG");
}

export function addRpcOption(command: Command): Command {
  return add(command, "--rpc <urls>", "own nodes of the chain, with commas", "WAYBILL_RPC");
}

export function addKeyOptions(command: Command): Command {
  add(command, "--keystore <file>", "encrypted keystore v3 with the key", "WAYBILL_KEYSTORE");
  return add(
    command,
    "--password-file <file>",
    "its first line is the password; asked for if left out",
    "WAYBILL_PASSWORD_FILE",
  );
}

function add(command: Command, flags: string, what: string, variable: string): Command {
  return command.addOption(new Option(flags, what).env(variable));
}

export function addTaskOption(command: Command): Command {
  return command.addOption(new Option("--task <id>", "the task").env("WAYBILL_TASK").argParser(taskId));
}

function taskId(text: string): Hex | undefined {
  if (text === "") return undefined;
  if (/^0x[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase() as Hex;
  throw new InvalidArgumentError("A task is 0x and 64 hex digits.");
}

/**
 * Who runs the command: by its options, else the WAYBILL_* variables, else the config file.
 * @throws WaybillError USAGE that says what is missing or wrong, and never a key, a password or an RPC URL.
 */
export async function participantOf(command: Command, context: Context): Promise<Participant> {
  const [settings, { accountOf: readAccount }] = await Promise.all([
    import("./settings.ts"),
    import("../lib/options.ts"),
  ]);
  const options = given(command.opts<Options>());
  const config = await settings.readConfig(options.config);
  const deployment = await deploymentOf(options, config, settings);
  const holder = await holderOf(command, config, context);
  const task = options.task ?? config.task;
  const { account, signer } = holder;
  return {
    deployment,
    signer,
    account,
    task,
    names: config.names,
    stateDir: resolve(options.stateDir ?? config.stateDir ?? usualStateDir(deployment, task, account)),
    unlock: () => holder.unlock(),
    readAccount: (text) => readAccount(text, "This"),
  };
}

async function deploymentOf(
  options: Options,
  config: Config,
  { readDeployment, checkUrls }: typeof import("./settings.ts"),
): Promise<Deployment> {
  const file = options.deployment ?? config.deployment;
  if (file === undefined) throw usage(missing("the operator's deployment", "deployment", "FILE"));
  const known = await readDeployment(file);
  const rpc =
    options.rpc === undefined ? config.rpc : checkUrls(options.rpc.split(","), "What --rpc or WAYBILL_RPC says");
  return rpc === undefined ? known : { ...known, rpc };
}

/**
 * The key: of a keystore that was typed, else WAYBILL_KEY or WAYBILL_KEYSTORE, else the config file's keystore. WAYBILL_PASSWORD
 * is not read: beside its keystore it would hide the key no better than WAYBILL_KEY does.
 * @throws WaybillError USAGE
 */
export async function holderOf(command: Command, config: Config, { signal }: Context): Promise<Holder> {
  const { holderOfKey, holderOfKeystore } = await import("./keystore.ts");
  const options = given(command.opts<Options>());
  const typed = command.getOptionValueSource("keystore") === "cli";
  const key = typed ? undefined : process.env.WAYBILL_KEY || undefined;
  if (key !== undefined && options.keystore !== undefined)
    throw usage("WAYBILL_KEY and WAYBILL_KEYSTORE are both set. Unset one of them.");
  if (key !== undefined) return holderOfKey(key);
  const keystore = options.keystore ?? config.keystore;
  if (keystore === undefined) throw usage(`${missing("your key", "keystore", "FILE")} Make one with: waybill key new`);
  // The config file's password is that of its own keystore.
  const passwordFile = options.passwordFile ?? (options.keystore === undefined ? config.passwordFile : undefined);
  return holderOfKeystore(keystore, () => passwordOf(keystore, passwordFile, signal));
}

/** @throws WaybillError USAGE that says how to give it. */
export function taskOf(_command: Command, { task }: Participant): Hex {
  if (task === undefined) throw usage(missing("the task", "task", "ID"));
  return task;
}

/** A name of the config file, or 0x and 40 hex digits. @throws WaybillError USAGE */
export function accountOf(text: string, { names, readAccount }: Participant): Address {
  const known = names.get(text);
  if (known !== undefined) return known;
  if (/^0x/i.test(text)) return readAccount(text);
  const list = names.size === 0 ? "has no names yet" : `knows ${[...names.keys()].join(", ")}`;
  throw usage(`"${printable(text, 63)}" is no account (0x and 40 hex digits) and no name: the config file ${list}.`);
}

/** An empty variable says nothing. */
function given(options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined && value !== ""));
}

function missing(what: string, option: string, value: string): string {
  const variable = `WAYBILL_${option.toUpperCase()}`;
  return `Say ${what}: --${option} ${value}, ${variable}, or "${option}" in the config file.`;
}

function usualStateDir({ chainId, contract }: Deployment, task: Hex | undefined, account: Address): string {
  return join(stateHome(), [chainId, contract, ...(task ? [task] : []), account].join("-"));
}

function usage(message: string): WaybillError {
  return new WaybillError("USAGE", message);
}
