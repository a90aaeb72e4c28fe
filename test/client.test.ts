import { Wallet } from "ethers";
import { describe, expect, it } from "vitest";
import { readClaim, verifyClaim } from "../functions/auth.ts";
import { Api } from "../lib/api.ts";
import type { Deployment } from "../lib/protocol/deployment.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";

// What the signed client makes of any answer. The fake fetch only shows and plays what no real server of ours would.

const signer = Wallet.createRandom();
const account = signer.address.toLowerCase() as Address;
const task: Hex = `0x${"1".repeat(64)}`;
const id: Hex = `0x${"2".repeat(64)}`;
const deployment: Deployment = {
  api: "https://API.example.org",
  chainId: 31337,
  contract: `0x${"c".repeat(40)}`,
  storeOrigin: "https://store.example.org",
  confirmations: 0,
  blockTime: 1_000,
  maxBlockAge: 60_000,
};
const coded = (code: string) => expect.objectContaining({ name: "WaybillError", code });

type Answer = () => Response | Promise<Response>;
const json = (body: unknown, status = 200, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { status, headers });
const problem = (code: string, status: number, more: object = {}, headers = {}) =>
  json({ code, detail: "why", ...more }, status, headers);

/** An Api whose server answers these in turn, and the last one for ever. */
function apiWith(...answers: Answer[]): { api: Api; requests: Request[] } {
  const requests: Request[] = [];
  const fake = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    requests.push(new Request(input as string, init));
    return (answers[requests.length - 1] ?? answers.at(-1)!)();
  };
  return { api: new Api({ deployment, signer, account, fetch: fake as typeof fetch }), requests };
}

const pending: Answer = () => json({ state: "pending" });
const posted: Answer = () => json({ statement: id }, 202);
const post = (api: Api) => api.receipt(task, id, "VERIFIED", `0x${"11".repeat(65)}`);
const input = (request: Request) => String(request.headers.get("signature-input"));
const nonce = (request: Request) => /nonce="([A-Za-z0-9_-]{22})"/.exec(input(request))?.[1];

