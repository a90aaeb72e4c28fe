import {
  AbiCoder,
  concat,
  getBytes,
  Interface,
  keccak256,
  recoverAddress,
  TypedDataEncoder,
  zeroPadValue,
} from "ethers";
import type { Evidence, RawLog } from "./oracle-evidence.ts";

// The chain's raw logs, read and folded by none of the product's code: its words are copied from contracts/IWaybill.sol, every
// signature is recovered anew, and each event is held against the roster that the events before it make.

const events = new Interface([
  "event Opened(bytes32 indexed task, uint64 seq, uint64 prevBlock, address owner, bytes32 salt, address[] members, bytes signature)",
  "event Admitted(bytes32 indexed task, uint64 seq, uint64 prevBlock, uint32 roster, address[] members, bytes signature)",
  "event Expelled(bytes32 indexed task, uint64 seq, uint64 prevBlock, uint32 roster, address[] members, bytes signature)",
  "event Noticed(bytes32 indexed task, uint64 seq, uint64 prevBlock, address sender, uint16 page, uint256 recipients, bytes32 transfer, bytes32 manifest, uint48 deadline, bytes signature)",
  "event Receipts(bytes32 indexed task, uint64 seq, uint64 prevBlock, bytes receipts)",
  "event Withdrawn(bytes32 indexed task, uint64 seq, uint64 prevBlock, bytes32 notice, bytes signature)",
  "event Posted(bytes32 indexed task, uint64 seq, uint64 prevBlock, address sender, uint16 page, uint256 recipients, bytes32 kind, bytes payload, bytes32 salt, uint48 deadline, bytes signature)",
  "event Skipped(bytes32 indexed id, uint8 reason)",
]);

const structs = {
  Open: "address owner,bytes32 salt,address[] members",
  Admit: "bytes32 task,address[] members,uint32 roster",
  Expel: "bytes32 task,address[] members,uint32 roster",
  Notice:
    "bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 transfer,bytes32 manifest,uint48 deadline",
  Receipt: "bytes32 task,bytes32 notice,uint8 outcome",
  Withdraw: "bytes32 task,bytes32 notice",
  Message:
    "bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 kind,bytes payload,bytes32 salt,uint48 deadline",
} as const;
export type Struct = keyof typeof structs;
type Values = Record<string, unknown>;

const PAGE = 104;
export const VERIFIED = 1;

function fieldsOf(name: Struct): { type: string; name: string }[] {
  return structs[name].split(",").map((entry) => {
    const [type, field] = entry.split(" ") as [string, string];
    return { type, name: field };
  });
}

/** keccak256(abi.encode(struct hash, author)). */
export function idOf(name: Struct, values: Values, author: string): string {
  const hash = TypedDataEncoder.hashStruct(name, { [name]: fieldsOf(name) }, values);
  return keccak256(concat([hash, zeroPadValue(author, 32)]));
}

export const taskOf = (owner: string, salt: string): string =>
  keccak256(AbiCoder.defaultAbiCoder().encode(["address", "bytes32"], [owner, salt]));

export interface Membership {
  readonly account: string;
  readonly index: number;
  readonly since: number;
  /** The block of its end. */
  until: number | null;
}

export interface TaskFacts {
  readonly owner: string;
  roster: number;
  seq: number;
  block: number;
  /** By index. */
  readonly members: Membership[];
}

export interface NoticeFacts {
  readonly id: string;
  readonly task: string;
  readonly sender: string;
  readonly transfer: string;
  readonly manifest: string;
  readonly deadline: number;
  readonly block: number;
  /** Whom its bits meant, under which index. */
  readonly named: readonly { readonly account: string; readonly index: number }[];
  withdrawn: number | null;
  /** Who answered what in which block; the first answer of each. */
  readonly answers: Map<string, { readonly outcome: number; readonly block: number }>;
}

/** What the raw logs amount to. */
export interface Story {
  readonly tasks: ReadonlyMap<string, TaskFacts>;
  readonly notices: ReadonlyMap<string, NoticeFacts>;
  /** The blocks in which each statement stands. */
  readonly statements: ReadonlyMap<string, readonly number[]>;
  /** What should not be there at all, in sentences. */
  readonly faults: readonly string[];
  readonly events: number;
}

export function storyOf(evidence: Pick<Evidence, "domain" | "logs" | "times">): Story {
  const teller = new Teller(evidence);
  const order = [...evidence.logs].sort((a, b) => a.blockNumber - b.blockNumber || a.logIndex - b.logIndex);
  for (const log of order) teller.read(log);
  return teller;
}

