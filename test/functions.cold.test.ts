import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { APIGatewayProxyResult, LambdaContext, LambdaEvent } from "hono/aws-lambda";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { bellOf } from "../functions/bell.ts";
import type { Config } from "../functions/config.ts";

// What a function meets that has just been started, and what rings when a statement waits.

const SETTINGS = {
  AWS_ACCESS_KEY_ID: "none",
  AWS_SECRET_ACCESS_KEY: "none",
  AWS_REGION: "eu-central-1",
  WAYBILL_API_ORIGIN: "https://api.waybill.test",
  WAYBILL_BUCKET: "bucket",
  WAYBILL_CHAIN_ID: "31337",
  WAYBILL_CONTRACT: `0x${"01".repeat(20)}`,
  WAYBILL_RPC: "http://127.0.0.1:1/v2/sekrit-0a1b2c3d",
  WAYBILL_CONFIRMATIONS: "0",
  WAYBILL_BLOCK_TIME: "1000",
  WAYBILL_OWNERS: `0x${"02".repeat(20)}`,
};
const HEALTH = {
  version: "2.0",
  rawPath: "/health",
  rawQueryString: "",
  headers: { host: "api.waybill.test" },
  requestContext: { http: { method: "GET", path: "/health" }, domainName: "api.waybill.test" },
} as unknown as LambdaEvent;

let stdout: string;
beforeEach(() => {
  vi.resetModules();
  stdout = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  for (const [name, value] of Object.entries(SETTINGS)) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

it.each(["uploads", "downloads", "tasks"] as const)(
  "%s that can't start says why to the operator alone, and starts with the next event",
  async (name) => {
    vi.stubEnv("WAYBILL_CHAIN_ID", "sekrit");
    const { handler } = (await import(`../functions/${name}.ts`)) as {
      handler: (event: LambdaEvent, context: LambdaContext) => Promise<APIGatewayProxyResult>;
    };
    const call = (): Promise<APIGatewayProxyResult> => handler(HEALTH, {} as LambdaContext);
    await expect(call()).rejects.toMatchObject({ code: "USAGE" });
    const [line] = stdout.split("\n");
    expect(JSON.parse(line!)).toMatchObject({ level: "ERROR", alarm: "MISCONFIGURED", code: "USAGE", service: name });
    expect(line).toContain("WAYBILL_CHAIN_ID");
    expect(stdout).not.toContain("sekrit");
    vi.stubEnv("WAYBILL_CHAIN_ID", SETTINGS.WAYBILL_CHAIN_ID);
    expect((await call()).statusCode).toBe(name === "tasks" ? 200 : 404);
  },
);

const queues: [string, RequestListener][] = [
  ["throttles", (_, response) => response.writeHead(400).end('{"__type":"com.amazonaws.sqs#RequestThrottled"}')],
  ["is overloaded", (_, response) => response.writeHead(503).end()],
  ["breaks off", (request) => request.socket.destroy()],
  ["never answers", () => {}],
];
it.each(queues)("a statement that is in the outbox is accepted though the queue %s", async (_what, answer) => {
  let asked = 0;
  const queue = await listening((request, response) => {
    asked++;
    answer(request, response);
  });
  try {
    const queueUrl = `http://127.0.0.1:${(queue.address() as AddressInfo).port}/1/bell.fifo`;
    const config = { queueUrl, region: "eu-central-1", chainId: 1, contract: SETTINGS.WAYBILL_CONTRACT } as Config;
    const bell = bellOf(config);
    // A ring gives up after two seconds, in which a busy machine may not have come as far as to ask.
    do expect(await bell()).toBeUndefined();
    while (asked === 0);
  } finally {
    queue.close();
    queue.closeAllConnections();
  }
});

async function listening(answer: RequestListener): Promise<Server> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
