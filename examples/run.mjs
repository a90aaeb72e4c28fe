// Usage: node examples/run.mjs one-to-one | one-to-many | two-to-one
// Runs an example's scripts, each as a process of its own with a key of its own, against a Waybill that it starts on this
// machine, or against yours: WAYBILL_DEPLOYMENT=deployment.json node examples/run.mjs one-to-one
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Wallet } from "ethers";
import { TaskContractor } from "waybill";

const EXAMPLES = {
  "one-to-one": { senders: 1, receivers: 1 },
  "one-to-many": { senders: 1, receivers: 2 },
  "two-to-one": { senders: 2, receivers: 1 },
};

const ending = new AbortController();
let interrupted = false;
for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, () => {
    interrupted = true;
    ending.abort();
  });

/** The operator's part: hand out deployment.json. */
async function operate(dir) {
  const given = process.env.WAYBILL_DEPLOYMENT;
  if (given) return { file: given, stop: async () => {} };
  const { startStack } = await import("waybill/local");
  const { deployment, stop } = await startStack({ scratch: [dir] });
  const file = join(dir, "deployment.json");
  await writeFile(file, JSON.stringify(deployment));
  return { file, stop };
}

/** A member's own part: make a key, keep it to oneself, and tell others the account. */
async function makeMember(role, number, dir) {
  const wallet = Wallet.createRandom();
  const name = `${role}-${number}`;
  const keyFile = join(dir, `${name}.key`);
  await writeFile(keyFile, wallet.privateKey, { mode: 0o600 });
  return { role, name, keyFile, account: wallet.address };
}

/** Runs a member's script to its end, and shows what it says. */
function run(example, member, others, { file, task }) {
  const script = fileURLToPath(new URL(`${example}/${member.role}.mjs`, import.meta.url));
  const env = { ...process.env, WAYBILL_DEPLOYMENT: file, WAYBILL_TASK: task, WAYBILL_KEY_FILE: member.keyFile };
  const accounts = others.filter(({ role }) => role !== member.role).map(({ account }) => account);
  const child = spawn(process.execPath, [script, ...accounts], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
    signal: ending.signal,
  });
  createInterface({ input: child.stdout }).on("line", (line) => console.log(`${member.name}  ${line}`));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`${member.name} failed.`))));
  });
}

async function runExample(example, { senders, receivers }) {
  const dir = await mkdtemp(join(tmpdir(), "waybill-example-"));
  let stop = async () => {};
  try {
    const operator = await operate(dir);
    stop = operator.stop;
    const members = await Promise.all([
      ...Array.from({ length: senders }, (_, i) => makeMember("sender", i + 1, dir)),
      ...Array.from({ length: receivers }, (_, i) => makeMember("receiver", i + 1, dir)),
    ]);
    // The task's owner enrols the accounts that it was told. It needs no account among them itself.
    const deployment = JSON.parse(await readFile(operator.file, "utf8"));
    const accounts = members.map(({ account }) => account);
    const { task } = await TaskContractor.open({ signer: Wallet.createRandom(), members: accounts, deployment });
    console.log(`task      ${task}`);
    await Promise.all(members.map((member) => run(example, member, members, { file: operator.file, task })));
  } finally {
    ending.abort(); // one that failed ends the others
    await stop();
    await rm(dir, { recursive: true, force: true });
  }
}

const [example] = process.argv.slice(2);
try {
  if (!Object.hasOwn(EXAMPLES, example)) throw new Error(`Name one of: ${Object.keys(EXAMPLES).join(", ")}.`);
  await runExample(example, EXAMPLES[example]);
} catch (error) {
  console.error(interrupted ? "Interrupted." : error.message);
  process.exitCode = interrupted ? 130 : 1;
}
