import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { JsonRpcProvider, Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { startAnvil } from "../local/anvil.ts";
import { spawnGuarded } from "../local/guard.ts";
import { type Compiled, compileSources } from "./support/compiled.ts";

let compiled: Compiled;
const parents: ChildProcess[] = [];

beforeAll(() => {
  compiled = compileSources();
});
afterEach(() => {
  for (const parent of parents.splice(0)) parent.kill("SIGKILL");
});
afterAll(() => compiled.remove());

describe("anvil", () => {
  it("starts on a free port with its chain id and rich accounts whose keys we know", async () => {
    const anvil = await startAnvil({ chainId: 4242 });
    const provider = new JsonRpcProvider(anvil.url);
    try {
      expect((await provider.getNetwork()).chainId).toBe(4242n);
      for (const { address, privateKey } of anvil.accounts) {
        expect(new Wallet(privateKey).address).toBe(address);
        expect(await provider.getBalance(address)).toBeGreaterThan(0n);
      }
      expect(anvil.accounts).toHaveLength(10);
    } finally {
      provider.destroy();
      await anvil.stop();
    }
  });

  it("makes blocks although nobody sends a transaction", async () => {
    const anvil = await startAnvil();
    const provider = new JsonRpcProvider(anvil.url, undefined, { cacheTimeout: -1 });
    try {
      const first = await provider.getBlockNumber();
      await until(async () => (await provider.getBlockNumber()) > first);
    } finally {
      provider.destroy();
      await anvil.stop();
    }
  });

  it("runs twice at a time, and stops more than once", async () => {
    const [one, two] = await Promise.all([startAnvil(), startAnvil()]);
    expect(one.url).not.toBe(two.url);
    await Promise.all([one.stop(), one.stop(), two.stop()]);
    await one.stop();
    expect(alive(one.pid)).toBe(false);
    expect(alive(two.pid)).toBe(false);
  });

  it("is not misled by TARGET_TOOL", async () => {
    process.env.TARGET_TOOL = "forge";
    try {
      const anvil = await startAnvil();
      await anvil.stop();
    } finally {
      delete process.env.TARGET_TOOL;
    }
  });

  it("says what anvil complained about when it does not come up", async () => {
    await expect(startAnvil({ args: ["--no-such-flag"] })).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("--no-such-flag"),
    });
  });
});

describe("a guarded child", () => {
  it.each(["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"] as const)(
    "is gone, and its scratch folder too, after its parent died of %s",
    async (signal) => {
      const scratch = mkdtempSync(join(tmpdir(), "waybill-test-"));
      const parent = await startParent(
        `startAnvil({ scratch: [${JSON.stringify(scratch)}] })`,
        "setInterval(() => {}, 1e6)",
      );
      expect(alive(parent.childPid)).toBe(true);
      parent.process.kill(signal);
      await until(() => !alive(parent.childPid) && !existsSync(scratch));
    },
  );

  it("is gone after the parent's whole process group was killed", async () => {
    const parent = await startParent("startAnvil()", "setInterval(() => {}, 1e6)", true);
    process.kill(-(parent.process.pid as number), "SIGKILL");
    await until(() => !alive(parent.childPid));
  });

  it("does not keep a parent alive that has nothing left to do", async () => {
    const parent = await startParent("startAnvil()", "");
    await until(() => parent.process.exitCode === 0);
    await until(() => !alive(parent.childPid));
  });

  it("is gone when its guardian was killed, and the parent learns of it", async () => {
    const scratch = mkdtempSync(join(tmpdir(), "waybill-test-"));
    const tellGuardian = "console.log(process.ppid); setInterval(() => {}, 1e6)";
    const child = await spawnGuarded(process.execPath, ["-e", tellGuardian], { scratch: [scratch] });
    const guardian = Number(await firstLine(child.stdout));
    process.kill(guardian, "SIGKILL");
    expect(await child.ended).toEqual({ code: null, signal: "SIGKILL" });
    await until(() => !alive(child.pid));
    expect(existsSync(scratch)).toBe(false);
  });

  it("is killed when it does not want to end", async () => {
    const stubborn = "process.on('SIGTERM', () => {}); console.log('ready'); setInterval(() => {}, 1e6)";
    const child = await spawnGuarded(process.execPath, ["-e", stubborn], { graceMs: 50 });
    await firstLine(child.stdout);
    await child.stop();
    expect(await child.ended).toEqual({ code: null, signal: "SIGKILL" });
    expect(alive(child.pid)).toBe(false);
  });

  it("reports its own exit code, and sees no environment but the one it was given", async () => {
    const child = await spawnGuarded(
      process.execPath,
      ["-e", "process.exit(process.env.HOME ? 1 : Number(process.env.CODE))"],
      { env: { CODE: "7" } },
    );
    expect(await child.ended).toEqual({ code: 7, signal: null });
    await child.stop();
  });

  it("that can't be started is a typed error", async () => {
    await expect(spawnGuarded("/no/such/program", [])).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });
});

async function startParent(
  start: string,
  afterwards: string,
  detached = false,
): Promise<{ process: ChildProcess; childPid: number }> {
  const program = `
    import { startAnvil } from ${JSON.stringify(compiled.path("local/anvil.js"))};
    const child = await ${start};
    console.log(child.pid);
    ${afterwards}`;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
    detached,
  });
  parents.push(parent);
  return { process: parent, childPid: Number(await firstLine(parent.stdout)) };
}

function firstLine(from: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve, reject) => {
    const lines = createInterface({ input: from });
    lines.once("line", resolve).once("close", () => reject(new Error("ended without a line")));
  });
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits for a fact; the test's own time limit ends it if it never comes. */
async function until(fact: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await fact())) await new Promise((resolve) => setTimeout(resolve, 20));
}
