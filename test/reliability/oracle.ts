// The oracle of the long runs: judges a world at rest by the eleven invariants for randomized runs, from evidence that the product
// didn't make itself.
//
//   const evidence = await gather(…)          // oracle-gather.ts: reads the chain, the store's files and the fronts' records
//   const { violations, facts } = judge(evidence)
//
// `evidence` is plain data (oracle-evidence.ts), so a forged world is an object with one field changed. A violation is a sentence
// about one of the invariants below, each of which is a function named after it; `facts` counts what each had to judge, because
// one that judged nothing has proved nothing. What a run must feed: fronts between everybody and API and store
// (oracle-fronts.ts), a record of each call (`CallMade`) and payload (`Truth`), all log lines, and the secrets that it knows.
import { createHash } from "node:crypto";
import { id as keccakOf } from "ethers";
import { idOf, type NoticeFacts, type Story, storyOf, VERIFIED } from "./oracle-chain.ts";
import type { CallMade, Delivered, End, Evidence, Exchange, ReceiveMade, SendMade, Truth } from "./oracle-evidence.ts";
import { faultsOf, type IssuedUrl, issuedIn } from "./oracle-urls.ts";

export interface Violation {
  /** 1 to 11. */
  readonly invariant: number;
  readonly name: string;
  readonly sentence: string;
}

export interface Judgement {
  readonly violations: readonly Violation[];
  /** By the invariant's name: how many facts it judged. */
  readonly facts: Readonly<Record<string, number>>;
}

/** What all invariants look at, worked out once. */
interface Case {
  readonly evidence: Evidence;
  readonly story: Story;
  readonly issued: readonly IssuedUrl[];
  readonly sends: readonly SendMade[];
  readonly receives: readonly ReceiveMade[];
}

/** Takes one fact after the other: null where it is as it must be, else the sentence. */
type Verdicts = Generator<string | null, void, void>;

const invariants = [
  exactBytesOrATypedErrorAndNoFile,
  whoIsCountedHasVerified,
  acceptedOnceOrRefused,
  everyEventIsAnActiveMembers,
  urlsOnlyToParties,
  oneDigestPerTransfer,
  receiptsImplyVerifiedBytes,
  bothSidesAgree,
  unfinishedWorkCompletes,
  noSecretIsTold,
  nothingIsLeftBehind,
] as const;

/** Their names, in the order of their numbers. */
export const invariantNames: readonly string[] = invariants.map(({ name }) => name);

export function judge(evidence: Evidence): Judgement {
  const { calls } = evidence;
  const known: Case = {
    evidence,
    story: storyOf(evidence),
    issued: issuedIn(evidence),
    sends: calls.filter((call): call is SendMade => call.kind === "send"),
    receives: calls.filter((call): call is ReceiveMade => call.kind === "receive"),
  };
  const violations: Violation[] = [];
  const facts: Record<string, number> = {};
  for (const [i, invariant] of invariants.entries()) {
    const { name } = invariant;
    facts[name] = 0;
    for (const sentence of invariant(known)) {
      facts[name] += 1;
      if (sentence !== null) violations.push({ invariant: i + 1, name, sentence });
    }
  }
  return { violations, facts };
}

/** Rejections after which a verified payload may lie in its file: its receipt is out, or was too late. */
const AFTER_VERIFYING: ReadonlySet<string | null> = new Set(["LATE"]);
/** What no calm call may fail for, not even once. What may pass by itself is tried again, and must have worked in the end. */
const NO_REASON = new Set([
  ...["INTERNAL", "BAD_SERVER", "CORRUPT", "ABORTED", "CLOCK_SKEW"],
  ...["REPLAYED", "UNAUTHENTICATED", "BAD_SIGNATURE", "BAD_MANIFEST"],
]);

