import { readFile } from "node:fs/promises";
import { isKeystoreJson, Wallet } from "ethers";
import { WaybillError } from "../lib/protocol/errors.ts";
import { keyRelayer, type Relayer } from "./relay.ts";

/**
 * A relayer whose key lies in an encrypted keystore (v3). Its password is the first line of a file: command lines and
 * environments are seen by others.
 *
 * @throws WaybillError USAGE that names neither path, password nor anything of the keystore.
 */
export async function keystoreRelayer(file: string, passwordFile: string): Promise<Relayer> {
  const [json, secret] = await Promise.all([textOf(file, "keystore"), textOf(passwordFile, "password file")]);
  const [password = ""] = secret.split(/\r?\n/, 1);
  if (!isKeystoreJson(json)) throw new WaybillError("USAGE", "The relayer's keystore is no keystore v3 (JSON).");
  return keyRelayer(await keyIn(json, password));
}

async function keyIn(json: string, password: string): Promise<string> {
  try {
    return (await Wallet.fromEncryptedJson(json, password)).privateKey;
  } catch {
    // The cause could quote the password.
    throw new WaybillError("USAGE", "The relayer's keystore can't be opened: the password is wrong, or it is damaged.");
  }
}

async function textOf(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const { code = "no text" } = error as NodeJS.ErrnoException;
    throw new WaybillError("USAGE", `The relayer's ${what} can't be read (${code}).`);
  }
}
