import type { Signer, TypedDataField } from "ethers";
import { AbiCoder } from "ethers/abi";
import { keccak256, Signature } from "ethers/crypto";
import { hashMessage, TypedDataEncoder } from "ethers/hash";
import { recoverAddress } from "ethers/transaction";
import { concat, zeroPadValue } from "ethers/utils";
import { WaybillError } from "./errors.ts";
import { type Address, type Hex, toHex } from "./hex.ts";
import { PAGE_SIZE } from "./limits.ts";
import { type Outcome, outcomes } from "./reasons.ts";

/** Where statements count: a signature for one chain and contract is void on every other. */
export interface Domain {
  readonly chainId: number;
  readonly contract: Address;
}

export interface Open {
  readonly kind: "open";
  readonly owner: Address;
  readonly salt: Hex;
  readonly members: readonly Address[];
}
/** Admit or expel members; `roster` is the roster version that it changes, so that an old one can't be replayed. */
export interface RosterChange {
  readonly kind: "admit" | "expel";
  readonly task: Hex;
  readonly members: readonly Address[];
  readonly roster: number;
}
/** "This transfer, with this manifest digest, is for these recipients until this deadline" (seconds of chain time). */
export interface Notice {
  readonly kind: "notice";
  readonly task: Hex;
  readonly sender: Address;
  readonly page: number;
  readonly recipients: bigint;
  readonly transfer: Hex;
  readonly manifest: Hex;
  readonly deadline: number;
}
export interface Receipt {
  readonly kind: "receipt";
  readonly task: Hex;
  readonly notice: Hex;
  readonly outcome: Outcome;
}
/** A receipt of a contract account (ERC-1271): it names the account, so one owner can't count for two wallets. */
export interface WalletReceipt {
  readonly kind: "walletReceipt";
  readonly task: Hex;
  readonly notice: Hex;
  readonly outcome: Outcome;
  readonly account: Address;
}
/** Takes a notice back from everybody who hasn't answered. Carries the notice, because the contract keeps only its id. */
export interface Withdraw {
  readonly kind: "withdraw";
  readonly of: Notice;
}
/** Any other word of a member; `recipients` all ones (page 0) is for everyone. */
export interface Message {
  readonly kind: "message";
  readonly task: Hex;
  readonly sender: Address;
  readonly page: number;
  readonly recipients: bigint;
  /** bytes32: a short name such as "start_round", zero-padded. */
  readonly name: Hex;
  readonly payload: Hex;
  readonly salt: Hex;
  readonly deadline: number;
}
export type Statement = Open | RosterChange | Notice | Receipt | WalletReceipt | Withdraw | Message;

/** A statement, the account whose word it is, and the 65-byte signature (for contract accounts: any bytes). */
export interface Signed<S extends Statement = Statement> {
  readonly statement: S;
  readonly author: Address;
  readonly signature: Hex;
}

/** One element of the contract's `relay(Item[])`. */
export interface Item {
  readonly kind: number;
  readonly data: Hex;
  readonly signatures: Hex;
}

/** Recipients of a message for everyone. */
export const EVERYONE: bigint = 2n ** 256n - 1n;

const field = (text: string): TypedDataField[] =>
  text.split(",").map((entry) => {
    const [type, name] = entry.split(" ") as [string, string];
    return { type, name };
  });

// The struct types as in IWaybill.sol. The order of the fields is part of every signature.
const types = {
  Open: field("address owner,bytes32 salt,address[] members"),
  Admit: field("bytes32 task,address[] members,uint32 roster"),
  Expel: field("bytes32 task,address[] members,uint32 roster"),
  Notice: field(
    "bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 transfer,bytes32 manifest,uint48 deadline",
  ),
  Receipt: field("bytes32 task,bytes32 notice,uint8 outcome"),
  WalletReceipt: field("bytes32 task,bytes32 notice,uint8 outcome,address account"),
  Withdraw: field("bytes32 task,bytes32 notice"),
  Message: field(
    "bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 kind,bytes payload,bytes32 salt,uint48 deadline",
  ),
} as const;
type StructName = keyof typeof types;
type Values = Record<string, unknown>;

const structs: Record<Statement["kind"], StructName> = {
  open: "Open",
  admit: "Admit",
  expel: "Expel",
  notice: "Notice",
  receipt: "Receipt",
  walletReceipt: "WalletReceipt",
  withdraw: "Withdraw",
  message: "Message",
};

/** The contract's number for each kind of item. */
export const itemKinds: Record<Statement["kind"], number> = {
  open: 0,
  admit: 1,
  expel: 2,
  notice: 3,
  receipt: 4,
  walletReceipt: 5,
  withdraw: 6,
  message: 7,
};

/** Making one costs several times what it does for a statement, and the publisher asks for thousands of ids. */
const encoders = new Map<StructName, TypedDataEncoder>();

function encoderOf(name: StructName): TypedDataEncoder {
  const known = encoders.get(name) ?? TypedDataEncoder.from({ [name]: [...types[name]] });
  encoders.set(name, known);
  return known;
}

