import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createApi } from "../functions/api.ts";
import { configFromEnv } from "../functions/config.ts";
import { checkDeadline } from "../functions/deadline.ts";
import { parseJson } from "../functions/json.ts";
import { openapi } from "../functions/openapi.ts";
import { routes } from "../functions/routes.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import { MAX_BODY, MAX_FINISH_BODY } from "../lib/protocol/limits.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { type Server, startServer } from "../local/server.ts";
import { ApiWorld, answerOf, type Caller, ORIGIN } from "./support/api.ts";
import type { Task } from "./support/contract.ts";
import { overHttp } from "./support/drives.ts";

// What comes from outside and is not what it should be.

it("a deadline that no block could meet is refused, and one that is over or too far", () => {
  const check = (deadline: number) => () => checkDeadline({ blockTime: 12_000 }, deadline, 1_000);
  for (const bad of [0, 1_000, 1_011, 1_001 + 30 * 24 * 3600])
    expect(check(bad)).toThrow(expect.objectContaining({ code: "BAD_DEADLINE" }));
  for (const good of [1_012, 1_000 + 30 * 24 * 3600]) expect(check(good)).not.toThrow();
});

const text = (body: string): Uint8Array => new TextEncoder().encode(body);

let api: ApiWorld;
let server: Server;
let task: Task;
let member: Caller;

beforeAll(async () => {
  api = await ApiWorld.start();
  server = await startServer();
  server.mount(createApi(api.deps));
  api.drive = overHttp(server.origin);
  task = await api.task(2);
  member = api.caller(task.members[0]!);
});
afterAll(async () => {
  await server?.stop();
  await api?.stop();
});

const at = (path = "") => `/v1/tasks/${task.id}${path}`;
const transfer = transferId("x");
const sha256 = `${"A".repeat(43)}=`;

