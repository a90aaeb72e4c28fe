import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Wallet } from "ethers";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Address, Hex } from "../lib/index.ts";
import {
  compositeChecksum,
  decodeManifest,
  encodeManifest,
  manifestDigest,
  transferId,
} from "../lib/protocol/manifest.ts";
import { wireText } from "../lib/protocol/requests.ts";
import { bitmapOf, type Notice, noticeId, signStatement } from "../lib/protocol/statements.ts";

import { type Cast, coded, noticed, parcel, rejection, Scene, standing, watching } from "./support/members.ts";

// What belongs together by signatures and digests alone: a notice and its manifest, a transfer and its notices. Here senders
// and servers put together what doesn't.

let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start();
});
afterAll(() => scene?.stop());

/** A notice that its sender signs and no library of ours would. */
function noticeOf(cast: Cast, transfer: Hex, manifest: Hex, deadline: number): Notice {
  const sender = cast.accounts[0]!.toLowerCase() as Address;
  const common = { kind: "notice", task: cast.task, sender, page: 0, recipients: bitmapOf([1]) } as const;
  return { ...common, transfer, manifest, deadline };
}

const sign = (cast: Cast, notice: Notice, by = 0) => signStatement(cast.wallets[by]!, scene.stack.deployment, notice);

it.concurrent("a manifest of another transfer, though its sender has signed for it, is corrupt, and the sender is told so", async () => {
  const cast = await scene.cast(2);
  const alice = cast.accounts[0]!;
  const { timestamp } = await scene.block();
  const empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
  const manifest = encodeManifest({
    ...{ version: 1, tag: "theirs", size: 0, partSize: 5 * 2 ** 20, parts: [empty] },
    ...{ checksum: compositeChecksum([empty]), contentType: "text/plain" },
  });
  expect(decodeManifest(manifest).tag).toBe("theirs"); // nothing else is wrong with it
  const notice = noticeOf(cast, transferId("ours"), manifestDigest(manifest), timestamp + 600);
  await scene.relay(await sign(cast, notice));
  const posted: unknown[] = [];
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const { pathname } = new URL(String(input));
    if (pathname.endsWith("/receipts")) posted.push(JSON.parse(Buffer.from(init!.body as Uint8Array).toString()));
    if (!pathname.endsWith("/download")) return globalThis.fetch(input, init);
    const grant = { url: "http://127.0.0.1:1/", headers: {}, expiresIn: 60 };
    return new Response(wireText({ notice, manifest: Buffer.from(manifest).toString("base64"), ...grant }));
  };
  const received = rejection(cast.process(1, { fetch }).channel.receiveStream({ source: alice, timeout: 240_000 }));
  expect(await received).toEqual(coded("CORRUPT"));
  expect(posted).toMatchObject([{ notice: noticeId(notice), outcome: "CORRUPT" }]);
});

it.concurrent("a manifest that is none of the notice's is the server's lie, however good it looks", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const end = new AbortController();
  const sent = rejection(cast.process(0).channel.sendStream({ target: bob, dataStream, tag, signal: end.signal }));
  const posted: string[] = [];
  const fetch = watching(
    (path) => posted.push(path),
    (path, text) => {
      if (!path.endsWith("/download")) return text;
      const answer = JSON.parse(text) as { manifest: string };
      const manifest = Buffer.from(answer.manifest, "base64")
        .toString()
        .replace(/"contentType":"[^"]*"/, '"contentType":"text/x"');
      return JSON.stringify({ ...answer, manifest: Buffer.from(manifest).toString("base64") });
    },
  );
  const received = rejection(
    cast.process(1, { fetch }).channel.receiveStream({ source: alice, tag, timeout: 240_000 }),
  );
  expect(await received).toEqual(coded("BAD_SERVER"));
  expect(posted.filter((path) => path.endsWith("/receipts"))).toEqual([]);
  end.abort();
  expect(await sent).toEqual(coded("ABORTED"));
});

