import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { computeAddress, SigningKey } from "ethers";

/** The order of secp256k1. */
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** A key as KMS holds it, with the private half for the stub alone. */
export interface KmsKey {
  readonly address: string;
  readonly spki: Buffer;
  /** DER, with the s that is asked for: a real KMS gives either, as it happens. */
  sign(digest: Buffer, s: "low" | "high"): Buffer;
}

export function newKey(): KmsKey {
  return keyOf(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey);
}

export function keyOf(privateKey: KeyObject | string): KmsKey {
  const key = typeof privateKey === "string" ? createPrivateKey(privateKey) : privateKey;
  const { d } = key.export({ format: "jwk" });
  const signing = new SigningKey(Buffer.from(d!, "base64url"));
  return {
    address: computeAddress(signing.publicKey).toLowerCase(),
    spki: createPublicKey(key).export({ format: "der", type: "spki" }),
    sign: (digest, wanted) => {
      const { r, s } = signing.sign(digest); // always low
      return derOf(BigInt(r), wanted === "low" ? BigInt(s) : N - BigInt(s));
    },
  };
}

/** ECDSA-Sig-Value ::= SEQUENCE { r INTEGER, s INTEGER }. */
export function derOf(r: bigint, s: bigint): Buffer {
  const body = Buffer.concat([integer(r), integer(s)]);
  return Buffer.concat([Buffer.of(0x30, body.length), body]);
}

function integer(value: bigint): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
  const positive = bytes[0]! < 0x80 ? bytes : Buffer.concat([Buffer.of(0), bytes]);
  return Buffer.concat([Buffer.of(0x02, positive.length), positive]);
}

/** What a call is answered: fields of the answer, a KMS error, or nothing ever. */
export type Answer = Readonly<Record<string, unknown>> | { readonly error: string; readonly status?: number } | "never";
export interface Call {
  readonly operation: string;
  readonly input: Readonly<Record<string, unknown>>;
}

/** An HTTP server that speaks KMS's JSON protocol and answers as the test says. */
export class KmsStub {
  readonly calls: Call[] = [];
  answer: (call: Call) => Answer = () => ({ error: "NotFoundException" });
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<KmsStub> {
    const stub = new KmsStub();
    await new Promise<void>((resolve) => stub.#server.listen(0, "127.0.0.1", resolve));
    return stub;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Answers as a KMS with this key, its signatures with this s. */
  hold(key: KmsKey, s: "low" | "high" = "low"): void {
    this.answer = ({ operation, input }) => {
      if (operation === "GetPublicKey") return publicKeyAnswer(key);
      return { Signature: key.sign(Buffer.from(String(input.Message), "base64"), s).toString("base64") };
    };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const operation = String(request.headers["x-amz-target"]).replace("TrentService.", "");
    const call = { operation, input: JSON.parse(Buffer.concat(chunks).toString()) };
    this.calls.push(call);
    const answer = this.answer(call);
    if (answer === "never") return;
    const { error, status = 400 } = answer as { error?: string; status?: number };
    response.writeHead(error ? status : 200, { "content-type": "application/x-amz-json-1.1" });
    response.end(JSON.stringify(error ? { __type: error, message: `no: ${call.input.KeyId}` } : answer));
  }
}

export function publicKeyAnswer(key: KmsKey): Record<string, unknown> {
  return {
    PublicKey: key.spki.toString("base64"),
    KeySpec: "ECC_SECG_P256K1",
    KeyUsage: "SIGN_VERIFY",
    SigningAlgorithms: ["ECDSA_SHA_256"],
  };
}
