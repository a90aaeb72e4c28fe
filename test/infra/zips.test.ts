import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quietSdk } from "../../functions/aws.ts";
import { Api } from "../../lib/api.ts";
import type { Address, Hex } from "../../lib/index.ts";
import { MiB } from "../../lib/protocol/limits.ts";
import { rejection } from "../support/members.ts";
import { Role } from "./support/roles.ts";
import { type Cast, ORIGIN, RETENTION, Site } from "./support/site.ts";

// The zips that a deploy built, as AWS runs them: Node 24, the API, the door bell's queue and the schedules in front of
// them, each function with its own role's rights under the bucket's own policy. The client is the library.

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

let site: Site;
let folder: string;
let accounts: Cast["accounts"];
let contractors: Cast["contractors"];
let channels: Cast["channels"];
let api: Api;

beforeAll(async () => {
  site = await Site.open();
  folder = await mkdtemp(join(tmpdir(), "waybill-test-zips-"));
  const cast = await site.cast(3);
  ({ contractors, channels, accounts } = cast);
  const account = accounts[0]!.toLowerCase() as Address;
  api = new Api({ deployment: site.deployment, signer: cast.wallets[0]!, account });
});
afterAll(async () => {
  await site?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});

describe("the zips", () => {
  it("are what npm run bench:functions measures: split, with a handler's file that holds what each call needs", async () => {
    const { bundle, functionNames } = (await import(
      new URL("../../dist/bench/functions/bundle.js", import.meta.url).href
    )) as typeof import("../../bench/functions/bundle.ts");
    for (const name of functionNames) {
      const built = site.zip(name).filter(([path]) => path.endsWith(".mjs"));
      const bytes = built.reduce((sum, [, content]) => sum + content.length, 0);
      const { allBytes } = await bundle(name, folder);
      expect([name, built.length > 1, Math.abs(bytes / allBytes - 1)]).toEqual([name, true, expect.closeTo(0, 1)]);
    }
  });
});

describe("an operator who does what docs/operate.md says", () => {
  it("has deployed it: the policy that the page asks for is enough for the page's other commands", async () => {
    const said = await site.operator.does("npx waybill relayer address");
    expect(said).toMatch(new RegExp(`^${site.relayer}\n\\d+\\.\\d+ of the coin of chain \\d+$`, "m"));
  });

  it("completes the deployment file from what sst wrote, once the API answers", async () => {
    expect(await site.operator.does("npx waybill deployment complete")).toContain("deployment.json is complete");
    const storeOrigin = `https://${site.cloud.bucket.name}.s3.${site.account.account.region}.amazonaws.com`;
    expect(await site.operator.reads("deployment.json")).toEqual({ ...site.deployment, storeOrigin });
  });

  it("makes a first transfer with it", async () => {
    await site.operator.writes("first.mjs");
    await site.operator.changes("deployment.json", { storeOrigin: site.deployment.storeOrigin });
    const said = await site.operator.does("node first.mjs owner.json owner.password");
    expect(said).toMatch(/^task 0x\w{64} is open\n0x\w{40} verified 20000000 bytes from 0x\w{40}: the same$/m);
  });
});

describe("a frame in a function's log", () => {
  it("leads to its source, as docs/operate.md says", async () => {
    const [, bytes] = site.zip("tasks").find(([path]) => path.endsWith("bundle.mjs"))!;
    const [sentence, text] = ["has too few blocks on top", Buffer.from(bytes).toString()];
    const before = text.slice(0, text.indexOf(sentence)).split("\n");
    const place = `bundle.mjs:${before.length}:${before.at(-1)!.length + 1}`;
    await site.operator.writes("frame.mjs");
    const said = await site.operator.does("SST_NO_CLEANUP=1", (script) => script.replace("bundle.mjs:12:3456", place));
    const [, line] = /functions\/tasks\.ts:(\d+):\d+$/.exec(said.trim())!;
    const source = await readFile(new URL("../../functions/tasks.ts", import.meta.url), "utf8");
    expect(source.split("\n")[Number(line) - 1]).toContain(sentence);
  });
});

