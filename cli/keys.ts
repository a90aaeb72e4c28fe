import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { type Command, Option } from "commander";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { KeyHolder } from "../local/payer.ts";

/** Who has the key: WAYBILL_<NAME>_KEY and its like are its variables. */
export type Whose = "deployer" | "relayer";

const HOLDERS = ["keystore", "passwordFile", "kms"] as const;

/** The options that say where a key is. The key itself is none of them: others see a command line. */
export function addKeyOptions(command: Command, whose: Whose): Command {
  const named = prefixOf(whose);
  return command
    .addOption(new Option("--keystore <file>", "encrypted keystore v3 with the key").env(`${named}_KEYSTORE`))
    .addOption(
      new Option("--password-file <file>", "its first line is the keystore's password; asked for if left out").env(
        `${named}_PASSWORD_FILE`,
      ),
    )
    .addOption(new Option("--kms <key>", "id, alias or ARN of a key in AWS KMS").env(`${named}_KMS_KEY`))
    .addOption(new Option("--region <region>", "the AWS region of that key").env("AWS_REGION"));
}

/**
 * Where the key is, by the options and, if none of them says it, by the environment, which may also hold the key itself.
 * @throws WaybillError USAGE that names what is to be set, and never a value.
 */
export function holderOf(command: Command, whose: Whose, env: NodeJS.ProcessEnv = process.env): KeyHolder {
  const options = command.opts<Partial<Record<(typeof HOLDERS)[number] | "region", string>>>();
  const typed = HOLDERS.some((name) => command.getOptionValueSource(name) === "cli");
  const set = (name: (typeof HOLDERS)[number]): string | undefined =>
    typed && command.getOptionValueSource(name) !== "cli" ? undefined : options[name];
  const key = typed ? undefined : env[`${prefixOf(whose)}_KEY`];
  const [keystore, kms] = [set("keystore"), set("kms")];
  if ([keystore, kms, key].filter((one) => one !== undefined && one !== "").length !== 1) throw unclear(whose);
  if (key) return { kind: "key", key };
  if (keystore) return { kind: "keystore", file: keystore, password: () => passwordFor(keystore, set("passwordFile")) };
  if (options.region === undefined)
    throw new WaybillError("USAGE", "A key in AWS KMS needs its region: --region or AWS_REGION.");
  return { kind: "kms", key: kms!, region: options.region };
}

function prefixOf(whose: Whose): string {
  return `WAYBILL_${whose.toUpperCase()}`;
}

function unclear(whose: Whose): WaybillError {
  const named = prefixOf(whose);
  const message =
    `Say where the ${whose}'s key is, in exactly one way: --keystore FILE (or ${named}_KEYSTORE), --kms KEY (or ` +
    `${named}_KMS_KEY), or the key itself in ${named}_KEY.`;
  return new WaybillError("USAGE", message);
}

async function passwordFor(keystore: string, file: string | undefined): Promise<string> {
  if (file !== undefined) return firstLineOf(file);
  if (!process.stdin.isTTY)
    throw new WaybillError("USAGE", "The keystore's password can't be asked for here. Give --password-file FILE.");
  return ask(`Password of ${keystore}: `);
}

async function firstLineOf(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).split(/\r?\n/, 1)[0] ?? "";
  } catch (error) {
    const { code = "no text" } = error as NodeJS.ErrnoException;
    throw new WaybillError("USAGE", `The password file can't be read (${code}).`);
  }
}

/** Asks on the terminal without showing what is typed. */
async function ask(question: string): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const line = createInterface({ input: process.stdin, output: silent, terminal: true });
  process.stderr.write(question);
  const gaveUp = new Promise<never>((_, reject) => {
    line.once("SIGINT", () => reject(new WaybillError("ABORTED", "Interrupted.")));
    line.once("close", () => reject(new WaybillError("ABORTED", "No password was given.")));
  });
  try {
    return await Promise.race([line.question(""), gaveUp]);
  } finally {
    line.close();
    process.stderr.write("\n");
  }
}
