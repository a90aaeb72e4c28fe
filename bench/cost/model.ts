import { PAGE_SIZE } from "../../lib/protocol/limits.ts";
import { type Coefficients, leastSquares, predict } from "./fit.ts";
import type { Measured, Point, Polled, Published, Work } from "./measured.ts";

/** A round that is to be reckoned. */
export interface Plan {
  /** Members beside the aggregator. */
  readonly members: number;
  /** Parts of each payload, and which of the measured part sizes they have. */
  readonly parts: number;
  readonly partMiB: number;
  /** Minutes in which models and updates travel: everybody looks for news all the while. */
  readonly busyMinutes: number;
  /** Minutes in which the members train: the aggregator alone looks for news. */
  readonly quietMinutes: number;
}

/** Everything that one round takes. */
export interface Round {
  /** Seconds in the functions that the API calls; looks are of `tasks`. */
  readonly seconds: Readonly<Record<"uploads" | "downloads" | "tasks", number>>;
  readonly work: Work;
  readonly published: Published;
  readonly polled: Polled;
}

const workNames = [
  ...["uploads", "downloads", "tasks"],
  ...["put", "get", "rpc", "answerBytes", "logBytes"],
] as (keyof Work)[];
const publishedNames = ["invocations", "seconds", "sqs", "put", "get", "rpc", "logBytes"] as const;
/** An aggregator that says when a round begins and ends. */
const MESSAGES = 2;

/** One notice per page of recipients and one per update, a receipt for each payload that somebody got, and the messages. */
export function statementsOf(members: number): number {
  return Math.ceil(members / PAGE_SIZE) + members + 2 * members + MESSAGES;
}

type Payloads = Pick<Plan, "members" | "parts" | "partMiB">;

/**
 * What members' requests depend on: the round, each member, and each part of that size that goes up, or comes down where it is
 * GETs that are counted. Every payload goes up once: the model, and a member's update. Every member gets one and sends one.
 */
function workFeatures(name: keyof Work, sizes: readonly number[], plan: Payloads): Record<string, number> {
  const { members, parts, partMiB } = plan;
  if (!sizes.includes(partMiB)) throw new Error(`Parts of ${partMiB} MiB were not measured.`);
  const moved = parts * (name === "get" ? 2 * members : members + 1);
  const ofSizes = sizes.map((size) => [`part of ${size} MiB`, size === partMiB ? moved : 0] as const);
  return { round: 1, member: members, ...Object.fromEntries(ofSizes) };
}

function publishedFeatures({ statements, steps }: Pick<Published, "statements" | "steps">): Record<string, number> {
  return { statement: statements, step: steps };
}

/** The model that the measured rounds give. */
export class Model {
  readonly #measured: Measured;

  constructor(measured: Measured) {
    this.#measured = measured;
  }

