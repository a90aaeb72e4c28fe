import { WaybillError } from "../protocol/errors.ts";
import type { Manifest } from "../protocol/manifest.ts";
import { type Part, partsOf } from "../protocol/plan.ts";
import { DownloadUrls } from "./download-urls.ts";
import { sha256 } from "./hash.ts";
import type { Attempt } from "./hedge.ts";
import type { StoreUrl, Transport } from "./http.ts";
import { giveMemory, takeMemory } from "./memory.ts";
import { inParallel, type Progress } from "./parts.ts";
import { fatal, heed, StoreFault, withRetries, wrongAnswer } from "./retry.ts";
import { Room } from "./room.ts";
import { type Run, Runs } from "./runs.ts";
import { rangeOf, Stretch } from "./stretch.ts";
import { type Moved, startTicker } from "./ticker.ts";
import { type Lane, type Share, Traffic } from "./traffic.ts";

/** Ranges in flight at most; S3 gives 85-90 MB/s to each, so that these fill any line of today. */
const MOST_RANGES = 32;

/** Lines down are faster than lines up, and what is asked for costs less than what is sent. */
const FIRST_RANGES = 8;

/** Parts that come or wait to be verified and written, at most: small ones are bounded by their number, not by their memory. */
const MOST_BEGUN = 128;

/** Where verified parts go. */
export interface PartSink {
  /** Parts that it has from an earlier call, verified; they are not fetched. */
  readonly held?: ReadonlySet<number>;
  /** Memory in which the part may be gathered, if it has its own; nobody sees it before `write`. */
  memory(part: Part): Uint8Array | null;
  /** Takes a part whose digest is right. */
  write(part: Part, bytes: Uint8Array): Promise<void>;
}

/** What is needed to fetch a payload. */
export interface DownloadJob {
  readonly manifest: Manifest;
  readonly sink: PartSink;
  /** The presigned URL that came with the manifest. */
  readonly url: { readonly url: string; readonly headers: Record<string, string>; readonly expiresIn: number };
  /** When it was asked for, by performance.now. */
  readonly issued: number;
  /** Asks for a new one. */
  readonly refresh: (signal: AbortSignal) => Promise<DownloadJob["url"]>;
  readonly transport: Transport;
  readonly storeOrigin: string;
  /** Shared with the downloads that run beside this one, so that together they use no more than one alone may. */
  readonly traffic?: Traffic | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly onBytes?: ((moved: Moved) => void) | undefined;
}

/** For downloads that run at the same time. @param most Requests at a time. */
export function downloadTraffic(most: number = MOST_RANGES): Traffic {
  return new Traffic(most, FIRST_RANGES);
}

/** What all that works on one payload needs. */
interface Order {
  readonly job: DownloadJob;
  readonly urls: DownloadUrls;
  readonly runs: Runs;
  readonly share: Share;
  readonly begun: Room;
}

/** A run of parts that has its turn. */
interface Begun {
  readonly run: Run;
  readonly lane: Lane;
}

/**
 * Fetches a payload in ranges of one or more parts, as many at a time as pays, and verifies each part before the sink gets it.
 *
 * @throws WaybillError CORRUPT when a part is wrong twice, over two connections; CONFLICT when the object was replaced;
 * GONE; UNREACHABLE, UNAVAILABLE, BAD_SERVER of the store; what the sink, `refresh` and `onProgress` throw; the
 * signal's reason.
 */
export async function download(job: DownloadJob): Promise<void> {
  const { manifest, sink, traffic = downloadTraffic() } = job;
  const parts = manifest.size === 0 ? [] : partsOf(manifest).filter(({ number }) => !sink.held?.has(number));
  const progress = tracker(job);
  if (manifest.size === 0) await checkEmpty(manifest);
  const share = traffic.join(manifest.partSize);
  const runs = new Runs(parts, manifest.partSize);
  const order = { job, share, runs, urls: new DownloadUrls(job), begun: new Room(MOST_BEGUN) };
  const finish = async (landing: Landing, aborted: AbortSignal): Promise<void> => {
    const memory = (await landing.whole) ?? (await fetchAgain(order, landing, aborted));
    await sink.write(landing.part, memory.bytes);
    memory.give();
    progress(landing.part.length);
  };
  const held = manifest.size - parts.reduce((sum, { length }) => sum + length, 0);
  const moved = (): Moved => ({ movedBytes: held + share.moved, totalBytes: manifest.size, heldBytes: held });
  const ticker = startTicker(moved, job.onBytes, job.signal);
  try {
    await inParallel(
      (aborted) => inTurn(order, aborted),
      ticker.signal,
      (begun, aborted) => inParallel((ending) => landings(order, begun, ending), aborted, finish),
    );
  } finally {
    ticker.stop();
    share.leave();
  }
}

