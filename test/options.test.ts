import { tmpdir } from "node:os";
import { VoidSigner, Wallet } from "ethers";
import { expect, it } from "vitest";
import { type ContractorOptions, SharedFileDataChannel, TaskContractor } from "../lib/index.ts";
import type { Deployment } from "../lib/protocol/deployment.ts";

// What a caller without types may get wrong, said before anything is sent.

const deployment: Deployment = {
  api: "http://127.0.0.1:9",
  chainId: 31337,
  contract: `0x${"c".repeat(40)}`,
  storeOrigin: "http://127.0.0.1:9",
  confirmations: 0,
  blockTime: 1000,
  maxBlockAge: 30_000,
};
const task = `0x${"1".repeat(64)}` as const;
const usage = (words: string) => expect.objectContaining({ code: "USAGE", message: expect.stringContaining(words) });

it("a signer that can't sign, or an option that there isn't, is refused by the constructor", async () => {
  const make = (over: object) => () => new TaskContractor({ task, signer: Wallet.createRandom(), deployment, ...over });
  expect(make({ signer: "0xkey" })).toThrow(usage("signer must be"));
  expect(make({ signer: undefined })).toThrow(usage("signer must be"));
  expect(make({ statedir: "x" })).toThrow(usage('no option "statedir"'));
  expect(() => new TaskContractor(undefined as unknown as ContractorOptions)).toThrow(usage("one object"));
  await new TaskContractor({ task, signer: new VoidSigner(`0x${"a".repeat(40)}`), deployment }).close();
});

it("a folder where a file is meant is refused at once", async () => {
  const contractor = new TaskContractor({ task, signer: Wallet.createRandom(), deployment });
  try {
    const source = Wallet.createRandom().address;
    const receiving = new SharedFileDataChannel(contractor).receiveStream({ source, to: { path: tmpdir() } });
    await expect(receiving).rejects.toMatchObject({
      code: "TARGET_UNWRITABLE",
      message: expect.stringContaining("dir"),
    });
  } finally {
    await contractor.close();
  }
});

it("a misspelt option is refused by every call, and not taken for its default", async () => {
  const contractor = new TaskContractor({ task, signer: Wallet.createRandom(), deployment });
  try {
    const channel = new SharedFileDataChannel(contractor);
    const target = Wallet.createRandom().address;
    const misspelt = { tagg: "round-1" };
    const dataStream = new Uint8Array(1);
    const calls = [
      () => channel.sendStream({ target, dataStream, ...misspelt }),
      () => channel.batchSendStream({ target: [target], dataStream, ...misspelt }),
      () => channel.receiveStream({ source: target, ...misspelt }),
      () => channel.batchReceiveStream({ sourceList: [target], ...misspelt }),
      () => contractor.post({ kind: "note", body: 1, ...misspelt }),
      () => contractor.events({ timeout: 1_000, ...misspelt }).next(),
    ];
    for (const call of calls) await expect(call()).rejects.toEqual(usage('no option "tagg"'));
  } finally {
    await contractor.close();
  }
});
