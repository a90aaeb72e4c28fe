import { answered } from "./fault-http.ts";
import { type Answer, type Exchange, type Fault, withBody } from "./fault-proxy.ts";

// Answers that somebody else gave: a gateway, a captive portal, a store that has other worries.

/** Headers and body of an invented answer. */
interface Said {
  readonly status: number;
  readonly type?: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function made({ status, type = "application/xml", body = "", headers = {} }: Said): Answer {
  const pairs = Object.entries({ "content-type": type, ...headers });
  return withBody({ status, reason: "Said", headers: pairs, body: Buffer.alloc(0) }, body);
}

/** Instead of carrying it out. */
function instead(said: Said): Fault {
  return async (exchange) => {
    await exchange.body();
    await exchange.answer(made(said));
  };
}

/** Carried out, and not told so. */
function behind(said: Said): Fault {
  return answered((exchange) => exchange.answer(made(said)));
}

export function s3Error(code: string, message = "It is said."): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message><RequestId>1</RequestId></Error>`;
}

const s3 = (status: number, code: string, message?: string): Fault => instead({ status, body: s3Error(code, message) });
const page = (status: number): Said => ({ status, type: "text/html", body: "<html><h1>Bad Gateway</h1></html>" });
const elsewhere =
  (status: number): Fault =>
  (exchange) =>
    instead({ status, headers: { location: `${exchange.proxy.origin}/elsewhere` } })(exchange);
const busy = (after: string): Fault =>
  instead({ status: 429, body: s3Error("SlowDown"), headers: { "retry-after": after } });

/** A connection that ends while the request's body is still coming. */
const early = async (exchange: Exchange): Promise<void> => {
  await exchange.answer(made({ status: 503, body: s3Error("SlowDown"), headers: { connection: "close" } }));
  exchange.end();
};

export const statusFaults: Readonly<Record<string, Fault>> = {
  "200 with nothing in it": instead({ status: 200 }),
  "200 with an S3 error": instead({ status: 200, body: s3Error("InternalError") }),
  "200 with a log-in page": instead(page(200)),
  "201 with nothing in it": instead({ status: 201 }),
  "204 instead": instead({ status: 204 }),
  "206 with nothing in it": instead({ status: 206 }),
  "304 instead": instead({ status: 304 }),
  "301 to elsewhere": elsewhere(301),
  "302 to elsewhere": elsewhere(302),
  "307 to elsewhere": elsewhere(307),
  "308 to elsewhere": elsewhere(308),
  "400 InvalidRequest": s3(400, "InvalidRequest"),
  "400 ExpiredToken": s3(400, "ExpiredToken", "The provided token has expired."),
  "400 RequestTimeout": s3(400, "RequestTimeout"),
  "400 BadDigest": s3(400, "BadDigest"),
  "401 instead": instead({ status: 401, headers: { "www-authenticate": "Basic realm=x" } }),
  "403 AccessDenied": s3(403, "AccessDenied"),
  "403 Request has expired": s3(403, "AccessDenied", "Request has expired"),
  "403 RequestTimeTooSkewed": s3(403, "RequestTimeTooSkewed"),
  "403 of a firewall": instead(page(403)),
  "404 NoSuchKey": s3(404, "NoSuchKey"),
  "404 NoSuchUpload": s3(404, "NoSuchUpload"),
  "404 NoSuchBucket": s3(404, "NoSuchBucket"),
  "405 instead": s3(405, "MethodNotAllowed"),
  "407 of a proxy": instead(page(407)),
  "408 instead": instead({ status: 408 }),
  "409 OperationAborted": s3(409, "OperationAborted"),
  "410 instead": instead({ status: 410 }),
  "411 instead": s3(411, "MissingContentLength"),
  "412 PreconditionFailed": s3(412, "PreconditionFailed"),
  "413 of a gateway": instead(page(413)),
  "416 InvalidRange": s3(416, "InvalidRange"),
  "417 instead": instead({ status: 417 }),
  "429 with Retry-After in seconds": busy("1"),
  "429 with Retry-After as a date": busy(new Date(Date.now() + 1_000).toUTCString()),
  "429 with Retry-After that is garbage": busy("soon; maybe"),
  "429 with Retry-After below zero": busy("-7"),
  "429 with Retry-After of a year": busy("31536000"),
  "500 InternalError": s3(500, "InternalError"),
  "500 with nothing in it": instead({ status: 500 }),
  "501 NotImplemented": s3(501, "NotImplemented"),
  "502 with a page": instead(page(502)),
  "503 SlowDown": s3(503, "SlowDown"),
  "503 before the body is read": early,
  "504 with a page": instead(page(504)),
  "500 though it was done": behind({ status: 500, body: s3Error("InternalError") }),
  "503 though it was done": behind({ status: 503, body: s3Error("SlowDown") }),
  "504 though it was done": behind(page(504)),
  "409 though it was done": behind({ status: 409, body: s3Error("OperationAborted") }),
  "404 though it was done": behind({ status: 404, body: s3Error("NoSuchKey") }),
  "412 though it was done": behind({ status: 412, body: s3Error("PreconditionFailed") }),
};
