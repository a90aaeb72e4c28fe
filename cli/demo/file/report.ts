import { mebibytes } from "../stage.ts";

export interface RecipientResult {
  readonly id: string;
  readonly name: string;
  readonly sha256: string;
  readonly seconds: number;
  /** The transaction that carries its receipt, or null when none stands on the chain. */
  readonly receipt: string | null;
}

/** What the demo found; `ok` only when every file agrees and every receipt stands on the chain. */
export interface DemoResult {
  readonly ok: boolean;
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly task: string;
  readonly recipients: readonly RecipientResult[];
  readonly upload: { readonly seconds: number };
  readonly notice: string;
  readonly transactions: readonly { readonly hash: string; readonly gas: number; readonly carries: string }[];
  readonly gas: number;
}

/** The result as people read it. */
export function describe(result: DemoResult): string {
  const speed = (seconds: number): string => {
    return seconds > 0 ? `${mebibytes(result.bytes / seconds)}/s` : "-";
  };
  const timing = (seconds: number): string => `${seconds.toFixed(2)} s  ${speed(seconds).padStart(12)}`;
  const same = (sha256: string): string => (sha256 === result.sha256 ? "same" : "DIFFERENT");
  const width = Math.max(...result.recipients.map((recipient) => recipient.name.length), "upload".length);
  return [
    `File      ${result.file}, ${mebibytes(result.bytes)}`,
    `Task      ${result.task}`,
    "",
    `${"upload".padEnd(width)}  ${timing(result.upload.seconds)}`,
    ...result.recipients.map((recipient) => `${recipient.name.padEnd(width)}  ${timing(recipient.seconds)}`),
    "",
    `Notice    ${result.notice}`,
    ...result.recipients.map(
      (recipient) =>
        `Receipt   ${recipient.name.padEnd(width)}  ${recipient.id}  in ${recipient.receipt ?? "NO TRANSACTION"}`,
    ),
    "",
    ...result.transactions.map(
      (sent) => `Gas       ${String(sent.gas).padStart(9)}  ${sent.carries.padEnd(10)} ${sent.hash}`,
    ),
    `Gas       ${String(result.gas).padStart(9)}  in all`,
    "",
    `SHA-256   ${"file".padEnd(width)}  ${result.sha256}`,
    ...result.recipients.map(
      (recipient) => `SHA-256   ${recipient.name.padEnd(width)}  ${recipient.sha256}  ${same(recipient.sha256)}`,
    ),
    "",
    result.ok
      ? "OK: every recipient holds the file, verified, and its receipt is on the chain."
      : "FAILED: see above what differs.",
  ].join("\n");
}
