import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { startStack } from "../local/stack.ts";

const home = process.env.TMPDIR;
afterEach(() => {
  if (home === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = home;
});

it("the stack answers on loopback, and leaves nothing behind when it is stopped, even twice", async () => {
  const temp = await mkdtemp(join(tmpdir(), "waybill-test-stack-"));
  process.env.TMPDIR = temp;
  const stack = await startStack();
  const health = await fetch(`${stack.deployment.api}/health`);
  expect(health.status).toBe(200);
  for (const url of [stack.deployment.api, stack.deployment.storeOrigin, stack.rpc])
    expect(new URL(url).hostname).toBe("127.0.0.1");
  await stack.stop();
  await stack.stop();
  await expect(fetch(`${stack.deployment.api}/health`)).rejects.toThrow();
  expect(await readdir(temp)).toEqual([]);
  await rm(temp, { recursive: true });
});
