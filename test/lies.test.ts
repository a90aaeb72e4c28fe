import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { coded, rejection, Scene } from "./support/members.ts";

// A server that says "refused" of what it holds back, and publishes it later.

let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start();
});
afterAll(() => scene?.stop());

/** Says that every statement is refused, and passes what is posted to `path` on only some seconds later. */
function holdingBack(path: RegExp): { fetch: typeof fetch; lies: () => number } {
  let lies = 0;
  const lying: typeof fetch = async (input, init) => {
    const url = String(input);
    if (/\/statements\/0x\w+$/.test(url)) {
      lies += 1;
      return new Response(JSON.stringify({ state: "refused", reason: "EXPIRED" }));
    }
    if (!path.test(url)) return fetch(input, init);
    void delay(4_000).then(() => fetch(input, init));
    const statement = `0x${"0".repeat(64)}`;
    return new Response(JSON.stringify({ statement }), { status: 202 });
  };
  return { fetch: lying, lies: () => lies };
}

it("a receipt is neither late nor refused because a server says so: the chain alone decides, for both sides alike", async () => {
  const cast = await scene.cast(2);
  const [sender, recipient] = [cast.accounts[0]!, cast.accounts[1]!];
  const server = holdingBack(/\/receipts$/);
  const [sent, [from]] = await Promise.all([
    cast.process(0).channel.sendStream({ target: recipient, dataStream: new Uint8Array(9), tag: "held" }),
    cast.process(1, { fetch: server.fetch }).channel.receiveStream({ source: sender, tag: "held" }),
  ]);
  expect([sent, from]).toEqual([recipient, sender]);
});

it("a notice is not given up because a server says that it was refused", async () => {
  const cast = await scene.cast(2);
  const [sender, recipient] = [cast.accounts[0]!, cast.accounts[1]!];
  const server = holdingBack(/nothing is held back/);
  const sending = cast.process(0, { fetch: server.fetch }).channel.sendStream({
    ...{ target: recipient, dataStream: new Uint8Array(9), tag: "noticed", timeout: 600_000 },
  });
  while (server.lies() === 0) await delay(100);
  const [from] = await cast.process(1).channel.receiveStream({ source: sender, tag: "noticed" });
  expect(from).toBe(sender);
  expect(await sending).toBe(recipient);
});

it("a send whose notice never reaches the chain says so once its deadline is over", async () => {
  const cast = await scene.cast(2);
  const swallowing: typeof fetch = async (input, init) => {
    const posted = String(init?.body instanceof Uint8Array ? new TextDecoder().decode(init.body) : (init?.body ?? ""));
    if (!String(input).endsWith("/finish") || !posted.includes('"signature"')) return fetch(input, init);
    const { notices } = JSON.parse(posted) as { notices: unknown[] };
    const head = { block: 1, timestamp: (await scene.block()).timestamp };
    return new Response(JSON.stringify({ state: "finished", notices: notices.map(() => `0x${"1".repeat(64)}`), head }));
  };
  const sending = cast.process(0, { fetch: swallowing }).channel.sendStream({
    ...{ target: cast.accounts[1]!, dataStream: new Uint8Array(9), tag: "swallowed", timeout: 5_000 },
  });
  const error = await rejection(sending);
  expect(error).toEqual(coded("NOT_PUBLISHED"));
  expect(error).toMatchObject({ retryable: true });
});
