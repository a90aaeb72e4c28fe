import { type Command, Option } from "commander";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { KeyHolder } from "../local/payer.ts";
import { passwordOf } from "./ask.ts";

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
  if (keystore) return { kind: "keystore", file: keystore, password: () => passwordOf(keystore, set("passwordFile")) };
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