describe("a transfer", () => {
  it("goes from a file to the files of two, and its receipts stand on the chain", async () => {
    const bytes = randomBytes(20 * MiB + 1);
    const path = join(folder, "sent");
    await writeFile(path, bytes);
    const targets = accounts.slice(1);
    const [received, ...paths] = await Promise.all([
      channels[0]!.batchSendStream({
        target: targets,
        dataStream: { path },
        tag: "round-1/model",
        ensureAllSucc: true,
      }),
      ...targets.map(async (_, i) => {
        const to = { path: join(folder, `received-${i}`) };
        const [sender, where] = await channels[i + 1]!.receiveStream({
          source: accounts[0]!,
          tag: "round-1/model",
          to,
        });
        expect(sender).toBe(accounts[0]);
        return where;
      }),
    ]);
    expect(new Set(received)).toEqual(new Set(targets));
    for (const where of paths) expect(sha256(await readFile(where))).toBe(sha256(bytes));
    const [notice] = await channels[0]!.notices({ tag: "round-1/model" });
    expect(await site.verified(contractors[0]!.task, notice!.notice)).toBe(0b110n);
  });

  it("in one part, back again, from memory to memory", async () => {
    const bytes = randomBytes(1_000);
    const [receiver, [, data]] = await Promise.all([
      channels[2]!.sendStream({ target: accounts[0]!, dataStream: bytes, tag: "round-1/update" }),
      channels[0]!.receiveStream({ source: accounts[2]!, tag: "round-1/update" }),
    ]);
    expect(receiver).toBe(accounts[0]);
    expect(Buffer.compare(data, bytes)).toBe(0);
  });

  it("that was resumed sends only what is missing", async () => {
    const bytes = randomBytes(24 * MiB);
    const path = join(folder, "resumed");
    await writeFile(path, bytes);
    const ending = new AbortController();
    const onProgress = ({ partsDone }: { partsDone: number }): void => void (partsDone > 0 && ending.abort());
    const target = accounts[1]!;
    const cut = channels[0]!.sendStream({
      target,
      dataStream: { path },
      tag: "resumed",
      signal: ending.signal,
      onProgress,
    });
    expect(await rejection(cut)).toMatchObject({ code: "ABORTED" });
    const sent = (): string[] =>
      site.requests.flatMap(({ operation, status, key, part }) =>
        operation === "UploadPart" && status === 200 ? [`${key} ${part}`] : [],
      );
    const there = sent();
    const [, [, data]] = await Promise.all([
      channels[0]!.sendStream({ target, dataStream: { path }, tag: "resumed" }),
      channels[1]!.receiveStream({ source: accounts[0]!, tag: "resumed" }),
    ]);
    expect(sha256(data)).toBe(sha256(bytes));
    const again = sent().slice(there.length);
    expect(again.length).toBeGreaterThan(0);
    expect(again.filter((part) => there.includes(part))).toEqual([]);
  });
});

describe("events", () => {
  it("reach every member over the API, in the chain's order", async () => {
    const reader = contractors[1]!.events({ timeout: 120_000 });
    for (const n of [1, 2, 3]) await contractors[0]!.post({ kind: "numbered", body: { n } });
    const found: unknown[] = [];
    for await (const news of reader) {
      if (news.type === "message" && news.kind === "numbered") found.push(news.body);
      if (found.length === 3) break;
    }
    expect(found).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
  });
});

