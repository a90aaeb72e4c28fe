import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { QueueMessage, QueueSettings } from "../aws/queue.ts";

/** The API's part in an event: where the request arrived, and by which route. */
export interface Arrival {
  readonly apiId: string;
  readonly account: string;
  readonly routeKey: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** What a function gets from an HTTP API for a request (payload format 2.0). */
export function httpEvent(request: IncomingMessage, body: Buffer, arrival: Arrival): object {
  const { apiId, account, routeKey, parameters } = arrival;
  const [rawPath = "", rawQueryString = ""] = (request.url ?? "").split(/\?(.*)/s);
  const { headers, cookies } = headersOf(request);
  const query = Object.fromEntries(joined([...new URLSearchParams(rawQueryString)]));
  const domainName = headers.host ?? "";
  const text = isText(headers["content-type"]);
  const http = { method: request.method ?? "", path: rawPath, protocol: "HTTP/1.1", sourceIp: "192.0.2.7" };
  const now = new Date();
  return {
    version: "2.0",
    routeKey,
    rawPath,
    rawQueryString,
    ...(cookies.length > 0 && { cookies }),
    headers,
    ...(rawQueryString !== "" && { queryStringParameters: query }),
    ...(Object.keys(parameters).length > 0 && { pathParameters: parameters }),
    requestContext: {
      ...{ accountId: account, apiId, domainName, domainPrefix: apiId },
      http: { ...http, userAgent: headers["user-agent"] ?? "" },
      ...{ requestId: randomUUID(), routeKey, stage: "$default", time: now.toUTCString(), timeEpoch: now.getTime() },
    },
    ...(body.length > 0 && { body: body.toString(text ? "utf8" : "base64") }),
    isBase64Encoded: body.length > 0 && !text,
  };
}

/** What a function gets from a queue that it is the consumer of. */
export function queueEvent(messages: readonly QueueMessage[], { arn }: QueueSettings): object {
  const awsRegion = arn.split(":")[3];
  const Records = messages.map((one) => ({
    messageId: one.id,
    receiptHandle: one.receipt,
    body: one.body,
    attributes: {
      ApproximateReceiveCount: String(one.received),
      SentTimestamp: String(one.sent),
      SequenceNumber: one.sequence,
      MessageGroupId: one.group,
      SenderId: "AROA",
      MessageDeduplicationId: one.deduplication,
      ApproximateFirstReceiveTimestamp: String(one.firstReceived),
    },
    messageAttributes: {},
    eventSource: "aws:sqs",
    eventSourceARN: arn,
    awsRegion,
  }));
  return { Records };
}

/** What a function gets from EventBridge Scheduler whose target names no input. */
export function scheduleEvent(arn: string): object {
  const [, , , region, account] = arn.split(":");
  return {
    version: "0",
    id: randomUUID(),
    "detail-type": "Scheduled Event",
    source: "aws.scheduler",
    account,
    time: new Date().toISOString(),
    region,
    resources: [arn],
    detail: "{}",
  };
}

/** Lower-case names; what came twice is joined; cookies travel apart; what is for one connection does not travel. */
function headersOf({ rawHeaders }: IncomingMessage): { headers: Record<string, string>; cookies: string[] } {
  const pairs: [string, string][] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) pairs.push([rawHeaders[i]!.toLowerCase(), rawHeaders[i + 1]!]);
  const cookies = pairs.filter(([name]) => name === "cookie").flatMap(([, value]) => value.split(/; */));
  const passed = pairs.filter(([name]) => !["cookie", "connection", "transfer-encoding", "expect"].includes(name));
  const own: [string, string][] = [
    ["x-forwarded-for", "192.0.2.7"],
    ["x-forwarded-port", "443"],
    ["x-forwarded-proto", "https"],
    ["x-amzn-trace-id", `Root=1-${randomUUID().slice(0, 8)}-${randomUUID().replaceAll("-", "").slice(0, 24)}`],
  ];
  return { headers: Object.fromEntries(joined([...passed, ...own])), cookies };
}

function joined(pairs: readonly (readonly [string, string])[]): Map<string, string> {
  const all = new Map<string, string>();
  for (const [name, value] of pairs) all.set(name, all.has(name) ? `${all.get(name)},${value}` : value);
  return all;
}

function isText(contentType = "text/plain"): boolean {
  return /^(text\/|application\/(json|xml|javascript|x-www-form-urlencoded)\b)|charset=/i.test(contentType);
}