describe("a body", () => {
  const bodies: [string, Uint8Array | string | object][] = [
    ["that is empty", ""],
    ["that is not JSON", "{"],
    ["that is not UTF-8", Uint8Array.of(0x22, 0xff, 0x22)],
    ["with a byte order mark", "\ufeff{}"],
    ["that is an array", "[]"],
    ["that is null", "null"],
    ["that names a key twice", `{"transfer":"${transfer}","size":1,"size":2}`],
    ["that names a key twice in another spelling", `{"transfer":"${transfer}","size":1,"s\\u0069ze":2}`],
    ["with __proto__", `{"transfer":"${transfer}","size":1,"__proto__":{"x":1}}`],
    ["with constructor", `{"transfer":"${transfer}","size":1,"constructor":{"x":1}}`],
    ["with a key that isn't in the schema", { transfer, size: 1, more: 1 }],
    ["with a NUL", `{"transfer":"${transfer}","size":1,"contentType":"a/b\\u0000"}`],
    ["with half a surrogate pair", `{"transfer":"${transfer}","size":1,"contentType":"\\ud800"}`],
    ["that is nested deeply", "[".repeat(30_000) + "]".repeat(30_000)],
    ["with an id in upper case", { transfer: transfer.toUpperCase().replace("0X", "0x"), size: 1 }],
    ["with a short id", { transfer: transfer.slice(0, -1), size: 1 }],
    ["with an id that is no hex", { transfer: `${transfer.slice(0, -2)}/.`, size: 1 }],
    ["with a negative size", { transfer, size: -1 }],
    ["with a broken size", { transfer, size: 1.5 }],
    ["with a size beyond integers", `{"transfer":"${transfer}","size":1e300}`],
    ["with a size as text", { transfer, size: "1" }],
    ["without a size", { transfer }],
    ["with a content type that breaks a header", { transfer, size: 1, contentType: "a/b\r\nx: y" }],
    ["with 257 parts", { transfer, size: 1, parts: Array(257).fill({ number: 1, length: 1, sha256 }) }],
    ["with part 0", { transfer, size: 1, parts: [{ number: 0, length: 1, sha256 }] }],
    ["with part 10,001", { transfer, size: 1, parts: [{ number: 10_001, length: 1, sha256 }] }],
    ["with a digest that isn't base64", { transfer, size: 1, parts: [{ number: 1, length: 1, sha256: "x" }] }],
  ];
  it.each(bodies)("%s is refused", async (_, body) => {
    api.seen.length = 0;
    const answer = await member.post(at("/transfers"), typeof body === "string" ? text(body) : body);
    expect(answer).toMatchObject({ status: 400, json: { code: "BAD_REQUEST" } });
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(api.seen).toEqual([]);
  });

  it.each([
    ["a payload over 10,000 parts", { size: 2 ** 30, partSize: 1024 }, 413, "PAYLOAD_TOO_LARGE"],
    ["a payload over 625 GiB", { size: 700 * 2 ** 30 }, 400, "BAD_REQUEST"],
  ])("for %s is refused", async (_, body, status, code) => {
    expect(await member.post(at("/transfers"), { transfer, ...body })).toMatchObject({ status, json: { code } });
  });

  it("where none belongs is refused", async () => {
    const answer = await member.post(at(`/notices/${transfer}/download`), { some: "thing" });
    expect(answer).toMatchObject({ status: 413, json: { code: "PAYLOAD_TOO_LARGE" } });
  });

  it("over 64 KiB is refused, and one of 2 MiB is read by finish alone", async () => {
    const large = text(" ".repeat(MAX_BODY + 1));
    expect((await member.post(at("/transfers"), large)).json).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
    const fits = text(`{"notices":[],"manifest":"${"A".repeat(MAX_FINISH_BODY - 28)}"}`);
    expect(fits.length).toBe(MAX_FINISH_BODY);
    const finish = at(`/transfers/${transfer}/finish`);
    expect((await member.post(finish, fits)).json).toMatchObject({ code: "UNKNOWN_TRANSFER" });
    const over = text(`${" ".repeat(MAX_FINISH_BODY)} `);
    expect((await member.post(finish, over)).json).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
  });

  it("without a length is read no further than its limit", async () => {
    const signed = await member.sign("POST", at("/transfers"), text("{}"));
    const { status, body } = await chunked(at("/transfers"), signed.headers, 40 * 2 ** 20);
    expect(status).toBe(413);
    expect(JSON.parse(body)).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
  });

  it("of the greatest finish is parsed in a moment", () => {
    const manifest = `{"notices":[],"manifest":"${"A".repeat(MAX_FINISH_BODY - 28)}"}`;
    expect(parseJson(text(manifest))).toMatchObject({ notices: [] });
    const slashes = JSON.stringify({ a: '\\"'.repeat(500_000) });
    expect(parseJson(text(slashes))).toEqual(JSON.parse(slashes));
    expect(parseJson(text('{"a":{"x":1},"b":{"x":1},"c":["a:",{"x":"}"}]}'))).toEqual({
      a: { x: 1 },
      b: { x: 1 },
      c: ["a:", { x: "}" }],
    });
  });
});

/** Sends `size` bytes in chunks, for as long as the server takes them. */
function chunked(path: string, headers: Headers, size: number): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(`${server.origin}${path}`, { method: "POST", headers: Object.fromEntries(headers) });
    let done = false;
    sent.on("response", (response) => {
      done = true;
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, body });
        sent.destroy();
      });
    });
    sent.on("error", (error) => !done && reject(error));
    const chunk = Buffer.alloc(64 * 1024, " ");
    let left = size;
    const more = () => {
      while (left > 0 && !done) {
        left -= chunk.length;
        if (!sent.write(chunk)) {
          sent.once("drain", more);
          return;
        }
      }
      if (!done) sent.end();
    };
    more();
  });
}

