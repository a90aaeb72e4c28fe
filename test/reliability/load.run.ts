import { loadavg } from "node:os";
import { describe, expect, it } from "vitest";
import { isRefusal, quantile, sorted } from "../support/load.ts";
import { type Many, TRANSFER, type Transferred, transferMany } from "../support/load-transfers.ts";
import { LoadWorld } from "../support/load-world.ts";
import { type Held, LoadRun, type Measured } from "./load-phases.ts";
import { asked, origin, record, table } from "./report.ts";

// npm run load -- --minutes N [--only rate|memory] [--seed S] [--record]. Who asks and who answers are processes of their own.

const MEMBERS = 500;
const MANY: Many = { members: MEMBERS, transfers: 100, processes: 4 };
/** Each pair has had some transfers, or there is nothing to be seen. */
const LEAST_TRANSFERS = 4 * MANY.transfers;
/** Memory is flat if the last quarter's median is at most so much over the second quarter's, and what is alive is, too. */
const FLAT = 1.1;
/** The embedded store's index of an object, which is in memory: its key twice, checksums, where its bytes are. */
const INDEX_BYTES = 2_048;
const MiB = 2 ** 20;

const { minutes: given, seed, only, record: kept } = asked();
const minutes = given ?? 3;
const before = loadavg()[0]!;
const pages: string[] = [];
const say = (line: string): void => void process.stdout.write(`${line}\n`);

describe.runIf(only !== "memory")("signed requests", () => {
  it("at the rate that is held for minutes, at three times that, and afterwards", async () => {
    const world = await LoadWorld.start();
    try {
      const run = new LoadRun(world, await world.crew(MEMBERS), seed, say);
      try {
        const held = await run.run(minutes);
        pages.push(pageOfRates(held));
        say(pages.at(-1)!);
        judge(held);
      } finally {
        await run.stop();
      }
    } finally {
      await world.stop();
    }
  });
});

describe.runIf(only !== "rate")("memory", () => {
  it("stays as it is while a hundred transfers are under way in a task of 500 members", async () => {
    const seen = await transferMany(MANY, ({ seconds, transfers }) => {
      if (Math.floor(seconds) % 10 === 0) say(`${seconds.toFixed(0)} s: ${transfers} transfers`);
      return seconds >= minutes * 60 && transfers >= LEAST_TRANSFERS;
    });
    pages.push(pageOfMemory(seen));
    say(pages.at(-1)!);
    const [, second, , last] = quarters(seen.samples.map(({ rss }) => rss));
    expect(last! / second!).toBeLessThan(FLAT);
    const [early, late] = seen.alive;
    const index = (late.objects - early.objects) * INDEX_BYTES;
    expect((late.live - index) / early.live).toBeLessThan(FLAT);
  });
});

describe.runIf(kept && only === null)("the record", () => {
  it("is written", async () => {
    expect(pages).toHaveLength(2);
    const made = origin(`npm run load -- --minutes ${minutes} --seed ${seed} --record`);
    await record("load", [`${made} Load of the machine before: ${before.toFixed(2)}.`, ...pages].join("\n\n"));
  });
});

/** Whatever the load: nothing but 429 and 503 refuses, nobody is left without an answer, and what was accepted is on the chain. */
function judge({ phases, recovery, rounds, faults }: Held): void {
  expect(faults).toEqual([]);
  for (const { phase } of phases)
    for (const status of phase.statuses.keys()) expect([200, 202, 429, 503]).toContain(status);
  expect(phases[0]!.phase.refused).toBe(0);
  expect(recovery).not.toBeNull();
  expect(rounds.finished).toBe(rounds.begun);
}

const RATES = [
  ..."load|asked a second|answered well a second|refused|without answer|p50, ms|p99, ms|slowest, ms|sent late, p99, ms".split(
    "|",
  ),
  "memory, MiB: first to last quarter",
  "processors: server, store, asking",
];

