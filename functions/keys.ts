import type { Address, Hex } from "../lib/protocol/hex.ts";

// The bucket's keys (design §6). Every piece has been checked to be lower-case hex, so no key can leave its prefix.

/** A transfer, named by the three ids in all of its keys. `sender` is the authenticated caller, or the sender of a proved notice. */
export interface TransferRef {
  readonly task: Hex;
  readonly sender: Address;
  readonly transfer: Hex;
}

/**
 * A transfer that begins anew, after its payload was swept or given up, has another key than before: so a sweeper that was
 * held up between its look and its delete can't hit what came later.
 */
export function payloadKey(ref: TransferRef, generation = 0): string {
  const first = `${payloadsOf(ref.task, ref.sender)}${ref.transfer}`;
  return generation === 0 ? first : `${first}.${generation}`;
}

/** All payloads there are. */
export const PAYLOADS = "payload/";

const PAYLOAD_KEY = /^payload\/(0x[0-9a-f]{64})\/(0x[0-9a-f]{40})\/(0x[0-9a-f]{64})(?:\.([1-9][0-9]{0,8}))?$/;

/** What a payload's key says, or null if `payloadKey` doesn't make such keys. */
export function readPayloadKey(key: string): { ref: TransferRef; generation: number } | null {
  const [, task, sender, transfer, generation = "0"] = PAYLOAD_KEY.exec(key) ?? [];
  if (task === undefined) return null;
  const ref = { task: task as Hex, sender: sender as Address, transfer: transfer as Hex };
  return { ref, generation: Number(generation) };
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

/** A recipient's last word on its download; the next one takes its place. */
export function progressKey(task: Hex, notice: Hex, recipient: Address): string {
  return `progress/${task}/${notice}/${recipient}.json`;
}

/** The nonces that an account used in a minute. */
export function nonceMinute(account: Address, minute: number): string {
  return `nonce/${account}/${minute}/`;
}
