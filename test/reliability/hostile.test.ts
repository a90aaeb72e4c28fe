import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { WaybillError } from "../../lib/index.ts";
import { encodeManifest, manifestDigest } from "../../lib/protocol/manifest.ts";
import { payloadOf } from "../support/api.ts";
import { accountOf, answering, bending, HostileServer, json, type Lie, rewriting, Trap } from "../support/hostile.ts";
import { type Cast, noticed, type Process, parcel, rejection, Scene, standing } from "../support/members.ts";

// A client that faces functions in hostile hands, over a real socket. It takes no false byte, follows no URL out of its store and
// no redirect, signs nothing false, and ends with an error of ours. Events that can't be true: ledger.test.ts; statements held
// back or slandered: lies.test.ts, sentences.trust.test.ts.

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const MiB = 1024 * 1024;
/** Each is lied to in a way of its own, all at the same time. */
const MEMBERS = 60;
let server: HostileServer;
let trap: Trap;
let scene: Scene;
let cast: Cast;
let other: Cast;
let last = 0;
const tag = "round-1";
const data = randomBytes(300);

beforeAll(async () => {
  [server, trap] = await Promise.all([HostileServer.start(), Trap.start()]);
  scene = await Scene.start({ config: { apiOrigin: server.origin } });
  server.behind = scene.stack.deployment.api;
  Object.assign(scene.stack.deployment, { api: server.origin });
  [cast, other] = [await scene.cast(MEMBERS), await scene.cast(2)];
  const { onNotice, notice } = noticed();
  const sender = cast.process(0);
  sender.channel
    .batchSendStream({ target: cast.accounts.slice(1), dataStream: data, tag, timeout: 3_000_000, onNotice })
    .catch(() => {}); // it ends with the scene
  await standing(sender, (await notice).notice);
});
afterAll(async () => {
  await scene?.stop();
  await Promise.all([server?.stop(), trap?.stop()]);
});

/** A member whom nobody has lied to yet. */
function facing(lie: Lie): Process & { asked: () => string[] } {
  last += 1;
  const process = cast.process(last);
  const account = process.account.toLowerCase();
  server.lies.set(account, lie);
  const asked = (): string[] =>
    server.asked.filter(({ headers }) => accountOf(headers) === account).map(({ target }) => target);
  return { ...process, asked };
}

/** What a recipient's call ends with, and what it posted. */
async function received(lie: Lie, timeout = 600_000): Promise<{ error: WaybillError; posted: string[] }> {
  const { channel, asked } = facing(lie);
  const error = await rejection(channel.receiveStream({ source: cast.accounts[0]!, tag, timeout }));
  const posted = asked().filter((target) => /\/(receipts|messages|withdrawals)$/.test(target));
  return { error: error as WaybillError, posted };
}

const download = /\/download$/;
const events = /\/events/;

function urlTo(url: (honest: string) => string): Lie {
  return bending(download, (answer) => ({ ...answer, url: url(String(answer.url)) }));
}

const falsePayload = payloadOf(tag, randomBytes(300), 8 * MiB, "application/octet-stream");