/** Was the account an active member at the end of some block from `from` to `to`? */
export function wasActive(task: TaskFacts | undefined, account: string, from: number, to: number): boolean {
  const places = task?.members.filter((one) => one.account === account) ?? [];
  return places.some(({ since, until }) => since <= to && (until === null || until > from));
}

class Teller implements Story {
  readonly tasks = new Map<string, TaskFacts>();
  readonly notices = new Map<string, NoticeFacts>();
  readonly statements = new Map<string, number[]>();
  readonly faults: string[] = [];
  events = 0;
  readonly #domain: { name: string; version: string; chainId: number; verifyingContract: string };
  readonly #times: ReadonlyMap<number, number>;

  constructor({ domain, times }: Pick<Evidence, "domain" | "times">) {
    this.#domain = { name: "Waybill", version: "1", chainId: domain.chainId, verifyingContract: domain.contract };
    this.#times = times;
  }

  read(log: RawLog): void {
    const found = events.parseLog({ topics: [...log.topics], data: log.data });
    if (!found) return void this.faults.push(`block ${log.blockNumber} has an event that the contract has not`);
    if (found.name === "Skipped") return;
    this.events += 1;
    const values = found.args.toObject() as Values;
    const task = String(values.task);
    if (found.name === "Opened") this.#opened(task, values, log.blockNumber);
    const facts = this.tasks.get(task);
    if (!facts)
      return void this.faults.push(`${found.name} in block ${log.blockNumber} is of a task that nobody opened`);
    this.#inLine(facts, found.name, values, log.blockNumber);
    const of = { task, facts, values, block: log.blockNumber };
    if (found.name === "Admitted" || found.name === "Expelled") this.#changed(of, found.name);
    if (found.name === "Noticed") this.#noticed(of);
    if (found.name === "Receipts") this.#answered(of);
    if (found.name === "Withdrawn") this.#withdrawn(of);
    if (found.name === "Posted") this.#posted(of);
  }

