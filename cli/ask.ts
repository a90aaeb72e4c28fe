import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { WaybillError } from "../lib/protocol/errors.ts";
import { warnOfOthers } from "./files.ts";
import { printable } from "./words.ts";

/**
 * Asks on the terminal without showing what is typed.
 * @throws WaybillError ABORTED, or the signal's reason.
 */
export async function ask(question: string, signal?: AbortSignal): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const line = createInterface({ input: process.stdin, output: silent, terminal: true });
  process.stderr.write(question);
  const gaveUp = new Promise<never>((_, reject) => {
    line.once("SIGINT", () => reject(new WaybillError("ABORTED", "Interrupted.")));
    line.once("close", () => reject(new WaybillError("ABORTED", "Nothing was typed.")));
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  try {
    return await Promise.race([line.question(""), gaveUp]);
  } finally {
    gaveUp.catch(() => {}); // closing ends it, too
    line.close();
    process.stderr.write("\n");
  }
}

/** The first line of a password file. @throws WaybillError USAGE, without its content. */
export async function passwordIn(file: string): Promise<string> {
  try {
    const text = await readFile(file, "utf8");
    await warnOfOthers(file);
    return text.split(/\r?\n/, 1)[0] ?? "";
  } catch (error) {
    const { code = "no text" } = error as NodeJS.ErrnoException;
    throw new WaybillError(
      "USAGE",
      `The password file ${printable(file)} can't be read (${code}). Check its path and mode.`,
    );
  }
}

/**
 * The password of a keystore that is there.
 * @throws WaybillError USAGE where nobody can be asked.
 */
export async function passwordOf(keystore: string, file: string | undefined, signal?: AbortSignal): Promise<string> {
  if (file !== undefined) return passwordIn(file);
  if (!process.stdin.isTTY)
    throw new WaybillError("USAGE", "The keystore's password can't be asked for here. Give --password-file FILE.");
  return ask(`Password of ${keystore}: `, signal);
}

/** The password of a keystore that is to be made: typed twice, or a file's first line. */
export async function newPassword(keystore: string, file: string | undefined, signal?: AbortSignal): Promise<string> {
  const password = file === undefined ? await askTwice(keystore, signal) : await passwordIn(file);
  if (password !== "") return password;
  throw new WaybillError("USAGE", "The password is empty, and would protect nothing. Choose another one.");
}

async function askTwice(keystore: string, signal: AbortSignal | undefined): Promise<string> {
  if (!process.stdin.isTTY)
    throw new WaybillError("USAGE", "A password for the keystore can't be asked for here. Give --password-file FILE.");
  const password = await ask(`New password for ${keystore}: `, signal);
  if ((await ask("The same again: ", signal)) === password) return password;
  throw new WaybillError("USAGE", "The two were not the same. Run it again.");
}