/** 1. A receive call returns exactly the bytes of that sender's notice (and tag, when given), or a typed error and no file. */
function* exactBytesOrATypedErrorAndNoFile({ evidence, story, receives }: Case): Verdicts {
  for (const call of receives) {
    for (const one of call.delivered) {
      const truth = truthOfDelivery(evidence, story, call, one);
      const right = truth !== null && truth.sha256 === one.sha256 && truth.size === one.size;
      const whose = truth?.sender === one.source && (call.tag === null || truth.tag === call.tag);
      const what = `${one.size} bytes from ${one.source}`;
      yield right && whose ? null : `${call.name}: ${what} are not what notice ${one.notice} stands for`;
    }
    if (call.end.state === "rejected")
      yield call.end.code === null ? `${call.name} threw an error that is none of ours: ${call.end.words}` : null;
    for (const { source, sha256 } of call.files) {
      if (sha256 === null) continue;
      const sent = evidence.payloads.some(
        (one) => one.task === call.task && one.sender === source && one.sha256 === sha256,
      );
      yield sent ? null : `${call.name} left a file that holds no payload of ${source}`;
      yield mayLeaveFile(call, source, evidence) ? null : `${call.name} failed and left a file of ${source}`;
    }
  }
}

function mayLeaveFile(call: ReceiveMade, source: string, { exchanges }: Evidence): boolean {
  if (call.delivered.some((one) => one.source === source) || call.end.state === "killed") return true;
  if (call.end.state === "rejected" && AFTER_VERIFYING.has(call.end.code)) return true;
  return exchanges.some(
    ({ account, path, asked }) =>
      account === call.by &&
      path.endsWith("/receipts") &&
      call.notices.includes(String((asked as { notice?: string })?.notice)),
  );
}

/** 2. Every id that a send call returns has its verified bit on the chain, and verified bytes whose digest equals the chain's. */
function* whoIsCountedHasVerified({ evidence, story, sends, receives }: Case): Verdicts {
  for (const call of sends) {
    for (const target of call.received) {
      const verified = noticesOf(story, call).filter((one) => one.answers.get(target)?.outcome === VERIFIED);
      yield verified.length > 0 ? null : `${call.name} counts ${target}, who has verified nothing of it on the chain`;
      const truth = evidence.payloads.find(
        (one) => one.task === call.task && one.sender === call.by && one.tag === call.tag,
      );
      const got = receives.filter(({ by }) => by === target).flatMap(({ delivered }) => delivered);
      const wrong = got.some(
        ({ notice, sha256 }) => verified.some(({ id }) => id === notice) && sha256 !== truth?.sha256,
      );
      const manifest = verified[0] && manifestOf(evidence, verified[0]);
      yield !wrong && (verified.length === 0 || manifest !== null)
        ? null
        : `${call.name}: ${target} verified other bytes`;
    }
  }
}

/** 3. Each accepted statement is on the chain exactly once, or listed as refused with its reason; never both, never neither. */
function* acceptedOnceOrRefused({ evidence, story }: Case): Verdicts {
  const prefix = `settled/${evidence.domain.chainId}/${evidence.domain.contract}/`;
  const ends = new Map<string, { state?: string; reason?: string }>();
  for (const [key, { bytes }] of evidence.bucket.objects)
    if (key.startsWith(prefix)) ends.set(key.slice(prefix.length, -".json".length), jsonOf(bytes) as object);
  const accepted = new Set(evidence.exchanges.flatMap(acceptedIn));
  for (const id of new Set([...accepted, ...ends.keys()])) {
    const times = story.statements.get(id)?.length ?? 0;
    const end = ends.get(id);
    const refused = end?.state === "refused" && typeof end.reason === "string";
    if (times === 1 && refused) yield `statement ${id} is on the chain and listed as refused (${end.reason})`;
    else if (times === 0 && !refused) yield `statement ${id} was accepted, and is neither on the chain nor refused`;
    else yield null;
  }
  for (const [id, { length }] of story.statements)
    yield length === 1 ? null : `statement ${id} is on the chain ${length} times`;
}

