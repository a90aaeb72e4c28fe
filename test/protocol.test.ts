import { Wallet } from "ethers";
import { describe, expect, it } from "vitest";
import { fromBase64, toBase64 } from "../lib/protocol/hex.ts";
import { GiB, MAX_PAYLOAD, MiB } from "../lib/protocol/limits.ts";
import { compositeChecksum, decodeManifest, encodeManifest, manifestDigest } from "../lib/protocol/manifest.ts";
import { choosePartSize, partAt, partCount, partsOf, planOf } from "../lib/protocol/plan.ts";
import { address, noticeJson } from "../lib/protocol/requests.ts";
import {
  bitmapOf,
  digestOf,
  indicesOf,
  type Notice,
  noticeId,
  placeOf,
  signerOf,
  signStatement,
  statementId,
  taskId,
} from "../lib/protocol/statements.ts";

const domain = { chainId: 31337, contract: `0x${"c".repeat(40)}` } as const;
const word = (digit: string) => `0x${digit.repeat(64)}` as const;
const notice: Notice = {
  kind: "notice",
  task: word("1"),
  sender: `0x${"a".repeat(40)}`,
  page: 1,
  recipients: 0b101n,
  transfer: word("2"),
  manifest: word("3"),
  deadline: 1_900_000_000,
};

describe("the plan", () => {
  it("uses 8 MiB parts, 16 MiB above 4 GiB, and larger ones only when 10,000 would not do", () => {
    expect(choosePartSize(0)).toBe(8 * MiB);
    expect(choosePartSize(4 * GiB)).toBe(8 * MiB);
    expect(choosePartSize(4 * GiB + 1)).toBe(16 * MiB);
    expect(choosePartSize(160_000 * MiB)).toBe(16 * MiB);
    expect(choosePartSize(160_000 * MiB + 1)).toBe(17 * MiB);
    expect(choosePartSize(MAX_PAYLOAD)).toBe(64 * MiB);
  });

  it("covers every byte exactly once, and zero bytes with one empty part", () => {
    for (const size of [0, 1, 99, 100, 101, 250]) {
      const parts = partsOf(planOf(size, 100));
      expect(parts.reduce((sum, part) => sum + part.length, 0)).toBe(size);
      expect(parts.map((part) => part.start)).toEqual(parts.map((_, i) => i * 100));
    }
    expect(partAt(planOf(0), 1)).toEqual({ number: 1, start: 0, length: 0 });
  });

  it("takes 10,000 parts and refuses 10,001", () => {
    expect(partCount(planOf(10_000 * MiB, MiB))).toBe(10_000);
    expect(() => planOf(10_000 * MiB + 1, MiB)).toThrowError(expect.objectContaining({ code: "PAYLOAD_TOO_LARGE" }));
    expect(() => planOf(MAX_PAYLOAD + 1)).toThrowError(expect.objectContaining({ code: "PAYLOAD_TOO_LARGE" }));
  });
});

describe("the manifest", () => {
  const digests = [
    "lcKa6Boe7a167tUCN5C4OaFygGSYD8MBnBARTrdL+1w=",
    "gHjhbUT4oo2tSCtSZJdlKi+jeNXJT+VImqdPXsXvkOc=",
    "4l9PQ3zOPZ0oGFvknFX+J4zZwE4WMzO+l3r8XrbWOeM=",
  ];
  const checksum = "rVWtNbadtsaKXJAcgWPWjifHzJaXde/iV4jaJAOdivc=-3";
  const manifest = {
    version: 1,
    tag: "round-7/model",
    size: 25,
    partSize: 10,
    parts: digests,
    checksum,
    contentType: "a/b",
  } as const;

  it("has S3's own composite checksum (vector from S3)", () => {
    expect(compositeChecksum(digests)).toBe(checksum);
  });

  it("survives its encoding, and one changed byte changes the digest", () => {
    const bytes = encodeManifest(manifest);
    expect(decodeManifest(bytes)).toEqual(manifest);
    const other = encodeManifest({ ...manifest, size: 26 });
    expect(manifestDigest(other)).not.toBe(manifestDigest(bytes));
  });

  it.each([
    ["other key order", JSON.stringify(manifest)],
    ["white space", ` ${new TextDecoder().decode(encodeManifest(manifest))}`],
    [
      "a wrong checksum",
      new TextDecoder().decode(encodeManifest({ ...manifest, checksum: checksum.replace("r", "s") })),
    ],
    ["too few parts", new TextDecoder().decode(encodeManifest({ ...manifest, size: 31 }))],
    ["a strange key", '{"__proto__":{"x":1}}'],
    ["a lone surrogate", '{"tag":"\\ud800"}'],
    ["no JSON", "manifest"],
  ])("with %s is refused as BAD_MANIFEST", (_name, text) => {
    expect(() => decodeManifest(new TextEncoder().encode(text))).toThrowError(
      expect.objectContaining({ code: "BAD_MANIFEST" }),
    );
  });
});

