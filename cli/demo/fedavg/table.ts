import { mebibytes } from "../stage.ts";
import type { RoundReport } from "./words.ts";

/** A round, with what the chain and the demo know of it. */
export interface RoundResult extends Omit<RoundReport, "averaged"> {
  /** The names of the owners whose updates were averaged, in member order. */
  readonly averaged: readonly string[];
  /** Whose process was killed in this round and started again, or null. */
  readonly killed: string | null;
  /** Whose update came after the round's end, or null. */
  readonly late: string | null;
  readonly receipts: number;
  readonly gas: number;
}

/**
 * What the demo found; `ok` only when every payload was verified, every planned receipt and no other stands on the chain, the
 * model is bit for bit that of the same training in one process, and is better than each owner's own.
 */
export interface FedAvgResult {
  readonly ok: boolean;
  readonly task: string;
  readonly aggregator: string;
  readonly owners: readonly { readonly name: string; readonly id: string; readonly samples: number }[];
  readonly modelBytes: number;
  readonly rounds: readonly RoundResult[];
  /** Shares of test samples that are classified right. */
  readonly accuracyBefore: number;
  readonly accuracyAfter: number;
  /** What each owner's model reaches that it trained as long on its own samples only. */
  readonly localOnly: readonly number[];
  readonly modelSha256: string;
  readonly referenceSha256: string;
  /** Distinct VERIFIED receipts in the chain's raw logs. */
  readonly receipts: number;
  readonly gas: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly transactions: readonly { readonly hash: string; readonly gas: number; readonly carries: string }[];
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const seconds = (value: number): string => value.toFixed(2);

/** The result as people read it. */
export function describe(result: FedAvgResult): string {
  const { owners, localOnly, rounds, transactions } = result;
  const same = result.modelSha256 === result.referenceSha256 ? "same" : "DIFFERENT";
  return [
    `Task      ${result.task}`,
    `Owners    ${owners.map(({ name, samples }) => `${name} (${samples} samples)`).join(", ")}`,
    `Model     ${mebibytes(result.modelBytes)}, accuracy ${percent(result.accuracyBefore)} before the first round`,
    "",
    ...tableOf(rounds),
    "",
    ...owners.map(({ name }, i) => `Alone     ${percent(localOnly[i]!)}  ${name}`),
    `Together  ${percent(result.accuracyAfter)}`,
    `Gas       ${result.gas} in ${transactions.length} transactions, ${result.receipts} receipts`,
    `SHA-256   ${result.modelSha256}  the last model`,
    `SHA-256   ${result.referenceSha256}  the same training in one process: ${same}`,
    "",
    result.ok
      ? `OK: in ${seconds(result.seconds)} s, every payload verified, every receipt on the chain, and a better model than anybody's own.`
      : "FAILED: see above what differs.",
  ].join("\n");
}

const HEAD = ["round", "accuracy", "moved", "distribute s", "train s", "collect s", "receipts", "gas", ""];

function tableOf(rounds: readonly RoundResult[]): string[] {
  const rows = [HEAD, ...rounds.map(rowOf)];
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) => {
    const cells = row.map((cell, column) => (column === HEAD.length - 1 ? cell : cell.padStart(widths[column]!)));
    return cells.join("  ").trimEnd();
  });
}

function rowOf(round: RoundResult): string[] {
  const { distribute, train, collect } = round.seconds;
  const numbers = [round.round, percent(round.accuracy), mebibytes(round.bytes)].map(String);
  const times = [distribute, train, collect].map(seconds);
  const remarks = [
    round.killed && `${round.killed} killed and back`,
    round.late && `${round.late} late, not averaged`,
  ].filter(Boolean);
  return [...numbers, ...times, String(round.receipts), String(round.gas), remarks.join(", ")];
}
