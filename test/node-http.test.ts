import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { Worker } from "node:worker_threads";
import { build } from "esbuild";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { StoreRequest } from "../lib/transfer/http.ts";
import { NodeTransport, type NodeTransportOptions } from "../lib/transfer/node-http.ts";
import { Addresses } from "../lib/transfer/wire/addresses.ts";
import { proxyFor } from "../lib/transfer/wire/proxy.ts";
import { CA } from "./support/certificate.ts";
import { rejection } from "./support/members.ts";
import { ROOT, run } from "./support/packed.ts";
import { startProxy } from "./support/proxy.ts";
import { answering, type Script, WireServer, whole } from "./support/wire.ts";

// What only the transport over sockets of our own can do, or must see to itself.

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const act of cleanUp.splice(0).reverse()) await act();
});

async function serve(script: Script, options: { secure?: boolean; host?: string } = {}): Promise<WireServer> {
  const server = await WireServer.start(script, options);
  cleanUp.push(() => server.stop());
  return server;
}

/** Leads every name to this machine, and through no proxy unless it is told. */
function make(options: NodeTransportOptions = {}): NodeTransport {
  const made = new NodeTransport({ resolve: async () => ["127.0.0.1"], env: {}, ca: CA, ...options });
  cleanUp.push(() => made.close());
  return made;
}

function get(origin: string, more: Partial<StoreRequest> = {}): StoreRequest {
  return { method: "GET", url: `${origin}/key`, headers: {}, signal: new AbortController().signal, ...more };
}

const put = (origin: string, length: number): StoreRequest =>
  get(origin, { method: "PUT", body: new Uint8Array(length) });

async function ask(transport: NodeTransport, request: StoreRequest): Promise<string> {
  const response = await transport.request(request);
  const memory = Buffer.alloc(1000);
  return memory.toString("latin1", 0, await response.read(memory));
}

/** A server in a thread of its own: whether it has answered, and how many bytes came, are in the memory that is shared. */
const REFUSING = `
  const { parentPort, workerData } = require("node:worker_threads");
  const [answers, came] = [new Int32Array(workerData, 0, 1), new Int32Array(workerData, 4, 1)];
  const server = require("node:net").createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => void Atomics.add(came, 0, chunk.length));
    socket.once("data", () => setTimeout(() => socket.end(${JSON.stringify(whole("<Error/>", "403 Forbidden"))}, () => {
      Atomics.store(answers, 0, 1);
      Atomics.notify(answers, 0);
    }), 200));
  });
  server.listen(0, "127.0.0.1", () => parentPort.postMessage({ port: server.address().port, memory: workerData }));
`;

describe("a connection", () => {
  it("is left to the next request by an answer that nobody reads, if it has come whole", async () => {
    const server = await serve((socket) =>
      server.onRequest(socket, (_, body) => void body.then(() => socket.write(whole("<Error/>", "400 Bad")))),
    );
    const transport = make();
    for (let part = 0; part < 3; part++) {
      const response = await transport.request(get(server.origin));
      expect(response.status).toBe(400);
      response.discard();
    }
    expect(server.connections).toBe(1);
  });

  it("that is asked for fresh is new", async () => {
    const server = await serve(answering(whole("hello")));
    const transport = make();
    for (const fresh of [false, false, true]) await ask(transport, get(server.origin, { fresh }));
    expect(server.connections).toBe(2);
  });

  it("is not used again when anything came that was not asked for, and what came with an answer is refused", async () => {
    const later = await serve((socket) =>
      answering(whole("hello"), () => setTimeout(() => socket.write("more"), 20))(socket, 1),
    );
    const transport = make();
    await ask(transport, get(later.origin));
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await ask(transport, get(later.origin))).toBe("hello");
    expect(later.connections).toBe(2);
    const along = await serve(answering(`${whole("hello")}more`));
    expect(await rejection(ask(transport, get(along.origin)))).toMatchObject({ code: "BAD_HTTP" });
  });

  it("is ended when it was idle for four seconds, before S3 ends it", async () => {
    let closed: Promise<unknown> | undefined;
    const server = await serve((socket) => {
      closed = once(socket, "end");
      answering(whole("hello"))(socket, 1);
    });
    const began = performance.now();
    await ask(make(), get(server.origin));
    await closed;
    expect(performance.now() - began).toBeGreaterThan(3_000);
  });

  it("that the other side ended is not used", async () => {
    let first: Socket | undefined;
    const server = await serve((socket) => {
      first ??= socket;
      answering(whole("hello"))(socket, 1);
    });
    const transport = make();
    await ask(transport, get(server.origin));
    first!.end();
    await once(first!, "close");
    expect(await ask(transport, get(server.origin))).toBe("hello");
  });

  it("is not taken for dead because this process was held up while its bytes came", async () => {
    const dir = await mkdtemp(join(tmpdir(), "waybill-test-held-"));
    cleanUp.push(() => rm(dir, { recursive: true, force: true }));
    // A server of another process, which goes on meanwhile.
    const code = `const server = require("node:net").createServer((socket) => socket.on("error", () => {}).once("data", () => {
      socket.write("HTTP/1.1 200 OK\\r\\nContent-Length: 10\\r\\n\\r\\nhello");
      setTimeout(() => socket.write("world"), 300);
    })).listen(0, "127.0.0.1", () => console.log(server.address().port));`;
    const child = spawn(process.execPath, ["-e", code], { cwd: dir, stdio: ["ignore", "pipe", "inherit"] });
    cleanUp.push(() => child.kill());
    const [port] = (await once(child.stdout, "data")) as [Buffer];
    const response = await make({ stallTimeout: 1_000 }).request(get(`http://127.0.0.1:${String(port).trim()}`));
    const memory = Buffer.alloc(10);
    const reading = response.read(memory);
    const until = performance.now() + 1_500;
    while (performance.now() < until);
    expect([await reading, memory.toString()]).toEqual([10, "helloworld"]);
  });

  it("hears an unasked 100 Continue", async () => {
    const server = await serve(answering(`HTTP/1.1 100 Continue\r\n\r\n${whole("hello")}`));
    expect(await ask(make(), get(server.origin))).toBe("hello");
  });
});

