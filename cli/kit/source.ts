import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { outbound } from "../../lib/outbound.ts";
import { readWithin } from "../../lib/protocol/body.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import { deploymentIn, unreadable } from "../settings.ts";

/** A deployment is far smaller. */
const MAX_BYTES = 64 * 1024;
const TIMEOUT_MS = 30_000;

/** What the operator handed out, as it came, and what tells it from any other. */
export interface Handed {
  readonly bytes: Uint8Array;
  /** As `sha256sum` says it of the file. */
  readonly fingerprint: string;
}

/**
 * Takes the operator's deployment.json: a file's path, - for stdin, or an https URL.
 * @throws WaybillError USAGE when it is none; UNREACHABLE
 */
export async function deploymentFrom(source: string, signal: AbortSignal): Promise<Handed> {
  const bytes = await bytesOf(source, signal);
  deploymentIn(jsonIn(bytes), source === "-" ? "stdin" : source);
  return { bytes, fingerprint: createHash("sha256").update(bytes).digest("hex") };
}

async function bytesOf(source: string, signal: AbortSignal): Promise<Uint8Array> {
  if (source === "-") return buffer(process.stdin);
  if (/^https:\/\//i.test(source)) return download(source, signal);
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(source))
    throw new WaybillError("USAGE", "A deployment is fetched over https only. Or save it, and give the file.");
  return readFile(source).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(source, error);
  });
}

async function download(url: string, signal: AbortSignal): Promise<Uint8Array> {
  const way = await outbound();
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const failed = (why: string): WaybillError =>
    new WaybillError("UNREACHABLE", `The deployment can't be fetched: ${why}. Check the URL, or give a file.`);
  try {
    const answer = await way.fetch(url, { redirect: "manual", signal: limit });
    if (answer.status !== 200) throw failed(`its server answers ${answer.status}`);
    return await readWithin(answer.body, MAX_BYTES, () => failed(`it is over ${MAX_BYTES} bytes`));
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof WaybillError ? error : failed("nothing answers");
  } finally {
    way.close();
  }
}

function jsonIn(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
}