/** The ids of the statements that an answer of success accepted. */
function acceptedIn({ account, method, path, asked, status, answer }: Exchange): string[] {
  if (method !== "POST" || status >= 300 || account === null || typeof asked !== "object" || asked === null) return [];
  const [, , , task = "", route = ""] = path.split("/");
  const body = asked as Record<string, unknown>;
  if (path === "/v1/tasks") return [idOf("Open", body, account)];
  if (route === "roster") return [idOf(body.kind === "admit" ? "Admit" : "Expel", { ...body, task }, account)];
  if (route === "messages") return [messageId(body.message as Record<string, unknown>, account)];
  if (route === "receipts")
    return [idOf("Receipt", { task, notice: body.notice, outcome: outcomeOf(body.outcome) }, account)];
  if (route === "withdrawals") return [idOf("Withdraw", { task, notice: body.notice }, account)];
  if (!path.endsWith("/finish") || !Array.isArray(body.notices)) return [];
  const { notices: taken = [] } = answer as { notices?: string[] }; // none while it still completes
  const ids = (body.notices as { notice: Record<string, unknown> }[]).map(({ notice }) =>
    idOf("Notice", notice, account),
  );
  return ids.filter((id) => taken.includes(id));
}

const messageId = (message: Record<string, unknown>, account: string): string =>
  idOf("Message", { ...message, kind: message.name }, account);
const outcomeOf = (name: unknown): number => ["", "VERIFIED", "CORRUPT", "TOO_LARGE", "REFUSED"].indexOf(String(name));

/** 4. Every event carries a valid signature of a member active at that block; nobody outside a task moves its seq or notices. */
function* everyEventIsAnActiveMembers({ story }: Case): Verdicts {
  for (let i = 0; i < story.events; i++) yield null;
  yield* story.faults;
}

/** 5. Every URL ever issued went to a party, for its own method, key and part, within the TTL cap. */
function* urlsOnlyToParties({ evidence, story, issued }: Case): Verdicts {
  for (const url of issued) {
    const faults = faultsOf(url, evidence, story);
    yield faults.length === 0 ? null : faults.join("; ");
  }
}

/** 6. No (task, sender, transfer) is ever bound to two digests. */
function* oneDigestPerTransfer({ evidence, story }: Case): Verdicts {
  const bound = new Map<string, string>();
  for (const { task, sender, transfer, manifest } of story.notices.values()) {
    const name = `${task}/${sender}/${transfer}`;
    const first = bound.get(name) ?? manifest;
    bound.set(name, first);
    yield first === manifest ? null : `${name} is bound to ${first} and to ${manifest}`;
  }
  for (const [key, { bytes }] of evidence.bucket.objects) {
    const [, name = ""] = /^transfer\/(.+)\/record\.json$/.exec(key) ?? [];
    if (name === "") continue;
    const { state, digest } = jsonOf(bytes) as { state: string; digest: string | null };
    if (digest !== null && (bound.get(name) ?? digest) !== digest)
      yield `${name} is recorded with ${digest}, and noticed with ${bound.get(name)}`;
    if (state === "finished") yield storedFault(evidence, name, digest);
  }
}

/** What is stored of a finished transfer must be what its digest commits to, byte for byte. */
function storedFault(evidence: Evidence, name: string, digest: string | null): string | null {
  const { objects } = evidence.bucket;
  const manifest = objects.get(`transfer/${name}/manifest.json`);
  if (!manifest || `0x${sha256(manifest.bytes)}` !== digest) return `${name} has no manifest of its digest`;
  const { size, partSize, parts } = jsonOf(manifest.bytes) as { size: number; partSize: number; parts: string[] };
  const { generation = 0 } = jsonOf(objects.get(`transfer/${name}/record.json`)!.bytes) as { generation?: number };
  const payload = objects.get(`payload/${name}${generation ? `.${generation}` : ""}`)?.bytes;
  if (payload?.length !== size) return `${name} is finished, and its payload isn't there in its size`;
  const right = parts.every((part, i) => sha256(payload.subarray(i * partSize, (i + 1) * partSize), "base64") === part);
  return right ? null : `${name} is stored with other bytes than its manifest says`;
}