  /** What members' requests take, by what they depend on. Larger parts are asked for in other bundles. */
  work(): Readonly<Record<keyof Work, Coefficients>> {
    const entries = workNames.map((name) => {
      const samples = this.#all().map((point) => ({
        features: workFeatures(name, this.#sizes(), point),
        value: point.work[name],
      }));
      return [name, leastSquares(samples)] as const;
    });
    return Object.fromEntries(entries) as Record<keyof Work, Coefficients>;
  }

  published(): Readonly<Record<(typeof publishedNames)[number], Coefficients>> {
    const entries = publishedNames.map((name) => {
      const samples = this.#all().map(({ published }) => ({
        features: publishedFeatures(published),
        value: published[name],
      }));
      return [name, leastSquares(samples)] as const;
    });
    return Object.fromEntries(entries) as Record<(typeof publishedNames)[number], Coefficients>;
  }

  /** A look for news: on average over all of them, with what there was to be told of. */
  look(): Readonly<{ rpc: number; logBytes: number; bytesPerStatement: number }> {
    const { looks, points } = this.#measured;
    const all = totalOf(points.map(({ polled }) => polled));
    const told = points.reduce((sum, { members, published }) => sum + (members + 1) * published.statements, 0);
    return {
      rpc: all.rpc / all.requests,
      logBytes: all.logBytes / all.requests,
      bytesPerStatement: Math.max(0, all.answerBytes - looks.answerBytes * all.requests) / told,
    };
  }

  round(plan: Plan): Round {
    const published = this.#publishedIn(plan);
    const [work, polled] = [this.workIn(plan), this.#polledIn(plan, published)];
    const { handlerMs } = this.#measured;
    const seconds = {
      uploads: (work.uploads * handlerMs.uploads) / 1_000,
      downloads: (work.downloads * handlerMs.downloads) / 1_000,
      tasks: (work.tasks * handlerMs.tasks + polled.requests * handlerMs.looks) / 1_000,
    };
    return { work, published, polled, seconds };
  }

  workIn(plan: Payloads): Work {
    const model = this.work();
    const sizes = this.#sizes();
    const entries = workNames.map((name) => {
      return [name, Math.max(0, predict(model[name], workFeatures(name, sizes, plan)))] as const;
    });
    return Object.fromEntries(entries) as unknown as Work;
  }

  /** What is published in so many steps. */
  publishedIn(statements: number, steps: number, gas: number, transactions: number): Published {
    const model = this.published();
    const features = publishedFeatures({ statements, steps });
    const entries = publishedNames.map((name) => [name, Math.max(0, predict(model[name], features))] as const);
    return { ...(Object.fromEntries(entries) as unknown as Published), statements, steps, gas, transactions };
  }

  gasOf(content: {
    transactions: number;
    notices: number;
    messages: number;
    receipts: number;
    answered: number;
  }): number {
    return predict(this.#measured.gas.coefficients, content);
  }

  /**
   * Members answer whenever they are done, so their statements come evenly, and each step takes what has come by then: as many
   * steps as in the small rounds, where hardly two come together, but no more than there is time for.
   */
  #publishedIn({ members, busyMinutes }: Plan): Published {
    const all = this.#all().map(({ published }) => published);
    const { statements: n, steps: s, transactions: t, seconds } = totalOf(all);
    const statements = statementsOf(members);
    const steps = Math.min(statements * (s / n), (busyMinutes * 60) / (seconds / s));
    const transactions = Math.min(statements, steps * (t / s));
    const pages = Math.ceil(members / PAGE_SIZE);
    const content = { transactions, notices: pages + members, messages: MESSAGES, receipts: 2 * members };
    // Receipts for the model share an item with those of their page that go with them; the aggregator's are for a notice each.
    const answered = members + Math.min(members, (transactions / 2) * pages);
    return this.publishedIn(statements, steps, this.gasOf({ ...content, answered }), transactions);
  }

  #polledIn({ members, busyMinutes, quietMinutes }: Plan, { statements, transactions }: Published): Polled {
    const { looks } = this.#measured;
    const { rpc, logBytes, bytesPerStatement } = this.look();
    const everybody = members + 1;
    // After news there is another look at once.
    const requests =
      everybody * (busyMinutes * looks.busyPerMinute + transactions) + quietMinutes * looks.quietPerMinute;
    const answerBytes = requests * looks.answerBytes + everybody * statements * bytesPerStatement;
    return { requests, rpc: requests * rpc, logBytes: requests * logBytes, answerBytes };
  }

  #sizes(): number[] {
    return [...new Set(this.#all().map(({ partMiB }) => partMiB))];
  }

  #all(): readonly Point[] {
    return this.#measured.points;
  }
}

function totalOf<T extends object>(all: readonly T[]): { [name in keyof T]: number } {
  const names = Object.keys(all[0] ?? {}) as (keyof T)[];
  const sums = names.map((name) => [name, all.reduce((sum, one) => sum + Number(one[name]), 0)] as const);
  return Object.fromEntries(sums) as { [name in keyof T]: number };
}