describe("a path or query", () => {
  it.each([
    "/v1/tasks/abc",
    `/v1/tasks/${"0x"}${"g".repeat(64)}`,
    `/v1/tasks/0x${"AB".repeat(32)}`,
    `/v1/tasks/0x${"ab".repeat(33)}`,
    `/v1/tasks/0x${"ab".repeat(31)}%2F`,
    `/v1/tasks/0x${"ab".repeat(32)}/notices/..%2F..%2Foutbox`,
    `/v1/tasks/0x${"ab".repeat(32)}/statements/%00`,
  ])("with a malformed id is refused: %s", async (path) => {
    expect(await member.get(path)).toMatchObject({ status: 400, json: { code: "BAD_REQUEST" } });
  });

  it.each([
    "?after=1",
    "?block=1",
    "?after=1&before=1&block=1",
    "?after=-1&block=0",
    "?after=01&block=0",
    "?after=1e3&block=0",
    "?after=99999999999999999999&block=0",
    "?after=1&after=2&block=0",
    "?after=0&block=0&x=1",
    "?after=&block=",
  ])("with a malformed cursor is refused: %s", async (query) => {
    expect(await member.get(at(`/events${query}`))).toMatchObject({ status: 400, json: { code: "BAD_REQUEST" } });
  });

  it("with a query where none belongs is refused", async () => {
    expect((await member.get(at("?x=1"))).json).toMatchObject({ code: "BAD_REQUEST" });
  });

  it.each(["/", "/v1", "/v1/tasks", "/v2/tasks", "/health/x", "//health", "/v1/tasks/x/y/z"])(
    "that leads nowhere is a problem: %s",
    async (path) => {
      const answer = await answerOf(await api.drive(new Request(`${ORIGIN}${path}`)));
      expect(answer).toMatchObject({ status: 404, json: { code: "NOT_FOUND" } });
    },
  );
});

describe("the configuration", () => {
  const env = {
    WAYBILL_API_ORIGIN: "https://api.example.org",
    WAYBILL_CHAIN_ID: "1",
    WAYBILL_CONTRACT: `0x${"Ab".repeat(20)}`,
    WAYBILL_RPC: "https://rpc.example.org/secret-key, http://10.0.0.7:8545",
    WAYBILL_CONFIRMATIONS: "3",
    WAYBILL_BLOCK_TIME: "12000",
    WAYBILL_OWNERS: `0x${"Ab".repeat(20)},0x${"cd".repeat(20)}`,
    WAYBILL_BUCKET: "waybill",
    AWS_REGION: "eu-west-1",
  };

  it("is read from the environment", () => {
    expect(configFromEnv(env)).toMatchObject({
      apiOrigin: "https://api.example.org",
      contract: `0x${"ab".repeat(20)}`,
      owners: [`0x${"ab".repeat(20)}`, `0x${"cd".repeat(20)}`],
      rpc: ["https://rpc.example.org/secret-key", "http://10.0.0.7:8545"],
      confirmations: 3,
      nonces: "store",
      longPoll: false,
      minPartSize: 5 * 2 ** 20,
    });
  });

  it.each([
    ["WAYBILL_RPC", undefined],
    ["WAYBILL_RPC", "https://rpc.example.org/secret-key,"],
    ["WAYBILL_OWNERS", "*"],
    ["WAYBILL_OWNERS", ""],
    ["WAYBILL_API_ORIGIN", "https://api.example.org/path"],
    ["WAYBILL_CONTRACT", "0x12"],
    ["WAYBILL_CONFIRMATIONS", "-1"],
    ["WAYBILL_MAX_REQUESTS", "5000"],
  ])("without a proper %s (%s) is refused by the variable's name, and shows no value", (name, value) => {
    const read = () => configFromEnv({ ...env, [name]: value });
    expect(read).toThrow(WaybillError);
    expect(read).toThrow(name);
    expect(read).not.toThrow(/secret-key/);
  });
});

describe("openapi.json", () => {
  it("describes every route with its body and answer", () => {
    const document = openapi({ apiOrigin: ORIGIN }) as { paths: Record<string, Record<string, object>> };
    for (const route of Object.values(routes)) {
      const operation = document.paths[route.path]?.[route.method.toLowerCase()];
      expect(operation).toHaveProperty(["responses", String(route.status[0]), "content", "application/json", "schema"]);
      expect(operation !== undefined && "requestBody" in operation).toBe(route.body !== undefined);
    }
    expect(document).toHaveProperty("components.schemas.Problem.properties.code");
    expect(JSON.stringify(document)).toContain('"pattern":"^0x[0-9a-f]{64}$"');
  });

  it("names the cursors of events as parameters", () => {
    const document = openapi() as { paths: Record<string, { get: { parameters: { name: string }[] } }> };
    const names = document.paths["/v1/tasks/{task}/events"]!.get.parameters.map(({ name }) => name);
    expect(names.sort()).toEqual(["after", "before", "block", "hash", "task", "x-request-id"]);
  });
});
