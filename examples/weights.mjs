// Something to send: the weights of a model, as bytes and back.
import { createHash, randomFillSync } from "node:crypto";

/** `count` 32-bit floats between -1 and 1, as the bytes that travel. */
export function randomWeights(count) {
  const whole = randomFillSync(new Int32Array(count));
  const weights = Float32Array.from(whole, (value) => value / 2 ** 31);
  return new Uint8Array(weights.buffer);
}

/** How many weights came, and a digest by which people compare what they hold. */
export function describe(bytes) {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return `${bytes.length / Float32Array.BYTES_PER_ELEMENT} weights, SHA-256 ${sha256}`;
}
