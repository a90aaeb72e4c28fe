const SECP256K1_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

// Other forms of a good signature, which verifiers that aren't strict take for the same.

/** The other s, which a curve's equation takes as well. */
export function highS(signature: Uint8Array): Uint8Array {
  const s = BigInt(`0x${Buffer.from(signature.subarray(32, 64)).toString("hex")}`);
  const high = (SECP256K1_ORDER - s).toString(16).padStart(64, "0");
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(high, "hex"), Buffer.of(signature[64]! ^ 7)]);
}

/** EIP-2098. */
export function compact(signature: Uint8Array): Uint8Array {
  const short = Uint8Array.from(signature.subarray(0, 64));
  if (signature[64] === 28) short[32]! |= 0x80;
  return short;
}

/** v = 0 or 1, as some signers still say it. */
export function oldV(signature: Uint8Array): Uint8Array {
  return signature.with(64, signature[64]! - 27);
}
