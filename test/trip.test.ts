import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Contract, JsonRpcProvider, Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import { waybillAbi } from "../lib/protocol/abi.ts";
import { DEFAULT_PART_SIZE, MiB } from "../lib/protocol/limits.ts";
import { type Stack, startStack } from "../local/stack.ts";
import { groupsIn } from "./support/contract.ts";

// Whole trips over the real stack: our store, anvil, the functions on a socket, the client library.

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe.each([
  ["over HTTPS alone", 0, false],
  ["with an RPC node of one's own, two confirmations", 2, true],
] as const)("a payload %s", (_name, confirmations, ownNode) => {
  const wallets = Array.from({ length: 4 }, () => Wallet.createRandom());
  const accounts = wallets.map((wallet) => wallet.address);
  let stack: Stack;
  let dir: string;
  let contractors: TaskContractor[];
  let channels: SharedFileDataChannel[];

  beforeAll(async () => {
    stack = await startStack({ confirmations });
    dir = await mkdtemp(join(tmpdir(), "waybill-test-trip-"));
    const deployment = ownNode ? { ...stack.deployment, rpc: stack.rpc } : stack.deployment;
    const opened = await TaskContractor.open({ signer: wallets[0]!, members: accounts, deployment });
    await opened.close();
    contractors = wallets.map((signer) => new TaskContractor({ task: opened.task, signer, deployment }));
    channels = contractors.map((contractor) => new SharedFileDataChannel(contractor));
  });
  afterAll(async () => {
    await Promise.all((contractors ?? []).map((contractor) => contractor.close()));
    await stack?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it.each([0, 1, DEFAULT_PART_SIZE - 1, DEFAULT_PART_SIZE, DEFAULT_PART_SIZE + 1])(
    "of %i bytes reaches one recipient as bytes",
    async (size) => {
      const bytes = randomBytes(size);
      const tag = `one/${size}`;
      const [receiver, [sender, data]] = await Promise.all([
        channels[0]!.sendStream({ target: accounts[1]!, dataStream: bytes, tag }),
        channels[1]!.receiveStream({ source: accounts[0]!, tag }),
      ]);
      expect(receiver).toBe(accounts[1]);
      expect(sender).toBe(accounts[0]);
      expect(Buffer.compare(data, bytes)).toBe(0);
    },
  );

  it.each([0, 1, 64 * MiB])("of %i bytes goes from a file to the files of three", async (size) => {
    const tag = `many/${size}`;
    const path = join(dir, `sent-${size}`);
    const bytes = randomBytes(size);
    await writeFile(path, bytes);
    const targets = accounts.slice(1);
    const [received, ...paths] = await Promise.all([
      channels[0]!.batchSendStream({ target: targets, dataStream: { path }, tag }),
      ...channels.slice(1).map(async (channel, i) => {
        const to = { path: join(dir, `received-${size}-${i}`) };
        const [, where] = await channel.receiveStream({ source: accounts[0]!, tag, to });
        return where;
      }),
    ]);
    expect(new Set(received)).toEqual(new Set(targets));
    for (const where of paths) expect(sha256(await readFile(where))).toBe(sha256(bytes));
    expect((await readdir(dir)).filter((name) => name.endsWith(".part"))).toEqual([]);
  });

  it("leaves three verified bits in the contract, and each statement once in its events", async () => {
    const task = contractors[0]!.task;
    const provider = new JsonRpcProvider(stack.rpc, stack.deployment.chainId, { staticNetwork: true });
    try {
      const contract = new Contract(stack.deployment.contract, waybillAbi, provider);
      const bytes = randomBytes(1000);
      const [received] = await Promise.all([
        channels[3]!.batchSendStream({ target: accounts.slice(0, 3), dataStream: bytes, tag: "bits" }),
        ...channels.slice(0, 3).map((channel) => channel.receiveStream({ source: accounts[3]!, tag: "bits" })),
      ]);
      expect(received).toHaveLength(3);
      const logs = await provider.getLogs({ address: stack.deployment.contract, topics: [null, task], fromBlock: 0 });
      const events = logs.map((log) => contract.interface.parseLog(log)!);
      expect(events.map((event) => Number(event.args.seq))).toEqual(events.map((_, i) => i + 1));
      const notices = events.filter((event) => event.name === "Noticed");
      expect(new Set(notices.map((event) => event.args.transfer)).size).toBe(notices.length);
      const receipts = events.filter((event) => event.name === "Receipts").flatMap(groupsIn);
      expect(receipts.flatMap(({ signatures }) => signatures)).toHaveLength(5 + 3 * 3 + 3);
      const { notice } = receipts.at(-1)!;
      const state = await contract.getFunction("state")(task, 0, notice);
      expect([state.outstanding, state.verified]).toEqual([0n, 0b0111n]);
    } finally {
      provider.destroy();
    }
  });
});
