import {
  bitFaults,
  connectionFaults,
  framingFaults,
  garbageFaults,
  orderFaults,
  stallFaults,
} from "../support/fault-http.ts";
import { jsonFaults, problemFaults } from "../support/fault-json.ts";
import type { Fault } from "../support/fault-proxy.ts";
import { rpcFaults } from "../support/fault-rpc.ts";
import { statusFaults } from "../support/fault-status.ts";
import type { Link } from "../support/fault-steps.ts";
import { documentFaults, objectFaults, rangeFaults } from "../support/fault-store.ts";

/** One fault at one step. */
export interface Cell {
  readonly group: string;
  readonly name: string;
  readonly link: Link;
  readonly step: string;
  readonly fault: Fault;
  /** At every such request until somebody has given up, and not at one alone. */
  readonly lasting: boolean;
}

/** Requests of one kind: a column of the table. */
export interface Column {
  readonly name: string;
  readonly link: Link;
  readonly steps: readonly string[];
}

/** Which steps there are, a fault-free trip tells; what is in no column here would be missed, and fails the run. */
export const columns: readonly Column[] = [
  { name: "PUT part", link: "client-store", steps: ["PUT part"] },
  { name: "GET bytes", link: "client-store", steps: ["GET bytes"] },
  {
    name: "begin, URLs",
    link: "client-api",
    steps: ["sender: begin", "sender: read parts", "sender: parts"],
  },
  { name: "finish", link: "client-api", steps: ["sender: finish, manifest", "sender: finish, notices"] },
  { name: "sender's events", link: "client-api", steps: ["sender: events, newest", "sender: events after"] },
  { name: "recipient's events", link: "client-api", steps: ["recipient: events, newest", "recipient: events after"] },
  { name: "download", link: "client-api", steps: ["recipient: download"] },
  { name: "receipt", link: "client-api", steps: ["recipient: receipt"] },
  {
    name: "functions read",
    link: "functions-store",
    steps: [
      "GET record.json",
      "GET notice",
      "GET manifest.json",
      "HEAD payload",
      "GET settled",
      "list uploads",
      "list parts",
    ],
  },
  {
    name: "functions write",
    link: "functions-store",
    steps: ["create upload", "PUT record.json", "PUT manifest.json", "PUT notice", "PUT outbox"],
  },
  { name: "complete", link: "functions-store", steps: ["complete"] },
  {
    name: "publisher reads",
    link: "functions-store",
    steps: ["LIST outbox", "GET outbox", "LIST relay", "GET relay", "LIST refused"],
  },
  { name: "publisher writes", link: "functions-store", steps: ["PUT relay", "PUT settled", "DELETE outbox"] },
  {
    name: "views",
    link: "functions-rpc",
    steps: ["call roster", "call member", "call latest", "call state", "getBlockByNumber", "getLogs"],
  },
  {
    name: "relaying",
    link: "functions-rpc",
    steps: [
      "call relay",
      "feeHistory",
      "getTransactionCount",
      "getBalance",
      "sendRawTransaction",
      "getTransactionReceipt",
    ],
  },
  {
    name: "own node",
    link: "client-rpc",
    steps: ["getBlockByNumber", "getLogs", "call latest", "chainId", "blockNumber", "call eip712Domain", "call code"],
  },
];

type Group = readonly [
  group: string,
  links: readonly Link[],
  faults: Readonly<Record<string, (step: string) => Fault>>,
];

const everywhere: readonly Link[] = ["client-store", "client-api", "functions-store", "functions-rpc", "client-rpc"];

function always(faults: Readonly<Record<string, Fault>>): Record<string, (step: string) => Fault> {
  return Object.fromEntries(Object.entries(faults).map(([name, fault]) => [name, () => fault]));
}

const groups: readonly Group[] = [
  ["The connection", everywhere, always(connectionFaults)],
  ["Silence", everywhere, always(stallFaults)],
  ["Framing", everywhere, always(framingFaults)],
  ["No HTTP", everywhere, always(garbageFaults)],
  ["Bits", everywhere, always(bitFaults)],
  ["Time and order", everywhere, always(orderFaults)],
  ["Statuses", everywhere, always(statusFaults)],
  ["Ranges", ["client-store"], always(rangeFaults)],
  ["Objects", ["client-store", "functions-store"], always(objectFaults)],
  ["Documents", ["functions-store"], always(documentFaults)],
  ["JSON", ["client-api"], always(jsonFaults)],
  ["False answers", ["client-api"], always(problemFaults)],
  ["RPC", ["functions-rpc", "client-rpc"], rpcFaults],
];

/** Those that are tried without an end, too: each ends the way in another place. */
const LASTING = new Set([
  ...["connection refused for a while", "reset before the request is read", "reset in the answer's body"],
  ...[
    "body cut, Content-Length with it",
    "garbage instead of HTTP",
    "a bit in the answer's middle",
    "200 with a log-in page",
  ],
  ...["302 to elsewhere", "403 AccessDenied", "403 Request has expired", "404 NoSuchKey", "412 PreconditionFailed"],
  ...["503 SlowDown", "500 though it was done", "zeros instead of the bytes", "an empty object", "falsely EXPELLED"],
  ...["refused: header not found", "result null", "a block 50 behind", "logs left out"],
]);

/** Every fault in every column, at each of the column's steps. */
export function allCells(): Cell[] {
  return groups.flatMap(([group, links, faults]) =>
    Object.entries(faults).flatMap(([name, make]) =>
      columns
        .filter(({ link }) => links.includes(link))
        .flatMap(({ link, steps }) => steps.flatMap((step) => cellsAt({ group, name, link, step, fault: make(step) }))),
    ),
  );
}

function cellsAt(cell: Omit<Cell, "lasting">): Cell[] {
  const once = { ...cell, lasting: false };
  return LASTING.has(cell.name) ? [once, { ...cell, lasting: true }] : [once];
}

export function columnOf({ link, step }: Cell): Column {
  const found = columns.find((column) => column.link === link && column.steps.includes(step));
  if (!found) throw new Error(`no column for ${step}`);
  return found;
}

/** Numbers that repeat with their seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function shuffled<T>(list: readonly T[], next: () => number): T[] {
  const all = [...list];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return all;
}

/**
 * One cell of each fault and column, its step drawn. Those with a fault that didn't come before are first, then those with such a
 * step: the beginning of the list is a sample.
 */
export function drawn(seed: number): Cell[] {
  const byPlace = new Map<string, Cell>();
  for (const cell of shuffled(allCells(), random(seed))) byPlace.set(`${faultOf(cell)} ${columnOf(cell).name}`, cell);
  const byFault = firstsOf([...byPlace.values()], faultOf);
  const byStep = firstsOf([...byFault, ...byPlace.values()], ({ link, step }) => `${link} ${step}`);
  return [...new Set([...byFault, ...byStep, ...byPlace.values()])];
}

const faultOf = ({ group, name, lasting }: Cell): string => `${group} ${name} ${lasting}`;

/** The first of each name. */
function firstsOf(cells: readonly Cell[], nameOf: (cell: Cell) => string): Cell[] {
  const firsts = new Map<string, Cell>();
  for (const cell of cells) if (!firsts.has(nameOf(cell))) firsts.set(nameOf(cell), cell);
  return [...firsts.values()];
}
