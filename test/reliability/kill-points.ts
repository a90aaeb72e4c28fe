import { itemKinds } from "../../lib/protocol/statements.ts";
import type { Role } from "./kill-child.ts";
import type { Coming } from "./oracle-fronts.ts";

export type Victim = "sender" | "recipient" | Exclude<Role, "member">;

/** What is told of a payload: it arrives; or its sender has given it up, and sends it again. */
export type Story = "delivery" | "change of mind";

/** The step at which a process is killed; it is then dropped, or carried out without anybody who hears the answer. */
interface Step {
  readonly victim: Victim;
  readonly what: string;
  /** A request to one of these, or a function on a file of the victim's own. */
  readonly at: "api" | "store" | "rpc" | "file";
  readonly matches: (asked: Asked) => boolean;
  /** The how many-th such step; default the first. */
  readonly nth?: number;
  /** Default: delivery. */
  readonly story?: Story;
  /** Needs a statement in the outbox that the publisher has to refuse. */
  readonly refusal?: true;
}

/** A request as the points see it; over RPC and of files the method alone. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Whether it came by a URL that the functions had signed. */
  readonly presigned: boolean;
  readonly body: Buffer;
}

export interface Point extends Omit<Step, "at" | "nth" | "story"> {
  readonly at: Step["at"] | "notice";
  readonly nth: number;
  readonly story: Story;
  readonly fate: "dropped" | "carried out";
  readonly name: string;
}

export function askedOf({ method, target, body }: Coming): Asked {
  const { pathname: path, searchParams: query } = new URL(target, "http://front");
  return { method, path: decodeURIComponent(path), query, presigned: query.has("X-Amz-Signature"), body };
}

/** What is no HTTP request and has a name only. */
export function calledOnly(method: string): Asked {
  return { method, path: "", query: new URLSearchParams(), presigned: false, body: Buffer.alloc(0) };
}

const posts =
  (end: RegExp) =>
  ({ method, path }: Asked): boolean =>
    method === "POST" && end.test(path);
const puts =
  (key: RegExp, word = "") =>
  ({ method, path, presigned, body }: Asked): boolean =>
    method === "PUT" && !presigned && key.test(path) && body.includes(word);
const entryOf = (kind: keyof typeof itemKinds): ReturnType<typeof puts> =>
  puts(new RegExp(`/outbox/.*/[0-9]{13}-${itemKinds[kind]}-`));
const isPart = ({ method, presigned, query }: Asked): boolean =>
  method === "PUT" && presigned && query.has("partNumber");
const isRead = ({ method, presigned, path }: Asked): boolean =>
  method === "GET" && presigned && path.includes("/payload/");
const calls =
  (name: string) =>
  ({ method }: Asked): boolean =>
    method === name;
/** The file functions that a recipient can be stopped at. */
export const FILE_CALLS = ["appendFile", "sync", "link"] as const;
const hasMind = { story: "change of mind" } as const;

