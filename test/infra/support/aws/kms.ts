import { type KmsKey, publicKeyAnswer } from "../../../support/kms.ts";
import { decide, type Statement, statementsOf } from "../policy.ts";
import type { Role } from "../roles.ts";
import type { Shapes } from "../shapes.ts";
import { type AwsAnswer, type AwsCall, AwsError, inputOf, json } from "./server.ts";

/** KMS with one key under its own policy, which answers to its id, its ARN and its alias. Its signatures have either s, in turn, as a real KMS's do. */
export class Kms {
  /** What was asked of the key. */
  readonly uses: string[] = [];
  readonly arn: string;
  readonly #names: readonly unknown[];
  readonly #key: KmsKey;
  readonly #policy: readonly Statement[];

  constructor(key: KmsKey, { id, arn, alias, policy }: Shapes["key"]) {
    this.#key = key;
    this.#names = [id, arn, alias];
    this.arn = arn;
    this.#policy = statementsOf(policy);
  }

  /** The key's policy names the account alone, so by KMS's rule a role needs that policy's leave and its own. */
  lets(role: Role, action: string): boolean {
    const request = { action, resource: this.arn, context: { "aws:PrincipalArn": role.arn } };
    return decide(this.#policy, request) === "allowed" && role.may(action, this.arn);
  }

  answer(call: AwsCall): AwsAnswer | null {
    const input = inputOf(call);
    if (!this.#names.includes(input.KeyId)) throw new AwsError("NotFoundException", "no such key");
    this.uses.push(call.operation);
    if (call.operation === "GetPublicKey") return json({ KeyId: this.arn, ...publicKeyAnswer(this.#key) });
    if (call.operation !== "Sign") return null;
    if (input.MessageType !== "DIGEST" || input.SigningAlgorithm !== "ECDSA_SHA_256")
      throw new AwsError("ValidationException", "a digest is signed with ECDSA_SHA_256");
    const digest = Buffer.from(String(input.Message), "base64");
    const signature = this.#key.sign(digest, this.uses.length % 2 === 0 ? "low" : "high");
    return json({ KeyId: this.arn, Signature: signature.toString("base64"), SigningAlgorithm: "ECDSA_SHA_256" });
  }
}
