import { GiB } from "../../lib/protocol/limits.ts";
import { CAPPED_CONNECTIONS, cappedName, shareOfIdeal } from "./further.ts";
import type { Row } from "./trial.ts";

/** A target, and what was measured of it; null where the rows for it are missing or failed. */
export interface Verdict {
  readonly target: string;
  readonly measured: string;
  readonly met: boolean | null;
}

/** Seconds of processor time per GiB that SHA-256 may cost an upload on top of what its peers take. */
const HASHING = 0.9;
const MOST_RSS = 300;
/** Peaks that differ by no more than this are flat. */
const FLAT = 1.25;
/** What a machine's mood may add to the time per part. */
const STEADY = 1.5;

/** Judges the rows by the targets that the project has set itself. */
export function judge(rows: readonly Row[]): Verdict[] {
  const book = new Book(rows);
  const downloads = ["download, HTTP", "download, HTTPS"].flatMap((name) => download(book, name));
  return [...downloads, ...upload(book, "upload, S3"), ...links(book), ...memory(book), ...parts(book)];
}

class Book {
  readonly #rows: readonly Row[];

  constructor(rows: readonly Row[]) {
    this.#rows = rows.filter(({ wallS }) => wallS !== null);
  }

  of(name: string, tool = "waybill"): Row | undefined {
    return this.#rows.find((row) => row.case === name && row.tool === tool);
  }

  like(words: string): Row[] {
    return this.#rows.filter((row) => row.case.includes(words) && row.tool === "waybill");
  }

  peers(name: string): Row[] {
    return this.#rows.filter((row) => row.case === name && !row.tool.startsWith("waybill"));
  }
}

function fastest(rows: readonly Row[]): Row | undefined {
  return rows.toSorted((a, b) => (b.gibPerS ?? 0) - (a.gibPerS ?? 0))[0];
}

/** A speed of ours against the fastest of some peers. */
function speed(target: string, own: Row | undefined, peers: readonly Row[], share: number): Verdict {
  const best = fastest(peers);
  if (!own || !best) return { target, measured: own ? "no such peer" : "", met: own ? true : null };
  const ratio = own.gibPerS! / best.gibPerS!;
  return {
    target,
    measured: `${own.gibPerS} GiB/s, ${best.tool} ${best.gibPerS} (${ratio.toFixed(2)})`,
    met: ratio >= share,
  };
}

function download(book: Book, name: string): Verdict[] {
  const [verified, plain, curl] = [book.of(name), book.of(name, "waybill, no SHA-256"), book.of(name, "curl")];
  const peers = book.peers(name);
  const both = plain && curl;
  return [
    speed(`${name}, unverified: as fast as the fastest peer`, plain, peers, 1),
    {
      target: `${name}, unverified: no more CPU than curl`,
      measured: both ? `${plain.cpuS} s, curl ${curl.cpuS} s` : "",
      met: both ? plain.cpuS! <= curl.cpuS! : null,
    },
    speed(`${name}, SHA-256: as fast as every peer that verifies`, verified, guarded(peers), 1),
    speed(`${name}, SHA-256: 0.8 of the fastest that doesn't`, verified, unguarded(peers), 0.8),
  ];
}

const guarded = (rows: readonly Row[]): Row[] => rows.filter(({ verify }) => verify !== "none");
const unguarded = (rows: readonly Row[]): Row[] => rows.filter(({ verify }) => verify === "none");

function upload(book: Book, name: string): Verdict[] {
  const own = book.of(name);
  const sha = book.peers(name).filter(({ verify }) => verify === "sha-256");
  const others = book.peers(name).filter(({ verify }) => verify !== "sha-256");
  // The least of those that are as good: any other would be an easier mark.
  const frugal = book.peers(name).toSorted((a, b) => a.cpuS! - b.cpuS!)[0];
  const allowed = own && frugal && frugal.cpuS! + (HASHING * own.bytes) / GiB;
  return [
    speed(`${name}: as fast as every peer that sends SHA-256`, own, sha, 1),
    speed(`${name}: 0.8 of the fastest that sends none`, own, others, 0.8),
    {
      target: `${name}: the most frugal peer's CPU + ${HASHING} s/GiB at most`,
      measured: own && frugal ? `${own.cpuS} s, ${frugal.tool} ${frugal.cpuS} s` : "",
      met: own && allowed !== undefined ? own.cpuS! <= allowed : null,
    },
  ];
}

function links(book: Book): Verdict[] {
  const capped = CAPPED_CONNECTIONS.map((connections) => {
    const row = book.of(cappedName(connections));
    const share = row && shareOfIdeal(row, connections);
    return {
      target: `${cappedName(connections)}: 95 % of the ideal`,
      measured: share === undefined ? "" : `${(100 * share).toFixed(1)} %`,
      met: share === undefined ? null : share >= 0.95,
    };
  });
  const [clean] = book.like("link without failures");
  const [failing] = book.like("1 % of parts fail");
  const both = clean && failing;
  return [
    ...capped,
    {
      target: "1 % of parts fail: 90 % of the goodput without failures",
      measured: both ? `${failing.gibPerS} of ${clean.gibPerS} GiB/s` : "",
      met: both ? failing.gibPerS! >= 0.9 * clean.gibPerS! : null,
    },
  ];
}

function memory(book: Book): Verdict[] {
  return ["download", "upload"].map((way) => {
    const peaks = book
      .like("payload of ")
      .filter((row) => row.case.includes(way))
      .map(({ rssMiB }) => rssMiB!);
    const flat = Math.max(...peaks) <= FLAT * Math.min(...peaks);
    return {
      target: `peak RSS of large payloads, ${way}: at most ${MOST_RSS} MiB, and flat`,
      measured: peaks.length === 0 ? "" : `${peaks.join(", ")} MiB`,
      met: peaks.length === 0 ? null : flat && Math.max(...peaks) <= MOST_RSS,
    };
  });
}

/** Beyond what it costs to start, which the smallest of the three tells. */
function parts(book: Book): Verdict[] {
  return ["download", "upload", "the second half after a kill"].map((what) => {
    const [few, some, many] = [100, 1_000, 10_000].map((count) => book.of(`${count} parts of 64 KiB, ${what}`));
    const target = `10,000 parts, ${what}: no slower per part than 1,000`;
    if (!few || !some || !many) return { target, measured: "", met: null };
    const [middle, most] = [(some.wallS! - few.wallS!) / 900, (many.wallS! - few.wallS!) / 9_900];
    const measured = `${(1_000 * most).toFixed(2)} ms each, ${(1_000 * middle).toFixed(2)} ms at 1,000`;
    return { target, measured, met: most <= STEADY * middle };
  });
}
