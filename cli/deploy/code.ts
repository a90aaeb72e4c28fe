import { id, TypedDataEncoder, zeroPadValue } from "ethers";
import { WaybillError } from "../../lib/protocol/errors.ts";
import { type Hex, wordHex } from "../../lib/protocol/hex.ts";
import type { Domain } from "../../lib/protocol/statements.ts";
import { creationCode, type Evm } from "../../local/contract.ts";

/** How solc ends a constructor: it copies the code that stays from behind itself (its length, its place) into memory. */
const COPIES_CODE = /61([0-9a-f]{4})908161([0-9a-f]{4})8239/;
/** Where a word that only the constructor knows is pushed: until then it is zero. */
const IMMUTABLE = /7f0{64}/g;

/**
 * Compares the code at an address with what this package's contract leaves there, byte for byte: all of it is known beforehand but
 * for five words, which follow from the chain and the address.
 *
 * @throws WaybillError BAD_SERVER when it is other code.
 */
export function checkCode(code: Hex, evm: Evm, domain: Domain): void {
  const known = wordsOf(domain);
  const parts = templateOf(evm).split(IMMUTABLE);
  let at = 2;
  for (const [i, part] of parts.entries()) {
    if (i > 0) {
      if (!known.has(code.slice(at + 2, at + 66))) throw otherCode(domain);
      at += 66;
    }
    const pushes = i === parts.length - 1 ? "" : "7f";
    if (!code.startsWith(part + pushes, at)) throw otherCode(domain);
    at += part.length;
  }
  if (at !== code.length) throw otherCode(domain);
}

/** The code that stays on the chain, with zeros for what the constructor fills in. */
function templateOf(evm: Evm): string {
  const code = creationCode(evm).slice(2);
  const [, length, place] = COPIES_CODE.exec(code) ?? [];
  if (length === undefined || place === undefined)
    throw new Error("The artifact's constructor is not what solc makes.");
  return code.slice(2 * Number.parseInt(place, 16), 2 * (Number.parseInt(place, 16) + Number.parseInt(length, 16)));
}

/** What Solady's EIP712 remembers of its domain. */
function wordsOf({ chainId, contract }: Domain): ReadonlySet<string> {
  const name = "Waybill";
  const version = "1";
  const separator = TypedDataEncoder.hashDomain({ name, version, chainId, verifyingContract: contract });
  const words = [zeroPadValue(contract, 32), wordHex(BigInt(chainId)), id(name), id(version), separator];
  return new Set(words.map((word) => word.slice(2)));
}

function otherCode({ contract }: Domain): WaybillError {
  return new WaybillError("BAD_SERVER", `The code at ${contract} is not this package's contract. Don't use it.`);
}
