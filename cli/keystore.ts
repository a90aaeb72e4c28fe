import { scrypt as nativeScrypt } from "node:crypto";
import { readFile } from "node:fs/promises";
import {
  AbstractSigner,
  type BaseWallet,
  type BytesLike,
  decryptKeystoreJson,
  getBytes,
  isKeystoreJson,
  type Provider,
  scrypt,
  type TransactionRequest,
  type TypedDataDomain,
  type TypedDataField,
  Wallet,
} from "ethers";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, toHex } from "../lib/protocol/hex.ts";
import { warnOfOthers } from "./files.ts";
import { note } from "./output.ts";
import { unreadable } from "./settings.ts";

// Node's own takes half a second for what takes ethers' four.
scrypt.register(derive);

function derive(
  password: BytesLike,
  salt: BytesLike,
  cost: number,
  blockSize: number,
  parallelization: number,
  length: number,
): Promise<Uint8Array> {
  const options = { cost, blockSize, parallelization, maxmem: 256 * cost * blockSize };
  return new Promise((resolve, reject) => {
    nativeScrypt(getBytes(password), getBytes(salt), length, options, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}

type Open = () => Promise<BaseWallet>;

/** Signs with a key that lies in a keystore, which it opens when the first signature is needed: that takes a password and a second. */
export class KeystoreSigner extends AbstractSigner {
  readonly #account: Address;
  readonly #open: Open;

  constructor(account: Address, open: Open, provider?: Provider | null) {
    super(provider);
    this.#account = account;
    this.#open = open;
  }

  getAddress(): Promise<string> {
    return Promise.resolve(this.#account);
  }

  connect(provider: Provider | null): KeystoreSigner {
    return new KeystoreSigner(this.#account, this.#open, provider);
  }

  async signMessage(message: string | Uint8Array): Promise<string> {
    return (await this.#open()).signMessage(message);
  }

  async signTransaction(transaction: TransactionRequest): Promise<string> {
    return (await this.#open()).signTransaction(transaction);
  }

  async signTypedData(
    domain: TypedDataDomain,
    types: Record<string, TypedDataField[]>,
    value: Record<string, unknown>,
  ): Promise<string> {
    return (await this.#open()).signTypedData(domain, types, value);
  }
}

/** A key that can sign, and whose it is. */
export interface Holder {
  readonly account: Address;
  readonly signer: AbstractSigner;
  /** Opens the keystore now. */
  unlock(): Promise<void>;
}

/** @throws WaybillError USAGE that doesn't say the key. */
export function holderOfKey(key: string): Holder {
  const signer = walletOf(key, "WAYBILL_KEY");
  return { account: accountIn(signer.address), signer, unlock: () => Promise.resolve() };
}

/** @throws WaybillError USAGE that doesn't say the key. */
export function walletOf(key: string, where: string): Wallet {
  const hex = key.trim().replace(/^(0x)?/, "0x");
  try {
    if (/^0x[0-9a-fA-F]{64}$/.test(hex)) return new Wallet(hex);
  } catch {
    // 0, or at or above the curve's order
  }
  throw new WaybillError("USAGE", `${where} holds no private key: 64 hex digits.`);
}

/**
 * A keystore v3, opened as late as it says its account itself.
 * @throws WaybillError USAGE, without anything of the keystore.
 */
export async function holderOfKeystore(file: string, password: () => Promise<string>): Promise<Holder> {
  const json = await readKeystore(file);
  let opening: Promise<BaseWallet> | undefined;
  const open = (): Promise<BaseWallet> => {
    opening ??= password().then((word) => openKeystore(file, json, word));
    return opening;
  };
  const account = addressIn(json) ?? accountIn((await open()).address);
  return { account, signer: new KeystoreSigner(account, open), unlock: () => open().then(() => {}) };
}

/** @throws WaybillError USAGE */
export async function readKeystore(file: string): Promise<string> {
  const json = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw unreadable(file, error);
    throw new WaybillError("USAGE", `There is no keystore ${file}. Make one with: waybill key new`);
  });
  if (!isKeystoreJson(json)) throw new WaybillError("USAGE", `${file} is no keystore v3 (JSON).`);
  await warnOfOthers(file);
  return json;
}

/** What the keystore says of its account; that it is true shows when it is opened. */
export function addressIn(json: string): Address | null {
  const { address } = JSON.parse(json) as { address?: unknown };
  if (typeof address !== "string" || !/^(0x)?[0-9a-fA-F]{40}$/.test(address)) return null;
  return accountIn(address.replace(/^(0x)?/, "0x"));
}

/** @throws WaybillError USAGE, without a cause: it could quote the password. */
export async function openKeystore(file: string, json: string, password: string): Promise<BaseWallet> {
  if (process.stderr.isTTY) note(`Opening ${file} …`);
  try {
    return new Wallet((await decryptKeystoreJson(json, password)).privateKey);
  } catch {
    throw new WaybillError("USAGE", `${file} can't be opened: the password is wrong, or the file is damaged.`);
  }
}

export function accountIn(address: string): Address {
  return toHex(address.toLowerCase());
}
