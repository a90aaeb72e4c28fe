import { createHash, randomBytes } from "node:crypto";
import { open } from "node:fs/promises";
import { MiB } from "../../lib/protocol/limits.ts";
import { compositeChecksum, type Manifest } from "../../lib/protocol/manifest.ts";
import { choosePartSize, partsOf } from "../../lib/protocol/plan.ts";

const BLOCK: number = MiB;

/** A payload on disk, and what a receiver of it must get. */
export interface Payload {
  readonly path: string;
  readonly size: number;
  /** Hex, of the whole. */
  readonly sha256: string;
}

/** Bytes that nothing compresses and no two parts share, from one random block that is marked with its place. */
export async function makePayload(path: string, size: number): Promise<Payload> {
  const block = randomBytes(BLOCK);
  const whole = createHash("sha256");
  const file = await open(path, "w");
  try {
    for (let at = 0; at < size; at += BLOCK) {
      block.writeBigUInt64LE(BigInt(at));
      const piece = block.subarray(0, Math.min(BLOCK, size - at));
      whole.update(piece);
      await file.write(piece, 0, piece.length, at);
    }
  } finally {
    await file.close();
  }
  return { path, size, sha256: whole.digest("hex") };
}

/** SHA-256 of a file, in hex. */
export async function sha256Of(path: string): Promise<string> {
  const whole = createHash("sha256");
  await eachPiece(path, BLOCK, (piece) => whole.update(piece));
  return whole.digest("hex");
}

/** What a sender would have signed. */
export async function manifestOf(
  { path, size }: Pick<Payload, "path" | "size">,
  partSize: number = choosePartSize(size),
): Promise<Manifest> {
  const parts: string[] = [];
  await eachPiece(path, partSize, (piece) => parts.push(createHash("sha256").update(piece).digest("base64")));
  if (parts.length !== partsOf({ size, partSize }).length) throw new Error(`${path} has not ${size} bytes.`);
  const checksum = compositeChecksum(parts);
  return { version: 1, tag: "bench", size, partSize, parts, checksum, contentType: "application/octet-stream" };
}

async function eachPiece(path: string, length: number, take: (piece: Buffer) => void): Promise<void> {
  const piece = Buffer.alloc(length);
  const file = await open(path);
  try {
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, length, null);
      if (bytesRead === 0) return;
      take(piece.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}
