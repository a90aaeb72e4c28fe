import { Buffer } from "node:buffer";
import * as z from "zod/mini";
import { printable } from "../../cli/words.ts";
import { readClaim, verifyClaim } from "../../functions/auth.ts";
import { configFromEnv } from "../../functions/config.ts";
import { readName } from "../../functions/entry-name.ts";
import { parseJson } from "../../functions/json.ts";
import { Objects } from "../../functions/objects.ts";
import { Reports } from "../../functions/progress.ts";
import { Records } from "../../functions/records.ts";
import { routes } from "../../functions/routes.ts";
import { parseLogs, receiptsIn, taskEventOf } from "../../lib/chain/events.ts";
import { deploymentSchema } from "../../lib/protocol/deployment.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import { coveredComponents, keyIdOf, type SignedRequest, signatureInput } from "../../lib/protocol/httpsig.ts";
import { decodeManifest, encodeManifest } from "../../lib/protocol/manifest.ts";
import { wireText } from "../../lib/protocol/requests.ts";
import { type StoreResponse, takeUrl } from "../../lib/transfer/http.ts";
import { readJournal } from "../../lib/transfer/journal.ts";
import { refusalOf, StoreFault } from "../../lib/transfer/retry.ts";
import { Stretch } from "../../lib/transfer/stretch.ts";
import { WireFault } from "../../lib/transfer/wire/fault.ts";
import { proxyFor } from "../../lib/transfer/wire/proxy.ts";
import { Reply } from "../../lib/transfer/wire/reply.ts";
import { Scratch } from "../../lib/transfer/wire/scratch.ts";
import { S3Error } from "../../local/store/errors.ts";
import { parseRange } from "../../local/store/ranges.ts";
import { S3Query } from "../../local/store/request.ts";
import { readXml } from "../../local/store/xml.ts";
import { payloadOf } from "./api.ts";
import type { Dice } from "./crowd.ts";
import { Mutator, type Subject, shown, Violation } from "./fuzz.ts";
import * as samples from "./fuzz-samples.ts";

// Every parser of ours that reads what others wrote, and the rule that whatever it takes must keep.

/** Calls the parser; what it throws must be of ours. @returns null when it refused. */
function read<T>(input: unknown, parse: () => T, codes: readonly string[]): { value: T } | null {
  try {
    return { value: parse() };
  } catch (error) {
    if (error instanceof WaybillError && codes.includes(error.code)) return null;
    throw new Violation(`${String(error)} from ${shown(input)}`, { cause: error });
  }
}

function must(holds: boolean, what: string, input: unknown): void {
  if (!holds) throw new Violation(`${what}: ${shown(input)}`);
}

function subject(name: string, attempt: (mutator: Mutator) => Promise<void> | void, share = 0): Subject {
  return { name, share, try: (dice: Dice) => attempt(new Mutator(dice)) };
}

/** Undefined for what is no JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const utf8 = (text: string): Uint8Array => Buffer.from(text, "utf8");

// ---- requests

const requestBodies = Object.entries(samples.bodies);

/** Written anew, by other rules than the reader's: no depth, key, text or number that two readers could read differently. */
function isPlain(value: unknown, depth = 0): boolean {
  if (typeof value === "string") return !/[\0\p{Cs}]/u.test(value);
  if (typeof value !== "object" || value === null) return true;
  if (depth >= 16 || Object.hasOwn(value, "__proto__")) return false;
  return Object.entries(value).every(([key, entry]) => isPlain(key) && isPlain(entry, depth + 1));
}

