import type { Address, Hex } from "../lib/protocol/hex.ts";

// The bucket's keys (design §6). Every piece has been checked to be lower-case hex, so no key can leave its prefix.

/** A transfer, named by the three ids in all of its keys. `sender` is the authenticated caller, or the sender of a proved notice. */
export interface TransferRef {
  readonly task: Hex;
  readonly sender: Address;
  readonly transfer: Hex;
}

export function payloadKey(ref: TransferRef): string {
  return `payload/${ref.task}/${ref.sender}/${ref.transfer}`;
}

/** All payloads of one member of a task. */
export function payloadsOf(task: Hex, sender: Address): string {
  return `payload/${task}/${sender}/`;
}

export function recordKey(ref: TransferRef): string {
  return `transfer/${ref.task}/${ref.sender}/${ref.transfer}/record.json`;
}

export function manifestKey(ref: TransferRef): string {
  return `transfer/${ref.task}/${ref.sender}/${ref.transfer}/manifest.json`;
}

export function noticeKey(task: Hex, notice: Hex): string {
  return `notice/${task}/${notice}.json`;
}

/** The nonces that an account used in a minute. */
export function nonceMinute(account: Address, minute: number): string {
  return `nonce/${account}/${minute}/`;
}