describe("the publisher", () => {
  const say = (n: number): Promise<unknown> => contractors[0]!.post({ kind: "said", body: { n } });
  const waiting = (): number => site.cloud.queue("publisher").bell.length;

  it("is woken by the door bell, and leaves nothing in it", async () => {
    const { dead, consumer } = site.cloud.queue("publisher");
    await say(1);
    await consumer.settled();
    expect([waiting(), dead.length]).toEqual([0, 0]);
    expect(site.cloud.kms.uses.filter((use) => use === "Sign").length).toBeGreaterThan(0);
  });

  it("is woken by its clock when nobody rings, and takes late rings in batches", async () => {
    const { consumer } = site.cloud.queue("publisher");
    consumer.enable(false);
    const said = Promise.all([2, 3, 4].map(say));
    await expect.poll(waiting).toBeGreaterThanOrEqual(3);
    await site.cloud.tick("publisher");
    await said;
    const [before, rings] = [consumer.batches.length, waiting()];
    consumer.enable(true);
    await consumer.settled();
    expect(consumer.batches.slice(before)).toEqual([rings]);
    expect(waiting()).toBe(0);
  });

  it("may be there more than once: each statement comes to stand once", async () => {
    const { task } = contractors[0]!;
    const before = await site.seq(task);
    const ticks = [1, 2].map(() => site.cloud.tick("publisher"));
    await Promise.all([...[7, 8, 9].map(say), ...ticks]);
    await site.cloud.tick("publisher");
    await site.cloud.queue("publisher").consumer.settled();
    expect((await site.seq(task)) - before).toBe(3n);
  });

  it("may die whenever it is rung: the ring ends among the dead letters, and the statement on the chain", async () => {
    const { bell, dead, consumer } = site.cloud.queue("publisher");
    const publisher = site.cloud.function("publisher");
    const { maxReceiveCount } = bell.settings.deadLetters!;
    let broken = publisher.breakNext();
    const said = say(5);
    for (let received = 1; received <= maxReceiveCount; received++) {
      await broken;
      await consumer.settled();
      expect([waiting(), dead.length]).toEqual([1, 0]);
      if (received < maxReceiveCount) broken = publisher.breakNext();
      bell.pass(bell.settings.visibilityTimeoutSeconds * 1000);
    }
    expect([waiting(), dead.length]).toEqual([0, 1]);
    await site.cloud.tick("publisher");
    await said;
  });
});

describe("the API", () => {
  const ask = (path: string, init?: RequestInit): Promise<Response> => fetch(`${site.deployment.api}${path}`, init);

  it("tells anyone that it works, and what it takes", async () => {
    expect((await ask("/health")).status).toBe(200);
    const openapi = (await (await ask("/openapi.json")).json()) as { paths: object; servers: unknown };
    const routes = Object.entries(openapi.paths).flatMap(([path, methods]) =>
      Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(routes.length).toBeGreaterThan(10);
    for (const route of routes) {
      const [method, path] = route.split(" ") as [string, string];
      const { status } = await ask(path.replaceAll(/\{\w+\}/g, `0x${"00".repeat(32)}`), { method });
      expect([route, status]).toEqual([route, expect.not.toSatisfy((found: number) => found === 404 || found >= 500)]);
    }
  });

  it("has nothing behind other paths, and takes no more than it can hand on", async () => {
    const missing = await ask("/v1/nothing");
    expect([missing.status, await missing.json()]).toEqual([404, { message: "Not Found" }]);
    const large = await ask(`/v1/tasks`, { method: "POST", body: new Uint8Array(7 * MiB) });
    expect(large.status).toBe(413);
  });

  it("lets the deployment's own pages in and no others", async () => {
    const preflight = (origin: string): Promise<Response> =>
      ask("/v1/tasks", { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } });
    const allowed = (await preflight(ORIGIN)).headers;
    expect(allowed.get("access-control-allow-origin")).toBe(ORIGIN);
    expect(allowed.get("access-control-allow-headers")).toContain("signature-input");
    expect((await preflight("https://elsewhere.example.org")).headers.get("access-control-allow-origin")).toBeNull();
    const answer = await ask("/health", { headers: { origin: ORIGIN } });
    expect(answer.headers.get("access-control-allow-origin")).toBe(ORIGIN);
  });

  it("answers who can't prove who it is with a problem, and tells nobody else's business", async () => {
    const refused = await ask(`/v1/tasks/${contractors[0]!.task}`);
    expect([refused.status, refused.headers.get("content-type")]).toEqual([401, "application/problem+json"]);
    expect(await refused.json()).toMatchObject({ code: "UNAUTHENTICATED" });
  });

  it("refuses while its node is away, and works again when that is back", async () => {
    const { task } = contractors[0]!;
    site.rpc.cut = () => "before";
    const refused = await rejection(api.newest(task)).finally(() => {
      site.rpc.cut = () => null;
    });
    expect(refused).toMatchObject({ code: "UNAVAILABLE" });
    expect((await api.newest(task)).head.block).toBeGreaterThan(0);
  });

  it("may lose a sandbox in the middle of a request: it says so, and the client asks again", async () => {
    let broken = site.cloud.function("tasks").breakNext("/health");
    const [lost] = await Promise.all([ask("/health"), broken]);
    expect([lost.status, await lost.json()]).toEqual([500, { message: "Internal Server Error" }]);
    broken = site.cloud.function("tasks").breakNext("/messages");
    await Promise.all([contractors[0]!.post({ kind: "said", body: { n: 6 } }), broken]);
  });
});

