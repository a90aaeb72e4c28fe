import { Dice } from "../support/crowd.ts";
import type { Into } from "./soak-cast.ts";

// What a round does, worked out from its seed before it begins; so that a failing one can be told, and done again.

export interface Shape {
  /** Members of each task; the first `senders` of them send. */
  readonly tasks: readonly { readonly members: number; readonly senders: number }[];
  /** Which members, over all tasks, read the chain at a node of their own. */
  readonly ownNode: readonly boolean[];
}

/** What is broken, until another fault or a calm: every so-many-th request that fits. */
export type Trouble =
  | { readonly at: "api"; readonly kind: "lost" | "reset" | "503" | "hold"; readonly every: number }
  | {
      readonly at: "store";
      readonly kind: "lost" | "reset" | "503" | "hold" | "cut" | "flip" | "spoil";
      readonly every: number;
    }
  | { readonly at: "rpc"; readonly kind: "lost" | "reset" | "refuse"; readonly every: number };

export type Deed =
  | {
      readonly do: "send";
      readonly task: number;
      readonly from: number;
      readonly to: readonly number[];
      readonly tag: string;
      readonly size: number;
      readonly as: "bytes" | "file" | "stream";
      readonly ms: number;
      readonly all: boolean;
    }
  | {
      readonly do: "receive";
      readonly task: number;
      readonly by: number;
      readonly from: readonly number[];
      readonly tag: string | null;
      readonly into: Into;
      readonly ms: number;
    }
  | {
      readonly do: "gather";
      readonly task: number;
      readonly by: number;
      readonly from: readonly number[];
      readonly ms: number;
      readonly all: boolean;
    }
  | { readonly do: "post"; readonly task: number; readonly by: number; readonly to: readonly number[] | null }
  | { readonly do: "abort" | "restart"; readonly task: number; readonly by: number; readonly which: number }
  | { readonly do: "expel" | "admit"; readonly task: number; readonly by: number }
  | { readonly do: "reorg"; readonly depth: number }
  | { readonly do: "stop publisher" | "start publisher" | "restart api" | "restart store" | "calm" }
  | { readonly do: "fault"; readonly trouble: Trouble }
  | { readonly do: "pass"; readonly seconds: number }
  | { readonly do: "clock"; readonly whose: "api" | "store"; readonly seconds: number };

/** A deed, and the blocks until the next one. */
export type Step = Deed & { readonly wait: number };

export interface Plan {
  readonly seed: number;
  readonly shape: Shape;
  readonly steps: readonly Step[];
}

export interface Scale {
  readonly steps: number;
  readonly senders: number;
  readonly recipients: number;
  readonly tasks: number;
  readonly largest: number;
  /** The least and most seconds that a call has. */
  readonly seconds: readonly [number, number];
}

/** For `npm test`. */
export const SHORT: Scale = { steps: 16, senders: 2, recipients: 3, tasks: 1, largest: 300_000, seconds: [3, 8] };
/** For `npm run soak`. A round is a minute of one processor: all members live in one process. */
export const LONG: Scale = { steps: 60, senders: 8, recipients: 16, tasks: 3, largest: 3_000_000, seconds: [6, 25] };

const PART = 64 * 1024;
const SIZES = [0, 1, 15, 16, 17, 1_000, PART - 1, PART, PART + 1, 3 * PART + 7];
const WEIGHTS: readonly (readonly [Deed["do"], number])[] = [
  ...([
    ["send", 22],
    ["receive", 24],
    ["gather", 4],
    ["post", 5],
    ["abort", 6],
    ["restart", 4],
  ] as const),
  ...([
    ["expel", 2],
    ["admit", 3],
    ["reorg", 6],
    ["stop publisher", 3],
    ["start publisher", 4],
  ] as const),
  ...([
    ["restart api", 2],
    ["restart store", 2],
    ["fault", 7],
    ["calm", 4],
    ["pass", 1],
    ["clock", 2],
  ] as const),
];

export function planOf(seed: number, scale: Scale): Plan {
  return new Planner(seed, scale).plan();
}

class Planner {
  readonly #dice: Dice;
  readonly #seed: number;
  readonly #scale: Scale;
  readonly #shape: Shape;
  readonly #sent: { task: number; from: number; to: readonly number[]; tag: string }[] = [];

  constructor(seed: number, scale: Scale) {
    this.#seed = seed;
    this.#scale = scale;
    this.#dice = new Dice(seed);
    this.#shape = this.#drawShape();
  }

