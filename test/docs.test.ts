import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type * as z from "zod/mini";
import { readClaim, verifyClaim } from "../functions/auth.ts";
import { openapi } from "../functions/openapi.ts";
import { parametersOf, type Route, routes } from "../functions/routes.ts";
import { errorCodes, isServerCode, statusOf, WaybillError } from "../lib/protocol/errors.ts";
import { type Address, fromBase64, type Hex } from "../lib/protocol/hex.ts";
import type { SignedRequest } from "../lib/protocol/httpsig.ts";
import { decodeManifest, manifestDigest, transferId } from "../lib/protocol/manifest.ts";
import { finishRequest, receiptRequest } from "../lib/protocol/requests.ts";
import { digestOf, noticeId, signerOf, statementId, taskId } from "../lib/protocol/statements.ts";
import * as wire from "../lib/protocol/wire.ts";
import { ROOT, run } from "./support/packed.ts";

// What the pages of docs/ say is so: numbers are computed again, requests and answers read by the very schemas, programs run.

const page = (name: string): Promise<string> => readFile(join(ROOT, "docs", name), "utf8");

function blocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((found) => found[1]!);
}

const alice = new Wallet(`0x${"46".repeat(32)}`).address.toLowerCase() as Address;
const bob = new Wallet(`0x${"47".repeat(32)}`).address.toLowerCase() as Address;
const domain = { chainId: 31337, contract: "0x5fbdb2315678afecb367f032d93f642f64180aa3" } as const;
const task = taskId(alice, `0x${"0".repeat(63)}1`);

describe("docs/api.md", () => {
  let text: string;
  let messages: { head: string[]; body: string }[];
  const bodyOf = (path: RegExp, nth = 0): unknown =>
    JSON.parse(messages.filter(({ head }) => path.test(head[0]!))[nth]!.body);

  beforeAll(async () => {
    text = await page("api.md");
    messages = blocks(text, "http").map((block) => {
      const [head, body = ""] = block.trimEnd().split("\n\n");
      return { head: head!.split("\n"), body };
    });
  });

  it("signs its two requests as the functions verify them, over the bases that it shows", () => {
    const bases = blocks(text, "text").filter((block) => block.startsWith('"@authority"'));
    const signed = messages.filter(({ head }) => head.some((line) => line.startsWith("Signature: ")));
    expect(signed.map(({ head }) => head[0]!.split(" ")[0])).toEqual(["POST", "GET"]);
    for (const [i, { head, body }] of signed.entries()) {
      const [method, target] = head[0]!.split(" ") as [string, string];
      const headers = new Headers(head.slice(1).map((line) => line.split(/: (.*)/s, 2) as [string, string]));
      const { pathname: path, search: query, host: authority } = new URL(target, `https://${headers.get("host")}`);
      const request: SignedRequest = { method, authority, path, query, body: Buffer.from(body) };
      const claim = readClaim(headers, domain, 1_767_225_601_000);
      expect(claim.account).toBe(alice);
      verifyClaim(claim, request, headers);
      expect(() => verifyClaim(claim, { ...request, path: `${path}/` }, headers)).toThrow(WaybillError);
      const lines = bases[i]!.trimEnd().split("\n");
      expect(lines.slice(0, 3)).toEqual([`"@authority": ${authority}`, `"@method": ${method}`, `"@path": ${path}`]);
      expect(lines.at(-1)).toBe(`"@signature-params": ${headers.get("signature-input")!.slice("eth=".length)}`);
      if (query) expect(lines).toContain(`"@query": ${query}`);
      if (body) expect(lines).toContain(`"content-digest": ${headers.get("content-digest")}`);
    }
  });

  it("shows every call of a transfer as the functions take and answer it", () => {
    const answers: Record<string, z.ZodMiniType> = {
      begin: wire.beginAnswer,
      signParts: wire.partsAnswer,
      finish: wire.finishAnswer,
      readEvents: wire.eventsAnswer,
      download: wire.downloadAnswer,
      postReceipt: wire.statementAnswer,
    };
    const asked: string[] = [];
    for (const { head, body } of messages) {
      const [first, second] = head[0]!.split(" ") as [string, string];
      if (first !== "HTTP/1.1") {
        const [name, route] = routeOf(first, second);
        asked.push(name);
        if (route.body) expect(route.body.safeParse(JSON.parse(body)).error, body).toBeUndefined();
        else expect(body).toBe("");
        continue;
      }
      const parsed = JSON.parse(body) as { events?: unknown };
      const name = parsed.events ? "readEvents" : asked.findLast((one) => one !== "readEvents")!;
      expect(answers[name]!.safeParse(parsed).error, body).toBeUndefined();
      expect(routes[name]!.status).toContain(Number(second));
    }
    expect([...new Set(asked)]).toEqual(["begin", "readEvents", "signParts", "finish", "download", "postReceipt"]);
  });

  it("makes ids, digests and signatures as it says", () => {
    const manifest = blocks(text, "text")
      .find((block) => block.startsWith("{"))!
      .trimEnd();
    expect(text).toContain(manifestDigest(Buffer.from(manifest)));
    const { tag } = decodeManifest(Buffer.from(manifest));
    const { manifest: sent } = finishRequest.parse(bodyOf(/finish/));
    expect(Buffer.from(fromBase64(sent!)!).toString()).toBe(manifest);
    const { notices } = finishRequest.parse(bodyOf(/finish/, 1));
    const { notice, signature, recipients } = notices[0]!;
    expect(notice).toMatchObject({ task, transfer: transferId(tag), manifest: manifestDigest(Buffer.from(manifest)) });
    expect([signerOf(domain, notice, signature), recipients]).toEqual([alice, [bob]]);
    const posted = receiptRequest.parse(bodyOf(/receipts/));
    const receipt = { kind: "receipt", task, notice: posted.notice, outcome: posted.outcome } as const;
    expect([posted.notice, signerOf(domain, receipt, posted.signature)]).toEqual([noticeId(notice), bob]);
    const named: Hex[] = [digestOf(domain, notice), digestOf(domain, receipt), statementId(receipt, bob)];
    for (const one of named) expect(text).toContain(`\`${one}\``);
    const { events } = wire.eventsAnswer.parse(
      JSON.parse(messages.find(({ body }) => body.includes('"events"'))!.body),
    );
    const [opened] = events;
    if (opened?.type !== "opened") throw new Error("the example is of an opening");
    const { owner, salt, members } = opened;
    expect(signerOf(domain, { kind: "open", owner, salt, members }, opened.signature)).toBe(alice);
  });

  it("lists every code that a server may say, with its status, and whether to try again", () => {
    const rows = [...text.matchAll(/^\| `([A-Z_]+)` +\| (\d+) +\| (yes|no) +\| \S/gm)].map((row) => row.slice(1, 4));
    const codes = errorCodes.filter((code) => isServerCode(code));
    expect(rows).toEqual(codes.map((code) => [code, String(statusOf(code)), again(code)]));
  });
});

