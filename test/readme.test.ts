import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
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

it("the README's files and commands make an exchange between processes, and admit a third member", async () => {
  const dir = fileURLToPath(new URL(`try-${process.pid}/`, root));
  await mkdir(dir);
  let operator: ReturnType<typeof spawn> | undefined;
  let group: number | undefined;
  try {
    for (const code of (await blocks("js")).slice(1)) {
      const name = /^\/\/ (\w+\.mjs)/.exec(code)?.[1];
      expect(name, code).toBeDefined();
      await writeFile(dir + name, code);
    }
    operator = spawn(process.execPath, ["operator.mjs"], { cwd: dir, stdio: ["ignore", "pipe", "inherit"] });
    expect(String((await once(operator.stdout!, "data"))[0])).toBe("deployment.json is there\n");
    const [, exchange, admission] = await blocks("sh");
    const shell = promisify(execFile)("sh", ["-e", "-c", `${exchange}${admission}`], { cwd: dir, ...OWN_GROUP });
    group = shell.child.pid;
    const { stdout, stderr } = await shell;
    expect(stderr).toBe("");
    const said = stdout.replaceAll(/0x[0-9a-fA-F]{40}/g, "0x…").replaceAll(dir, "");
    expect(said.trimEnd().split("\n").sort()).toEqual(
      [
        "3",
        "0x… sent bob.bin",
        "0x… sent carol.bin",
        "0x… has verified model.bin",
        "0x… has verified model.bin",
      ].sort(),
    );
  } finally {
    endGroup(group);
    if (operator?.exitCode === null && operator.kill("SIGINT")) await once(operator, "exit");
    await rm(dir, { recursive: true, force: true });
  }
});
