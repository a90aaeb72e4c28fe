import { createPublicKey } from "node:crypto";
import { GetPublicKeyCommand, type GetPublicKeyCommandOutput, KMSClient, SignCommand } from "@aws-sdk/client-kms";
import { secp256k1 } from "@noble/curves/secp256k1";
import { computeAddress, getBytes, recoverAddress, Signature, Transaction } from "ethers";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, toHex, wordHex } from "../lib/protocol/hex.ts";
import { faultOf, quietSdk, unavailable } from "./aws.ts";
import type { Relayer } from "./relay.ts";

// The only importer of the KMS SDK. It is loaded for a key in KMS alone: nobody else needs that package.

/** One call with the SDK's own retries. The publisher's step waits for it. */
const CALL_TIMEOUT_MS = 8_000;
/** What retrying can't cure: the operator must name another key, or give the publisher its rights. */
const WRONG: Readonly<Record<string, string>> = {
  NotFoundException: "there is no such key in this region",
  InvalidArnException: "its name is malformed",
  ValidationException: "its name is malformed",
  AccessDeniedException: "the publisher may not use it (kms:GetPublicKey, kms:Sign)",
  InvalidKeyUsageException: "it is not for signing",
  UnsupportedOperationException: "it is not for signing",
};
/** What the operator can cure without telling us anything, in KMS's own words. */
const OUT_OF_USE = new Set(["DisabledException", "KMSInvalidStateException"]);

export interface KmsOptions {
  readonly region: string;
  /** A server that speaks KMS's protocol; without it, AWS. */
  readonly endpoint?: string;
  /** Milliseconds for one call, retries included. */
  readonly timeout?: number;
}

/**
 * A relayer whose key never leaves KMS (ECC_SECG_P256K1, SIGN_VERIFY). `key` is its id, alias or ARN, and is in no message.
 *
 * @throws WaybillError USAGE for a key of another kind or one that may not be used; UNAVAILABLE (retryable) when KMS
 * doesn't answer or the key is out of use; BAD_SERVER for a signature that isn't this key's. So does `sign`.
 */
export async function kmsRelayer(key: string, options: KmsOptions): Promise<Relayer> {
  quietSdk();
  const { region, endpoint, timeout = CALL_TIMEOUT_MS } = options;
  const client = new KMSClient({ region, ...(endpoint !== undefined && { endpoint }) });
  const limit = () => ({ abortSignal: AbortSignal.timeout(timeout) });
  const found = await client.send(new GetPublicKeyCommand({ KeyId: key }), limit()).catch(refuse);
  const address = addressOf(found);
  return {
    address,
    sign: async (unsigned) => {
      const transaction = Transaction.from(unsigned);
      const command = new SignCommand({
        KeyId: key,
        Message: getBytes(transaction.unsignedHash),
        MessageType: "DIGEST",
        SigningAlgorithm: "ECDSA_SHA_256", // with a DIGEST it names the length alone: nothing is hashed again
      });
      const { Signature: der } = await client.send(command, limit()).catch(refuse);
      transaction.signature = signatureOf(der, transaction.unsignedHash, address);
      return transaction.serialized as Hex;
    },
  };
}

function addressOf({ PublicKey: der, KeySpec: spec, KeyUsage: usage }: GetPublicKeyCommandOutput): Address {
  if (spec !== "ECC_SECG_P256K1" || usage !== "SIGN_VERIFY")
    throw new WaybillError("USAGE", "The relayer's KMS key must be an ECC_SECG_P256K1 key for SIGN_VERIFY.");
  try {
    const publicKey = createPublicKey({ key: Buffer.from(der!), format: "der", type: "spki" });
    const { x, y } = publicKey.export({ format: "jwk" });
    const point = Buffer.concat([Buffer.of(4), Buffer.from(x!, "base64url"), Buffer.from(y!, "base64url")]);
    return toHex(computeAddress(toHex(point)).toLowerCase());
  } catch {
    throw new WaybillError("BAD_SERVER", "KMS answered with a malformed public key.");
  }
}

/** KMS gives r and s in DER, with any s: the chain wants the low one, and the parity that leads back to the key. */
function signatureOf(der: Uint8Array | undefined, digest: string, address: Address): Signature {
  const { r, s } = lowSignatureIn(der);
  for (const yParity of [0, 1] as const) {
    const signature = Signature.from({ r: wordHex(r), s: wordHex(s), yParity });
    if (recoveredFrom(signature, digest) === address) return signature;
  }
  throw new WaybillError("BAD_SERVER", "KMS answered with a signature that is not this key's.");
}

function lowSignatureIn(der: Uint8Array | undefined): { r: bigint; s: bigint } {
  try {
    return secp256k1.Signature.fromDER(der!).normalizeS();
  } catch {
    throw new WaybillError("BAD_SERVER", "KMS answered with a malformed signature.");
  }
}

/** Null where no key could have made it with this parity. */
function recoveredFrom(signature: Signature, digest: string): Address | null {
  try {
    return toHex(recoverAddress(digest, signature).toLowerCase());
  } catch {
    return null;
  }
}

function refuse(error: unknown): never {
  const { name } = faultOf(error);
  const wrong = WRONG[name];
  if (wrong) throw new WaybillError("USAGE", `The relayer's KMS key can't be used: ${wrong}.`);
  if (OUT_OF_USE.has(name))
    throw new WaybillError("UNAVAILABLE", "The relayer's KMS key is disabled or about to be deleted. Enable it again.");
  throw unavailable("relayer's KMS", error);
}
