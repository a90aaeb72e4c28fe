import { Interface, JsonRpcProvider, type Log, type LogDescription } from "ethers";
import type { Deployment, Hex } from "../../lib/index.ts";
import { waybillAbi } from "../../lib/protocol/abi.ts";
import { outcomeOf } from "../../lib/protocol/reasons.ts";
import { noticeId, signerOf } from "../../lib/protocol/statements.ts";

/** What stands on the chain about the demo's one transfer. */
export interface OnChain {
  notice: Hex;
  noticed: Hex;
  /** The transaction of each VERIFIED receipt, by its author's lower-case account. */
  readonly verified: Map<string, Hex>;
  /** Gas by transaction, the task's opening included. */
  readonly gas: Map<Hex, number>;
}

/** Reads the task's raw logs from the node, without the library's own reader: the demo shows what anybody can check. */
export async function readChain(rpc: string, deployment: Deployment, task: Hex): Promise<OnChain> {
  const provider = new JsonRpcProvider(rpc, deployment.chainId, { staticNetwork: true });
  const found: OnChain = { notice: "0x", noticed: "0x", verified: new Map(), gas: new Map() };
  try {
    const logs = await provider.getLogs({ address: deployment.contract, topics: [null, task], fromBlock: 0 });
    for (const log of logs) note(found, log, deployment);
    for (const transaction of new Set(logs.map((log) => log.transactionHash as Hex))) {
      const receipt = await provider.getTransactionReceipt(transaction);
      found.gas.set(transaction, Number(receipt?.gasUsed));
    }
    return found;
  } finally {
    provider.destroy();
  }
}

const abi = new Interface(waybillAbi);

function note(found: OnChain, log: Log, deployment: Deployment): void {
  const event = abi.parseLog(log);
  const transaction = log.transactionHash as Hex;
  if (event?.name === "Noticed") {
    found.notice = noticeOf(event);
    found.noticed = transaction;
  }
  if (event?.name === "Receipts")
    for (const author of authorsOf(event, deployment)) found.verified.set(author, transaction);
}

function noticeOf({ args }: LogDescription): Hex {
  const { task, sender, page, recipients, transfer, manifest, deadline } = args.toObject();
  return noticeId({ kind: "notice", task, sender, page, recipients, transfer, manifest, deadline });
}

function authorsOf({ args }: LogDescription, deployment: Deployment): string[] {
  const { task, notice, outcome, signatures } = args.toObject() as Record<"task" | "notice" | "signatures", Hex> & {
    outcome: bigint;
  };
  if (outcomeOf(Number(outcome)) !== "VERIFIED") return [];
  const each = signatures.slice(2).match(/.{130}/g) ?? [];
  const receipt = { kind: "receipt", task, notice, outcome: "VERIFIED" } as const;
  return each.flatMap((signature) => signerOf(deployment, receipt, `0x${signature}`) ?? []);
}
