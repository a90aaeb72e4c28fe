import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encryptKeystoreJson, recoverAddress, Transaction, toQuantity, Wallet } from "ethers";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { keystoreRelayer } from "../functions/keystore.ts";
import { kmsRelayer } from "../functions/kms.ts";
import { keyRelayer, type Relayer, type Unsigned } from "../functions/relay.ts";
import { relayerFromEnv } from "../functions/signers.ts";
import { Rpc } from "../lib/chain/rpc.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { startAnvil } from "../local/anvil.ts";
import { type Answer, derOf, KmsStub, keyOf, newKey, publicKeyAnswer } from "./support/kms.ts";

const KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const region = "eu-central-1";
const market: Unsigned = {
  type: 2,
  maxFeePerGas: 2_000_000_000n,
  maxPriorityFeePerGas: 1n,
  chainId: 31337,
  nonce: 7,
  to: `0x${"c0".repeat(20)}`,
  data: "0xdeadbeef",
  gasLimit: 100_000,
  value: 0,
};
const { type: _type, maxFeePerGas: _max, maxPriorityFeePerGas: _tip, ...common } = market as Unsigned & { type: 2 };
const free: Unsigned = { ...common, type: 0, gasPrice: 0n };

let stub: KmsStub;
const folder = await mkdtemp(join(tmpdir(), "waybill-test-signers-"));
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(async () => {
  stub = await KmsStub.start();
  const own = { AWS_ACCESS_KEY_ID: "stub", AWS_SECRET_ACCESS_KEY: "sekrit-of-the-stub", AWS_PROFILE: undefined };
  for (const [name, value] of Object.entries(own)) vi.stubEnv(name, value);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await stub.stop();
});

const relayer = (timeout?: number): Promise<Relayer> =>
  kmsRelayer(KEY, { region, endpoint: stub.endpoint, ...(timeout !== undefined && { timeout }) });

