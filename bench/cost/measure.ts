import { CostBed, USUAL } from "./bed.ts";
import { type Coefficients, leastSquares, predict } from "./fit.ts";
import type { Used } from "./gas.ts";
import type { Measured, Point, Polled, Published, Work } from "./measured.ts";
import type { Tally } from "./meter.ts";
import { Federation, type RoundPlan } from "./round.ts";

/** From which the model is made: few and many members, few parts and as many as 100 MiB have, and larger parts. */
const GRID: readonly RoundPlan[] = [
  { members: 2, parts: 4, partMiB: 8 },
  { members: 2, parts: 13, partMiB: 8 },
  { members: 4, parts: 4, partMiB: 8 },
  { members: 4, parts: 13, partMiB: 8 },
  { members: 2, parts: 6, partMiB: 16 },
  { members: 2, parts: 20, partMiB: 16 },
  { members: 4, parts: 6, partMiB: 16 },
];
/** On which it is tried: neither its members nor its parts are in the grid. */
const CHECK: RoundPlan = { members: 10, parts: 8, partMiB: 8 };
/** A task in which nothing goes on. */
const QUIET: RoundPlan = { members: 1, parts: 1, partMiB: 8 };
/** Looking for news that doesn't come: so long, with its first and its last stretch. */
const WAIT_MS = 90_000;
const STRETCH_MS = 20_000;
/** Ticks of a clock with nothing to do, of which one is the mean. */
const IDLE_TICKS = 5;

/** Plays the rounds. `note` hears what is going on. */
export async function measure(note: (text: string) => void): Promise<Measured> {
  const bed = await CostBed.start();
  try {
    note("nothing new, and nothing to do");
    const [quiet, idle] = [await looks(bed), await idleTick(bed)]; // and everything has run once by then
    const lookMs = median(bed.served.splice(0), "polls");
    const small: Served[] = []; // of rounds with the fewest members
    const points: Point[] = [];
    const used: Used[] = [];
    for (const plan of GRID) {
      note(`${plan.members} members, ${plan.parts} parts of ${plan.partMiB} MiB`);
      const { point, gas } = await countedRound(bed, plan);
      points.push(point);
      const served = bed.served.splice(0);
      if (plan.members === GRID[0]!.members) small.push(...served);
      used.push(...gas);
    }
    note(`the check: ${CHECK.members} members, ${CHECK.parts} parts of ${CHECK.partMiB} MiB`);
    const check = await countedRound(bed, CHECK);
    return {
      date: new Date().toISOString().slice(0, 10),
      node: process.versions.node,
      ...USUAL,
      points,
      check: check.point,
      gas: fittedGas([...used, ...check.gas]),
      handlerMs: {
        uploads: median(small, "uploads"),
        downloads: median(small, "downloads"),
        tasks: median(small, "tasks"),
        looks: lookMs,
      },
      looks: quiet,
      idleTick: idle,
    };
  } finally {
    await bed.stop();
  }
}

async function countedRound(bed: CostBed, plan: RoundPlan): Promise<{ point: Point; gas: Used[] }> {
  const federation = await Federation.found(bed, plan);
  try {
    const [before, sent] = [bed.tally.copy(), bed.sent.length];
    await federation.play();
    const counts = bed.tally.since(before);
    const gas = await bed.gas(bed.sent.slice(sent));
    const point = { ...plan, work: workIn(counts), published: publishedIn(counts, gas), polled: polledIn(counts) };
    return { point, gas };
  } finally {
    await federation.leave();
  }
}

function workIn(counts: Tally): Work {
  return {
    uploads: counts.sum("api:uploads:"),
    downloads: counts.sum("api:downloads:"),
    tasks: counts.sum("api:tasks:"),
    put: counts.sum("s3:put:") - counts.get("publisher:put"),
    get: counts.sum("s3:get:") - counts.get("publisher:get"),
    rpc: counts.get("rpc:work:calls"),
    answerBytes: counts.get("out:uploads") + counts.get("out:downloads") + counts.get("out:tasks"),
    logBytes: counts.get("log:work"),
  };
}

function publishedIn(counts: Tally, gas: readonly Used[]): Published {
  const total = (of: (one: Used) => number): number => gas.reduce((sum, one) => sum + of(one), 0);
  return {
    statements: total(({ notices, messages, receipts }) => notices + messages + receipts),
    steps: counts.get("publisher:steps"),
    invocations: counts.get("invocations:publisher"),
    transactions: counts.get("kms:sign"),
    seconds: tidy(counts.get("seconds:publisher")),
    sqs: counts.sum("sqs:"),
    put: counts.get("publisher:put"),
    get: counts.get("publisher:get"),
    rpc: counts.get("rpc:publisher:calls"),
    gas: total((one) => one.gas),
    logBytes: counts.get("log:publisher"),
  };
}

function polledIn(counts: Tally): Polled {
  return {
    requests: counts.sum("api:polls:"),
    rpc: counts.get("rpc:polls:calls"),
    answerBytes: counts.get("out:polls"),
    logBytes: counts.get("log:polls"),
  };
}

function fittedGas(used: readonly Used[]): Measured["gas"] {
  const samples = used.map(({ gas, ...content }) => ({ features: { transactions: 1, ...content }, value: gas }));
  const coefficients = rounded(leastSquares(samples));
  const worst = Math.max(
    ...samples.map(({ features, value }) => Math.abs(predict(coefficients, features) / value - 1)),
  );
  return { transactions: used.length, worstPercent: Math.round(1_000 * worst) / 10, coefficients };
}

function rounded(coefficients: Coefficients): Coefficients {
  return Object.fromEntries(Object.entries(coefficients).map(([name, value]) => [name, Math.round(value)]));
}

async function looks(bed: CostBed): Promise<Measured["looks"]> {
  const federation = await Federation.found(bed, QUIET);
  try {
    const began = bed.tally.copy();
    const waiting = federation.wait(WAIT_MS);
    await pause(STRETCH_MS);
    const first = bed.tally.since(began);
    await pause(WAIT_MS - 2 * STRETCH_MS);
    const late = bed.tally.copy();
    await waiting;
    const [all, last] = [bed.tally.since(began), bed.tally.since(late)];
    const perMinute = (counts: Tally): number => (counts.sum("api:polls:") * 60_000) / STRETCH_MS;
    return {
      busyPerMinute: perMinute(first),
      quietPerMinute: perMinute(last),
      answerBytes: Math.round(all.get("out:polls") / all.sum("api:polls:")),
    };
  } finally {
    await federation.leave();
  }
}

async function idleTick(bed: CostBed): Promise<Measured["idleTick"]> {
  await bed.drain();
  const before = bed.tally.copy();
  for (let i = 0; i < IDLE_TICKS; i++) await bed.tick();
  const { seconds, put, get, rpc, logBytes } = publishedIn(bed.tally.since(before), []);
  const mean = (sum: number): number => tidy(sum / IDLE_TICKS);
  return { seconds: mean(seconds), put: mean(put), get: mean(get), rpc: mean(rpc), logBytes: mean(logBytes) };
}

function tidy(value: number): number {
  return Number(value.toFixed(4));
}

type Served = CostBed["served"][number];

function median(all: readonly Served[], service: string): number {
  const times = all.filter((one) => one.service === service).map(({ ms }) => ms);
  const sorted = times.sort((a, b) => a - b);
  return Math.round(sorted[sorted.length >> 1]!);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