/** A run's turn comes when there is one and it may be asked for. */
async function* inTurn({ runs, share }: Order, signal: AbortSignal): AsyncGenerator<Begun> {
  while (await runs.ready(signal)) {
    const lane = share.lane();
    await lane.enter(signal);
    const run = runs.take(share.lanes);
    if (run) yield { run, lane };
    else lane.leave(); // meanwhile it was all begun
  }
}

async function checkEmpty(manifest: Manifest): Promise<void> {
  if (manifest.parts[0] !== (await sha256(new Uint8Array()))) throw corrupt(1);
}

/** Memory of one part. Whoever has it gives it back when nobody looks at it any more. */
interface PartMemory {
  readonly bytes: Uint8Array;
  readonly give: () => void;
}

/** Waits for room. @param first Before parts that have not been tried. */
async function memoryFor(order: Order, part: Part, signal: AbortSignal, first = false): Promise<PartMemory> {
  const { job, share, begun } = order;
  await begun.take(1, signal, first);
  await share.take(part.length, signal, first);
  const own = job.sink.memory(part);
  const bytes = (own ?? takeMemory(part.length)).subarray(0, part.length);
  const give = (): void => {
    if (!own) giveMemory(bytes);
    share.give(part.length);
    begun.give(1);
  };
  return { bytes, give };
}

/** A part that comes, or has come. */
interface Landing {
  readonly part: Part;
  /** The last byte has come; false: it will not. */
  readonly landed: Promise<boolean>;
  /** It is verified; null: it must be fetched again. */
  readonly whole: Promise<PartMemory | null>;
  /** How it went so far. */
  readonly past: Past;
}

/** What is known of a part that is fetched again. */
interface Past {
  /** How often its digest was wrong. */
  wrongs: number;
  url: StoreUrl | null;
  fault: StoreFault | null;
}

/**
 * One request's parts as they come. The next one lands while the last is verified and written, if there is memory for it; if there is
 * none, the socket is not read. What a request that ends early has not begun, others fetch.
 */
async function* landings(order: Order, { run, lane }: Begun, signal: AbortSignal): AsyncGenerator<Landing> {
  const { runs, share, job } = order;
  const stretch = new Stretch(job.transport, false);
  let doubted = false;
  try {
    for (let part = run.begin(); part; part = run.begin()) {
      const landing = land(order, { run, lane, stretch, part }, await memoryFor(order, part, signal), signal);
      landing.whole.then((memory) => (doubted ||= memory === null)).catch(() => {}); // whoever finishes it is told
      yield landing;
      if (!(await landing.landed) || doubted || share.crowded) return;
    }
  } finally {
    stretch.end();
    runs.end(run);
    lane.leave();
  }
}

function land(
  order: Order,
  { run, lane, stretch, part }: Begun & { stretch: Stretch; part: Part },
  memory: PartMemory,
  signal: AbortSignal,
): Landing {
  const past: Past = { wrongs: 0, url: null, fault: null };
  let tell: (landed: boolean) => void = () => {};
  const landed = new Promise<boolean>((resolve) => (tell = resolve));
  const read = async (attempt: Attempt): Promise<void> => {
    const moved = (bytes: number): void => {
      run.moved(bytes);
      attempt.moved(bytes);
    };
    const how = { ...attempt, moved };
    if (!stretch.isOpen) await openRun(order, { run, stretch, part, past }, how, signal);
    await stretch.read(memory.bytes, how);
  };
  const first = (attempt: Attempt): Promise<void> =>
    read(attempt).then(
      () => tell(true),
      (error: unknown) => {
        heed(error, lane);
        tell(false);
        throw error;
      },
    );
  const whole = fetchPart({ order, lane, part, past, bytes: memory.bytes, first }, signal).then(
    () => memory,
    (error: unknown) => {
      memory.give();
      if (!(error instanceof StoreFault)) throw error;
      past.fault = error;
      return null;
    },
  );
  return { part, landed, whole, past };
}