describe("the sweeper", () => {
  /** A transfer whose deadline comes as soon as this machine can keep it: the store's own clock must pass it. */
  async function briefTransfer(timeout = 15_000): Promise<{ notice: Hex; deadline: number }> {
    const [tag, target] = [`brief ${timeout}`, accounts[1]!];
    const [sent] = await Promise.allSettled([
      channels[0]!.sendStream({ target, dataStream: randomBytes(1_000), tag, timeout, ensureAllSucc: true }),
      channels[1]!.receiveStream({ source: accounts[0]!, tag, timeout }),
    ]);
    if (sent.status === "rejected" && timeout < 100_000) return briefTransfer(2 * timeout);
    expect(sent).toMatchObject({ status: "fulfilled", value: target });
    const [notice] = await channels[0]!.notices({ tag });
    return notice!;
  }

  it("frees a payload whose deadline and retention are over, and no other", async () => {
    const brief = await briefTransfer();
    const over = brief.deadline + RETENTION / 1000 + 1;
    await expect.poll(() => site.now(), { interval: 500 }).toBeGreaterThan(over);
    const report = await site.cloud.tick("sweeper");
    expect(report).toMatchObject({ swept: { payloads: 1, bytes: 1_000 }, fault: null });
    const again = channels[1]!.receiveStream({ source: accounts[0]!, notice: brief.notice });
    expect(await rejection(again)).toMatchObject({ code: "GONE" });
    const [kept] = await channels[0]!.notices({ tag: "round-1/model" });
    const [, data] = await channels[1]!.receiveStream({ source: accounts[0]!, notice: kept!.notice });
    expect(data.length).toBe(20 * MiB + 1);
  });
});

describe("the relayer's key", () => {
  it("signs for the publisher alone, even where somebody else in the account may do all", () => {
    const { kms } = site.cloud;
    const inlinePolicies = [{ policy: policy({ Effect: "Allow", Action: "*", Resource: "*" }) }];
    const assumeRolePolicy = policy({ Effect: "Allow", Action: "sts:AssumeRole", Principal: { AWS: "*" } });
    const arn = `arn:aws:iam::${site.account.account.id}:role/administrator`;
    const administrator = new Role({ name: "administrator", arn, inlinePolicies, assumeRolePolicy });
    const who = { publisher: site.cloud.role("publisher"), uploads: site.cloud.role("uploads"), administrator };
    const able = (action: string): string[] =>
      Object.entries(who).flatMap(([name, role]) => (kms.lets(role, action) ? [name] : []));
    expect(able("kms:Sign")).toEqual(["publisher"]);
    expect(able("kms:CreateGrant")).toEqual([]);
    expect(able("kms:ScheduleKeyDeletion")).toEqual(["administrator"]);
  });
});