describe("a body", () => {
  it("is asked about until one was taken, and again after a refusal", async () => {
    const statuses = ["503 Slow", "200 OK", "200 OK", "403 No", "200 OK"];
    const server = await serve((socket) =>
      server.onRequest(socket, async (head, body) => {
        const status = statuses[server.heads.length - 1]!;
        if (/^expect/im.test(head) && status.startsWith("2")) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        if (!/^expect/im.test(head) || status.startsWith("2")) await body;
        socket.end(whole("", status).replace("\r\n", "\r\nConnection: close\r\n"));
      }),
    );
    const transport = make();
    for (const status of statuses)
      expect((await transport.request(put(server.origin, 100_000))).status).toBe(Number(status.slice(0, 3)));
    expect(server.heads.map((head) => /^expect: 100-continue\r$/m.test(head))).toEqual([
      true,
      true,
      false,
      false,
      true,
    ]);
  });

  it("is asked about again after a connection that ended in its midst: what was said is lost", async () => {
    const server = await serve((socket) =>
      server.onRequest(socket, async (head, body) => {
        if (server.heads.length === 2) return void socket.destroy();
        if (/^expect/im.test(head)) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
        await body;
        socket.end(whole("").replace("\r\n", "\r\nConnection: close\r\n"));
      }),
    );
    const transport = make();
    expect((await transport.request(put(server.origin, 100_000))).status).toBe(200);
    await expect(transport.request(put(server.origin, 100_000))).rejects.toThrow();
    expect((await transport.request(put(server.origin, 100_000))).status).toBe(200);
    const asked = server.heads.map((head) => /^expect: 100-continue\r$/m.test(head));
    expect(asked).toEqual([true, false, true]);
  });

  it("does not travel when it is refused", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"] }); // however long the machine takes for the answer
    cleanUp.push(() => vi.useRealTimers());
    let came = 0;
    const server = await serve((socket) => {
      socket.on("data", (chunk: Buffer) => {
        came += chunk.length;
        socket.end(whole("<Error/>", "403 Forbidden"));
      });
    });
    expect(await ask(make(), put(server.origin, 1_000_000))).toBe("<Error/>");
    expect(came).toBeLessThan(1_000);
  });

  it("does not travel when the process stood still until the refusal was there", async () => {
    const server = new Worker(REFUSING, { eval: true, workerData: new SharedArrayBuffer(8) });
    cleanUp.push(() => server.terminate());
    const [{ port, memory }] = (await once(server, "message")) as [{ port: number; memory: SharedArrayBuffer }];
    const [answers, came] = [new Int32Array(memory, 0, 1), new Int32Array(memory, 4, 1)];
    const asking = ask(make(), put(`http://127.0.0.1:${port}`, 1_000_000));
    while (Atomics.load(came, 0) === 0) await setImmediate();
    Atomics.wait(answers, 0, 0); // it answers a while after the request has come, and we hear nothing of it
    Atomics.wait(answers, 0, 1, 1_500);
    expect(await asking).toBe("<Error/>");
    expect(Atomics.load(came, 0)).toBeLessThan(1_000);
  });

  it("is sent all the same to a server that does not know what it was asked, or says so", async () => {
    const mute = await serve((socket) =>
      mute.onRequest(socket, (_, body) => void body.then(() => socket.write(whole("")))),
    );
    expect((await make().request(put(mute.origin, 10))).status).toBe(200);
    const strict = await serve((socket) =>
      strict.onRequest(socket, async (head, body) => {
        if (/^expect/im.test(head)) return void socket.end(whole("", "417 What"));
        await body;
        socket.write(whole(""));
      }),
    );
    const transport = make();
    for (let turn = 0; turn < 2; turn++) expect((await transport.request(put(strict.origin, 10))).status).toBe(200);
    expect(strict.heads.filter((head) => /^expect/im.test(head)).length).toBe(1);
  });
});

