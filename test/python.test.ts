import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Cast, Scene } from "./support/members.ts";
import { ROOT, type Run, run } from "./support/packed.ts";
import { pythonOf } from "./support/python.ts";

// A member that is written in another language, from the API's documents alone, and the library: each with the other.

const python = await pythonOf();
const why = python.missing === null ? "" : ` (skipped: ${python.missing})`;

describe.skipIf(python.missing !== null)(`a participant in Python${why}`, () => {
  const model = randomBytes(9_000_000);
  let scene: Scene;
  let cast: Cast;
  let dir: string;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "waybill-test-python-"));
    scene = await Scene.start();
    cast = await scene.cast(3);
    await writeFile(join(dir, "deployment.json"), JSON.stringify(scene.stack.deployment));
    await writeFile(join(dir, "model.bin"), model);
    for (const [i, { privateKey }] of cast.wallets.entries())
      await writeFile(join(dir, `${i}.key`), privateKey, { mode: 0o600 });
  });
  afterAll(async () => {
    await scene?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  /** Runs the example as one of the members. */
  function member(
    what: "send" | "receive",
    who: number,
    [tag, file, ...others]: [string, string, ...number[]],
    env: NodeJS.ProcessEnv = {},
  ): Promise<Run> {
    const accounts = others.map((other) => cast.accounts[other]!);
    const program = join(ROOT, "examples/python-participant.py");
    const args = [program, what, "deployment.json", `${who}.key`, cast.task, tag, file, ...accounts];
    return run(python.program, args, dir, { PYTHONDONTWRITEBYTECODE: "1", ...env });
  }
  const account = (who: number): string => cast.accounts[who]!.toLowerCase();

  it("sends to members that use the library, and the library takes the transfer for its own", async () => {
    const source = cast.accounts[0]!;
    const tag = "round 7/ü";
    const receivers = [1, 2].map((who) => cast.process(who).channel.receiveStream({ source, tag }));
    const [sent, ...received] = await Promise.all([member("send", 0, [tag, "model.bin", 1, 2]), ...receivers]);
    expect(sent).toEqual({ code: 0, stderr: "", stdout: `${account(1)} VERIFIED\n${account(2)} VERIFIED\n` });
    for (const [, data] of received) expect(Buffer.compare(data, model)).toBe(0);
    expect(cast.uploads).toBe(2);
    const target = [cast.accounts[1]!, cast.accounts[2]!];
    expect(await cast.process(0).channel.batchSendStream({ target, dataStream: model, tag })).toHaveLength(2);
    const seq = await cast.seq();
    expect(await member("send", 0, [tag, "model.bin", 1, 2])).toMatchObject({ code: 0 });
    expect([cast.uploads, await cast.seq()]).toEqual([2, seq]); // nothing was sent, and nobody asked, again
  });

  it("receives what the library sent, and the sender knows; a file that is there is not overwritten", async () => {
    const sending = cast.process(0).channel.sendStream({ target: cast.accounts[1]!, dataStream: model, tag: "back" });
    const [to, got] = await Promise.all([sending, member("receive", 1, ["back", "back.bin", 0])]);
    expect(got).toEqual({ code: 0, stderr: "", stdout: `${account(0)} VERIFIED\n` });
    expect(to).toBe(cast.accounts[1]);
    expect(Buffer.compare(await readFile(join(dir, "back.bin")), model)).toBe(0);
    const again = await member("receive", 1, ["back", "back.bin", 0]);
    expect(again).toEqual({ code: 1, stdout: "", stderr: "back.bin is there already.\n" });
  });

  it("sends and receives no bytes at all, and says what the API answers to other bytes under that tag", async () => {
    await writeFile(join(dir, "empty"), "");
    const sent = member("send", 0, ["nothing", "empty", 1]);
    const got = member("receive", 1, ["nothing", "empty.bin", 0]);
    expect([await sent, await got]).toMatchObject([{ code: 0 }, { code: 0 }]);
    expect((await stat(join(dir, "empty.bin"))).size).toBe(0);
    const conflict = await member("send", 0, ["nothing", "model.bin", 1]);
    expect(conflict).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(/^CONFLICT: /) });
  });

  /** Somebody in the middle who may change every answer; `requests` sends even loopback by a proxy. */
  async function between(
    change: (path: string, bytes: Buffer) => Buffer,
    act: (env: NodeJS.ProcessEnv) => Promise<Run>,
  ): Promise<Run> {
    const server = createServer((message, response) => {
      const { hostname, port, pathname, search } = new URL(message.url ?? "");
      const options = { hostname, port, path: pathname + search, method: message.method, headers: message.headers };
      const onward = request(options, async (answer) => {
        const chunks: Buffer[] = [];
        for await (const chunk of answer) chunks.push(chunk as Buffer);
        const bytes = change(pathname, Buffer.concat(chunks));
        const { "transfer-encoding": _, ...headers } = answer.headers;
        response.writeHead(answer.statusCode ?? 502, { ...headers, "content-length": bytes.length }).end(bytes);
      });
      message.pipe(onward);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const proxy = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      return await act({ HTTP_PROXY: proxy, http_proxy: proxy, NO_PROXY: "", no_proxy: "" });
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  it("answers CORRUPT, and keeps nothing, when the store gives other bytes twice", async () => {
    const sending = cast.process(0).channel.sendStream({ target: cast.accounts[1]!, dataStream: model, tag: "spoilt" });
    const flip = (path: string, bytes: Buffer): Buffer => {
      if (path.includes("/payload/")) bytes[5] = bytes[5]! ^ 1;
      return bytes;
    };
    const got = await between(flip, (env) => member("receive", 1, ["spoilt", "spoilt.bin", 0], env));
    expect(got).toEqual({ code: 1, stdout: `${account(0)} CORRUPT\n`, stderr: "" });
    expect(await sending).toBeNull();
    expect((await readdir(dir)).filter((name) => name.startsWith("spoilt"))).toEqual([]);
  });

  it("believes no server that lies, and then takes from an honest one what it was to get", async () => {
    const sending = cast.process(0).channel.sendStream({ target: cast.accounts[1]!, dataStream: model, tag: "lies" });
    const edited = (bytes: Buffer, edit: (answer: Record<string, unknown>) => void): Buffer => {
      const answer = JSON.parse(bytes.toString());
      edit(answer);
      return Buffer.from(JSON.stringify(answer));
    };
    const stranger = `0x${"5".repeat(40)}`;
    const lies: [string, string, (bytes: Buffer) => Buffer][] = [
      ["/events", "a gap", (bytes) => edited(bytes, ({ events }) => (events as unknown[]).shift())],
      ["/events", "who is a member", (bytes) => Buffer.from(bytes.toString().replaceAll(account(2), stranger))],
      [
        "/download",
        "a manifest that the notice does not commit to",
        (bytes) => edited(bytes, (answer) => Object.assign(answer, { manifest: btoa("{}") })),
      ],
      [
        "/download",
        "a URL that leads past the store",
        (bytes) => edited(bytes, (answer) => Object.assign(answer, { url: "http://127.0.0.2/x" })),
      ],
    ];
    const told = lies.map(([end, , lie], i) =>
      between(
        (path, bytes) => (path.endsWith(end) ? lie(bytes) : bytes),
        (env) => member("receive", 1, ["lies", `lies-${i}.bin`, 0], env),
      ),
    );
    for (const [i, got] of (await Promise.all(told)).entries())
      expect(got).toEqual({ code: 1, stdout: "", stderr: `Not to be believed: ${lies[i]![1]}.\n` });
    expect(await member("receive", 1, ["lies", "lies.bin", 0])).toMatchObject({ code: 0, stderr: "" });
    expect(await sending).toBe(cast.accounts[1]);
  });
});
