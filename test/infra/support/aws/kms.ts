import { type KmsKey, publicKeyAnswer } from "../../../support/kms.ts";
import { type AwsAnswer, type AwsCall, AwsError, inputOf, json } from "./server.ts";

/** KMS with one key, which answers to its id and its ARN. Its signatures have either s, in turn, as a real KMS's do. */
export class Kms {
  /** What was asked of the key. */
  readonly uses: string[] = [];
  readonly arn: string;
  readonly #id: string;
  readonly #key: KmsKey;

  constructor(key: KmsKey, { id, arn }: { readonly id: string; readonly arn: string }) {
    this.#key = key;
    this.#id = id;
    this.arn = arn;
  }

  answer(call: AwsCall): AwsAnswer | null {
    const input = inputOf(call);
    if (input.KeyId !== this.#id && input.KeyId !== this.arn) throw new AwsError("NotFoundException", "no such key");
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