  #inLine(facts: TaskFacts, name: string, { seq, prevBlock }: Values, block: number): void {
    if (Number(seq) !== facts.seq + 1) this.faults.push(`${name} in block ${block} has seq ${seq} after ${facts.seq}`);
    if (Number(prevBlock) !== facts.block)
      this.faults.push(`${name} with seq ${seq} says prevBlock ${prevBlock}, and it was ${facts.block}`);
    facts.seq = Number(seq);
    facts.block = block;
  }

  #opened(task: string, values: Values, block: number): void {
    const owner = low(values.owner);
    if (taskOf(owner, String(values.salt)) !== task)
      this.faults.push(`the task opened in block ${block} is not its owner's`);
    if (this.tasks.has(task)) this.faults.push(`a task is opened again in block ${block}`);
    this.#signed("Open", values, owner, block);
    const facts: TaskFacts = { owner, roster: 1, seq: 0, block: 0, members: [] };
    this.tasks.set(task, facts);
    enrol(facts, accounts(values), block);
  }

  #changed({ task, facts, values, block }: Told, name: "Admitted" | "Expelled"): void {
    const roster = Number(values.roster);
    if (roster !== facts.roster)
      this.faults.push(`${name} in block ${block} changes roster ${roster}, not ${facts.roster}`);
    facts.roster = roster + 1;
    this.#signed(name === "Admitted" ? "Admit" : "Expel", { ...values, task }, facts.owner, block);
    const listed = accounts(values);
    if (name === "Admitted") enrol(facts, listed, block);
    else for (const one of facts.members) if (one.until === null && listed.includes(one.account)) one.until = block;
  }

  #noticed({ task, facts, values, block }: Told): void {
    const sender = low(values.sender);
    this.#byMember(facts, sender, `the notice in block ${block}`);
    const id = this.#signed("Notice", { ...values, task }, sender, block);
    const [page, bits] = [Number(values.page), BigInt(values.recipients as bigint)];
    const places = facts.members.filter(
      ({ index }) => Math.floor(index / PAGE) === page && (bits >> BigInt(index % PAGE)) & 1n,
    );
    this.#inTime(block, Number(values.deadline), "a notice");
    if (this.notices.has(id)) this.faults.push(`the notice ${id} stands twice, the second time in block ${block}`);
    this.notices.set(id, {
      ...{ id, task, sender, transfer: String(values.transfer), manifest: String(values.manifest), block },
      ...{ deadline: Number(values.deadline), named: places.map(({ account, index }) => ({ account, index })) },
      ...{ withdrawn: null, answers: new Map() },
    });
  }

  #answered({ task, facts, values, block }: Told): void {
    const bytes = getBytes(String(values.receipts));
    for (let at = 0; at < bytes.length; ) {
      const notice = hex(bytes.subarray(at, at + 32));
      const [outcome, count] = [bytes[at + 32]!, bytes[at + 33]!];
      for (let i = 0; i < count; i++) {
        const from = at + 34 + 65 * i;
        this.#receipt(facts, { task, notice, outcome }, hex(bytes.subarray(from, from + 65)), block);
      }
      at += 34 + 65 * count;
    }
  }

  #receipt(
    facts: TaskFacts,
    receipt: { task: string; notice: string; outcome: number },
    signature: string,
    block: number,
  ): void {
    const author = this.#author("Receipt", receipt, signature);
    const what = `a receipt of ${author} for ${receipt.notice} in block ${block}`;
    if (author === null) return void this.faults.push(`a receipt in block ${block} has no readable signature`);
    this.#note(idOf("Receipt", receipt, author), block);
    this.#byMember(facts, author, what);
    const notice = this.notices.get(receipt.notice);
    if (!notice || notice.task !== receipt.task) return void this.faults.push(`${what} is for no notice of this task`);
    const index = facts.members.find((one) => one.account === author && one.until === null)?.index;
    if (!notice.named.some((one) => one.account === author && one.index === index))
      this.faults.push(`${what} is of nobody whom the notice names`);
    if (notice.answers.has(author)) this.faults.push(`${what} is the second one`);
    else if (notice.withdrawn !== null) this.faults.push(`${what} comes after the withdrawal`);
    this.#inTime(block, notice.deadline, what);
    if (!notice.answers.has(author)) notice.answers.set(author, { outcome: receipt.outcome, block });
  }

  #withdrawn({ task, values, block }: Told): void {
    const notice = this.notices.get(String(values.notice));
    if (!notice || notice.task !== task) return void this.faults.push(`block ${block} withdraws no notice of its task`);
    this.#signed("Withdraw", { ...values, task }, notice.sender, block);
    if (notice.withdrawn !== null) this.faults.push(`${notice.id} is withdrawn twice`);
    notice.withdrawn = block;
  }

  #posted({ task, facts, values, block }: Told): void {
    const sender = low(values.sender);
    this.#byMember(facts, sender, `the message in block ${block}`);
    this.#signed("Message", { ...values, task }, sender, block);
    this.#inTime(block, Number(values.deadline), "a message");
  }

  #byMember(facts: TaskFacts, account: string, what: string): void {
    if (!facts.members.some((one) => one.account === account && one.until === null))
      this.faults.push(`${what} is of ${account}, who is no active member there`);
  }

  #inTime(block: number, deadline: number, what: string): void {
    const time = this.#times.get(block);
    if (time === undefined) this.faults.push(`block ${block} has no time among the evidence`);
    else if (time > deadline)
      this.faults.push(`${what} stands in block ${block} at ${time}, after its deadline ${deadline}`);
  }

  /** @returns The statement's id. */
  #signed(name: Struct, values: Values, author: string, block: number): string {
    const found = this.#author(name, values, String(values.signature));
    if (found !== author) this.faults.push(`the ${name} in block ${block} was signed by ${found}, not by ${author}`);
    const id = idOf(name, values, author);
    this.#note(id, block);
    return id;
  }

  #author(name: Struct, values: Values, signature: string): string | null {
    try {
      const digest = TypedDataEncoder.hash(this.#domain, { [name]: fieldsOf(name) }, values);
      return recoverAddress(digest, signature).toLowerCase();
    } catch {
      return null;
    }
  }

  #note(id: string, block: number): void {
    this.statements.set(id, [...(this.statements.get(id) ?? []), block]);
  }
}

interface Told {
  readonly task: string;
  readonly facts: TaskFacts;
  readonly values: Values;
  readonly block: number;
}

function enrol(facts: TaskFacts, list: readonly string[], since: number): void {
  for (const account of list) {
    const active = facts.members.some((one) => one.account === account && one.until === null);
    if (!active) facts.members.push({ account, index: facts.members.length, since, until: null });
  }
}

const low = (value: unknown): string => String(value).toLowerCase();
const accounts = ({ members }: Values): string[] => [...(members as Iterable<unknown>)].map(low);
const hex = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString("hex")}`;
