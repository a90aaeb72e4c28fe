import * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import { keystoreRelayer } from "./keystore.ts";
import { keyRelayer, type Relayer } from "./relay.ts";
import type { Exchange } from "./signed.ts";

const set = z.string().check(z.minLength(1));
const privateKey = z.string().check(z.regex(/^0x[0-9a-fA-F]{64}$/));
/** One of these, and nothing of the others: two keys would be two accounts, and it's not for us to choose. */
const holder = z.union([
  z.strictObject({ WAYBILL_RELAYER_KMS_KEY: set }),
  z.strictObject({ WAYBILL_RELAYER_KEYSTORE: set, WAYBILL_RELAYER_PASSWORD_FILE: set }),
  z.strictObject({ WAYBILL_RELAYER_KEY: privateKey }),
]);
const NAMES = [
  "WAYBILL_RELAYER_KMS_KEY",
  "WAYBILL_RELAYER_KEYSTORE",
  "WAYBILL_RELAYER_PASSWORD_FILE",
  "WAYBILL_RELAYER_KEY",
] as const;

/**
 * The account that pays, from where the environment says that its key is. `exchange`: how KMS is reached if not straight on.
 *
 * @throws WaybillError USAGE that names the variables, and never a value; and as `kmsRelayer` and `keystoreRelayer`.
 */
export async function relayerFromEnv(
  env: Readonly<Record<string, string | undefined>>,
  region: string,
  exchange?: Exchange,
): Promise<Relayer> {
  const given = NAMES.filter((name) => env[name] !== undefined && env[name] !== "");
  const parsed = holder.safeParse(Object.fromEntries(given.map((name) => [name, env[name]])));
  if (!parsed.success)
    throw new WaybillError(
      "USAGE",
      "Set exactly one of WAYBILL_RELAYER_KMS_KEY, WAYBILL_RELAYER_KEYSTORE with WAYBILL_RELAYER_PASSWORD_FILE, or " +
        "WAYBILL_RELAYER_KEY (32 bytes of hex with 0x).",
    );
  const from = parsed.data;
  if ("WAYBILL_RELAYER_KEY" in from) return keyRelayer(from.WAYBILL_RELAYER_KEY);
  if ("WAYBILL_RELAYER_KEYSTORE" in from)
    return keystoreRelayer(from.WAYBILL_RELAYER_KEYSTORE, from.WAYBILL_RELAYER_PASSWORD_FILE);
  const { kmsRelayer } = await import("./kms.ts");
  return kmsRelayer(from.WAYBILL_RELAYER_KMS_KEY, { region, ...(exchange && { exchange }) });
}
