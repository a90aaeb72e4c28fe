import type { Stage } from "./stages.ts";

/** KMS waits so long before a key is really gone: the longest there is, because a key that held money can't be made again. */
const DELETION_DAYS = 30;

/**
 * The key that pays for gas. It never leaves KMS. A further generation is a key of its own; the one before stays in the
 * account, because there may be money on it.
 */
export function createRelayerKey(stage: Stage): aws.kms.Key {
  const { relayerGeneration } = stage;
  const key = new aws.kms.Key(
    `RelayerKey${relayerGeneration}`,
    {
      description: `Waybill's relayer, ${stage.name}, generation ${relayerGeneration}`,
      customerMasterKeySpec: "ECC_SECG_P256K1",
      keyUsage: "SIGN_VERIFY",
      deletionWindowInDays: DELETION_DAYS,
    },
    { retainOnDelete: $app.removal !== "remove" },
  );
  new aws.kms.Alias("RelayerAlias", { name: `alias/${$app.name}-${stage.name}-relayer`, targetKeyId: key.keyId });
  return key;
}