function pageOfRates({ rate, tried, phases, recovery, rounds }: Held): string {
  const steps = tried.map(({ rate, held }) => `${rate} ${held ? "held" : "not"}`).join(", ");
  const back = recovery === null ? "not within a minute" : `${recovery} s after the flood`;
  return [
    "### Signed requests on one process",
    "`waybill serve` (API, publisher and sweeper) as one Node process, its store (the embedded one, in a process of its own), an anvil, and who asks: a process that signs in two threads. " +
      "**An open loop**: requests are due at random times of a fixed rate, whether or not earlier ones are answered, and a request's time counts from when it was due; so no slow answer keeps others from being asked, and what they would have waited is in the numbers (no coordinated omission). " +
      `A task of ${MEMBERS} members, in which whole rounds go on side by side: a sender begins, has a part signed, uploads and finishes; two recipients read events, ask for the download, fetch it and sign receipts; the sender looks at its notice. Ten signed requests, three of them with statements for the chain; what is refused is asked again after Retry-After, within the same rate.`,
    `Steps of 15 s, held if 99 of 100 are answered within a second and none is refused: ${steps} (a second). Four fifths of the highest is what is then held for minutes: ${rate} a second.`,
    table(RATES, phases.map(rowOf)),
    `Back as before (five seconds in a row with every answer within one second and no refusal): ${back}. ${rounds.begun} rounds were begun, ${rounds.finished} ended well: every statement that was accepted stood on the chain, read past the server.`,
  ].join("\n\n");
}

function rowOf({ name, phase, rss, serve, store, generator }: Measured): string[] {
  const { asked, seconds, times, refused } = phase;
  const share = (count: number): string => `${((100 * count) / asked.length).toFixed(1)} %`;
  const codes = [...new Set(asked.map(({ status }) => status).filter(isRefusal))].join(", ");
  const lost = asked.filter(({ status }) => status === "lost").length;
  const late = quantile(sorted(asked.map(({ late }) => late)), 0.99);
  return [
    ...[name, (asked.length / seconds).toFixed(1), (times.length / seconds).toFixed(1)],
    refused === 0 ? "0" : `${share(refused)} (${codes})`,
    ...[String(lost), quantile(times, 0.5).toFixed(0), quantile(times, 0.99).toFixed(0)],
    ...[(times.at(-1) ?? Number.NaN).toFixed(0), late.toFixed(1), mib(quarters(rss))],
    [serve, store, generator].map((used) => used.toFixed(2)).join(", "),
  ];
}

function pageOfMemory({ samples, transfers, seconds, alive, processor }: Transferred): string {
  const rss = samples.map(({ rss }) => rss);
  const underWay = sorted(samples.map(({ underWay }) => underWay));
  const { size, partSize } = TRANSFER;
  return [
    "### 500 members, 100 transfers at once",
    `The embedded stack (store, API, publisher, sweeper) as one process, a task of ${MANY.members} members, and ${MANY.transfers} pairs of them in ${MANY.processes} processes, each with a transfer of ${size / MiB} MiB in ${size / partSize} parts under way at all times, by the library's own calls.`,
    table(
      [
        "transfers",
        "seconds",
        "under way, median",
        "RSS by quarters, median, MiB",
        "RSS, most, MiB",
        "alive on the heap, MiB",
        "objects in the store",
        "processor",
      ],
      [
        [
          ...[String(transfers), seconds.toFixed(0), String(quantile(underWay, 0.5)), mib(quarters(rss))],
          ...[
            mib([Math.max(...rss)]),
            mib(alive.map(({ live }) => live)),
            alive.map(({ objects }) => objects).join(", "),
            (processor / seconds).toFixed(2),
          ],
        ],
      ],
    ),
    `Flat means: the last quarter's median is less than ${Math.round((FLAT - 1) * 100)} % over the second quarter's, and so is what is alive on the heap after a full collection, at the end against when each pair had had its first transfer, less ${INDEX_BYTES} bytes for each object that came meanwhile: the embedded store has its index in memory.`,
  ].join("\n\n");
}

/** The median of each quarter of samples. */
function quarters(samples: readonly number[]): number[] {
  const length = samples.length / 4;
  return [0, 1, 2, 3].map((nth) =>
    quantile(sorted(samples.slice(Math.floor(nth * length), Math.floor((nth + 1) * length))), 0.5),
  );
}

function mib(bytes: readonly number[]): string {
  return bytes.map((one) => (one / MiB).toFixed(0)).join(", ");
}