describe("a recipient is not moved by functions", () => {
  const downloads: [string, Lie][] = [
    ["with another payload's manifest", bending(download, (a) => ({ ...a, manifest: falsePayload.text }))],
    [
      "with a notice that fits that manifest",
      bending(download, (a) => ({
        ...a,
        manifest: falsePayload.text,
        notice: { ...(a.notice as object), manifest: manifestDigest(encodeManifest(falsePayload.manifest)) },
      })),
    ],
    ["with a manifest of 6 MiB", bending(download, (a) => ({ ...a, manifest: "A".repeat(6 * MiB) }))],
    [
      "with a deadline of their own",
      bending(download, (a) => ({ ...a, notice: { ...(a.notice as object), deadline: 1 } })),
    ],
    ["with a URL to another store", urlTo((url) => url.replace(new URL(url).origin, trap.origin))],
    ["with a URL to the functions", urlTo((url) => url.replace(new URL(url).origin, server.origin))],
    ["with a URL over TLS to the same port", urlTo((url) => url.replace("http:", "https:"))],
    ["with a URL with somebody's name in it", urlTo((url) => url.replace("http://", "http://somebody:word@"))],
    ["with a URL that begins like the store's", urlTo((url) => url.replace(/^(http:\/\/[^/]+)/, "$1.evil.test"))],
    ["with a URL of a file", urlTo(() => "file:///etc/passwd")],
    ["with a URL of data", urlTo(() => "data:text/plain,hello")],
    ["with a script for a URL", urlTo(() => "javascript:alert(1)")],
    ["with no URL", urlTo(() => "")],
    [
      "with a header that smuggles",
      bending(download, (a) => ({ ...a, headers: { "if-match": '"a"\r\nhost: evil.test' } })),
    ],
    ["with a header for a proxy", bending(download, (a) => ({ ...a, headers: { "proxy-authorization": "x" } }))],
    ["with a host of their own", bending(download, (a) => ({ ...a, headers: { host: "evil.test" } }))],
    [
      "that answer of another task",
      bending(download, (a) => ({ ...a, notice: { ...(a.notice as object), task: other.task } })),
    ],
    ["whose events are another task's", rewriting(events, (text) => text.replaceAll(cast.task, other.task))],
    ["that answer 201 without a word", answering(download, (response) => response.writeHead(201).end())],
    [
      "that answer a page",
      answering(download, (response) => response.writeHead(200, { "content-type": "text/html" }).end("<html>")),
    ],
    ["that answer without end", answering(download, endless)],
    ["that answer a bomb", answering(download, bomb)],
    ["that answer brackets, a million deep", answering(download, (response) => response.end("[".repeat(MiB)))],
    [
      "that answer another error than they may",
      answering(download, (response) => json(response, { code: "CORRUPT", detail: "x" }, 422)),
    ],
    [
      "that answer __proto__",
      answering(download, (response) => response.end('{"__proto__":{"url":"x"},"constructor":1}')),
    ],
  ];
  it.concurrent.each(downloads)("%s", async (_name, lie) => {
    const { error, posted } = await received(lie);
    expect(error).toBeInstanceOf(WaybillError);
    expect(error.code).toBe("BAD_SERVER");
    expect(posted).toEqual([]);
    expect(trap.caught).toEqual([]);
  });

  const places = ["", "http", "file:///etc/passwd", "//", "/v1/tasks", "javascript:x"];
  it.concurrent.each([301, 302, 303, 307, 308])("that redirect with %i, wherever to", async (status) => {
    let location = "";
    const { channel } = facing(answering(download, (response) => response.writeHead(status, { location }).end()));
    for (const place of places) {
      location = place === "http" ? trap.origin : place === "//" ? `//${new URL(trap.origin).host}/x` : place;
      const error = await rejection(channel.receiveStream({ source: cast.accounts[0]!, tag }));
      expect(error).toMatchObject({ name: "WaybillError", code: "BAD_SERVER" });
    }
    expect(trap.caught).toEqual([]);
  });

  it.concurrent.each<[string, Lie]>([
    ["that drip their answer", answering(download, drip)],
    ["that drip their events", answering(events, drip)],
    ["that say nothing", answering(download, () => {})],
    ["that hang up", answering(download, (response) => response.destroy())],
    ["that leave events out", bending(events, (a) => ({ ...a, events: [] }))],
    [
      "that are never ready",
      answering(download, (response) => json(response, { code: "UNAVAILABLE", detail: "x" }, 503)),
    ],
    [
      "that ask for a wait of years",
      answering(download, (response) =>
        response.writeHead(503, { "retry-after": "99999999" }).end('{"code":"UNAVAILABLE","detail":"x"}'),
      ),
    ],
    [
      "that stand on their head",
      answering(download, (response) => response.writeHead(200, { x: "y".repeat(32_000) }).end("{}")),
    ],
  ])("%s longer than the call may take", async (_name, lie) => {
    const { error, posted } = await received(lie, 1_000);
    expect(error).toBeInstanceOf(WaybillError);
    expect(["TIMEOUT", "UNREACHABLE", "UNAVAILABLE", "BAD_SERVER"]).toContain(error.code);
    expect(posted).toEqual([]);
  });

  it.concurrent("whose events have signatures of others: over HTTPS alone nobody could tell them from a contract wallet's", async () => {
    const forge = (text: string): string => text.replaceAll(/"signature":"0x..../g, '"signature":"0x1111');
    const { error, posted } = await received(rewriting(events, forge));
    expect([error.code, posted]).toEqual(["NEEDS_RPC", []]);
  });

  it.concurrent("with cookies: none goes back", async () => {
    const { channel, account } = facing(async (_asked, response, honest) => {
      const { status, text } = await honest();
      response.writeHead(status, { "set-cookie": "id=1; Path=/; Max-Age=99999" }).end(text);
      return true;
    });
    await channel.receiveStream({ source: cast.accounts[0]!, tag });
    const asked = server.asked.filter(({ headers }) => accountOf(headers) === account.toLowerCase());
    expect(asked.length).toBeGreaterThan(2);
    expect(asked.filter(({ headers }) => headers.cookie !== undefined)).toEqual([]);
  });

  it.concurrent("that say a sentence for a terminal: the code is theirs to say, and the call ends", async () => {
    const detail = "\x1b]0;pwned\x07\r\nSet-Cookie: x\u202e";
    const { error } = await received(answering(download, (response) => json(response, { code: "GONE", detail }, 410)));
    expect(error).toMatchObject({ name: "WaybillError", code: "GONE" });
  });

  it.concurrent("and receives the payload when they are honest", async () => {
    const source = cast.accounts[0]!;
    const [from, bytes] = await facing(() => false).channel.receiveStream({ source, tag });
    expect([from, Buffer.from(bytes)]).toEqual([source, data]);
  });
});

describe("a sender is not moved by functions", () => {
  const begin = /\/transfers$/;
  const parts = /\/transfers(\/0x\w+\/parts)?$/;
  const moved = (answer: Record<string, unknown>, origin: string): unknown => ({
    ...answer,
    urls: ((answer.urls ?? []) as { url: string }[]).map((one) => ({
      ...one,
      url: one.url.replace(/^http:\/\/[^/]+/, origin),
    })),
  });
  it.concurrent.each<[string, Lie, readonly string[]]>([
    ["with URLs to another store", bending(parts, (a) => moved(a, trap.origin)), ["BAD_SERVER"]],
    ["with URLs of files", bending(parts, (a) => moved(a, "file://")), ["BAD_SERVER"]],
    ["with parts of nothing", bending(begin, (a) => ({ ...a, partSize: 0 })), ["BAD_SERVER", "CONFLICT"]],
    ["with parts of less than nothing", bending(begin, (a) => ({ ...a, partSize: -1 })), ["BAD_SERVER"]],
    ["with parts beyond numbers", bending(begin, (a) => ({ ...a, partSize: 2 ** 53 })), ["BAD_SERVER", "CONFLICT"]],
    [
      "that say that it is finished",
      bending(begin, (a) => ({ ...a, state: "finished", manifest: falsePayload.text })),
      ["CONFLICT", "BAD_SERVER"],
    ],
    [
      "that redirect",
      answering(begin, (response) => response.writeHead(308, { location: trap.origin }).end()),
      ["BAD_SERVER"],
    ],
    ["that answer without end", answering(begin, endless), ["BAD_SERVER"]],
    ["that answer a bomb", answering(begin, bomb), ["BAD_SERVER"]],
  ])("%s", async (_name, lie, codes) => {
    const { channel } = facing(lie);
    const error = await rejection(channel.sendStream({ target: cast.accounts[0]!, ...parcel() }));
    expect(error).toBeInstanceOf(WaybillError);
    expect(codes).toContain((error as WaybillError).code);
    expect(trap.caught).toEqual([]);
  });

  it.concurrent("that finish another notice than was signed: what the sender signed is what it waits for", async () => {
    const bend = (answer: Record<string, unknown>): unknown => ({ ...answer, notices: [`0x${"1".repeat(64)}`] });
    const sender = facing(bending(/\/finish$/, (answer) => (answer.notices ? bend(answer) : answer)));
    const recipient = facing(() => false);
    const { tag, dataStream } = parcel();
    const sent = sender.channel.sendStream({ target: recipient.account, dataStream, tag });
    expect((await recipient.channel.receiveStream({ source: sender.account, tag }))[0]).toBe(sender.account);
    expect(await sent).toBe(recipient.account);
  });
});

interface Writable {
  writeHead(status: number, headers: Record<string, string>): unknown;
  write(chunk: Uint8Array | string): boolean;
  end(chunk?: Uint8Array | string): unknown;
  once(event: string, listener: () => void): unknown;
  readonly destroyed: boolean;
}

function endless(response: Writable): void {
  const piece = Buffer.alloc(256 * 1024, " ");
  const more = (): void => {
    while (!response.destroyed) if (!response.write(piece)) return void response.once("drain", more);
  };
  response.writeHead(200, { "content-type": "application/json" });
  more();
}

/** A gigabyte of spaces in a megabyte. */
function bomb(response: Writable): void {
  const piece = gzipSync(Buffer.alloc(4 * MiB, " "));
  response.writeHead(200, { "content-encoding": "gzip" });
  for (let i = 0; i < 256; i++) response.write(piece);
  response.end();
}

function drip(response: Writable): void {
  response.writeHead(200, { "content-type": "application/json" });
  const timer = setInterval(() => response.write(" "), 200);
  response.once("close", () => clearInterval(timer));
}