/** What a schema let through: ids in lower case, and numbers that are exact. */
function isExact(value: unknown): boolean {
  if (typeof value === "number") return Number.isSafeInteger(value);
  if (typeof value === "string") return !/^0x[0-9a-f]{8,}$/i.test(value) || /^0x[0-9a-f]*$/.test(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every(isExact);
}

const body = subject("a request's body", (mutator) => {
  const [name, sample] = mutator.dice.pick(requestBodies);
  const twice = mutator.chance(0.1) ? mutator.doubled(sample) : null;
  const input = twice ?? mutator.json(sample);
  const taken = read(input, () => parseJson(utf8(input)), ["BAD_REQUEST"]);
  must(!(taken && twice), "a key that is there twice was taken", input);
  if (!taken) return;
  must(isPlain(taken.value), "JSON that isn't plain was taken", input);
  const parsed = routes[name]!.body!.safeParse(taken.value);
  if (!parsed.success) return;
  must(isExact(taken.value), "a number or id that isn't exact was taken", input);
  must(wireText(parsed.data) === wireText(JSON.parse(wireText(parsed.data))), "it does not say itself again", input);
});

const bodyBytes = subject("a request's body in broken bytes", (mutator) => {
  const [, sample] = mutator.dice.pick(requestBodies);
  const input = mutator.bytes(utf8(JSON.stringify(sample)));
  const taken = read(input, () => parseJson(input), ["BAD_REQUEST"]);
  if (taken) must(isPlain(taken.value), "JSON that isn't plain was taken", input);
});

const query = subject("a cursor in a query", (mutator) => {
  const input = Object.fromEntries(
    Object.entries(mutator.dice.pick(samples.queries)).map(([name, value]) => [
      mutator.text(name),
      mutator.text(value),
    ]),
  );
  const parsed = wireQuery.safeParse(input);
  if (parsed.success)
    must(
      Object.values(input).every((text) => /^(\d{1,16}|0x[0-9a-f]{64})$/.test(text)),
      "taken",
      input,
    );
});
const wireQuery = routes.readEvents!.query!;

// ---- signatures

const signed: SignedRequest = {
  ...{ method: "POST", authority: "api.waybill.test", path: `/v1/tasks/${samples.id}/transfers`, query: "" },
  body: utf8("{}"),
};
const NOW = 1_800_000_000;
const input = signatureInput(coveredComponents(signed), {
  ...{ created: NOW, expires: NOW + 60, nonce: "AAAAAAAAAAAAAAAAAAAAAA" },
  keyid: keyIdOf(31337, samples.account),
});
const SIGNATURE = `eth=:${Buffer.alloc(65, 7).toString("base64")}:`;

const signature = subject("a signature's headers", (mutator) => {
  const headers = new Headers();
  const given = { "signature-input": `eth=${input}`, signature: SIGNATURE, "content-digest": "sha-256=:AAAA:" };
  for (const [name, value] of Object.entries(given)) {
    const text = mutator.text(value).replaceAll(/[\0\r\n]|[^\0-\xff]/g, "~"); // what no HTTP server brings
    if (!mutator.chance(0.05)) headers.set(name, text);
  }
  const all = JSON.stringify([...headers]);
  const refusals = ["UNAUTHENTICATED", "CLOCK_SKEW", "WRONG_CHAIN"];
  const taken = read(all, () => readClaim(headers, { chainId: 31337 }, NOW * 1000), refusals);
  if (!taken) return;
  const { params, account } = taken.value;
  must(params.expires - params.created <= 60 && params.expires > NOW && params.created <= NOW + 5, "its window", all);
  must(/^0x[0-9a-f]{40}$/.test(account) && params.keyid === keyIdOf(31337, account), "its account", all);
  must(params.nonce === undefined || /^[\w-]{22}$/.test(params.nonce), "its nonce", all);
  const verified = read(all, () => verifyClaim(taken.value, signed, headers), ["UNAUTHENTICATED"]);
  must(verified === null, "a signature that nobody made was taken", all);
});

// ---- documents

const payload = payloadOf("round-7/model", new Uint8Array(50).fill(3), 16, "application/octet-stream");
const manifestText = Buffer.from(encodeManifest(payload.manifest)).toString();

const manifest = subject("a manifest", (mutator) => {
  const twice = mutator.chance(0.05) ? mutator.doubled(payload.manifest) : null;
  const text = twice ?? (mutator.chance(0.5) ? mutator.json(payload.manifest) : mutator.text(manifestText));
  const bytes = mutator.chance(0.2) ? mutator.bytes(utf8(text)) : utf8(text);
  const taken = read(bytes, () => decodeManifest(bytes), ["BAD_MANIFEST"]);
  if (taken) must(Buffer.compare(encodeManifest(taken.value), bytes) === 0, "bytes that aren't its own", bytes);
});

const journal = subject("a journal", (mutator) => {
  const about = { digest: samples.id, size: 50, partSize: 16 };
  const text = mutator.text(`waybill journal 1 ${samples.id} 50 16\n1\n2\n4\n`);
  const named = readJournal(text, about);
  if (named === null) return;
  must(
    [...named].every((part) => Number.isInteger(part) && part >= 1 && part <= 4),
    "a part that there isn't",
    text,
  );
  must(text.startsWith(`waybill journal 1 ${samples.id} 50 16\n`), "a journal about another payload", text);
});

/** A bucket that holds one text under every key. */
function holding(text: string): Objects {
  const value = jsonOf(text);
  return Object.assign(Object.create(Objects.prototype) as Objects, {
    getJson: async () => ({ value, etag: '"1"' }),
  });
}

const records = subject(
  "a record in the bucket",
  async (mutator) => {
    const [what, sample] = mutator.dice.pick([
      ["notice", samples.bodies.finish.notices[0]],
      ["record", samples.record],
      ["progress", samples.progress],
    ] as const);
    const text = mutator.json(sample);
    const store = holding(text);
    const all = new Records(store);
    const ref = { task: samples.id, sender: samples.account, transfer: samples.id };
    const readIt = async (): Promise<unknown> => {
      if (what === "notice") return all.notice(samples.id, samples.id);
      if (what === "record") return all.read(ref);
      return new Reports(store, () => 5).read(samples.id, samples.id, samples.account, 100);
    };
    const found = await readIt().catch((error: unknown) => {
      must(error instanceof WaybillError && error.code === "INTERNAL", String(error), text);
      return null;
    });
    if (what === "notice") must(found === null, "a notice that does not hash to its id was taken", text);
    if (what === "progress" && found) must(isExact(found) && (found as { bytes: number }).bytes <= 100, "taken", text);
  },
  5_000,
);

const entryName = subject("an outbox entry's name", (mutator) => {
  const name = mutator.text(mutator.dice.pick(samples.entryNames));
  const entry = readName(name);
  if (!entry?.posted) return;
  const { statement, author } = entry.posted.signed;
  must(isExact({ ...statement, author }) && Number.isSafeInteger(entry.arrival), "taken", name);
});

const xmlSent = subject("XML that a client sends to the store", (mutator) => {
  const text = mutator.text(mutator.dice.pick(samples.xml));
  try {
    const value = JSON.stringify(readXml(text)) ?? "";
    must(value.length <= 4 * text.length + 100, "it grew", text);
  } catch (error) {
    must(error instanceof S3Error && error.code === "MalformedXML", String(error), text);
  }
});

class Reading extends Objects {
  constructor() {
    super({
      ...{ bucket: "waybill", region: "us-east-1", s3Endpoint: "http://127.0.0.1:1" },
      s3Credentials: { accessKeyId: "x", secretAccessKey: "y" },
    });
  }

  document(bytes: Uint8Array): unknown {
    return this.read({ status: 200, code: "", headers: {}, bytes }, listing);
  }
}
const entry = z.object({ Key: z.string() });
const listing = z.object({
  ListBucketResult: z.object({ Contents: z.optional(z.union([z.array(entry), entry])) }),
});
const reading = new Reading();

const xmlAnswered = subject("XML that the store answers", (mutator) => {
  const bytes = mutator.bytes(utf8(mutator.text(mutator.dice.pick(samples.xml))));
  read(bytes, () => reading.document(bytes), ["UNAVAILABLE"]);
});

// ---- answers

const answer = subject("an answer of the functions", (mutator) => {
  const [schema, sample] = mutator.dice.pick(samples.answers);
  const text = mutator.json(sample);
  const value = jsonOf(text);
  const parsed = schema.safeParse(value);
  if (!parsed.success) return;
  const again = schema.safeParse(JSON.parse(wireText(parsed.data)));
  must(again.success && wireText(again.data) === wireText(parsed.data), "it does not say itself again", text);
});

const logs = subject("a node's logs", (mutator) => {
  const text = mutator.json([mutator.dice.pick(samples.logs)]);
  const parsed = jsonOf(text);
  const taken = read(text, () => parseLogs(parsed).map(taskEventOf), ["BAD_SERVER"]);
  for (const event of taken?.value ?? []) if (event) must(isExact(JSON.parse(wireText(event))), "taken", text);
});

const receipts = subject("packed receipts", (mutator) => {
  const digits = mutator.text(samples.packed).replaceAll(/[^0-9a-f]/g, "0");
  const text = `0x${digits}` as Hex;
  const taken = read(text, () => receiptsIn(text), ["BAD_SERVER"]);
  const length = (taken?.value ?? []).reduce((sum, { signatures }) => sum + 68 + 130 * signatures.length, 0);
  if (taken) must(length === digits.length, "receipts that aren't there", text);
});

const http = subject("an HTTP answer", (mutator) => {
  const bytes = Buffer.from(mutator.text(mutator.dice.pick(samples.http)), "latin1");
  let fault: Error | null = null;
  const reply = new Reply(mutator.dice.pick(["GET", "PUT"]), new Scratch(), {
    ...{ onContinue: () => {}, onHead: () => {}, onEnd: () => {}, onReader: () => {} },
    onFault: (error) => {
      fault = error;
    },
  });
  const memory = new Uint8Array(1024);
  const body = reply.read(memory).then(
    () => {},
    (error: unknown) => must(error instanceof WireFault, String(error), bytes),
  );
  const cut = mutator.dice.whole(0, bytes.length);
  reply.feed(bytes.subarray(0, cut));
  reply.feed(bytes.subarray(cut));
  reply.closed();
  must(fault === null || (fault as Error) instanceof WireFault, String(fault), bytes);
  return body;
});

/** An answer of the store with these headers. */
function stored(status: number, headers: Readonly<Record<string, string>>, text: string): StoreResponse {
  const bytes = utf8(text);
  let at = 0;
  return {
    status,
    header: (name) => headers[name] ?? null,
    read: async (into) => {
      const piece = bytes.subarray(at, at + into.length);
      into.set(piece);
      at += piece.length;
      return piece.length;
    },
    discard: () => {},
  };
}

const range = subject(
  "Content-Range and its kin",
  async (mutator) => {
    const headers = {
      "content-range": mutator.text("bytes 16-31/50"),
      "content-length": mutator.text("16"),
      "content-encoding": mutator.text(mutator.dice.pick(["", "identity", "gzip"])),
    };
    const status = mutator.dice.pick([206, 206, 206, 200, 204, 416]);
    const stretch = new Stretch(
      { request: async () => stored(status, headers, "x".repeat(16)), close: () => {} },
      false,
    );
    const url = { url: "http://127.0.0.1:1/x", headers: {}, issued: performance.now(), life: 60_000 };
    const how = { signal: new AbortController().signal, moved: () => {} };
    try {
      await stretch.open(url, { start: 16, end: 31, size: 50 }, how);
      const all = [status, headers];
      must(status === 206 && headers["content-range"] === "bytes 16-31/50", "another range was taken", all);
      must(headers["content-length"] === "16" && /^(identity)?$/i.test(headers["content-encoding"]), "taken", all);
    } catch (error) {
      must(error instanceof StoreFault, String(error), headers);
    } finally {
      stretch.end();
    }
  },
  10_000,
);

const refusal = subject(
  "Retry-After and a refusal's body",
  async (mutator) => {
    const wait = mutator.text(mutator.dice.pick(["1", "0", "-1", "1e9", "Wed, 21 Oct 2026 07:28:00 GMT"]));
    const text = mutator.text("<Error><Code>SlowDown</Code><Message>Request has expired</Message></Error>");
    const status = mutator.dice.pick([301, 307, 400, 403, 404, 412, 429, 500, 503]);
    const fault = await refusalOf(stored(status, { "retry-after": wait }, text), false);
    must(fault.retryAfter >= 0 && fault.retryAfter <= 20_000, "its wait", wait);
    must(/^[A-Za-z0-9]{0,64}$/.test(fault.storeCode) && !/\p{Cc}/u.test(fault.message), "its words", text);
    if (status < 400) must(fault.remedy === "fatal" && fault.error.code === "BAD_SERVER", "a redirect", status);
  },
  10_000,
);

const storeUrl = subject("a presigned URL", (mutator) => {
  const url = mutator.text("https://store.example.org/waybill/payload/x?X-Amz-Signature=abc");
  const headers = { [mutator.text("content-length")]: mutator.text("16") };
  const found = { url, headers };
  const taken = read(found, () => takeUrl(found, 60_000, 0, "https://store.example.org"), ["BAD_SERVER"]);
  if (!taken) return;
  const { origin, username, password } = new URL(taken.value.url);
  must(origin === "https://store.example.org" && username + password === "", "another store was taken", found);
  const names = Object.entries(taken.value.headers).map((pair) => pair.join(": "));
  must(
    names.every((line) => /^(content-(length|type)|if-match|x-amz-[a-z0-9-]+): [\t -~]*$/.test(line)),
    "taken",
    found,
  );
});

// ---- what people write

const deployment = subject("deployment.json", (mutator) => {
  const text = mutator.json(samples.deployment);
  const value = jsonOf(text);
  const parsed = deploymentSchema.safeParse(value);
  if (!parsed.success) return;
  const { api, storeOrigin, rpc = [], contract } = parsed.data;
  for (const url of [api, storeOrigin, ...[rpc].flat()])
    must(URL.canParse(url) && /^https?:$/.test(new URL(url).protocol), "a URL that is none was taken", text);
  must(/^0x[0-9a-f]{40}$/.test(contract), "its contract", text);
});

const settings = subject("a server's environment", (mutator) => {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(samples.environment))
    if (!mutator.chance(0.02)) env[name] = mutator.chance(0.2) ? mutator.text(value) : value;
  const taken = read(env, () => configFromEnv(env), ["USAGE"]);
  if (!taken) return;
  const { apiOrigin, rpc, s3Endpoint = apiOrigin, owners, chainId } = taken.value;
  for (const url of [apiOrigin, s3Endpoint, ...[rpc].flat()]) must(URL.canParse(url), "a URL that is none", env);
  must(owners !== "*" && Number.isSafeInteger(chainId), "taken", env);
});

