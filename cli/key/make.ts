import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { text } from "node:stream/consumers";
import { encryptKeystoreJson, Wallet } from "ethers";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Address } from "../../lib/protocol/hex.ts";
import { ask, newPassword } from "../ask.ts";
import type { Context } from "../command.ts";
import { createOwn } from "../files.ts";
import { accountIn, walletOf } from "../keystore.ts";
import { answer, note } from "../output.ts";
import { keystorePath } from "../places.ts";

interface Options {
  readonly out?: string;
  readonly passwordFile?: string;
  readonly json?: true;
}

/** What `waybill key new` and `key import` do. */
export async function makeKey(kind: "new" | "import", options: Options, { signal }: Context): Promise<void> {
  const file = resolve(options.out ?? keystorePath());
  const wallet = async (): Promise<Wallet> =>
    kind === "new" ? new Wallet(Wallet.createRandom().privateKey) : walletOf(await typedKey(signal), "What was read");
  const account = await makeKeystore(file, wallet, options.passwordFile, signal);
  answer(options.json, { account, keystore: file }, account);
  if (!options.json) note(`The key is in ${file}. Keep a copy of it and of its password: nobody can restore them.`);
}

/**
 * Encrypts a key into a new file.
 * @throws WaybillError TARGET_EXISTS before anything is asked.
 */
export async function makeKeystore(
  file: string,
  wallet: () => Promise<Wallet>,
  passwordFile: string | undefined,
  signal: AbortSignal,
): Promise<Address> {
  if (existsSync(file)) throw new WaybillError("TARGET_EXISTS", `${file} is there already, and is not overwritten.`);
  const made = await wallet();
  const password = await newPassword(file, passwordFile, signal);
  await createOwn(file, `${await encryptKeystoreJson(made, password)}\n`);
  return accountIn(made.address);
}

async function typedKey(signal: AbortSignal): Promise<string> {
  if (process.stdin.isTTY) return ask("The private key (it is not shown): ", signal);
  return text(process.stdin);
}
