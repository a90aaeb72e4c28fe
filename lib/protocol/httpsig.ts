import { sha256 } from "ethers/crypto";
import { type Address, hexToBase64 } from "./hex.ts";

// RFC 9421 HTTP Message Signatures in the profile of ERC-8128: label "eth", an EIP-191 account signature over the base.

/** The parts of an HTTP request that a signature covers. */
export interface SignedRequest {
  readonly method: string;
  /** host[:port], lower case, without a default port. */
  readonly authority: string;
  /** The path as sent, percent-encoded. */
  readonly path: string;
  /** The query with its "?", or "" for none. */
  readonly query: string;
  readonly body: Uint8Array;
}

/** What a signature says of itself. Times in seconds. */
export interface SignatureParams {
  readonly created: number;
  readonly expires: number;
  /** 128 random bits, base64url; only requests that write or issue URLs carry one. */
  readonly nonce?: string;
  readonly keyid: string;
}

/** The header name of a signature's parameters and its value are label=…; ours is always this one. */
export const SIGNATURE_LABEL = "eth";

export function keyIdOf(chainId: number, account: Address): string {
  return `erc8128:${chainId}:${account}`;
}

/** RFC 9530: the body's SHA-256. */
export function contentDigest(body: Uint8Array): string {
  return `sha-256=:${hexToBase64(sha256(body))}:`;
}

/** The components that a request must cover: all of it; the query and the body only where it has them. */
export function coveredComponents(request: SignedRequest): string[] {
  const query = request.query === "" ? [] : ["@query"];
  const body = request.body.length === 0 ? [] : ["content-digest"];
  return ["@authority", "@method", "@path", ...query, ...body];
}

/** The value of Signature-Input after "eth=". */
export function signatureInput(components: readonly string[], params: SignatureParams): string {
  const list = components.map((name) => `"${name}"`).join(" ");
  const nonce = params.nonce === undefined ? "" : `;nonce="${params.nonce}"`;
  return `(${list});created=${params.created};expires=${params.expires}${nonce};keyid="${params.keyid}"`;
}

/** The text that is signed (RFC 9421 §2.5). `input` is the value of Signature-Input after "eth=". */
export function signatureBase(request: SignedRequest, components: readonly string[], input: string): string {
  const values: Record<string, string> = {
    "@authority": request.authority,
    "@method": request.method,
    "@path": request.path,
    "@query": request.query,
    "content-digest": contentDigest(request.body),
  };
  const lines = components.map((name) => `"${name}": ${values[name]}`);
  return [...lines, `"@signature-params": ${input}`].join("\n");
}
