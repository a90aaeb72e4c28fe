import { readFile } from "node:fs/promises";
import { decryptKeystoreJson, isKeystoreJson } from "ethers";
import { WaybillError } from "../lib/protocol/errors.ts";
import { keyRelayer, type Relayer } from "./relay.ts";

/**
 * A relayer whose key lies in an encrypted keystore (v3). Its password is the first line of a file: command lines and
 * environments are seen by others.
 *
 * @throws WaybillError USAGE that names neither path, password nor anything of the keystore.
 */
export function keystoreRelayer(file: string, passwordFile: string): Promise<Relayer> {
  const password = async (): Promise<string> => {
    const [first = ""] = (await textOf(passwordFile, "relayer's password file")).split(/\r?\n/, 1);
    return first;
  };
  return unlock(file, password, "relayer's");
}

/** As `keystoreRelayer`, for anybody's key; the password is asked for once the keystore turned out to be one. */
export async function unlock(file: string, password: () => Promise<string>, whose: string): Promise<Relayer> {
  const json = await textOf(file, `${whose} keystore`);
  if (!isKeystoreJson(json)) throw new WaybillError("USAGE", `The ${whose} keystore is no keystore v3 (JSON).`);
  return keyRelayer(await keyIn(json, await password(), whose), whose);
}

async function keyIn(json: string, password: string, whose: string): Promise<string> {
  try {
    return (await decryptKeystoreJson(json, password)).privateKey;
  } catch {
    // The cause could quote the password.
    throw new WaybillError("USAGE", `The ${whose} keystore can't be opened: the password is wrong, or it is damaged.`);
  }
}

async function textOf(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const { code = "no text" } = error as NodeJS.ErrnoException;
    throw new WaybillError("USAGE", `The ${what} can't be read (${code}).`);
  }
}
