import { createPublicKey } from "node:crypto";
import { secp256k1 } from "@noble/curves/secp256k1";
import { computeAddress, recoverAddress, Signature, Transaction } from "ethers";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, hexToBase64, toHex, wordHex } from "../lib/protocol/hex.ts";
import { faultOf, unavailable } from "./aws.ts";
import { AwsJson } from "./aws-json.ts";
import { credentialsFrom } from "./credentials.ts";
import { endpointOf } from "./endpoint.ts";
import type { Relayer } from "./relay.ts";
import type { Exchange } from "./signed.ts";

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
  /** How KMS is reached where requests don't go straight on. */
  readonly exchange?: Exchange;
  /** Whose key it is, for messages. Default "relayer's". */
  readonly whose?: string;
}

/**
 * A relayer whose key never leaves KMS (ECC_SECG_P256K1, SIGN_VERIFY). `key` is its id, alias or ARN, and is in no message.
 *
 * @throws WaybillError USAGE for a key of another kind or one that may not be used; UNAVAILABLE (retryable) when KMS
 * doesn't answer or the key is out of use; BAD_SERVER for a signature that isn't this key's. So does `sign`.
 */
export async function kmsRelayer(key: string, options: KmsOptions): Promise<Relayer> {
  const { region, timeout, exchange, whose = "relayer's" } = options;
  const kms = new AwsJson(
    "kms",
    { name: "TrentService", version: "1.1" },
    { endpoint: whereFor(options), region, credentials: credentialsFrom(), timeout, exchange },
  );
  const refuse = (error: unknown): never => {
    throw refusalOf(error, whose);
  };
  const found = (await kms.call("GetPublicKey", { KeyId: key }).catch(refuse)) as PublicKeyAnswer;
  const address = addressOf(found, whose);
  return {
    address,
    sign: async (unsigned) => {
      const transaction = Transaction.from(unsigned);
      const order = {
        KeyId: key,
        Message: hexToBase64(transaction.unsignedHash),
        MessageType: "DIGEST",
        SigningAlgorithm: "ECDSA_SHA_256", // with a DIGEST it names the length alone: nothing is hashed again
      };
      const { Signature: der } = (await kms.call("Sign", order).catch(refuse)) as { Signature?: unknown };
      transaction.signature = signatureOf(bytesIn(der), transaction.unsignedHash, address);
      return transaction.serialized as Hex;
    },
  };
}

interface PublicKeyAnswer {
  readonly PublicKey?: unknown;
  readonly KeySpec?: unknown;
  readonly KeyUsage?: unknown;
}

/** The variables are those that the SDK knows. */
function whereFor({ endpoint, region }: KmsOptions): URL {
  const { AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL } = process.env;
  const other = endpoint ?? AWS_ENDPOINT_URL_KMS ?? AWS_ENDPOINT_URL;
  return other === undefined ? endpointOf("kms", region) : new URL(other);
}

/** What is no base64 is no DER either. */
function bytesIn(base64: unknown): Buffer {
  return Buffer.from(typeof base64 === "string" ? base64 : "", "base64");
}

function addressOf(found: PublicKeyAnswer, whose: string): Address {
  const { PublicKey: der, KeySpec: spec, KeyUsage: usage } = found;
  if (spec !== "ECC_SECG_P256K1" || usage !== "SIGN_VERIFY")
    throw new WaybillError("USAGE", `The ${whose} KMS key must be an ECC_SECG_P256K1 key for SIGN_VERIFY.`);
  try {
    const publicKey = createPublicKey({ key: bytesIn(der), format: "der", type: "spki" });
    const { x, y } = publicKey.export({ format: "jwk" });
    const point = Buffer.concat([Buffer.of(4), Buffer.from(x!, "base64url"), Buffer.from(y!, "base64url")]);
    return toHex(computeAddress(toHex(point)).toLowerCase());
  } catch {
    throw new WaybillError("BAD_SERVER", "KMS answered with a malformed public key.");
  }
}

/** KMS gives r and s in DER, with any s: the chain wants the low one, and the parity that leads back to the key. */
function signatureOf(der: Uint8Array, digest: string, address: Address): Signature {
  const { r, s } = lowSignatureIn(der);
  for (const yParity of [0, 1] as const) {
    const signature = Signature.from({ r: wordHex(r), s: wordHex(s), yParity });
    if (recoveredFrom(signature, digest) === address) return signature;
  }
  throw new WaybillError("BAD_SERVER", "KMS answered with a signature that is not this key's.");
}

function lowSignatureIn(der: Uint8Array): { r: bigint; s: bigint } {
  try {
    return secp256k1.Signature.fromDER(der).normalizeS();
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

function refusalOf(error: unknown, whose: string): WaybillError {
  const { name } = faultOf(error);
  const wrong = WRONG[name];
  if (wrong) return new WaybillError("USAGE", `The ${whose} KMS key can't be used: ${wrong}.`);
  if (OUT_OF_USE.has(name))
    return new WaybillError("UNAVAILABLE", `The ${whose} KMS key is disabled or about to be deleted. Enable it again.`);
  return unavailable(`${whose} KMS`, error);
}