/** The store, by somebody who flips a bit in every payload. */
async function flippingStore(): Promise<{ origin: string; close: () => Promise<void> }> {
  const { host, hostname, port } = new URL(scene.stack.deployment.storeOrigin);
  const server = createServer((asked, answer) => {
    const headers = { ...asked.headers, host }; // which the URL binds
    const onward = request({ hostname, port, path: asked.url, method: asked.method, headers }, async (given) => {
      const chunks: Buffer[] = [];
      for await (const chunk of given) chunks.push(chunk as Buffer);
      const bytes = Buffer.concat(chunks);
      bytes[7] = bytes[7]! ^ 1;
      answer.writeHead(given.statusCode!, given.headers).end(bytes);
    });
    asked.pipe(onward);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}

it.concurrent("bytes that are wrong over two connections are CORRUPT: the sender is told so, and no file is left", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const store = await flippingStore();
  const dir = await mkdtemp(join(tmpdir(), "waybill-bindings-"));
  try {
    const { deployment } = scene.stack;
    const fetch = watching(
      () => {},
      (_path, text) => text.replaceAll(deployment.storeOrigin, store.origin),
    );
    const receipts: string[] = [];
    const onReceipt = ({ outcome }: { outcome: string }): void => void receipts.push(outcome);
    const sent = cast.process(0).channel.sendStream({ target: bob, dataStream, tag, onReceipt });
    const recipient = cast.process(1, { fetch, deployment: { ...deployment, storeOrigin: store.origin } });
    const received = rejection(recipient.channel.receiveStream({ source: alice, tag, to: { dir } }));
    expect(await received).toEqual(coded("CORRUPT"));
    expect([await sent, receipts]).toEqual([null, ["CORRUPT"]]);
    expect(await readdir(dir)).toEqual([]);
  } finally {
    await store.close();
    await rm(dir, { recursive: true });
  }
});

it.concurrent("a receipt for other bytes under the same tag does not count for these", async () => {
  const cast = await scene.cast(2);
  const bob = cast.accounts[1]!;
  const { tag, dataStream } = parcel();
  const { timestamp } = await scene.block();
  const other = noticeOf(cast, transferId(tag), `0x${"12".repeat(32)}`, timestamp + 600);
  const verified = { kind: "receipt", task: cast.task, notice: noticeId(other), outcome: "VERIFIED" } as const;
  await scene.relay(await sign(cast, other), await signStatement(cast.wallets[1]!, scene.stack.deployment, verified));
  const end = new AbortController();
  const { onNotice, notice } = noticed();
  const sender = cast.process(0);
  const sent = rejection(sender.channel.sendStream({ target: bob, dataStream, tag, onNotice, signal: end.signal }));
  expect((await standing(sender, (await notice).notice)).recipients).toMatchObject([{ state: "outstanding" }]);
  end.abort();
  expect(await sent).toEqual(coded("ABORTED", { received: [] }));
});

it.concurrent("a payload that is sent again within the same second of chain time gets another notice", async () => {
  const cast = await scene.cast(2);
  const bob = cast.accounts[1]!;
  const { tag, dataStream } = parcel();
  let stopped = "";
  const clock = (_path: string, text: string): string => {
    const time = /"head":\{[^}]*"timestamp":(\d+)/.exec(text)?.[1];
    stopped ||= time ?? "";
    return text.replace(/("head":\{[^}]*"timestamp":)\d+/, `$1${stopped}`);
  };
  const deadlines: number[] = [];
  for (let times = 0; times < 2; times++) {
    const end = new AbortController();
    const { channel, contractor } = cast.process(0, { fetch: watching(() => {}, clock) });
    const onNotice = async ({ notice, deadline }: { notice: string; deadline: number }): Promise<void> => {
      deadlines.push(deadline);
      await standing({ contractor, channel, account: "" }, notice);
      end.abort();
    };
    const order = { target: bob, dataStream, tag, timeout: 600_000, signal: end.signal };
    const sent = channel.sendStream({ ...order, onNotice: (event) => void onNotice(event) });
    expect(await rejection(sent)).toEqual(coded("ABORTED"));
  }
  expect(deadlines[1]).toBe(deadlines[0]! + 1);
});

it.concurrent("a notice that a server calls ours, and that we haven't signed, is not joined", async () => {
  const cast = await scene.cast(3);
  const [alice, bob, carol] = cast.accounts as [string, string, string];
  const { tag, dataStream } = parcel();
  const first = cast.process(0).channel.sendStream({ target: carol, dataStream, tag });
  await cast.process(2).channel.receiveStream({ source: alice, tag });
  expect(await first).toBe(carol);
  const fetch = watching(
    () => {},
    (path, text) => {
      if (!path.endsWith("/transfers")) return text;
      const answer = JSON.parse(text) as { notices: { notice: Record<string, unknown> }[] };
      const [{ notice } = { notice: {} }] = answer.notices;
      const forged = { ...notice, recipients: `0x${bitmapOf([1]).toString(16).padStart(64, "0")}` };
      const signature = Wallet.createRandom().signingKey.sign(`0x${"34".repeat(32)}`).serialized;
      return JSON.stringify({ ...answer, notices: [{ notice: forged, signature, recipients: [bob.toLowerCase()] }] });
    },
  );
  const joined: boolean[] = [];
  const onNotice = (event: { joined: boolean }): void => void joined.push(event.joined);
  const again = cast.process(0, { fetch }).channel.sendStream({ target: bob, dataStream, tag, onNotice });
  const [from, bytes] = await cast.process(1).channel.receiveStream({ source: alice, tag });
  expect([from, Buffer.compare(bytes, dataStream)]).toEqual([alice, 0]);
  expect(await again).toBe(bob);
  expect(joined).toEqual([false]);
});