const again = (code: (typeof errorCodes)[number]): string => (new WaybillError(code, "").retryable ? "yes" : "no");

/** The route of a request line, by its operation's name. */
function routeOf(method: string, target: string): [string, Route] {
  const { pathname } = new URL(target, "https://waybill.example.org");
  const found = Object.entries(routes).find(([, route]) => {
    const pattern = parametersOf(route.path).reduce(
      (path, name) => path.replace(`{${name}}`, "0x[0-9a-f]{64}"),
      route.path,
    );
    return route.method === method && new RegExp(`^${pattern}$`).test(pathname);
  });
  if (!found) throw new Error(`There is no ${method} ${pathname}.`);
  return found;
}

describe("docs/developer.md", () => {
  const dir = join(ROOT, `try-docs-${process.pid}`);
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it("lists every code, and whether to try again", async () => {
    const rows = [...(await page("developer.md")).matchAll(/^\| `([A-Z_]+)` +\| (yes|no) +\| \S/gm)];
    expect(rows.map((row) => row.slice(1, 3))).toEqual(errorCodes.map((code) => [code, again(code)]));
  });

  it("has programs that say what their comments say", async () => {
    await mkdir(dir);
    const programs = blocks(await page("developer.md"), "js");
    expect(programs).toHaveLength(3);
    const runs = programs.map(async (code, i) => {
      await writeFile(join(dir, `${i}.mjs`), code);
      return run(process.execPath, [`${i}.mjs`], dir);
    });
    for (const [i, { code, stdout, stderr }] of (await Promise.all(runs)).entries()) {
      const said = [...programs[i]!.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, words]) => `${words}\n`);
      expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: said.join(""), stderr: "" });
    }
  });
});

it("openapi.json says what a field's name and type leave open, and tells two things of one name apart", () => {
  const told = JSON.stringify(openapi());
  expect(told).toContain('"manifest":{"type":"string","pattern":"^0x[0-9a-f]{64}$","description":"SHA-256 of');
  expect(told).toContain('"description":"Base64 of the manifest\'s exact bytes');
  expect(told).toMatch(/"recipients":\{"type":"string",[^{}]*\{64\}\$","description":"Bitmap:/);
  expect(told).toContain('"description":"The recipients\' accounts, in the order of their bits."');
  expect(told).toContain("erc8128:<chainId>:<lower-case account>");
});

it("the pages' links to files of the repository lead somewhere", async () => {
  for (const name of ["README.md", "api.md", "developer.md", "contributing.md"])
    for (const [, target] of (await page(name)).matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g))
      await expect(stat(join(ROOT, "docs", target!)), `${name}: ${target}`).resolves.toBeDefined();
});
