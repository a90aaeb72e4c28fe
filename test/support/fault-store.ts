import { edited } from "./fault-http.ts";
import { type Answer, type Fault, withBody, withHeaders } from "./fault-proxy.ts";

// What an S3 store alone can say wrongly: ranges, versions, checksums.

const OTHER_ETAG = '"00000000000000000000000000000000"';
const OTHER_SHA = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

function header(answer: Answer, name: string): string {
  return answer.headers.find(([one]) => one.toLowerCase() === name)?.[1] ?? "";
}

const ranged = (change: (start: number, end: number, total: number) => string | null): Fault =>
  edited((answer) => {
    const [, start, end, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(header(answer, "content-range")) ?? [];
    if (start === undefined) return answer;
    return withHeaders(answer, { "content-range": change(Number(start), Number(end), Number(total)) });
  });

const put = (changes: Readonly<Record<string, string | null>>): Fault =>
  edited((answer) => withHeaders(answer, changes));

export const rangeFaults: Readonly<Record<string, Fault>> = {
  "no Content-Range": ranged(() => null),
  "Content-Range one further": ranged((start, end, total) => `bytes ${start + 1}-${end + 1}/${total}`),
  "Content-Range one shorter": ranged((start, end, total) => `bytes ${start}-${end - 1}/${total}`),
  "Content-Range of another total": ranged((start, end, total) => `bytes ${start}-${end}/${total + 1}`),
  "Content-Range of an unknown total": ranged((start, end) => `bytes ${start}-${end}/*`),
  "Content-Range that ends before it begins": ranged((start, end, total) => `bytes ${end}-${start}/${total}`),
  "Content-Range beyond all numbers": ranged((start) => `bytes ${start}-99999999999999999999/99999999999999999999`),
  "Content-Range that is garbage": ranged(() => "bytes of mine"),
  "Content-Range twice, different": edited((answer) => ({
    ...answer,
    headers: [...answer.headers, ["content-range", "bytes 0-0/1"]],
  })),
  "the whole object for a range": async (exchange) => {
    const raw = await exchange.rawHeaders();
    const at = raw.findIndex((text, i) => i % 2 === 0 && /^range$/i.test(text));
    if (at >= 0) raw.splice(at, 2);
    await exchange.answer(await exchange.forward({ headers: raw }));
  },
  "another range's bytes under the right Content-Range": async (exchange) => {
    const right = await exchange.forward();
    const raw = (await exchange.rawHeaders()).map((text) => text.replace(/^bytes=\d+-/, "bytes=1-"));
    const wrong = await exchange.forward({ headers: raw });
    const body = Buffer.concat([wrong.body, right.body]).subarray(0, right.body.length);
    await exchange.answer({ ...right, body });
  },
  "200 for a 206": edited((answer) => (answer.status === 206 ? { ...answer, status: 200, reason: "OK" } : answer)),
  "206 for a 200": edited((answer) => (answer.status === 200 ? { ...answer, status: 206, reason: "Partial" } : answer)),
  "multipart/byteranges": edited((answer) =>
    withHeaders(answer, { "content-type": "multipart/byteranges; boundary=x", "content-range": null }),
  ),
  "zeros instead of the bytes": edited((answer) => withBody(answer, Buffer.alloc(answer.body.length))),
};

export const objectFaults: Readonly<Record<string, Fault>> = {
  "no ETag": put({ etag: null }),
  "another ETag": put({ etag: OTHER_ETAG }),
  "an ETag without quotes": edited((answer) =>
    withHeaders(answer, { etag: header(answer, "etag").replaceAll('"', "") }),
  ),
  "no checksum": put({ "x-amz-checksum-sha256": null }),
  "another checksum": put({ "x-amz-checksum-sha256": OTHER_SHA }),
  "a checksum that is none": put({ "x-amz-checksum-sha256": "none" }),
  "no header but the length": edited((answer) => ({
    ...answer,
    headers: answer.headers.filter(([name]) => /^content-length$/i.test(name)),
  })),
};

const text = (change: (body: string) => string): Fault =>
  edited((answer) => withBody(answer, change(answer.body.toString())));

/** Documents that the functions read. */
export const documentFaults: Readonly<Record<string, Fault>> = {
  "a document cut in half": text((body) => body.slice(0, body.length >> 1)),
  "a document that is none": text(() => "this is no document"),
  "an empty document": text(() => "<x/>"),
  "a document of nested elements": text(() => `${"<a>".repeat(20_000)}${"</a>".repeat(20_000)}`),
  "a document with an entity bomb": text(
    () => `<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;&c;</a>`,
  ),
  "elements left out": text((body) => body.replace(/<(Contents|Part|Upload)>.*?<\/\1>/s, "")),
  "truncated without an end": text((body) =>
    body.replace("<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated>"),
  ),
};
