import { relayerUse } from "./rights.ts";
import type { Stage } from "./stages.ts";

/** KMS waits so long before a key is really gone: the longest there is, because a key that held money can't be made again. */
const DELETION_DAYS = 30;

/** All that whoever administers the account may do with the key in use: everything but to sign, or to let others sign. */
const ADMINISTRATION = [
  ...["kms:DescribeKey", "kms:GetPublicKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:PutKeyPolicy"],
  ...["kms:ListKeyPolicies", "kms:ListGrants", "kms:ListResourceTags", "kms:TagResource", "kms:UntagResource"],
  ...["kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias", "kms:UpdateKeyDescription", "kms:RevokeGrant"],
  ...["kms:EnableKey", "kms:DisableKey", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"],
];

/** The relayer's keys, one per generation. */
export interface RelayerKeys {
  /** It pays for gas. It never leaves KMS. */
  readonly current: aws.kms.Key;
  /** They stay, because there may be money on them. */
  readonly former: readonly aws.kms.Key[];
}

export function createRelayerKeys(stage: Stage): RelayerKeys {
  const keys = Array.from({ length: stage.relayerGeneration }, (_, i) => createKey(stage, i + 1));
  const current = keys.pop()!;
  new aws.kms.Alias("RelayerAlias", { name: `alias/${$app.name}-${stage.name}-relayer`, targetKeyId: current.keyId });
  return { current, former: keys };
}

function createKey(stage: Stage, generation: number): aws.kms.Key {
  return new aws.kms.Key(
    `RelayerKey${generation}`,
    {
      description: `Waybill's relayer, ${stage.name}, generation ${generation}`,
      customerMasterKeySpec: "ECC_SECG_P256K1",
      keyUsage: "SIGN_VERIFY",
      deletionWindowInDays: DELETION_DAYS,
    },
    { retainOnDelete: $app.removal !== "remove" },
  );
}

/**
 * With the key in use only the publisher's role signs, whatever rights others have in the account. A former key is its
 * administrators' again, so that they can send away what is left on it.
 */
export function guardRelayerKeys({ current, former }: RelayerKeys, publisher: sst.aws.Function): void {
  const { accountId } = aws.getCallerIdentityOutput();
  const { partition } = aws.getPartitionOutput();
  const account = $interpolate`arn:${partition}:iam::${accountId}:root`;
  const allowed = (Sid: string, Action: readonly string[] | string, Condition?: object) => ({
    ...{ Sid, Effect: "Allow", Principal: { AWS: account }, Action, Resource: "*" },
    ...(Condition && { Condition }),
  });
  const policyOf = (...Statement: object[]) => $jsonStringify({ Version: "2012-10-17", Statement });
  // The role as a condition and not as the principal: a principal that is made anew is another one.
  const publishing = { ArnEquals: { "aws:PrincipalArn": publisher.nodes.role.arn } };
  new aws.kms.KeyPolicy(`RelayerPolicy${former.length + 1}`, {
    keyId: current.id,
    policy: policyOf(allowed("Administer", ADMINISTRATION), allowed("Publish", [...relayerUse], publishing)),
  });
  former.forEach((key, i) => {
    new aws.kms.KeyPolicy(`RelayerPolicy${i + 1}`, { keyId: key.id, policy: policyOf(allowed("Own", "kms:*")) });
  });
}