/** The typed error of a call that must fail, after a look for what it must not tell. */
async function failure(call: Promise<unknown>, ...secrets: string[]): Promise<WaybillError> {
  const error = await call.then(
    () => expect.unreachable("it should have failed"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(WaybillError);
  const told = `${(error as Error).stack}${String((error as Error).cause)}${JSON.stringify(error)}`;
  for (const secret of ["123456789012", "1234abcd", "sekrit", ...secrets]) expect(told).not.toContain(secret);
  return error as WaybillError;
}

describe("a relayer whose key is in a KMS", () => {
  it("has the address of the public key, and asks for it once", async () => {
    const key = newKey();
    stub.hold(key);
    const { address, sign } = await relayer();
    expect(address).toBe(key.address);
    await sign(market);
    await sign(free);
    expect(stub.calls.map(({ operation }) => operation)).toEqual(["GetPublicKey", "Sign", "Sign"]);
  });

  it("asks for a signature of the transaction's own digest", async () => {
    stub.hold(newKey());
    await (await relayer()).sign(market);
    expect(stub.calls[1]!.input).toEqual({
      KeyId: KEY,
      Message: Buffer.from(Transaction.from(market).unsignedHash.slice(2), "hex").toString("base64"),
      MessageType: "DIGEST",
      SigningAlgorithm: "ECDSA_SHA_256",
    });
  });

  it.each([
    ["low", "type 2", market],
    ["high", "type 2", market],
    ["low", "type 0", free],
    ["high", "type 0", free],
  ] as const)("makes a transaction with a low s and the right parity of a %s s (%s)", async (s, _name, unsigned) => {
    for (let keys = 0; keys < 8; keys++) {
      const key = newKey();
      stub.hold(key, s);
      const signed = Transaction.from(await (await relayer()).sign(unsigned)); // refuses a high s
      expect(signed.from?.toLowerCase()).toBe(key.address);
      expect(signed.unsignedSerialized).toBe(Transaction.from(unsigned).unsignedSerialized);
      expect(BigInt(signed.signature!.s)).toBeLessThan(2n ** 255n);
    }
  });

  it("signs as a key in memory does", async () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
    const { d } = privateKey.export({ format: "jwk" });
    stub.hold(keyOf(privateKey), "high");
    const inMemory = keyRelayer(`0x${Buffer.from(d!, "base64url").toString("hex")}`);
    const inKms = await relayer();
    expect(inKms.address).toBe(inMemory.address);
    for (const unsigned of [market, free]) expect(await inKms.sign(unsigned)).toBe(await inMemory.sign(unsigned));
  });

  // OpenSSL's own signatures of `market`'s digest: `openssl pkeyutl -sign`.
  const SPKI =
    "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEnPKC5WUpPI/tkUrH5Trh1C6YJT/rZqq4UYuA2i2NKen3ONMzxZDl/cXMAcjeBIpfCmQzNwe6aWQ+JHcTnO7f0Q==";
  it.each([
    ["a low s", "MEUCIQDpJoZCRtdSXrlR3Ch5ETyCm8FB6/77Vpq5Je9CpCmXywIgGw5arSo6de7SfIqNoIvs+OSXVIntsnOzDgqwPAu63fo="],
    ["a high s", "MEUCIAiBb0n3RShvvQIPBfJqiusk2LwOgBbVG7hP+eDGYErzAiEAoiv7H+fBGQoI6qt9wxzc4A+b9fIa/iTj0F4n8RQXNvY="],
    [
      "an s of 31 bytes",
      "MEMCIBkf4bDaVIMhBzE7G+msMpub9jK5CPVyvBqp+Hw6nQW0Ah9WbL2rR1FRblTfknCq6j58Sf+wSkCderyGIxdscC7f",
    ],
    [
      "an r of 31 bytes",
      "MEMCHwYc5j+tn4N4beRflaMgH3ZLkyvF7c/NuMfgrmN+PXgCIFGpDPNKyEVTTycOXaDry4VLQPfxEb2RiC34/8ha9+md",
    ],
    [
      "an r of 31 bytes and a high s",
      "MEQCHzlbKLximC2tOd2LPkFAl86FCBQs0ghg3CYR11ysR4wCIQDdfTX0bcGpMO6siLKuuAL7SRipkKQk9FEtWS9OY4y+RQ==",
    ],
  ])("understands OpenSSL's signature with %s", async (_name, Signature) => {
    stub.answer = ({ operation }) =>
      operation === "Sign" ? { Signature } : { ...publicKeyAnswer(newKey()), PublicKey: SPKI };
    const { address, sign } = await relayer();
    expect(address).toBe("0xcd8923bfd10a0d0bc6f4c7343ea00b19daf7c8c0");
    const { from, signature, unsignedHash } = Transaction.from(await sign(market));
    expect(from?.toLowerCase()).toBe(address);
    expect(recoverAddress(unsignedHash, signature!).toLowerCase()).toBe(address);
  });

  it("pays for transactions that a chain takes", async () => {
    const anvil = await startAnvil();
    const rpc = new Rpc(anvil.url);
    try {
      const key = newKey();
      await rpc.send("anvil_setBalance", [key.address, toQuantity(10n ** 18n)]);
      for (const [nonce, fees] of [market, { ...common, type: 0, gasPrice: 2_000_000_000n } as const].entries()) {
        stub.hold(key, nonce === 0 ? "high" : "low");
        const sent = await rpc.send("eth_sendRawTransaction", [await (await relayer()).sign({ ...fees, nonce })]);
        await vi.waitFor(async () => {
          const receipt = (await rpc.send("eth_getTransactionReceipt", [sent])) as { from: string; status: string };
          expect(receipt).toMatchObject({ from: key.address, status: "0x1" });
        }, 120_000);
      }
    } finally {
      rpc.close();
      await anvil.stop();
    }
  });

  it.each([
    ["ECC_NIST_P256", "SIGN_VERIFY"],
    ["RSA_2048", "SIGN_VERIFY"],
    ["SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"],
    ["ECC_SECG_P256K1", "KEY_AGREEMENT"],
  ])("is refused as USAGE for a key of kind %s for %s", async (KeySpec, KeyUsage) => {
    stub.answer = () => ({ ...publicKeyAnswer(newKey()), KeySpec, KeyUsage });
    const { code, retryable, message } = await failure(relayer());
    expect([code, retryable]).toEqual(["USAGE", false]);
    expect(message).toContain("ECC_SECG_P256K1");
  });

  it.each([
    ["NotFoundException", /no such key/],
    ["InvalidArnException", /malformed/],
    ["AccessDeniedException", /kms:Sign/],
    ["UnsupportedOperationException", /not for signing/],
    ["InvalidKeyUsageException", /not for signing/],
  ])("answers USAGE when KMS says %s, before and after it began", async (error, words) => {
    stub.answer = () => ({ error });
    const atFirst = await failure(relayer());
    stub.hold(newKey());
    const { sign } = await relayer();
    stub.answer = () => ({ error });
    const later = await failure(sign(market));
    for (const { code, retryable, message } of [atFirst, later]) {
      expect([code, retryable]).toEqual(["USAGE", false]);
      expect(message).toMatch(words);
    }
  });

  it.each(["DisabledException", "KMSInvalidStateException"])("waits for a key in state %s", async (error) => {
    const key = newKey();
    stub.hold(key);
    const { sign } = await relayer();
    stub.answer = () => ({ error });
    const { code, retryable, message } = await failure(sign(market));
    expect([code, retryable]).toEqual(["UNAVAILABLE", true]);
    expect(message).toContain("Enable it again");
    stub.hold(key);
    expect(Transaction.from(await sign(market)).from?.toLowerCase()).toBe(key.address);
  });

  it.each([
    ["is throttled", { error: "ThrottlingException" }],
    ["has an internal fault", { error: "KMSInternalException", status: 500 }],
    ["waits for its own key store", { error: "DependencyTimeoutException", status: 500 }],
    ["has no key at hand", { error: "KeyUnavailableException", status: 500 }],
    ["never answers", "never"],
  ] as [string, Answer][])("answers UNAVAILABLE, to be tried again, when KMS %s", async (_name, answer) => {
    const key = newKey();
    stub.hold(key);
    const { sign } = await relayer(2_000);
    stub.answer = () => answer;
    const { code, retryable } = await failure(sign(market));
    expect([code, retryable]).toEqual(["UNAVAILABLE", true]);
    stub.hold(key);
    expect(Transaction.from(await sign(market)).from?.toLowerCase()).toBe(key.address);
  });

  it("survives a moment of throttling without a word", async () => {
    const key = newKey();
    stub.hold(key);
    const { sign } = await relayer();
    const held = stub.answer;
    let refusals = 1;
    stub.answer = (call) => (refusals-- > 0 ? { error: "ThrottlingException" } : held(call));
    expect(Transaction.from(await sign(market)).from?.toLowerCase()).toBe(key.address);
  });

  it("answers UNAVAILABLE when nobody listens there", async () => {
    const endpoint = stub.endpoint;
    await stub.stop();
    const { code, retryable } = await failure(kmsRelayer(KEY, { region, endpoint }));
    expect([code, retryable]).toEqual(["UNAVAILABLE", true]);
    stub = await KmsStub.start();
  });

  it.each([
    ["nothing", undefined],
    ["no DER at all", Buffer.from("hello")],
    ["a public key cut short", newKey().spki.subarray(0, 60)],
  ])("answers BAD_SERVER for a public key that is %s", async (_name, bytes) => {
    stub.answer = () => ({ ...publicKeyAnswer(newKey()), PublicKey: bytes?.toString("base64") });
    expect((await failure(relayer())).code).toBe("BAD_SERVER");
  });

  it("answers BAD_SERVER for a public key of another curve that claims to be the right one", async () => {
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const PublicKey = publicKey.export({ format: "der", type: "spki" }).toString("base64");
    stub.answer = () => ({ ...publicKeyAnswer(newKey()), PublicKey });
    expect((await failure(relayer())).code).toBe("BAD_SERVER");
  });

  it("answers BAD_SERVER for a signature by another key, of another digest, or with numbers out of range", async () => {
    const key = newKey();
    stub.hold(key);
    const { sign } = await relayer();
    const digest = Buffer.from(Transaction.from(market).unsignedHash.slice(2), "hex");
    for (const der of [
      newKey().sign(digest, "low"),
      key.sign(Buffer.alloc(32, 1), "low"),
      derOf(0n, 1n),
      derOf(1n, 0n),
      derOf(2n ** 256n - 1n, 5n),
      derOf(5n, 2n ** 256n - 1n),
      derOf(5n, 7n), // no point has this x
    ]) {
      stub.answer = () => ({ Signature: der.toString("base64") });
      expect((await failure(sign(market))).code).toBe("BAD_SERVER");
    }
    stub.answer = () => ({});
    expect((await failure(sign(market))).code).toBe("BAD_SERVER");
  });

  it("never takes garbage, or a signature with a bit changed, for its own", async () => {
    const key = newKey();
    stub.hold(key);
    const { sign } = await relayer();
    const digest = Buffer.from(Transaction.from(market).unsignedHash.slice(2), "hex");
    const own = key.sign(digest, "high");
    const flipped = fc.nat({ max: own.length * 8 - 1 }).map((bit) => {
      const der = Buffer.from(own);
      der[bit >> 3]! ^= 1 << (bit & 7);
      return der;
    });
    const bytes = fc.uint8Array({ maxLength: 80 }).map((array) => Buffer.from(array));
    await fc.assert(
      fc.asyncProperty(fc.oneof(flipped, bytes), async (der) => {
        stub.answer = () => ({ Signature: der.toString("base64") });
        expect((await failure(sign(market))).code).toBe("BAD_SERVER");
      }),
      { numRuns: 150 },
    );
  });
});

describe("a relayer whose key is in a keystore", () => {
  const wallet = Wallet.createRandom();
  const { address, privateKey } = wallet;
  const password = "correct horse sekrit staple";
  const file = (name: string): string => join(folder, name);
  const keystore = file("keystore.json");

  beforeAll(async () => {
    // The cheapest work factor: what a real one costs is not tested here.
    const json = await encryptKeystoreJson({ address, privateKey }, password, { scrypt: { N: 2, r: 8, p: 1 } });
    await Promise.all([
      writeFile(keystore, json),
      writeFile(file("password"), password),
      writeFile(file("line"), `${password}\n`),
      writeFile(file("windows"), `${password}\r\nand a note\r\n`),
      writeFile(file("wrong"), "sekrit"),
      writeFile(file("empty"), ""),
      writeFile(file("plain.json"), JSON.stringify({ privateKey: wallet.privateKey, note: "sekrit" })),
      writeFile(file("damaged.json"), json.replace(/"mac":"../, '"mac":"zz')),
    ]);
  });

  it.each(["password", "line", "windows"])("opens it with the first line of a file (%s), and pays", async (name) => {
    const { address, sign } = await keystoreRelayer(keystore, file(name));
    expect(address).toBe(wallet.address.toLowerCase());
    expect(Transaction.from(await sign(market)).from).toBe(wallet.address);
  });

  it.each([
    ["the password is wrong", "keystore.json", "wrong", /password is wrong/],
    ["the password is empty", "keystore.json", "empty", /password is wrong/],
    ["the keystore is damaged", "damaged.json", "password", /damaged/],
    ["it is no keystore", "plain.json", "password", /no keystore v3/],
    ["there is no keystore", "missing.json", "password", /keystore can't be read \(ENOENT\)/],
    ["there is no password", "keystore.json", "missing", /password file can't be read \(ENOENT\)/],
    ["the password is a folder", "keystore.json", ".", /password file can't be read \(EISDIR\)/],
  ])("answers USAGE without a secret when %s", async (_name, json, secret, words) => {
    const call = keystoreRelayer(file(json), file(secret));
    const { code, message } = await failure(call, password, wallet.privateKey.slice(2), folder);
    expect(code).toBe("USAGE");
    expect(message).toMatch(words);
  });

  describe("in an environment", () => {
    const env = { WAYBILL_RELAYER_KEYSTORE: keystore, WAYBILL_RELAYER_PASSWORD_FILE: file("password") };

    it("is found by its two variables, and a key in memory or in a KMS by its one", async () => {
      expect((await relayerFromEnv(env, region)).address).toBe(wallet.address.toLowerCase());
      const inMemory = await relayerFromEnv({ WAYBILL_RELAYER_KEY: wallet.privateKey }, region);
      expect(inMemory.address).toBe(wallet.address.toLowerCase());
      vi.stubEnv("AWS_ENDPOINT_URL_KMS", stub.endpoint);
      const key = newKey();
      stub.hold(key);
      expect((await relayerFromEnv({ WAYBILL_RELAYER_KMS_KEY: KEY }, region)).address).toBe(key.address);
      expect(stub.calls[0]!.input).toEqual({ KeyId: KEY });
    });

    it("takes a variable that is empty for one that is not set", async () => {
      const { address } = await relayerFromEnv(
        { ...env, WAYBILL_RELAYER_KEY: "", WAYBILL_RELAYER_KMS_KEY: "" },
        region,
      );
      expect(address).toBe(wallet.address.toLowerCase());
    });

    it.each([
      ["nothing", {}],
      ["a keystore without a password", { WAYBILL_RELAYER_KEYSTORE: keystore }],
      ["a password without a keystore", { WAYBILL_RELAYER_PASSWORD_FILE: file("password") }],
      ["a keystore and a key", { ...env, WAYBILL_RELAYER_KEY: wallet.privateKey }],
      ["a key and a KMS", { WAYBILL_RELAYER_KEY: wallet.privateKey, WAYBILL_RELAYER_KMS_KEY: KEY }],
      ["a password beside a KMS", { WAYBILL_RELAYER_PASSWORD_FILE: file("password"), WAYBILL_RELAYER_KMS_KEY: KEY }],
      ["a key that is none", { WAYBILL_RELAYER_KEY: "sekrit" }],
      ["a key without 0x", { WAYBILL_RELAYER_KEY: wallet.privateKey.slice(2) }],
    ])("is USAGE with all variables' names for %s", async (_name, given) => {
      const call = relayerFromEnv(given, region);
      const { code, message } = await failure(call, wallet.privateKey.slice(2), folder);
      expect(code).toBe("USAGE");
      for (const name of ["KMS_KEY", "KEYSTORE", "PASSWORD_FILE", "KEY"])
        expect(message).toContain(`WAYBILL_RELAYER_${name}`);
    });
  });
});
