import { createHash, createHmac } from "node:crypto";
import { type NoticeFacts, type Story, VERIFIED, wasActive } from "./oracle-chain.ts";
import type { Evidence, Exchange } from "./oracle-evidence.ts";

// Every presigned URL that an answer of the API held, whoever asked and wherever in the answer it stood; and whether it was that
// caller's to have. The signature is computed anew, by SigV4's own words.

export interface IssuedUrl {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Of a part. */
  readonly number: number | null;
  readonly exchange: Exchange;
  readonly key: string;
  readonly signature: string;
}

const PAYLOAD = /^payload\/(0x[0-9a-f]{64})\/(0x[0-9a-f]{40})\/(0x[0-9a-f]{64})(?:\.\d+)?$/;

export function issuedIn({ exchanges, bucketName }: Pick<Evidence, "exchanges" | "bucketName">): IssuedUrl[] {
  return exchanges.flatMap((exchange) =>
    urlsIn(exchange.answer).map(({ url, headers, number }) => ({
      ...{ url, headers, number, exchange },
      key: decodeURIComponent(url.pathname).replace(`/${bucketName}/`, ""),
      signature: url.searchParams.get("X-Amz-Signature") ?? "",
    })),
  );
}

type Found = Pick<IssuedUrl, "url" | "headers" | "number">;

function urlsIn(value: unknown): Found[] {
  if (typeof value !== "object" || value === null) return [];
  const own = Object.values(value).filter((entry): entry is string => typeof entry === "string" && isPresigned(entry));
  const { headers, number } = value as { headers?: Record<string, string>; number?: number };
  const found = own.map((url) => ({ url: new URL(url), headers: headers ?? {}, number: number ?? null }));
  return [...found, ...Object.values(value).flatMap(urlsIn)];
}

const isPresigned = (text: string): boolean => /^https?:\/\/\S+[?&]X-Amz-Signature=/i.test(text);

/** What is wrong with a URL, in sentences. */
export function faultsOf(issued: IssuedUrl, evidence: Evidence, story: Story): string[] {
  const { exchange, url, key } = issued;
  const who = exchange.account;
  const what = `a URL for ${key} that ${exchange.method} ${exchange.path} gave to ${who}`;
  const [, task, sender, transfer] = PAYLOAD.exec(key) ?? [];
  if (who === null || task === undefined) return [`${what}: nobody's, or for no payload`];
  const faults: string[] = [];
  const [from, to] = windowOf(exchange, evidence);
  if (!exchange.path.startsWith(`/v1/tasks/${task}/`)) faults.push("of another task than was asked about");
  if (!wasActive(story.tasks.get(task), who, from, to)) faults.push("its caller was no active member");
  const seconds = Number(url.searchParams.get("X-Amz-Expires"));
  if (!(seconds > 0 && seconds <= evidence.ttlCap)) faults.push(`good for ${seconds} s`);
  const isUpload = url.searchParams.get("x-id") === "UploadPart";
  faults.push(...(isUpload ? uploadFaults(issued, sender!, transfer!) : []));
  const notices = [...story.notices.values()].filter(
    (one) => one.task === task && one.sender === sender && one.transfer === transfer,
  );
  if (!isUpload && !notices.some((notice) => mayRead(notice, who, from, to))) faults.push("no notice names its caller");
  const bound = signedHeaders(url);
  const wanted = isUpload ? ["content-length", "host", "x-amz-checksum-sha256"] : ["host", "if-match"];
  if (!wanted.every((name) => bound.includes(name))) faults.push(`it binds only ${bound.join()}`);
  const method = isUpload ? "PUT" : "GET";
  if (signatureOf(issued, method, evidence) !== issued.signature)
    faults.push(`its signature is not for ${method} with these headers`);
  return faults.map((fault) => `${what}: ${fault}`);
}

/** Blocks that were undone later leave no trace of who was a member by them. */
function windowOf({ from, to, at }: Exchange, { reorgs }: Evidence): [number, number] {
  const undone = reorgs.some((reorg) => reorg.at >= at && reorg.lowest <= to);
  return undone ? [0, Number.POSITIVE_INFINITY] : [from, to];
}

function uploadFaults({ exchange, url, number, headers }: IssuedUrl, sender: string, transfer: string): string[] {
  const asked = exchange.asked as {
    transfer?: string;
    parts?: { number: number; length: number; sha256: string }[];
  } | null;
  const faults: string[] = [];
  if (exchange.account !== sender) faults.push("an upload under another's name");
  if (asked?.transfer !== transfer && !exchange.path.includes(`/transfers/${transfer}/`))
    faults.push("of another transfer");
  const part = asked?.parts?.find((one) => one.number === number);
  if (!part || url.searchParams.get("partNumber") !== String(number)) faults.push("of a part that was not asked for");
  else if (headers["content-length"] !== String(part.length) || headers["x-amz-checksum-sha256"] !== part.sha256)
    faults.push("for other bytes than were asked for");
  return faults;
}

function mayRead(notice: NoticeFacts, who: string, from: number, to: number): boolean {
  if (notice.block > to || !notice.named.some(({ account }) => account === who)) return false;
  return notice.withdrawn === null || notice.withdrawn > from || notice.answers.get(who)?.outcome === VERIFIED;
}

const signedHeaders = (url: URL): string[] => (url.searchParams.get("X-Amz-SignedHeaders") ?? "").split(";");

/** The SigV4 query signature of a URL for that method. */
function signatureOf({ url, headers }: IssuedUrl, method: string, { credentials }: Evidence): string {
  const date = url.searchParams.get("X-Amz-Date") ?? "";
  const scope = `${date.slice(0, 8)}/${credentials.region}/s3/aws4_request`;
  const pairs = [...url.searchParams].filter(([name]) => name !== "X-Amz-Signature");
  const query = pairs.map(([name, value]) => `${escaped(name)}=${escaped(value)}`).sort();
  const names = signedHeaders(url);
  const lines = names.map((name) => `${name}:${name === "host" ? url.host : (headers[name] ?? "")}\n`);
  const request = [method, url.pathname, query.join("&"), lines.join(""), names.join(";"), "UNSIGNED-PAYLOAD"].join(
    "\n",
  );
  const text = ["AWS4-HMAC-SHA256", date, scope, createHash("sha256").update(request).digest("hex")].join("\n");
  const key = scope.split("/").reduce<Buffer>(hmac, Buffer.from(`AWS4${credentials.secretAccessKey}`));
  return hmac(key, text).toString("hex");
}

const hmac = (key: Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();
const escaped = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
