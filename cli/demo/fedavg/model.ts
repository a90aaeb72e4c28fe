import { createHash } from "node:crypto";
import { endianness } from "node:os";
import { WaybillError } from "../../../lib/index.ts";

/** Parameters as they travel: 32-bit floats, little-endian. */
export function encodeModel(parameters: Float32Array): Uint8Array {
  return inNetworkOrder(new Uint8Array(parameters.slice().buffer));
}

/**
 * A verified payload is what its sender signed, which needs not be a model.
 * @throws WaybillError CORRUPT when it is not `count` finite numbers.
 */
export function decodeModel(bytes: Uint8Array, count: number): Float32Array {
  const size = count * Float32Array.BYTES_PER_ELEMENT;
  if (bytes.length !== size)
    throw new WaybillError("CORRUPT", `A model of ${bytes.length} bytes came, where ${size} were due.`);
  const parameters = new Float32Array(inNetworkOrder(Uint8Array.from(bytes)).buffer);
  if (!parameters.every(Number.isFinite)) throw new WaybillError("CORRUPT", "A model came that is not all numbers.");
  return parameters;
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Swaps in place where the machine is big-endian. */
function inNetworkOrder(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (endianness() === "BE") Buffer.from(bytes.buffer).swap32();
  return bytes;
}