const steps: readonly Step[] = [
  { victim: "sender", what: "begin", at: "api", matches: posts(/\/transfers$/) },
  { victim: "sender", what: "the first part", at: "store", matches: isPart },
  { victim: "sender", what: "the third part", at: "store", matches: isPart, nth: 3 },
  { victim: "sender", what: "finish", at: "api", matches: posts(/\/finish$/) },
  { victim: "sender", what: "the withdrawal", at: "api", matches: posts(/\/withdrawals$/), ...hasMind },
  { victim: "recipient", what: "the question for URLs", at: "api", matches: posts(/\/download$/) },
  { victim: "recipient", what: "the first read", at: "store", matches: isRead },
  { victim: "recipient", what: "the journal's first line", at: "file", matches: calls("appendFile") },
  { victim: "recipient", what: "a part's line in the journal", at: "file", matches: calls("appendFile"), nth: 2 },
  { victim: "recipient", what: "the whole file's sync", at: "file", matches: calls("sync") },
  { victim: "recipient", what: "the file's name", at: "file", matches: calls("link") },
  { victim: "recipient", what: "the receipt", at: "api", matches: posts(/\/receipts$/) },
  {
    ...{ victim: "functions", what: "CreateMultipartUpload", at: "store" },
    matches: ({ method, query }) => method === "POST" && query.has("uploads"),
  },
  { victim: "functions", what: "the transfer's record", at: "store", matches: puts(/\/transfer\//) },
  {
    ...{ victim: "functions", what: "CompleteMultipartUpload", at: "store" },
    matches: ({ method, query }) => method === "POST" && query.has("uploadId"),
  },
  { victim: "functions", what: "the notice's outbox entry", at: "store", matches: entryOf("notice") },
  { victim: "functions", what: "the receipt's outbox entry", at: "store", matches: entryOf("receipt") },
  { victim: "functions", what: "the withdrawal's outbox entry", at: "store", matches: entryOf("withdraw"), ...hasMind },
  { victim: "publisher", what: "the claim", at: "store", matches: puts(/\/relay\//, '"raw"') },
  { victim: "publisher", what: "the broadcast", at: "rpc", matches: calls("eth_sendRawTransaction") },
  {
    victim: "publisher",
    what: "the look for the mined transaction",
    at: "rpc",
    matches: calls("eth_getTransactionReceipt"),
  },
  { victim: "publisher", what: "the settlement", at: "store", matches: puts(/\/settled\//, '"transaction"') },
  {
    ...{ victim: "publisher", what: "the entry's deletion", at: "store" },
    // One at a time, or many.
    matches: ({ method, path, query }) =>
      (method === "DELETE" && path.includes("/outbox/")) || (method === "POST" && query.has("delete")),
  },
  {
    ...{ victim: "publisher", what: "the verdict on a bad statement", at: "store", refusal: true },
    matches: puts(/\/relay\//, '"refused"'),
  },
  {
    ...{ victim: "publisher", what: "a bad statement's settlement", at: "store", refusal: true },
    matches: puts(/\/settled\//, '"refused"'),
  },
  {
    ...{ victim: "publisher", what: "a refusal's mark", at: "store", refusal: true },
    matches: puts(/\/refused\//),
  },
];

const told: Point = {
  ...{ victim: "sender", what: "the notice, while it waits for receipts", at: "notice", nth: 1, story: "delivery" },
  ...{ matches: () => false, fate: "carried out", name: "sender: the notice, while it waits for receipts" },
};

/** Every step twice, and what no request shows. */
export const points: readonly Point[] = [
  ...steps.flatMap((step) =>
    (["dropped", "carried out"] as const).map((fate) => ({
      ...{ ...step, nth: step.nth ?? 1, story: step.story ?? "delivery", fate },
      name: `${step.victim}: ${step.what}, ${fate}`,
    })),
  ),
  told,
];

/**
 * Every one of these points once, in as few trips as can be: each trip kills a process of each role at most once, and who dies
 * together changes from round to round.
 */
export function tripsOf(which: readonly Point[], draw: () => number): Point[][] {
  const trips: Point[][] = [];
  for (const story of ["delivery", "change of mind"] as const)
    for (const victim of ["sender", "recipient", "functions", "publisher"] as const) {
      const mine = shuffled(
        which.filter((point) => point.story === story && point.victim === victim),
        draw,
      );
      for (const point of mine) {
        const free = trips.find((trip) => trip.every((other) => other.story === story && other.victim !== victim));
        // A withdrawal's own steps are few: whose of them dies is what the trip is about.
        if (free && story === "delivery") free.push(point);
        else trips.push([point]);
      }
    }
  return trips;
}

function shuffled<T>(all: readonly T[], draw: () => number): T[] {
  const drawn = all.map((one) => [draw(), one] as const);
  return drawn.sort(([a], [b]) => a - b).map(([, one]) => one);
}