describe("connections", () => {
  it("spread over all addresses of the store, and fresh ones ask for them again", async () => {
    const seen: string[] = [];
    const server = await serve(
      (socket) => {
        seen.push(socket.localAddress!);
        answering(whole(""))(socket, 1);
      },
      { host: "0.0.0.0" },
    );
    let asked = 0;
    const resolve = async () => {
      asked += 1;
      return ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    };
    const transport = make({ resolve });
    const origin = `http://store.test:${server.port}`;
    await Promise.all([1, 2, 3].map(() => ask(transport, get(origin))));
    expect([...seen].sort()).toEqual(["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    expect(asked).toBe(1);
    await ask(transport, get(origin, { fresh: true }));
    expect(asked).toBe(2);
  });

  it("go to another address when one does not answer", async () => {
    const server = await serve(answering(whole("hello")));
    const transport = make({ resolve: async () => ["127.0.0.2", "127.0.0.1"] });
    expect(await ask(transport, get(`http://store.test:${server.port}`))).toBe("hello");
    const lost = make({ resolve: async () => ["127.0.0.2", "127.0.0.3"] });
    expect(await rejection(ask(lost, get(`http://store.test:${server.port}`)))).toMatchObject({ code: "ECONNREFUSED" });
  });

  it("tell when the name has no address, or when nobody knows", async () => {
    const unknown = Object.assign(new Error("no such name"), { code: "ENOTFOUND" });
    let fails = true;
    const resolve = async () => {
      if (fails) throw unknown;
      return [];
    };
    const transport = make({ resolve });
    expect(await rejection(ask(transport, get("http://store.test:1")))).toBe(unknown);
    fails = false;
    expect(await rejection(ask(transport, get("http://store.test:1")))).toMatchObject({ code: "CUT_SHORT" });
  });

  it("wait no longer for a name, or for a handshake, than for bytes, nor after their end", async () => {
    const never = make({ resolve: () => new Promise(() => {}), stallTimeout: 300 });
    expect(await rejection(ask(never, get("http://store.test:1")))).toMatchObject({ code: "STALLED" });
    const mute = await serve(() => {});
    const secure = `https://store.test:${mute.port}`;
    expect(await rejection(ask(make({ stallTimeout: 300 }), get(secure)))).toMatchObject({ code: "STALLED" });
    const transport = make();
    const controller = new AbortController();
    const aborted = rejection(ask(transport, get(secure, { signal: controller.signal })));
    controller.abort(new Error("enough"));
    expect(await aborted).toMatchObject({ message: "enough" });
    const closed = rejection(ask(transport, get(secure)));
    transport.close();
    expect(await closed).toMatchObject({ message: "The transport was closed." });
  });

  it("avoid an address that failed until all others have", async () => {
    const addresses = new Addresses("store.test", async () => ["a", "b", "c"]);
    expect(await addresses.list(false)).toEqual(["a", "b", "c"]);
    addresses.failed("c");
    expect(await addresses.list(false)).toEqual(["b", "a", "c"]);
    addresses.failed("a");
    expect((await addresses.list(true))[0]).toBe("b");
    expect((await addresses.list(true)).length).toBe(3);
  });
});

describe("over TLS", () => {
  it("a private authority is trusted if it is named, and the certificate must be the host's", async () => {
    const server = await serve(answering(whole("hello")), { secure: true });
    const at = (host: string) => get(`https://${host}:${server.port}`);
    expect(await ask(make(), at("store.test"))).toBe("hello");
    expect(await ask(make(), at("127.0.0.1"))).toBe("hello");
    expect(await rejection(ask(make(), at("other.test")))).toMatchObject({ code: "ERR_TLS_CERT_ALTNAME_INVALID" });
    expect(await rejection(ask(make({ ca: undefined }), at("store.test")))).toMatchObject({
      code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    });
  });

  it("a second handshake is a resumed one", async () => {
    const resumed: boolean[] = [];
    const server = await serve(
      (socket) => {
        resumed.push((socket as TLSSocket).isSessionReused());
        answering(whole("hello"))(socket, 1);
      },
      { secure: true },
    );
    const transport = make();
    for (let turn = 0; turn < 2; turn++)
      await ask(transport, get(`https://store.test:${server.port}`, { fresh: true }));
    expect(resumed).toEqual([false, true]);
  });

  it("large bodies go both ways, and a reader that pauses loses nothing", async () => {
    const bytes = randomBytes(5_000_000);
    let taken: Uint8Array = new Uint8Array();
    const server = await serve(
      (socket) =>
        server.onRequest(socket, async (head, body) => {
          if (/^expect/im.test(head)) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
          taken = await body;
          socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
          socket.write(bytes);
        }),
      { secure: true },
    );
    const url = `https://store.test:${server.port}/key`;
    const response = await make().request({ ...get(""), method: "PUT", url, body: bytes });
    const got = Buffer.from(new SharedArrayBuffer(bytes.length));
    for (let at = 0; at < got.length; at += 1_000_000) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await response.read(got.subarray(at, at + 1_000_000));
    }
    expect([Buffer.compare(taken, bytes), Buffer.compare(got, bytes)]).toEqual([0, 0]);
  });

  it("both transports trust NODE_EXTRA_CA_CERTS, and let their process end", async () => {
    const dir = await mkdtemp(join(tmpdir(), "waybill-test-tls-"));
    cleanUp.push(() => rm(dir, { recursive: true, force: true }));
    await writeFile(join(dir, "ca.pem"), CA);
    const entryPoints = ["node-http", "fetch-http"].map((name) => join(ROOT, `lib/transfer/${name}.ts`));
    await build({
      entryPoints,
      bundle: true,
      platform: "node",
      format: "esm",
      outdir: dir,
      outExtension: { ".js": ".mjs" },
    });
    await writeFile(
      join(dir, "ask.mjs"),
      `const [{ NodeTransport }, { FetchTransport }] = [await import("./node-http.mjs"), await import("./fetch-http.mjs")];
      const { signal } = new AbortController();
      const told = [];
      for (const transport of [new NodeTransport({ env: {} }), new FetchTransport()])
        for (const host of ["127.0.0.1", "localhost"])
          try {
            const response = await transport.request({ method: "GET", url: "https://" + host + ":" + process.argv[2] + "/", headers: {}, signal });
            const memory = Buffer.alloc(100);
            told.push(memory.toString("utf8", 0, await response.read(memory)));
          } catch (error) {
            told.push(error.code ?? error.cause.code);
          }
      console.log(JSON.stringify(told));`,
    );
    const server = await serve(answering(whole("hello")), { secure: true });
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: join(dir, "ca.pem") };
    const { stdout, code } = await run(process.execPath, ["ask.mjs", String(server.port)], dir, env);
    const wrongName = "ERR_TLS_CERT_ALTNAME_INVALID";
    expect([code, JSON.parse(stdout)]).toEqual([0, ["hello", wrongName, "hello", wrongName]]);
  });
});

