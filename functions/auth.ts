import { type InnerList, parseDictionary } from "structured-headers";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, toHex } from "../lib/protocol/hex.ts";
import {
  contentDigest,
  coveredComponents,
  keyIdOf,
  SIGNATURE_LABEL,
  type SignatureParams,
  type SignedRequest,
  signatureBase,
  signatureInput,
} from "../lib/protocol/httpsig.ts";
import { SIGNATURE_WINDOW } from "../lib/protocol/limits.ts";
import { messageSigner } from "../lib/protocol/statements.ts";
import type { Config } from "./config.ts";

/** Seconds that a client's clock may be ahead; below what a person's machine without time service drifts in a day. */
const CLOCK_TOLERANCE = 5;

/** What a request's headers claim, before anything is verified. */
export interface Claim {
  readonly account: Address;
  readonly params: SignatureParams;
  readonly signature: Uint8Array;
}

/**
 * Reads the signature's headers (ERC-8128: RFC 9421 with an EIP-191 account signature) and judges what they claim: our
 * profile, our chain, our window. Nothing is verified yet, and nothing but the headers was read.
 * @throws WaybillError UNAUTHENTICATED, WRONG_CHAIN, CLOCK_SKEW
 */
export function readClaim(headers: Headers, config: Pick<Config, "chainId">, now: number): Claim {
  const params = readParams(headers.get("signature-input"));
  const account = readAccount(params.keyid, config.chainId);
  checkWindow(params, now);
  return { account, params, signature: readSignature(headers.get("signature")) };
}

/**
 * Verifies that the claimed account signed exactly this request. `request.authority` must be the configured one: a Host
 * header is the caller's to choose.
 * @throws WaybillError UNAUTHENTICATED
 */
export function verifyClaim(claim: Claim, request: SignedRequest, headers: Headers): void {
  if (request.body.length > 0 && headers.get("content-digest") !== contentDigest(request.body))
    refuse("Content-Digest is not the SHA-256 of the body.");
  // The base is built anew from what the signature must cover, in the profile's order, so one over less can't verify.
  const components = coveredComponents(request);
  const base = signatureBase(request, components, signatureInput(components, claim.params));
  if (messageSigner(base, toHex(claim.signature)) !== claim.account)
    refuse("The signature is not the named account's over this request (its origin, method, path, query and body).");
}

/** The authority that signatures must name: the configured origin's. */
export function authorityOf(config: Pick<Config, "apiOrigin">): string {
  return new URL(config.apiOrigin).host;
}

function readParams(header: string | null): SignatureParams {
  const [items, params] = readMember<InnerList>(header, "Signature-Input");
  if (!Array.isArray(items)) return refuse("Signature-Input is no list of components.");
  const { created, expires, nonce, keyid, ...others } = Object.fromEntries(params);
  if (!isTime(created) || !isTime(expires) || typeof keyid !== "string" || Object.keys(others).length > 0)
    return refuse("Signature-Input must have created, expires, keyid, and a nonce for what writes or issues URLs.");
  if (nonce === undefined) return { created, expires, keyid };
  if (typeof nonce !== "string" || !/^[A-Za-z0-9_-]{22}$/.test(nonce))
    return refuse("The nonce must be 128 random bits in base64url.");
  return { created, expires, nonce, keyid };
}

function readSignature(header: string | null): Uint8Array {
  const [value] = readMember<[unknown, unknown]>(header, "Signature");
  if (!(value instanceof ArrayBuffer) || value.byteLength !== 65)
    return refuse("Signature must hold the 65 bytes of an account's signature.");
  return new Uint8Array(value);
}

/** The one member, labelled "eth", of a dictionary header. */
function readMember<T>(header: string | null, name: string): T {
  if (header === null) return refuse(`The request is not signed: there is no ${name}.`);
  try {
    const members = parseDictionary(header);
    const member = members.get(SIGNATURE_LABEL);
    if (member !== undefined && members.size === 1) return member as T;
  } catch {
    // said below
  }
  return refuse(`${name} must have one member, "${SIGNATURE_LABEL}".`);
}

function readAccount(keyid: string, chainId: number): Address {
  const [, chain, account] = /^erc8128:([1-9][0-9]{0,15}):(0x[0-9a-f]{40})$/.exec(keyid) ?? [];
  if (!chain || !account) return refuse(`The keyid must be like ${keyIdOf(chainId, "0x<lower-case account>")}.`);
  if (Number(chain) !== chainId)
    throw new WaybillError("WRONG_CHAIN", `This API serves chain ${chainId}, and the request is signed for ${chain}.`);
  return account as Address;
}

function checkWindow(params: SignatureParams, now: number): void {
  const seconds = now / 1000;
  const { created, expires } = params;
  if (expires <= created || expires - created > SIGNATURE_WINDOW)
    refuse(`A signature is good for at most ${SIGNATURE_WINDOW} seconds.`);
  if (seconds >= expires || created > seconds + CLOCK_TOLERANCE)
    throw new WaybillError(
      "CLOCK_SKEW",
      "The signature's time is not now. Correct the clock by serverTime, sign again.",
    );
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function refuse(message: string): never {
  throw new WaybillError("UNAUTHENTICATED", message);
}