const proxy = subject("a proxy's address", (mutator) => {
  const env = {
    HTTPS_PROXY: mutator.text(mutator.dice.pick(["http://user:pass%40word@proxy:3128", "proxy:8080", "https://[::1]"])),
    NO_PROXY: mutator.text("localhost,.example.org,10.0.0.0/8,[fd00::]/8,*.x:443"),
  };
  try {
    const found = proxyFor(new URL("https://store.example.net/x"), env);
    if (found) must(found.port > 0 && found.port < 65_536 && !/[\r\n]/.test(JSON.stringify(found)), "taken", env);
  } catch (error) {
    must(error instanceof TypeError && /PROXY/.test(error.message), String(error), env);
    const secret = /pass%40word/.exec(env.HTTPS_PROXY)?.[0];
    must(!secret || !(error as Error).message.includes(secret), "its words say the password", env);
  }
});

const words = subject("others' words on a terminal", (mutator) => {
  const text = mutator.text("round-7/model \x1b]8;;http://evil.test\x07 \u202egnp.exe \u{1f600}\r\n");
  const safe = printable(text, 100);
  must(!/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(safe), "a terminal would obey it", text);
});

// ---- the store's own

const storeRange = subject("a Range header", (mutator) => {
  const text = mutator.text(mutator.dice.pick(["bytes=0-15", "bytes=-5", "bytes=16-"]));
  const found = parseRange(text, 50);
  if (found === null || found === "unsatisfiable") return;
  must(found.start >= 0 && found.start < found.end && found.end <= 50, "a range that there isn't", text);
});

const storeQuery = subject("a query of the store", (mutator) => {
  const text = mutator.text("uploadId=abc&partNumber=3&max-parts=1000&x-id=UploadPart&prefix=a%2Fb");
  try {
    const found = new S3Query(text);
    must(found.count("partNumber", 1) >= 0, "its number", text);
  } catch (error) {
    must(error instanceof S3Error, String(error), text);
  }
});

export const parsers: readonly Subject[] = [
  ...[body, bodyBytes, query, signature, manifest, journal, records, entryName, xmlSent, xmlAnswered],
  ...[
    answer,
    logs,
    receipts,
    http,
    range,
    refusal,
    storeUrl,
    deployment,
    settings,
    proxy,
    words,
    storeRange,
    storeQuery,
  ],
];