/** 7. A receipt implies verified bytes were with the recipient (fsynced when to a file); at most one per recipient and notice. */
function* receiptsImplyVerifiedBytes({ evidence, story, issued }: Case): Verdicts {
  const verified = new Map<string, Set<string>>();
  for (const notice of story.notices.values())
    for (const [account, { outcome }] of notice.answers) {
      if (outcome !== VERIFIED) continue;
      const { size } = truthOf(evidence, notice) ?? { size: Number.POSITIVE_INFINITY };
      const payload = `payload/${notice.task}/${notice.sender}/${notice.transfer}`;
      const mine = issued.filter(({ key, exchange }) => key.startsWith(payload) && exchange.account === account);
      const urls = new Set(mine.map(({ signature }) => signature));
      const ranges = evidence.served.filter(({ signature }) => urls.has(signature));
      yield covers(ranges, size, 1) ? null : `${account} has verified ${notice.id} without all of its bytes`;
      // Two who ask in the same second get the same URL: then the bytes must have gone out as often as there are receipts.
      const all = (verified.get(payload) ?? new Set()).add(account);
      verified.set(payload, all);
      const anybodys = evidence.served.filter(({ key }) => key.startsWith(payload));
      yield covers(anybodys, size, all.size) ? null : `${notice.id} was verified more often than its bytes went out`;
    }
  for (const { account, asked, path, file } of evidence.exchanges) {
    const { notice = "", outcome } =
      ((path.endsWith("/receipts") ? asked : null) as { notice?: string; outcome?: string }) ?? {};
    if (outcome !== "VERIFIED" || file === undefined) continue;
    const truth = truthOf(evidence, story.notices.get(notice));
    yield file === truth?.sha256 ? null : `${account} said that it verified ${notice} before its file was there`;
  }
}

/** Whether each byte is in at least so many of the ranges. */
function covers(ranges: readonly { from: number; length: number }[], size: number, times: number): boolean {
  const edges = [0, ...ranges.flatMap(({ from, length }) => [from, from + length])].filter((edge) => edge < size);
  return edges.every(
    (edge) => ranges.filter(({ from, length }) => from <= edge && edge < from + length).length >= times,
  );
}

/** 8. Sender and recipient agree: receiveStream resolved, or holds the payload ready ⇔ the sender's call counts that recipient. */
function* bothSidesAgree({ evidence, story, sends, receives }: Case): Verdicts {
  for (const call of sends.filter(hasEndedByItself))
    for (const target of call.targets) {
      const counted = call.received.includes(target);
      const has = receives.some(
        (one) =>
          one.by === target &&
          (one.end.state === "killed" ||
            one.delivered.some((given) => isPayloadOf(truthOfDelivery(evidence, story, one, given), call))),
      );
      if (counted) yield has ? null : `${call.name} counts ${target}, to whom it was never given`;
      const awaited = call.notices.some((id) => story.notices.get(id)?.answers.get(target)?.outcome === VERIFIED);
      if (!counted) yield awaited ? `${call.name} doesn't count ${target}, who has verified what it waited for` : null;
    }
  for (const call of receives) {
    for (const given of call.delivered) {
      const truth = truthOfDelivery(evidence, story, call, given);
      const stands = [...story.notices.values()].some(
        (notice) => truthOf(evidence, notice) === truth && notice.answers.get(call.by)?.outcome === VERIFIED,
      );
      yield stands ? null : `${call.name} resolved, and no receipt for what it gave is on the chain`;
    }
    const [notice] = call.notices;
    if (call.end.state !== "rejected" || call.end.code !== "LATE" || call.notices.length !== 1) continue;
    const stands = story.notices.get(notice!)?.answers.get(call.by)?.outcome === VERIFIED;
    yield stands ? `${call.name} says LATE, and its receipt for ${notice} is on the chain` : null;
  }
}

const hasEndedByItself = ({ end }: CallMade): boolean =>
  end.state === "resolved" || (end.state === "rejected" && end.code === "NOT_ALL_RECEIVED");

const isPayloadOf = (truth: Truth | null, call: SendMade): boolean =>
  truth?.task === call.task && truth.sender === call.by && truth.tag === call.tag;

/** 9. With faults off, all unfinished work completes. */
function* unfinishedWorkCompletes({ evidence, sends }: Case): Verdicts {
  const last = new Map(sends.filter(({ calm }) => calm).map((call) => [`${call.task}/${call.by}/${call.tag}`, call]));
  for (const { name, end } of last.values())
    yield end.state === "resolved"
      ? null
      : `${name} was the last of its tag, and did not reach everybody: ${toldOf(end)}`;
  for (const { name, end, calm } of evidence.calls) {
    if (end.state === "unfinished") yield `${name} never ended`;
    else if (calm && end.state === "rejected" && NO_REASON.has(end.code ?? ""))
      yield `${name} failed with ${end.code} although nothing was wrong`;
    else yield null;
  }
  for (const key of evidence.bucket.objects.keys())
    if (key.startsWith("outbox/")) yield `${key} still waits in the outbox`;
}