describe("the signed client", () => {
  it("signs what the functions verify: the whole of the request, for this chain and origin", async () => {
    const { api, requests } = apiWith(posted);
    await post(api);
    const [request] = requests;
    const { pathname, search } = new URL(request!.url);
    const claim = readClaim(request!.headers, deployment, Date.now());
    const body = new Uint8Array(await request!.arrayBuffer());
    const signed = { method: "POST", authority: "api.example.org", path: pathname, query: search, body };
    expect(claim.account).toBe(account);
    expect(() => verifyClaim(claim, signed, request!.headers)).not.toThrow();
    for (const edit of [
      { method: "DELETE" },
      { authority: "other.example.org" },
      { path: `${pathname}/x` },
      { query: "?x" },
    ])
      expect(() => verifyClaim(claim, { ...signed, ...edit }, request!.headers)).toThrow(coded("UNAUTHENTICATED"));
  });

  it("carries a nonce where it writes and none where it reads, and never the same twice", async () => {
    const busy: Answer = () => problem("UNAVAILABLE", 503, {}, { "retry-after": "0" });
    const { api, requests } = apiWith(busy, busy, posted, pending);
    await post(api);
    await api.statement(task, id);
    const nonces = requests.map(nonce);
    expect(new Set(nonces.slice(0, 3)).size).toBe(3);
    expect(nonces[3]).toBeUndefined();
    expect(requests[3]!.method).toBe("GET");
  });

  it("corrects its clock once by the server's, and only once", async () => {
    const serverTime = Math.floor(Date.now() / 1000) + 1_200;
    const skewed: Answer = () => problem("CLOCK_SKEW", 401, { serverTime });
    const { api, requests } = apiWith(skewed, posted);
    await post(api);
    const created = Number(/created=(\d+)/.exec(input(requests[1]!))?.[1]);
    expect(Math.abs(created - serverTime)).toBeLessThan(60);
    const stubborn = apiWith(skewed);
    await expect(post(stubborn.api)).rejects.toThrow(coded("CLOCK_SKEW"));
    expect(stubborn.requests).toHaveLength(2);
  });

  it("signs nothing for a time that is far from its own, whatever the server says, and forgets what did not help", async () => {
    const now = Math.floor(Date.now() / 1000);
    const far = apiWith(() => problem("CLOCK_SKEW", 401, { serverTime: now + 3_600 }));
    await expect(post(far.api)).rejects.toThrow(coded("CLOCK_SKEW"));
    expect(far.requests).toHaveLength(1);
    const near: Answer = () => problem("CLOCK_SKEW", 401, { serverTime: now + 1_200 });
    const { api, requests } = apiWith(near, near, posted);
    await expect(post(api)).rejects.toThrow(coded("CLOCK_SKEW"));
    await post(api);
    const created = Number(/created=(\d+)/.exec(input(requests[2]!))?.[1]);
    expect(Math.abs(created - now)).toBeLessThan(60);
  });

  it.each<[string, Answer, string, number]>([
    [
      "a redirect",
      () => new Response(null, { status: 307, headers: { location: "https://evil.example.org" } }),
      "BAD_SERVER",
      1,
    ],
    ["an answer of another shape", () => json({ statement: "0x" }), "BAD_SERVER", 1],
    ["an answer that is no JSON", () => new Response("<html>"), "BAD_SERVER", 1],
    ["an answer without end", () => new Response(endless()), "BAD_SERVER", 1],
    ["an empty answer", () => new Response(null, { status: 204 }), "BAD_SERVER", 1],
    ["a code that is none of ours", () => problem("HACKED", 400), "BAD_SERVER", 1],
    ["a verdict on the payload", () => problem("CORRUPT", 400), "BAD_SERVER", 1],
    ["a verdict on the chain", () => problem("LATE", 410), "BAD_SERVER", 1],
    ["a code that every object has", () => problem("constructor", 400), "BAD_SERVER", 1],
    ["a page of a proxy that refuses", () => new Response("<html>", { status: 403 }), "BAD_SERVER", 1],
    ["a refusal", () => problem("NOT_MEMBER", 403), "NOT_MEMBER", 1],
    ["a used nonce", () => problem("REPLAYED", 401), "REPLAYED", 1],
    ["a limit that lasts", () => problem("RATE_LIMITED", 429, {}, { "retry-after": "60" }), "RATE_LIMITED", 1],
    ["an internal error that stays", () => problem("INTERNAL", 500), "INTERNAL", 5],
    ["a gateway without a server", () => new Response("<html>", { status: 502 }), "UNAVAILABLE", 5],
    ["a server that missed the request", () => new Response(null, { status: 408 }), "UNAVAILABLE", 5],
    ["nobody", () => Promise.reject(new TypeError("fetch failed")), "UNREACHABLE", 5],
  ])("makes of %s what it is", async (_name, answer, code, tries) => {
    const { api, requests } = apiWith(answer);
    await expect(post(api)).rejects.toThrow(coded(code));
    expect(requests).toHaveLength(tries);
    expect(requests.every(({ redirect }) => redirect === "manual")).toBe(true);
  });

  it("hands on the facts of a problem that the wire knows, and no others", async () => {
    const { api } = apiWith(() => problem("NOTICE_EXISTS", 409, { notices: [id], payload: "x" }));
    await expect(post(api)).rejects.toMatchObject({ code: "NOTICE_EXISTS", details: { notices: [id] } });
  });

  it("ends with its caller's signal, during a request and between tries", async () => {
    const end = new AbortController();
    const { api } = apiWith(() => problem("UNAVAILABLE", 503, {}, { "retry-after": "10" }));
    const call = api.newest(task, end.signal);
    end.abort(new Error("enough"));
    await expect(call).rejects.toThrow("enough");
  });
});

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1 << 20)) });
}
