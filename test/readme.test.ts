import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const root = new URL("../", import.meta.url);

it("the README's round trip runs when it is pasted into a file", async () => {
  const readme = await readFile(new URL("README.md", root), "utf8");
  const code = /```js\n(.*?)```/s.exec(readme)?.[1] ?? "";
  expect(code.trimEnd().split("\n").length).toBeLessThanOrEqual(16); // ten lines beside imports and stack
  const file = new URL(`trip-${process.pid}.mjs`, root);
  try {
    await writeFile(file, code);
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [fileURLToPath(file)]);
    expect(stdout).toMatch(/^0x\w{40} verified "hello, weights" from 0x\w{40}, and its receipt is on the chain\n$/);
    expect(stderr).toBe("");
  } finally {
    await rm(file, { force: true });
  }
});

/** The README's code blocks of a language. */
async function blocks(language: string): Promise<string[]> {
  const readme = await readFile(new URL("README.md", root), "utf8");
  return [...readme.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, "gs"))].map((found) => found[1]!);
}

/** So that what a failed shell leaves in the background can be ended, too. */
const OWN_GROUP: object = { detached: true };

function endGroup(leader: number | undefined): void {
  try {
    if (leader !== undefined) process.kill(-leader, "SIGKILL");
  } catch {
    // all of it has ended by itself
  }
}

/** Runs a block as somebody would in a terminal of their own. */
function terminal(script: string, cwd: string): { child: ChildProcess; done: Promise<string> } {
  const child = spawn("sh", ["-e", "-c", script], { cwd, stdio: ["ignore", "pipe", "pipe"], ...OWN_GROUP });
  let [said, complained] = ["", ""];
  child.stdout.on("data", (bytes) => {
    said += String(bytes);
  });
  child.stderr.on("data", (bytes) => {
    complained += String(bytes);
  });
  const done = once(child, "close").then(([code]) => {
    if (code !== 0) throw new Error(`it ended with ${code}: ${complained}`);
    return said;
  });
  done.catch(() => {}); // whoever waits for it hears it
  return { child, done };
}

// npx makes it executable once, when it first sees the folder: never again after a build that began from nothing.
it("what was built can be executed, also where npx knew an earlier build", async () => {
  await access(new URL("dist/cli/waybill.js", root), constants.X_OK);
});

it("the README's commands make an exchange between processes, and admit another member", async () => {
  const dir = fileURLToPath(new URL(`try-${process.pid}/`, root));
  await mkdir(dir);
  const terminals: ChildProcess[] = [];
  const run = (script: string): Promise<string> => {
    const { child, done } = terminal(script, dir);
    terminals.push(child);
    return done;
  };
  try {
    const [, operator, bob, alice, dave] = await blocks("sh");
    const local = terminal(operator!, dir);
    terminals.push(local.child);
    await Promise.race([once(local.child.stdout!, "data"), local.done]);
    const [received, sent] = await Promise.all([run(bob!), run(alice!)]);
    expect(received).toBe(`${dir}bob.bin\n`);
    expect(sent).toMatch(/^bob verified\n/);
    const joined = await run(dave!);
    expect(joined).toMatch(new RegExp(`0x[0-9a-fA-F]{40}[^]*${dir}dave.bin\n`));
  } finally {
    for (const { pid } of terminals) endGroup(pid);
    await rm(dir, { recursive: true, force: true });
  }
});
