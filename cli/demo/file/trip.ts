import { join, resolve } from "node:path";
import { Wallet } from "ethers";
import type { Hex } from "../../../lib/index.ts";
import { readChain } from "../ledger.ts";
import { Party } from "../party.ts";
import { openTask, play, type Stage } from "../stage.ts";
import type { CommonWord } from "../words.ts";
import type { DemoResult, RecipientResult } from "./report.ts";
import { SAMPLE_SIZE, sha256Of, sizeOf, writeSample } from "./sample.ts";
import type { Order, Word } from "./words.ts";

const TAG = "demo/file";
const NAMES = ["aggregator", "hospital-1", "hospital-2", "bank"] as const;
const PROGRAM = new URL("./member.js", import.meta.url);

/** A member: its name, its key, and its process. */
interface Member {
  readonly name: string;
  readonly wallet: { readonly address: string; readonly privateKey: string };
  readonly party: Party<Order, Word>;
}

/** A file, or a sample that is made up, from one member of a task to three others over the embedded stack. */
export async function runTrip(file: string | undefined, signal: AbortSignal): Promise<DemoResult> {
  const size = file === undefined ? SAMPLE_SIZE : await sizeOf(file);
  // One copy in the store, one for each recipient, and the sample itself.
  return play(size * (file === undefined ? 5 : 4), signal, (stage) => trip(file, size, stage));
}

async function trip(file: string | undefined, size: number, stage: Stage): Promise<DemoResult> {
  const { dir, stack, line } = stage;
  const { deployment } = stack;
  const path = file === undefined ? join(dir, "sample.bin") : resolve(file);
  if (file === undefined) await writeSample(path, size);

  const members = NAMES.map((name) => startMember(name, stage));
  const accounts = members.map(({ wallet }) => wallet.address);
  const task = await openTask(stage, accounts);
  line.note(`task ${task} is open for ${NAMES.join(", ")}`);
  const joining = members.map(({ wallet, party }) => {
    return party.ask({ do: "join", key: wallet.privateKey as Hex, deployment, task }, "ready");
  });
  await Promise.all(joining);
  const [sender, ...recipients] = members as [Member, ...Member[]];
  const inbox = recipients.map(({ name }) => join(dir, `${name}.bin`));
  const [sent, ...received] = await Promise.all([
    sender.party.ask({ do: "send", path, targets: accounts.slice(1), tag: TAG }, "sent"),
    ...recipients.map(({ party }, i) => {
      return party.ask({ do: "receive", source: sender.wallet.address, tag: TAG, path: inbox[i]! }, "received");
    }),
  ]);

  line.note("comparing what was sent, what arrived and what the chain says …");
  const chain = await readChain(stack.rpc, deployment, task);
  const sha256 = await sha256Of(path);
  const results: RecipientResult[] = [];
  for (const [i, { name, wallet }] of recipients.entries()) {
    const verified = chain.receipts.find(({ author }) => author === wallet.address.toLowerCase());
    results.push({
      id: wallet.address,
      name,
      sha256: await sha256Of(inbox[i]!),
      seconds: received[i]?.seconds ?? Number.NaN,
      receipt: verified?.transaction ?? null,
    });
  }
  const agreed = results.every(
    (result) => result.sha256 === sha256 && result.receipt && sent.received.includes(result.id),
  );
  const [notice] = chain.notices.values();
  return {
    ok: agreed && results.length === NAMES.length - 1,
    file: file ?? "a sample",
    bytes: size,
    sha256,
    task,
    recipients: results,
    upload: { seconds: sent.seconds },
    notice: notice?.id ?? "",
    transactions: chain.transactions.map(({ hash, gas, carries }) => ({ hash, gas, carries: [...carries].join("+") })),
    gas: chain.gas,
  };
}

function startMember(name: string, { line, atEnd }: Stage): Member {
  const onWord = (word: Word | CommonWord): void => {
    if (word.is === "progress") line.update(name, word.bytes, word.total);
  };
  const party = new Party<Order, Word>(PROGRAM, name, onWord);
  atEnd(() => party.stop());
  return { name, wallet: Wallet.createRandom(), party };
}
