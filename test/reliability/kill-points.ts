import type { Coming } from "./oracle-fronts.ts";

export type Victim = "sender" | "recipient" | "functions" | "publisher";

/** The request at which a process is killed; it is then dropped, or carried out without anybody who hears the answer. */
interface Step {
  readonly victim: Victim;
  readonly what: string;
  readonly at: "api" | "store" | "rpc";
  readonly matches: (asked: Asked) => boolean;
  /** The how many-th such request; default the first. */
  readonly nth?: number;
}

/** A request as the points see it; over RPC the method alone. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Whether it came by a URL that the functions had signed. */
  readonly presigned: boolean;
}

export interface Point extends Omit<Step, "at" | "nth" | "matches"> {
  readonly at: Step["at"] | "notice";
  readonly nth: number;
  readonly matches: Step["matches"];
  readonly fate: "dropped" | "carried out";
  readonly name: string;
}

export function askedOf({ method, target }: Coming): Asked {
  const { pathname: path, searchParams: query } = new URL(target, "http://front");
  return { method, path: decodeURIComponent(path), query, presigned: query.has("X-Amz-Signature") };
}

const posts =
  (end: RegExp) =>
  ({ method, path }: Asked): boolean =>
    method === "POST" && end.test(path);
const puts =
  (part: string) =>
  ({ method, path, presigned }: Asked): boolean =>
    method === "PUT" && !presigned && path.includes(`/${part}`);
const isPart = ({ method, presigned, query }: Asked): boolean =>
  method === "PUT" && presigned && query.has("partNumber");
const isRead = ({ method, presigned, path }: Asked): boolean =>
  method === "GET" && presigned && path.includes("/payload/");
const calls =
  (name: string) =>
  ({ method }: Asked): boolean =>
    method === name;

const steps: readonly Step[] = [
  { victim: "sender", what: "begin", at: "api", matches: posts(/\/transfers$/) },
  { victim: "sender", what: "the first part", at: "store", matches: isPart },
  { victim: "sender", what: "the third part", at: "store", matches: isPart, nth: 3 },
  { victim: "sender", what: "finish", at: "api", matches: posts(/\/finish$/) },
  { victim: "recipient", what: "the question for URLs", at: "api", matches: posts(/\/download$/) },
  { victim: "recipient", what: "the first read", at: "store", matches: isRead },
  { victim: "recipient", what: "the receipt", at: "api", matches: posts(/\/receipts$/) },
  {
    ...{ victim: "functions", what: "CreateMultipartUpload", at: "store" },
    matches: ({ method, query }) => method === "POST" && query.has("uploads"),
  },
  { victim: "functions", what: "the transfer's record", at: "store", matches: puts("transfer/") },
  {
    ...{ victim: "functions", what: "CompleteMultipartUpload", at: "store" },
    matches: ({ method, query }) => method === "POST" && query.has("uploadId"),
  },
  { victim: "functions", what: "the notice's outbox entry", at: "store", matches: puts("outbox/") },
  { victim: "functions", what: "the receipt's outbox entry", at: "store", matches: puts("outbox/"), nth: 2 },
  { victim: "publisher", what: "the claim", at: "store", matches: puts("relay/") },
  { victim: "publisher", what: "the broadcast", at: "rpc", matches: calls("eth_sendRawTransaction") },
  {
    victim: "publisher",
    what: "the look for the mined transaction",
    at: "rpc",
    matches: calls("eth_getTransactionReceipt"),
  },
  { victim: "publisher", what: "the settlement", at: "store", matches: puts("settled/") },
  {
    ...{ victim: "publisher", what: "the entry's deletion", at: "store" },
    // One at a time, or many.
    matches: ({ method, path, query }) =>
      (method === "DELETE" && path.includes("/outbox/")) || (method === "POST" && query.has("delete")),
  },
];

const told: Point = {
  ...{ victim: "sender", what: "the notice, while it waits for receipts", at: "notice", nth: 1 },
  ...{ matches: () => false, fate: "carried out", name: "sender: the notice, while it waits for receipts" },
};

/** Every step twice, and what no request shows. */
export const points: readonly Point[] = [
  ...steps.flatMap((step) =>
    (["dropped", "carried out"] as const).map((fate) => ({
      ...{ ...step, nth: step.nth ?? 1, fate, name: `${step.victim}: ${step.what}, ${fate}` },
    })),
  ),
  told,
];
