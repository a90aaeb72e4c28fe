import {
  dataLength,
  dataSlice,
  decodeBytes32String,
  Interface,
  JsonRpcProvider,
  type Log,
  type LogDescription,
  toUtf8String,
} from "ethers";
import type { Address, Deployment, Hex } from "../../lib/index.ts";
import { waybillAbi } from "../../lib/protocol/abi.ts";
import { outcomeOf } from "../../lib/protocol/reasons.ts";
import { noticeId, signerOf } from "../../lib/protocol/statements.ts";

export interface NoticeOnChain {
  readonly id: Hex;
  readonly sender: Address;
  readonly transfer: Hex;
  readonly transaction: Hex;
}

/** A VERIFIED receipt, and who signed it. */
export interface ReceiptOnChain {
  readonly notice: Hex;
  readonly author: Address;
  readonly transaction: Hex;
}

export interface MessageOnChain {
  readonly sender: Address;
  readonly kind: string;
  readonly body: unknown;
  readonly transaction: Hex;
}

export interface TransactionOnChain {
  readonly hash: Hex;
  gas: number;
  /** What it brought: "task", "notice", "receipts", "message". */
  readonly carries: Set<string>;
}

/** What stands on the chain about one task, in the chain's order. */
export interface OnChain {
  readonly notices: Map<Hex, NoticeOnChain>;
  readonly receipts: readonly ReceiptOnChain[];
  readonly messages: readonly MessageOnChain[];
  readonly transactions: readonly TransactionOnChain[];
  /** All its transactions' together. */
  readonly gas: number;
}

/** Reads the task's raw logs from the node, without the library's own reader: the demo shows what anybody can check. */
export async function readChain(rpc: string, deployment: Deployment, task: Hex): Promise<OnChain> {
  const provider = new JsonRpcProvider(rpc, deployment.chainId, { staticNetwork: true });
  try {
    const logs = await provider.getLogs({ address: deployment.contract, topics: [null, task], fromBlock: 0 });
    const books = new Books(deployment);
    for (const log of logs) books.enter(log);
    const transactions = [...books.transactions.values()];
    for (const transaction of transactions)
      transaction.gas = Number((await provider.getTransactionReceipt(transaction.hash))?.gasUsed);
    const gas = transactions.reduce((sum, transaction) => sum + transaction.gas, 0);
    return { notices: books.notices, receipts: books.receipts, messages: books.messages, transactions, gas };
  } finally {
    provider.destroy();
  }
}

const abi = new Interface(waybillAbi);
const carriers: Readonly<Record<string, string>> = { Noticed: "notice", Receipts: "receipts", Posted: "message" };

class Books {
  readonly notices = new Map<Hex, NoticeOnChain>();
  readonly receipts: ReceiptOnChain[] = [];
  readonly messages: MessageOnChain[] = [];
  readonly transactions = new Map<Hex, TransactionOnChain>();
  readonly #deployment: Deployment;

  constructor(deployment: Deployment) {
    this.#deployment = deployment;
  }

  enter(log: Log): void {
    const event = abi.parseLog(log);
    if (!event) return;
    const transaction = log.transactionHash as Hex;
    const entry = this.transactions.get(transaction) ?? { hash: transaction, gas: 0, carries: new Set<string>() };
    this.transactions.set(transaction, entry);
    entry.carries.add(carriers[event.name] ?? "task");
    if (event.name === "Noticed") this.#notice(event, transaction);
    if (event.name === "Receipts") this.#receipts(event, transaction);
    if (event.name === "Posted") this.#message(event, transaction);
  }

  #notice({ args }: LogDescription, transaction: Hex): void {
    const { task, sender, page, recipients, transfer, manifest, deadline } = args.toObject();
    const id = noticeId({ kind: "notice", task, sender, page, recipients, transfer, manifest, deadline });
    this.notices.set(id, { id, sender: sender.toLowerCase(), transfer, transaction });
  }

  #receipts({ args }: LogDescription, transaction: Hex): void {
    const { task, receipts } = args.toObject() as Record<"task" | "receipts", Hex>;
    const slice = (from: number, bytes: number): Hex => dataSlice(receipts, from, from + bytes) as Hex;
    for (let at = 0; at < dataLength(receipts); ) {
      const [notice, outcome, count] = [slice(at, 32), Number(slice(at + 32, 1)), Number(slice(at + 33, 1))];
      const signatures = Array.from({ length: count }, (_, i) => slice(at + 34 + 65 * i, 65));
      if (outcomeOf(outcome) === "VERIFIED") this.#verified({ task, notice }, signatures, transaction);
      at += 34 + 65 * count;
    }
  }

  #verified(words: { task: Hex; notice: Hex }, signatures: readonly Hex[], transaction: Hex): void {
    const receipt = { kind: "receipt", ...words, outcome: "VERIFIED" } as const;
    for (const signature of signatures) {
      const author = signerOf(this.#deployment, receipt, signature);
      if (author) this.receipts.push({ notice: words.notice, author, transaction });
    }
  }

  #message({ args }: LogDescription, transaction: Hex): void {
    const { sender, kind, payload } = args.toObject();
    const body: unknown = JSON.parse(toUtf8String(payload));
    this.messages.push({ sender: sender.toLowerCase(), kind: decodeBytes32String(kind), body, transaction });
  }
}