  plan(): Plan {
    const steps: Step[] = [];
    while (steps.length < this.#scale.steps) {
      const deed = this.#deed(this.#kind());
      if (deed) steps.push({ ...deed, wait: this.#dice.whole(0, 3) });
    }
    return { seed: this.#seed, shape: this.#shape, steps };
  }

  #drawShape(): Shape {
    const dice = this.#dice;
    const count = dice.whole(1, this.#scale.tasks);
    const [senders, recipients] = [
      dice.whole(count, Math.max(count, this.#scale.senders)),
      dice.whole(count, Math.max(count, this.#scale.recipients)),
    ];
    const share = (whole: number, i: number): number => Math.floor(whole / count) + (i < whole % count ? 1 : 0);
    const tasks = Array.from({ length: count }, (_, i) => ({
      senders: share(senders, i),
      members: share(senders, i) + share(recipients, i),
    }));
    return { tasks, ownNode: Array.from({ length: senders + recipients }, () => dice.next() < 0.3) };
  }

  #kind(): Deed["do"] {
    const sum = WEIGHTS.reduce((total, [, weight]) => total + weight, 0);
    let left = this.#dice.next() * sum;
    for (const [kind, weight] of WEIGHTS) {
      left -= weight;
      if (left < 0) return kind;
    }
    return "calm";
  }

  #deed(kind: Deed["do"]): Deed | null {
    const dice = this.#dice;
    const task = dice.whole(0, this.#shape.tasks.length - 1);
    const { members, senders } = this.#shape.tasks[task]!;
    const everyone = Array.from({ length: members }, (_, i) => i);
    switch (kind) {
      case "send":
        return this.#send(task, everyone, senders);
      case "receive":
        return this.#receive();
      case "gather": {
        const by = dice.whole(0, members - 1);
        const from = dice.some(
          everyone.slice(0, senders).filter((one) => one !== by),
          dice.whole(1, 4),
        );
        return from.length === 0 ? null : { do: kind, task, by, from, ms: this.#time(), all: dice.next() < 0.5 };
      }
      case "post": {
        const to = dice.next() < 0.5 ? null : dice.some(everyone, dice.whole(1, members));
        return { do: kind, task, by: dice.whole(0, members - 1), to };
      }
      case "abort":
      case "restart":
        return { do: kind, task, by: dice.whole(0, members - 1), which: dice.whole(0, 7) };
      case "expel":
      case "admit":
        return { do: kind, task, by: dice.whole(0, members - 1) };
      case "reorg":
        return { do: kind, depth: dice.whole(1, 3) };
      case "fault":
        return { do: kind, trouble: this.#trouble() };
      case "pass":
        return { do: kind, seconds: dice.pick([1, 5, 20, 90]) };
      case "clock":
        return { do: kind, whose: dice.pick(["api", "store"] as const), seconds: dice.whole(-14 * 60, 14 * 60) };
      default:
        return { do: kind };
    }
  }

  #send(task: number, everyone: readonly number[], senders: number): Deed {
    const dice = this.#dice;
    const again = this.#sent.filter((one) => one.task === task);
    const known = again.length > 0 && dice.next() < 0.15 ? dice.pick(again) : null; // the same tag, perhaps to others
    const from = known?.from ?? dice.whole(0, senders - 1);
    const others = everyone.filter((one) => one !== from);
    const to = dice.some(others, dice.next() < 0.3 ? others.length : dice.whole(1, others.length));
    const tag = known?.tag ?? `s${this.#seed}/t${this.#sent.length}`;
    const size = dice.next() < 0.6 ? dice.pick(SIZES) : dice.whole(0, this.#scale.largest);
    this.#sent.push({ task, from, to, tag });
    const as = dice.pick(["bytes", "file", "stream"] as const);
    return { do: "send", task, from, to, tag, size, as, ms: this.#time(), all: dice.next() < 0.5 };
  }

  /** Mostly of what was sent. */
  #receive(): Deed | null {
    const dice = this.#dice;
    if (this.#sent.length === 0) return null;
    const { task, from, to, tag } = dice.pick(this.#sent.slice(-6));
    const { senders } = this.#shape.tasks[task]!;
    const by = dice.pick(to);
    const tagged = dice.next() < 0.6;
    const senderIndices = Array.from({ length: senders }, (_, i) => i);
    const all = [
      from,
      ...dice.some(
        senderIndices.filter((one) => one !== by && one !== from),
        2,
      ),
    ];
    const into = dice.pick(
      tagged ? (["bytes", "path", "dir", "stream"] as const) : (["bytes", "dir", "stream"] as const),
    );
    return { do: "receive", task, by, from: tagged ? [from] : all, tag: tagged ? tag : null, into, ms: this.#time() };
  }

  /** Milliseconds: enough when all is well, and sometimes not. */
  #time(): number {
    return this.#dice.whole(...this.#scale.seconds) * 1000;
  }

  #trouble(): Trouble {
    const dice = this.#dice;
    const every = dice.whole(2, 6);
    const at = dice.pick(["api", "store", "rpc"] as const);
    if (at === "api") return { at, kind: dice.pick(["lost", "reset", "503", "hold"] as const), every };
    if (at === "rpc") return { at, kind: dice.pick(["lost", "reset", "refuse"] as const), every };
    return { at, kind: dice.pick(["lost", "reset", "503", "hold", "cut", "flip", "spoil"] as const), every };
  }
}