/** Asks for all parts that are the run's now. Nothing after that is asked for can be added, but some may be taken away. */
async function openRun(
  { job, urls, runs }: Order,
  { run, stretch, part, past }: { run: Run; stretch: Stretch; part: Part; past: Past },
  how: Attempt,
  signal: AbortSignal,
): Promise<void> {
  past.url = await urls.get(null, signal);
  const { last } = run;
  try {
    await stretch.open(past.url, rangeOf(part, last, job.manifest.size), how);
  } catch (error) {
    // Some proxies cut long answers short.
    if (last !== part && error instanceof StoreFault && error.error.code === "BAD_SERVER") runs.keepShort();
    throw error;
  }
}

/** Fetches a part by a request of its own after a request for it, or for its run, has failed. */
async function fetchAgain(order: Order, { part, past }: Landing, signal: AbortSignal): Promise<PartMemory> {
  const { job, urls, share } = order;
  const lane = share.lane();
  const attempt = async (last: StoreFault | null): Promise<PartMemory> => {
    const url = await urls.get(last?.remedy === "expired" ? past.url : null, signal);
    past.url = url;
    const memory = await memoryFor(order, part, signal, true);
    const first = (attempt: Attempt): Promise<void> =>
      fetchAlone(job, url, part, memory.bytes, past.wrongs > 0, attempt);
    try {
      await fetchPart({ order, lane, part, past, bytes: memory.bytes, first }, signal);
      return memory;
    } catch (error) {
      memory.give();
      throw error;
    }
  };
  return withRetries(lane, attempt, signal, past.fault);
}

interface Fetching {
  readonly order: Order;
  readonly lane: Lane;
  readonly part: Part;
  readonly past: Past;
  /** Where the part shall lie. */
  readonly bytes: Uint8Array;
  /** Brings it there. */
  readonly first: (attempt: Attempt) => Promise<void>;
}

/** Once, or twice at a time when the first takes too long; the second has memory of its own. */
async function fetchPart({ order, lane, part, past, bytes, first }: Fetching, signal: AbortSignal): Promise<void> {
  const { job, urls } = order;
  const spares: Uint8Array[] = [];
  const fetch = async (attempt: Attempt): Promise<Uint8Array> => {
    const into = attempt.second ? takeMemory(part.length) : bytes;
    if (attempt.second) {
      spares.push(into);
      await fetchAlone(job, await urls.get(null, signal), part, into, true, attempt);
    } else await first(attempt);
    await verify(job.manifest, part, into, past);
    return into;
  };
  const fetched = await lane.run(part.length, part.length, fetch, signal);
  if (fetched !== bytes) bytes.set(fetched);
  for (const spare of spares) giveMemory(spare);
}

async function fetchAlone(
  { transport, manifest }: DownloadJob,
  url: StoreUrl,
  part: Part,
  into: Uint8Array,
  fresh: boolean,
  attempt: Attempt,
): Promise<void> {
  const stretch = new Stretch(transport, fresh);
  await stretch.open(url, rangeOf(part, part, manifest.size), attempt);
  await stretch.read(into, attempt);
}

/** A part that is wrong is fetched once more, over a new connection; then it is what was stored. */
async function verify(manifest: Manifest, part: Part, bytes: Uint8Array, past: Past): Promise<void> {
  if ((await sha256(bytes)) === manifest.parts[part.number - 1]) return;
  past.wrongs += 1;
  if (past.wrongs > 1) throw fatal(corrupt(part.number));
  throw wrongAnswer("it sent a part that is not what the manifest says");
}

function tracker({ manifest, sink, onProgress }: DownloadJob): (bytes: number) => void {
  const parts = partsOf(manifest);
  const held = parts.filter(({ number }) => manifest.size === 0 || sink.held?.has(number));
  let transferredBytes = held.reduce((sum, { length }) => sum + length, 0);
  let partsDone = held.length;
  const partsTotal = parts.length;
  const tell = (): void => onProgress?.({ transferredBytes, totalBytes: manifest.size, partsDone, partsTotal });
  tell();
  return (bytes) => {
    transferredBytes += bytes;
    partsDone += 1;
    tell();
  };
}

function corrupt(part: number): WaybillError {
  return new WaybillError("CORRUPT", `Part ${part} is not what its sender signed; it was fetched twice.`);
}