function policy(statement: object): string {
  return JSON.stringify({ Version: "2012-10-17", Statement: [statement] });
}

describe("each function's rights", () => {
  const at = (prefix: string) => ({ Bucket: site.cloud.bucket.name, Key: `${prefix}/test` });
  const put =
    (prefix: string, more: { IfNoneMatch?: string } = {}) =>
    (s3: S3Client) =>
      s3.send(new PutObjectCommand({ ...at(prefix), Body: "x", ...more }));
  const get = (prefix: string) => (s3: S3Client) => s3.send(new GetObjectCommand(at(prefix)));
  const remove = (prefix: string) => (s3: S3Client) => s3.send(new DeleteObjectCommand(at(prefix)));

  /** What comes of an attempt with a function's own credentials. */
  async function failure(name: string, attempt: (s3: S3Client) => Promise<unknown>, token = true): Promise<unknown> {
    quietSdk();
    const { accessKeyId, secretAccessKey, sessionToken = "" } = site.cloud.credentials(name);
    const credentials = { accessKeyId, secretAccessKey, ...(token && { sessionToken }) };
    const { region } = site.account.account;
    const s3 = new S3Client({ endpoint: site.cloud.bucket.endpoint, region, forcePathStyle: true, credentials });
    return rejection(attempt(s3)).finally(() => s3.destroy());
  }

  it.each([
    ["downloads", "put a payload", put("payload", { IfNoneMatch: "*" })],
    ["downloads", "read the outbox", get("outbox")],
    ["tasks", "read a payload", get("payload")],
    ["uploads", "delete a payload", remove("payload")],
    ["uploads", "overwrite a notice", put("notice")],
    ["publisher", "settle a statement twice", put("settled")],
    ["publisher", "read a payload", get("payload")],
    ["sweeper", "write to the outbox", put("outbox")],
  ] as const)("%s may not %s", async (name, _what, attempt) => {
    const before = site.cloud.denials.length;
    expect(await failure(name, attempt)).toMatchObject({ name: "AccessDenied" });
    expect(site.cloud.denials.splice(before)).toHaveLength(1);
  });

  it("are good only with the token of the hour", async () => {
    const attempt = put("payload", { IfNoneMatch: "*" });
    expect(await failure("uploads", attempt, false)).toMatchObject({ name: "InvalidToken" });
  });

  it("sufficed for everything above", () => {
    expect(site.cloud.denials).toEqual([]);
  });
});

it("no function wrote a secret, or anything but JSON, into its log", () => {
  const { lines } = site.cloud;
  expect(lines.length).toBeGreaterThan(20);
  const secrets = ["uploads", "downloads", "publisher"].flatMap((name) => {
    const { secretAccessKey, sessionToken } = site.cloud.credentials(name);
    return [secretAccessKey, sessionToken!];
  });
  for (const line of lines) {
    expect(() => JSON.parse(line) as unknown, line).not.toThrow();
    for (const secret of [site.rpc.key, "X-Amz-Signature", "X-Amz-Security-Token", ...secrets])
      expect(line).not.toContain(secret);
  }
});

it("a request can be followed from the client into the transaction", () => {
  const facts = site.cloud.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const finished = facts.filter(({ service, route }) => service === "uploads" && String(route).endsWith("/finish"));
  const published = facts.filter(({ service, transaction }) => service === "publisher" && transaction !== undefined);
  const ids = new Set(published.flatMap(({ requestId, requests = requestId }) => [requests].flat()));
  expect(finished.some(({ requestId }) => ids.has(requestId))).toBe(true);
});

it("nothing asked AWS for anything that the stand-in doesn't know", () => {
  expect(site.account.aws.unknown).toEqual([]);
});