function toldOf(end: End): string {
  return end.state === "rejected" ? end.words : end.state;
}

const MARKERS = [
  /x-amz-(signature|credential|security-token)/i,
  /AWS4-HMAC-SHA256/,
  /eth=:[\w+/]{20}/,
  /BEGIN [A-Z ]*PRIVATE KEY/,
];

/** 10. No secret (URL signature, key, token, RPC URL with a key) is in any log, error or trace. */
function* noSecretIsTold({ evidence, issued }: Case): Verdicts {
  const secrets = new Set(
    [...evidence.secrets, ...issued.map(({ signature }) => signature)].filter((one) => one.length >= 8),
  );
  const text = [...secrets].map((one) => one.toLowerCase());
  for (const line of evidence.lines) {
    const lower = line.toLowerCase();
    const told = text.some((secret) => lower.includes(secret)) || MARKERS.some((marker) => marker.test(line));
    yield told ? `a secret is in a line of ${line.length} characters that begins "${line.slice(0, 60)}"` : null;
  }
}

/** 11. At rest: no stray temp file, no open multipart upload older than the sweep age, outbox explained. */
function* nothingIsLeftBehind({ evidence }: Case): Verdicts {
  const { bucket, leftovers, sweepAge, now } = evidence;
  for (const file of bucket.strays) yield `the store has a stray file ${file}`;
  for (const file of leftovers) yield `a recipient has a stray file ${file}`;
  for (const { key, moved } of bucket.uploads)
    yield now - moved > sweepAge ? `an upload of ${key} has lain open for too long` : null;
  for (const key of bucket.objects.keys())
    if (/^payload\//.test(key)) yield recordOf(evidence, key) ? null : `${key} has no record`;
}

function recordOf({ bucket }: Evidence, key: string): boolean {
  return bucket.objects.has(`transfer/${key.slice("payload/".length).replace(/\.\d+$/, "")}/record.json`);
}

// ---- what is asked more than once

function noticesOf(story: Story, { task, by, tag }: SendMade): NoticeFacts[] {
  const transfer = keccakOf(tag);
  return [...story.notices.values()].filter(
    (one) => one.task === task && one.sender === by && one.transfer === transfer,
  );
}

function truthOf({ payloads }: Evidence, notice: NoticeFacts | undefined): Truth | null {
  const mine = (one: Truth): boolean =>
    one.task === notice?.task && one.sender === notice.sender && keccakOf(one.tag) === notice.transfer;
  return payloads.find(mine) ?? null;
}

/** What a call gave back, by its notice; without one, by its bytes. */
function truthOfDelivery(evidence: Evidence, story: Story, call: ReceiveMade, given: Delivered): Truth | null {
  if (given.notice !== null) return truthOf(evidence, story.notices.get(given.notice));
  const like = evidence.payloads.filter(
    (one) => one.task === call.task && one.sender === given.source && one.sha256 === given.sha256,
  );
  return like.find(({ tag }) => tag === call.tag) ?? like[0] ?? null;
}

/** The stored manifest that a notice commits to, if it describes what its sender really sent. */
function manifestOf(evidence: Evidence, notice: NoticeFacts): object | null {
  const { task, sender, transfer } = notice;
  const found = evidence.bucket.objects.get(`transfer/${task}/${sender}/${transfer}/manifest.json`);
  if (!found || `0x${sha256(found.bytes)}` !== notice.manifest) return null;
  const manifest = jsonOf(found.bytes) as { size: number; tag: string };
  const truth = truthOf(evidence, notice);
  return manifest.size === truth?.size && manifest.tag === truth.tag ? manifest : null;
}

function sha256(bytes: Uint8Array, encoding: "hex" | "base64" = "hex"): string {
  return createHash("sha256").update(bytes).digest(encoding);
}

const jsonOf = (bytes: Uint8Array): unknown => JSON.parse(Buffer.from(bytes).toString());