describe("statements", () => {
  const signer = Wallet.createRandom();

  it("give back their signer, and only for their chain, contract and content", async () => {
    const own = { ...notice, sender: signer.address.toLowerCase() as `0x${string}` };
    const signed = await signStatement(signer, domain, own);
    expect(signerOf(domain, own, signed.signature)).toBe(own.sender);
    expect(signerOf({ ...domain, chainId: 1 }, own, signed.signature)).not.toBe(own.sender);
    expect(signerOf({ ...domain, contract: `0x${"d".repeat(40)}` }, own, signed.signature)).not.toBe(own.sender);
    expect(signerOf(domain, { ...own, deadline: 1 }, signed.signature)).not.toBe(own.sender);
  });

  it("are not signed by high s, v 0 or 1, or a compact signature", async () => {
    const { signature } = await signStatement(signer, domain, notice);
    const s = BigInt(`0x${signature.slice(66, 130)}`);
    const n = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
    const flipped = signature.endsWith("1b") ? "1c" : "1b";
    const high = `${signature.slice(0, 66)}${(n - s).toString(16).padStart(64, "0")}${flipped}`;
    expect(signerOf(domain, notice, high)).toBeNull();
    expect(signerOf(domain, notice, signature.slice(0, -2) + (flipped === "1b" ? "01" : "00"))).toBeNull();
    expect(signerOf(domain, notice, signature.slice(0, -2))).toBeNull();
  });

  it("have an id per author, and a withdrawal signs the notice's id", () => {
    const receipt = { kind: "receipt", task: word("1"), notice: noticeId(notice), outcome: "VERIFIED" } as const;
    expect(statementId(receipt, `0x${"a".repeat(40)}`)).not.toBe(statementId(receipt, `0x${"b".repeat(40)}`));
    expect(digestOf(domain, { kind: "withdraw", of: notice })).not.toBe(
      digestOf(domain, { kind: "withdraw", of: { ...notice, deadline: 5 } }),
    );
  });

  it("place members on pages of 104", () => {
    expect(placeOf(0)).toEqual({ page: 0, bit: 0 });
    expect(placeOf(104)).toEqual({ page: 1, bit: 0 });
    expect(indicesOf(1, bitmapOf([0, 2, 103]))).toEqual([104, 106, 207]);
  });

  it("name a task by owner and salt", () => {
    expect(taskId(notice.sender, word("1"))).not.toBe(taskId(notice.sender, word("2")));
  });
});

describe("the wire", () => {
  it("takes lower-case ids only, and no bitmap that is not 64 digits", () => {
    expect(address.safeParse(`0x${"A".repeat(40)}`).success).toBe(false);
    const json = { ...notice, recipients: `0x${"0".repeat(63)}5` };
    expect(noticeJson.parse(json).recipients).toBe(5n);
    expect(noticeJson.safeParse({ ...json, recipients: "0x5" }).success).toBe(false);
    expect(noticeJson.safeParse({ ...json, extra: 1 }).success).toBe(false);
  });

  it("reads strict base64 only", () => {
    expect(fromBase64(toBase64(new Uint8Array([1, 2, 3, 4])))).toEqual(new Uint8Array([1, 2, 3, 4]));
    for (const bad of ["AQIDBA", "AQIDBB==", "AQ ID", "a", "===="]) expect(fromBase64(bad)).toBeNull();
  });
});
