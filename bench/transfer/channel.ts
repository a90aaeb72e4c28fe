import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Wallet } from "ethers";
import { TaskContractor } from "../../lib/contractor.ts";
import { startStack } from "../../local/stack.ts";
import type { Bed } from "./bed.ts";
import { sha256Of } from "./payload.ts";
import { memberCommand } from "./tool-waybill.ts";
import type { Trial } from "./trial.ts";

/** What a member's process is told; its key is of a chain that ends with the benchmark. */
export interface MemberOrder {
  readonly deployment: object;
  readonly task: string;
  readonly key: string;
  readonly tag: string;
  readonly path: string;
  /** Sends `path` to this one, or receives it from that one. */
  readonly sendTo?: string;
  readonly receiveFrom?: string;
}

/** From sendStream's call until both sides know on the chain that the payload was verified, a process for each side. */
export async function channelTrials(bed: Bed, size: number): Promise<Trial[]> {
  process.env.TMPDIR = bed.dir; // the store is in memory as the other servers' files are
  const stack = await startStack();
  bed.undo(() => stack.stop());
  const { deployment } = stack;
  const [sender, recipient] = [Wallet.createRandom(), Wallet.createRandom()];
  const members = [sender.address, recipient.address];
  const contractor = await TaskContractor.open({ signer: Wallet.createRandom(), members, deployment });
  const { task } = contractor;
  await contractor.close();
  const item = await bed.item("channel/payload", size);
  return [
    {
      ...{ case: "whole channel, embedded stack", tool: "waybill", verify: "sha-256, on the chain", bytes: size },
      begin: async () => {
        const to = await bed.folder();
        const path = join(to, "payload");
        const both = { deployment, task, tag: `run-${bed.fresh()}` };
        const send: MemberOrder = { ...both, key: sender.privateKey, path: item.path, sendTo: recipient.address };
        const receive: MemberOrder = { ...both, key: recipient.privateKey, path, receiveFrom: sender.address };
        const check = async (): Promise<void> => {
          if ((await sha256Of(path)) !== item.sha256) throw new Error("Other bytes came than were sent.");
        };
        const commands = await Promise.all([ordered(to, "send", send), ordered(to, "receive", receive)]);
        return { commands, check, end: () => rm(to, { recursive: true }) };
      },
    },
  ];
}

async function ordered(dir: string, name: string, order: MemberOrder): Promise<ReturnType<typeof memberCommand>> {
  const path = join(dir, `${name}.json`);
  await writeFile(path, JSON.stringify(order), { mode: 0o600 });
  return memberCommand(path);
}