/** A task's id: it commits to the owner. */
export function taskId(owner: string, salt: Hex): Hex {
  return keccak256(AbiCoder.defaultAbiCoder().encode(["address", "bytes32"], [owner, salt])) as Hex;
}

/** The task that a statement belongs to. */
export function taskOf(statement: Statement): Hex {
  if (statement.kind === "open") return taskId(statement.owner, statement.salt);
  return statement.kind === "withdraw" ? statement.of.task : statement.task;
}

/** keccak256(abi.encode(struct hash, author)): ten recipients' equal receipts are ten statements. */
export function statementId(statement: Statement, author: Address): Hex {
  const name = structs[statement.kind];
  const hash = encoderOf(name).hashStruct(name, valuesOf(statement));
  return keccak256(concat([hash, zeroPadValue(author, 32)])) as Hex; // two static words: what abi.encode makes of them
}

/** A notice's id is its statement id. */
export function noticeId(notice: Notice): Hex {
  return statementId(notice, notice.sender);
}

/** The account that a statement names as its author, or null where only the signature tells (receipts, roster changes). */
export function namedAuthor(statement: Statement): Address | null {
  switch (statement.kind) {
    case "open":
      return statement.owner;
    case "notice":
    case "message":
      return statement.sender;
    case "withdraw":
      return statement.of.sender;
    case "walletReceipt":
      return statement.account;
    default:
      return null;
  }
}

/** The 32 bytes that are signed (EIP-712). */
export function digestOf(domain: Domain, statement: Statement): Hex {
  const name = structs[statement.kind];
  return TypedDataEncoder.hash(eip712Domain(domain), { [name]: types[name] }, valuesOf(statement)) as Hex;
}

/** Signs a statement; the author is the signer. */
export async function signStatement<S extends Statement>(
  signer: Signer,
  domain: Domain,
  statement: S,
): Promise<Signed<S>> {
  const name = structs[statement.kind];
  const fields = { [name]: [...types[name]] };
  const signature = await signer.signTypedData(eip712Domain(domain), fields, valuesOf(statement));
  return { statement, author: toHex(await signer.getAddress()), signature: signature as Hex };
}

/**
 * The account that signed, by ecrecover with the contract's rules (65 bytes, v 27 or 28, low s), or null.
 * Null for a contract account's signature too: only an RPC node can tell about those.
 */
export function signerOf(domain: Domain, statement: Statement, signature: string): Address | null {
  return recover(digestOf(domain, statement), signature);
}

/** The account behind an EIP-191 signature of `message`, or null. */
export function messageSigner(message: string, signature: string): Address | null {
  return recover(hashMessage(message) as Hex, signature);
}

function recover(digest: Hex, signature: string): Address | null {
  if (!/^0x[0-9a-fA-F]{128}(1b|1c|1B|1C)$/.test(signature)) return null;
  try {
    return toHex(recoverAddress(digest, Signature.from(signature)).toLowerCase());
  } catch {
    return null; // high s, or r and s that no key could have made
  }
}

/** Encodes one relay item. Several signatures only for receipts: one item carries all with the same words. */
export function encodeItem(statement: Statement, signatures: readonly Hex[]): Item {
  const source = statement.kind === "withdraw" ? statement.of : statement;
  const fields = types[structs[source.kind]];
  const values = valuesOf(source);
  const data = AbiCoder.defaultAbiCoder().encode(
    fields.map((entry) => entry.type),
    fields.map((entry) => values[entry.name]),
  );
  if (signatures.length !== 1 && statement.kind !== "receipt")
    throw new WaybillError("USAGE", `A ${statement.kind} item carries one signature, not ${signatures.length}.`);
  return { kind: itemKinds[statement.kind], data: data as Hex, signatures: concat(signatures) as Hex };
}

/** A member's page and bit from its index in the task. */
export function placeOf(index: number): { page: number; bit: number } {
  return { page: Math.floor(index / PAGE_SIZE), bit: index % PAGE_SIZE };
}

/** The bitmap of bits in one page. */
export function bitmapOf(bits: Iterable<number>): bigint {
  let map = 0n;
  for (const bit of bits) map |= 1n << BigInt(bit);
  return map;
}

/** The member indices that a page's bitmap names, rising. */
export function indicesOf(page: number, recipients: bigint): number[] {
  const bits = Array.from({ length: PAGE_SIZE }, (_, bit) => bit).filter((bit) => (recipients >> BigInt(bit)) & 1n);
  return bits.map((bit) => page * PAGE_SIZE + bit);
}

function eip712Domain(domain: Domain): { name: string; version: string; chainId: number; verifyingContract: string } {
  return { name: "Waybill", version: "1", chainId: domain.chainId, verifyingContract: domain.contract };
}

function valuesOf(statement: Statement): Values {
  switch (statement.kind) {
    case "withdraw":
      return { task: statement.of.task, notice: noticeId(statement.of) };
    case "receipt":
    case "walletReceipt":
      return { ...statement, outcome: outcomes[statement.outcome] };
    case "message":
      return { ...statement, kind: statement.name };
    default:
      return { ...statement };
  }
}
