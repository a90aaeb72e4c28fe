import { getBytes, hexlify } from "ethers/utils";

/** Lower-case hex with 0x. */
export type Hex = `0x${string}`;
/** A lower-case 20-byte account. */
export type Address = Hex;

/** Lower-case hex of bytes or of a hex string in any case. */
export function toHex(bytes: Uint8Array | string): Hex {
  return hexlify(bytes) as Hex;
}

/** 64 hex digits, as a bitmap travels on the wire. */
export function wordHex(value: bigint): Hex {
  return `0x${value.toString(16).padStart(64, "0")}`;
}

export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let i = 0; i < bytes.length; i += 0x8000) binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(binary);
}

/** Bytes of strict base64 (canonical padding, no white space), or null. */
export function fromBase64(text: string): Uint8Array | null {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return toBase64(bytes) === text ? bytes : null;
}

/** base64 of a hex digest: S3 speaks base64, the chain hex. */
export function hexToBase64(hex: string): string {
  return toBase64(getBytes(hex));
}
