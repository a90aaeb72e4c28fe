import { unlock } from "../functions/keystore.ts";
import { keyRelayer, type Relayer } from "../functions/relay.ts";
import { needPeers } from "./peers.ts";

export type { Relayer };

/** Where the key of an account that pays is. */
export type KeyHolder =
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "keystore"; readonly file: string; readonly password: () => Promise<string> }
  | { readonly kind: "kms"; readonly key: string; readonly region: string };

/**
 * An account that signs transactions, as the publisher has one.
 * @param whose Such as "deployer's", for messages.
 * @throws WaybillError USAGE that names neither a key nor a password; also when what signs requests to KMS is not installed.
 */
export async function payerOf(holder: KeyHolder, whose: string): Promise<Relayer> {
  switch (holder.kind) {
    case "key":
      return keyRelayer(holder.key, whose);
    case "keystore":
      return unlock(holder.file, holder.password, whose);
    case "kms": {
      needPeers(["@smithy/signature-v4"], "A key in AWS KMS");
      const { kmsRelayer } = await import("../functions/kms.ts");
      return kmsRelayer(holder.key, { region: holder.region, whose });
    }
  }
}
