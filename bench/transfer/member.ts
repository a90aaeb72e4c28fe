import { readFile } from "node:fs/promises";
import { Wallet } from "ethers";
import { SharedFileDataChannel, TaskContractor } from "../../lib/index.ts";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import type { MemberOrder } from "./channel.ts";

// One side of a transfer through the whole channel: node member.js ORDER.json

const order = JSON.parse(await readFile(process.argv[2] ?? "", "utf8")) as MemberOrder;
const { task, tag, path, key, sendTo, receiveFrom } = order;
const deployment = order.deployment as Deployment;
const contractor = new TaskContractor({ task, signer: new Wallet(key), deployment });
const channel = new SharedFileDataChannel(contractor);
try {
  if (sendTo !== undefined) {
    const receiver = await channel.sendStream({ target: sendTo, dataStream: { path }, tag });
    if (receiver === null) throw new Error("Nobody verified it.");
  }
  if (receiveFrom !== undefined) await channel.receiveStream({ source: receiveFrom, tag, to: { path } });
} finally {
  await contractor.close();
}
