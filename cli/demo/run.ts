import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Wallet } from "ethers";
import { TaskContractor } from "../../lib/index.ts";
import { type Stack, startStack } from "../../local/stack.ts";
import { needDisk, SAMPLE_SIZE, sha256Of, sizeOf, writeSample } from "./file.ts";
import { readChain } from "./ledger.ts";
import { Member } from "./members.ts";
import { ProgressLine } from "./progress.ts";
import type { DemoResult, RecipientResult } from "./report.ts";

const TAG = "demo/file";
const NAMES = ["aggregator", "hospital-1", "hospital-2", "bank"] as const;

/** Undoes what was begun, newest first, however far the demo came. */
type Undo = (() => Promise<void>)[];

/**
 * The main job: a file from one member of a task to three others over the embedded stack.
 * `signal` ends it early; whatever happens, no process and no file of it is left behind.
 */
export async function runDemo(file: string | undefined, signal: AbortSignal): Promise<DemoResult> {
  const undo: Undo = [];
  const line = new ProgressLine();
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
  try {
    return await Promise.race([trip(file, line, undo), aborted]);
  } finally {
    line.clear();
    for (const step of undo.reverse()) await step();
  }
}

async function trip(file: string | undefined, line: ProgressLine, undo: Undo): Promise<DemoResult> {
  const size = file === undefined ? SAMPLE_SIZE : await sizeOf(file);
  // One copy in the store, one for each recipient, and the sample itself.
  await needDisk(tmpdir(), size * (file === undefined ? 5 : 4));
  const dir = await mkdtemp(join(tmpdir(), "waybill-demo-"));
  undo.push(() => rm(dir, { recursive: true, force: true }));
  const path = file === undefined ? join(dir, "sample.bin") : resolve(file);
  if (file === undefined) await writeSample(path, size);

  line.note("starting the store, the chain and the functions …");
  // Should we be killed, the stack's guardian removes our folder too.
  const stack = await startStack({ scratch: [dir] });
  undo.push(() => stack.stop());
  const members = NAMES.map((name) => new Member(name, line.update));
  for (const member of members) undo.push(() => member.stop());

  const task = await openTask(stack, members);
  line.note(`task ${task} is open for ${NAMES.join(", ")}`);
  await Promise.all(members.map((member) => member.join(stack.deployment, task)));
  const [sender, ...recipients] = members as [Member, ...Member[]];
  const targets = recipients.map((recipient) => recipient.account);
  const inbox = recipients.map((recipient) => join(dir, `${recipient.name}.bin`));
  const [sent, ...received] = await Promise.all([
    sender.send(path, targets, TAG),
    ...recipients.map((recipient, i) => recipient.receive(sender.account, TAG, inbox[i] as string)),
  ]);

  line.note("comparing what was sent, what arrived and what the chain says …");
  const chain = await readChain(stack.rpc, stack.deployment, task);
  const sha256 = await sha256Of(path);
  const results: RecipientResult[] = [];
  for (const [i, recipient] of recipients.entries()) {
    const receipt = chain.verified.get(recipient.account.toLowerCase()) ?? null;
    const seconds = received[i]?.seconds ?? Number.NaN;
    results.push({
      id: recipient.account,
      name: recipient.name,
      sha256: await sha256Of(inbox[i] as string),
      seconds,
      receipt,
    });
  }
  const agreed = results.every(
    (result) => result.sha256 === sha256 && result.receipt && sent.received.includes(result.id),
  );
  const receipts = new Set(chain.verified.values());
  return {
    ok: agreed && results.length === NAMES.length - 1,
    file: file ?? "a sample",
    bytes: size,
    sha256,
    task,
    recipients: results,
    upload: { seconds: sent.seconds },
    notice: chain.notice,
    transactions: [...chain.gas].map(([hash, gas]) => {
      const carries = [hash === chain.noticed && "notice", receipts.has(hash) && "receipts"].filter(Boolean);
      return { hash, gas, carries: carries.join("+") || "task" };
    }),
    gas: [...chain.gas.values()].reduce((sum, gas) => sum + gas, 0),
  };
}

async function openTask(stack: Stack, members: readonly Member[]): Promise<`0x${string}`> {
  const contractor = await TaskContractor.open({
    signer: Wallet.createRandom(),
    members: members.map((member) => member.account),
    deployment: stack.deployment,
  });
  await contractor.close();
  return contractor.task;
}