describe("through a proxy", () => {
  const basic = `Basic ${Buffer.from("me:p@ss").toString("base64")}`;

  it("HTTP goes as a whole URL, with the proxy's credentials for the proxy", async () => {
    const server = await serve(answering(whole("hello")));
    const proxy = await startProxy();
    cleanUp.push(proxy.stop);
    const transport = make({ env: { HTTP_PROXY: `http://me:p%40ss@127.0.0.1:${proxy.port}` } });
    const url = `http://store.test:${server.port}/key?a=b`;
    expect(await ask(transport, get("", { url }))).toBe("hello");
    expect(proxy.asked).toEqual([`GET ${url} ${basic}`]);
  });

  it.each([
    ["HTTP", false],
    ["HTTPS", true],
  ])(
    "HTTPS goes through a tunnel of a proxy over %s, whose credentials the store never sees",
    async (_name, secure) => {
      const bytes = randomBytes(3_000_000);
      const reply = Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`), bytes]);
      const server = await serve((socket) => server.onRequest(socket, () => socket.write(reply)), { secure: true });
      const proxy = await startProxy({ secure });
      cleanUp.push(proxy.stop);
      const transport = make({
        env: { https_proxy: `${secure ? "https" : "http"}://me:p%40ss@proxy.test:${proxy.port}` },
      });
      for (let turn = 0; turn < 2; turn++) {
        const response = await transport.request(get(`https://store.test:${server.port}`));
        const got = Buffer.alloc(bytes.length);
        for (let at = 0; at < got.length; at += 500_000) {
          await new Promise((resolve) => setTimeout(resolve, 5));
          await response.read(got.subarray(at, at + 500_000));
        }
        expect(Buffer.compare(got, bytes)).toBe(0);
        expect(await response.read(got)).toBe(0);
      }
      expect(proxy.asked).toEqual([`CONNECT store.test:${server.port} ${basic}`]);
      expect(server.heads.join("")).not.toMatch(/proxy-/i);
      expect(await rejection(ask(transport, get(`https://other.test:${server.port}`)))).toMatchObject({
        code: "ERR_TLS_CERT_ALTNAME_INVALID",
      });
    },
  );

  it.each([
    ["HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", "PROXY_REFUSED"],
    ["HTTP/1.1 200 OK\r\n\r\nand more", "BAD_HTTP"],
    ["nonsense", "BAD_HTTP"],
  ])("that answers %j instead of a tunnel, the request fails", async (refusal, code) => {
    const proxy = await startProxy({ refusal });
    cleanUp.push(proxy.stop);
    const transport = make({ env: { ALL_PROXY: `127.0.0.1:${proxy.port}` } });
    expect(await rejection(ask(transport, get("https://store.test")))).toMatchObject({ code });
  });

  it("of a kind that we don't speak is a usage error, which repeats nothing of it", async () => {
    const transport = make({ env: { HTTPS_PROXY: "socks5://me:secret@proxy.test" } });
    const error = await rejection(ask(transport, get("https://store.test")));
    expect(error).toMatchObject({ name: "WaybillError", code: "USAGE" });
    expect(`${String(error)}${(error as Error).stack}${String((error as Error).cause)}`).not.toContain("secret");
  });

  const proxied = (url: string, env: Record<string, string>): boolean => proxyFor(new URL(url), env) !== null;

  it.each([
    ["https://a.test", { HTTPS_PROXY: "p" }, true],
    ["https://a.test", { https_proxy: "p" }, true],
    ["https://a.test", { HTTP_PROXY: "p" }, false],
    ["https://a.test", { ALL_PROXY: "p" }, true],
    ["https://a.test", { HTTPS_PROXY: "", all_proxy: "p" }, true],
    ["http://a.test", { HTTP_PROXY: "p" }, true],
    ["http://a.test", { HTTP_PROXY: "p", REQUEST_METHOD: "GET" }, false],
    ["http://a.test", { HTTPS_PROXY: "p" }, false],
    ["http://localhost:1", { HTTP_PROXY: "p" }, false],
    ["http://127.1.2.3", { HTTP_PROXY: "p" }, false],
    ["http://[::1]", { HTTP_PROXY: "p" }, false],
    ["http://10.1.2.3", { HTTP_PROXY: "p" }, true],
  ] as const)("%s with %j: %s", (url, env, expected) => {
    expect(proxied(url, env)).toBe(expected);
  });

  it.each([
    ["http://a.test", "*", false],
    ["http://a.test", "a.test", false],
    ["http://b.a.test", "a.test", false],
    ["http://b.a.test", "x, .a.test", false],
    ["http://b.a.test", "*.a.test", false],
    ["http://ba.test", "a.test", true],
    ["http://A.TEST", "a.test", false],
    ["http://a.test", "A.Test", false],
    ["http://a.test:81", "a.test:80", true],
    ["http://a.test", "a.test:80", false],
    ["http://10.1.2.3", "10.0.0.0/8", false],
    ["http://11.1.2.3", "10.0.0.0/8", true],
    ["http://10.1.2.3", "10.1.2.3", false],
    ["http://a.test", "10.0.0.0/8", true],
    ["http://[fd00::1]", "fd00::/8", false],
    ["http://[fd00::1]", "fd00::1", false],
    ["http://[fd00::1]:80", "[fd00::1]:80", false],
    ["http://a.test", "/8,10.0.0.0/99,,.", true],
  ])("%s with NO_PROXY=%s: %s", (url, list, expected) => {
    expect(proxied(url, { HTTP_PROXY: "p", NO_PROXY: list })).toBe(expected);
  });
});
