import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { type Answer, type Exchange, type Fault, headOf, serialized, withBody, withHeaders } from "./fault-proxy.ts";

// What can go wrong with any HTTP exchange, whoever the two parties are.

/** Longer than any try of a party here waits, where its waiting can be told. */
export const LATE_MS = 700;
/** For as long nobody listens. */
const AWAY_MS = 150;
const GARBAGE: Buffer = Buffer.from(Array.from({ length: 600 }, (_, i) => (i * 167 + 13) % 256));

/** Carries the request out, and then does with the answer's bytes what it likes. */
export function answered(act: (exchange: Exchange, answer: Answer) => Promise<void> | void): Fault {
  return async (exchange) => act(exchange, await exchange.forward());
}

/** Carries the request out, and gives another answer. */
export function edited(change: (answer: Answer, exchange: Exchange) => Answer): Fault {
  return answered((exchange, answer) => exchange.answer(change(answer, exchange)));
}

/** Where an answer breaks off, in bytes of its whole. */
const places: Readonly<Record<string, (answer: Answer) => number>> = {
  "before the answer": () => 0,
  "in the answer's head": (answer) => Math.floor(headOf(answer).length / 2),
  "behind the answer's head": (answer) => headOf(answer).length,
  "in the answer's body": (answer) => headOf(answer).length + Math.floor(answer.body.length / 2),
  "before the answer's last byte": (answer) => serialized(answer).length - 1,
};

type Ending = (exchange: Exchange) => void;
const reset: Ending = (exchange) => exchange.reset();
const end: Ending = (exchange) => exchange.end();
const destroy: Ending = (exchange) => exchange.socket.destroy();
/** It stays open, and nothing comes any more. */
const stall: Ending = () => {};

function brokenOff(at: (answer: Answer) => number, ending: Ending): Fault {
  return answered(async (exchange, answer) => {
    const bytes = serialized(answer).subarray(0, at(answer));
    if (bytes.length > 0) await exchange.write(bytes);
    await delay(5); // a reset must not overtake what was written
    ending(exchange);
  });
}

function everywhere(word: string, ending: Ending): Record<string, Fault> {
  return Object.fromEntries(Object.entries(places).map(([place, at]) => [`${word} ${place}`, brokenOff(at, ending)]));
}

const unread =
  (ending: Ending): Fault =>
  (exchange) =>
    ending(exchange);

const midBody =
  (ending: Ending): Fault =>
  async (exchange) => {
    await exchange.beginBody();
    ending(exchange);
  };

/** Connections that end too early, or stay and are silent. */
export const connectionFaults: Readonly<Record<string, Fault>> = {
  "connection refused for a while": (exchange) => exchange.proxy.refuse(AWAY_MS),
  "reset before the request is read": unread(reset),
  "reset in the request's body": midBody(reset),
  "closed before the request is read": unread(destroy),
  "half-closed before the request is read": unread(end),
  ...everywhere("reset", reset),
  ...everywhere("ended", end),
  "closed behind a whole answer that promised to stay": answered(async (exchange, answer) => {
    await exchange.answer(withHeaders(answer, { connection: "keep-alive", "keep-alive": "timeout=60" }));
    exchange.end();
  }),
};

/** Those that cost the time after which somebody loses patience. */
export const stallFaults: Readonly<Record<string, Fault>> = {
  "silent before the request is read": unread(stall),
  "silent in the request's body": midBody(stall),
  ...everywhere("silent", stall),
};

function chunked(answer: Answer, body: string | Buffer): Buffer {
  const head = headOf(withHeaders(answer, { "content-length": null, "transfer-encoding": "chunked" }));
  return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body as Buffer)]);
}

function chunk(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]);
}

const half = (bytes: Buffer): Buffer => bytes.subarray(0, Math.floor(bytes.length / 2));

/** The raw bytes instead, and then the end of the connection. */
const raw = (make: (answer: Answer) => string | Buffer): Fault =>
  answered(async (exchange, answer) => {
    await exchange.write(make(answer));
    exchange.end();
  });

const renamed = (make: (head: string) => string): Fault =>
  raw((answer) => Buffer.concat([Buffer.from(make(headOf(answer)), "latin1"), answer.body]));

/** Answers whose framing is wrong, or right and unusual. */
export const framingFaults: Readonly<Record<string, Fault>> = {
  "body cut, Content-Length with it": edited((answer) => withBody(answer, half(answer.body))),
  "body empty, Content-Length with it": edited((answer) => withBody(answer, "")),
  "Content-Length too large": raw((answer) =>
    serialized(withHeaders(answer, { "content-length": String(answer.body.length + 9) })),
  ),
  "Content-Length too small": raw((answer) =>
    serialized(withHeaders(answer, { "content-length": String(Math.max(0, answer.body.length - 9)) })),
  ),
  "Content-Length that is no number": raw((answer) => serialized(withHeaders(answer, { "content-length": "many" }))),
  "Content-Length below zero": raw((answer) => serialized(withHeaders(answer, { "content-length": "-5" }))),
  "two different Content-Lengths": raw((answer) =>
    serialized({ ...answer, headers: [...answer.headers, ["content-length", String(answer.body.length + 1)]] }),
  ),
  "Content-Length and chunks": raw((answer) =>
    serialized({ ...answer, headers: [...answer.headers, ["transfer-encoding", "chunked"]] }),
  ),
  "in chunks": answered((exchange, answer) =>
    exchange.write(
      chunked(answer, Buffer.concat([chunk(Buffer.from(answer.body.subarray(0, 7))), chunk(rest(answer.body)), END])),
    ),
  ),
  "chunks without their end": raw((answer) => chunked(answer, chunk(answer.body))),
  "chunk cut in the middle": raw((answer) => chunked(answer, half(chunk(answer.body)))),
  "chunk size that is none": raw((answer) => chunked(answer, "zz\r\nabc\r\n0\r\n\r\n")),
  "chunk size beyond all numbers": raw((answer) => chunked(answer, "ffffffffffffffffff\r\nabc\r\n")),
  "no length, ended by closing": raw((answer) => serialized(withHeaders(answer, { "content-length": null }))),
  "no length, cut by closing": raw((answer) =>
    serialized(withHeaders({ ...answer, body: half(answer.body) }, { "content-length": null })),
  ),
  "bytes behind the answer": answered((exchange, answer) =>
    exchange.write(Buffer.concat([serialized(answer), Buffer.from("and more")])),
  ),
  "a second answer behind the answer": answered((exchange, answer) =>
    exchange.write(Buffer.concat([serialized(answer), serialized(answer)])),
  ),
  "connection closed after the answer, as announced": raw((answer) =>
    serialized(withHeaders(answer, { connection: "close" })),
  ),
  "answer in HTTP/1.0": raw((answer) => Buffer.concat([Buffer.from(headOf(answer, "1.0"), "latin1"), answer.body])),
  "100 Continue before the answer": answered((exchange, answer) =>
    exchange.write(Buffer.concat([Buffer.from("HTTP/1.1 100 Continue\r\n\r\n"), serialized(answer)])),
  ),
  "103 Early Hints before the answer": answered((exchange, answer) =>
    exchange.write(
      Buffer.concat([Buffer.from("HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"), serialized(answer)]),
    ),
  ),
  "200 times 100 Continue": answered((exchange, answer) =>
    exchange.write(Buffer.concat([Buffer.from("HTTP/1.1 100 Continue\r\n\r\n".repeat(200)), serialized(answer)])),
  ),
  "101 Switching Protocols": raw(
    () => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: none\r\nConnection: upgrade\r\n\r\n",
  ),
};

const END: Buffer = Buffer.from("0\r\n\r\n");
const rest = (body: Buffer): Buffer => body.subarray(7);

/** What is no HTTP, or hardly. */
export const garbageFaults: Readonly<Record<string, Fault>> = {
  "garbage instead of HTTP": raw(() => GARBAGE),
  "a page without a head": raw(() => "<html><body>Please log in</body></html>\r\n\r\n"),
  "a TLS alert": raw(() => Buffer.from([0x15, 3, 1, 0, 2, 2, 70])),
  "a status that is no number": renamed((head) => head.replace(/ \d{3} /, " two ")),
  "status 999": renamed((head) => head.replace(/ \d{3} /, " 999 ")),
  "HTTP/9.7": renamed((head) => head.replace("HTTP/1.1", "HTTP/9.7")),
  "a header without a colon": renamed((head) => head.replace("\r\n", "\r\nthis is none\r\n")),
  "a header with a NUL": renamed((head) => head.replace("\r\n", "\r\nx-odd: a\0b\r\n")),
  "a folded header": renamed((head) => head.replace("\r\n", "\r\nx-odd: a\r\n b\r\n")),
  "lines that end with LF alone": renamed((head) => head.replaceAll("\r\n", "\n")),
  "a header of 300 KiB": renamed((head) => head.replace("\r\n", `\r\nx-odd: ${"a".repeat(300 * 1024)}\r\n`)),
  "20,000 headers": renamed((head) => head.replace("\r\n", `\r\n${"x-odd: a\r\n".repeat(20_000)}`)),
  "a head that never ends": answered(async (exchange) => {
    for (let i = 0; i < 64 && !exchange.socket.destroyed; i++)
      await exchange.write(`${i === 0 ? "HTTP/1.1 200 OK\r\n" : ""}x-odd: ${"a".repeat(16 * 1024)}\r\n`);
    exchange.end();
  }),
  "each header twice": edited((answer) => ({
    ...answer,
    headers: answer.headers.flatMap((pair) => (/^content-length$/i.test(pair[0]) ? [pair] : [pair, pair])),
  })),
};

function flip(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  if (copy.length > 0) copy[Math.min(copy.length - 1, Math.max(0, at))]! ^= 0x04;
  return copy;
}

const flipped = (at: (length: number) => number): Fault =>
  edited((answer) => ({ ...answer, body: flip(answer.body, at(answer.body.length)) }));

const sentFlipped =
  (at: (length: number) => number): Fault =>
  async (exchange) => {
    const body = await exchange.body();
    await exchange.answer(await exchange.forward({ body: flip(body, at(body.length)) }));
  };

/** Bits that arrive otherwise than they were sent. */
export const bitFaults: Readonly<Record<string, Fault>> = {
  "a bit of the answer's first byte": flipped(() => 0),
  "a bit in the answer's middle": flipped((length) => length >> 1),
  "a bit of the answer's last byte": flipped((length) => length - 1),
  "a bit of each header": edited((answer) => ({
    ...answer,
    headers: answer.headers.map(([name, value]) =>
      /^content-length$/i.test(name)
        ? [name, value]
        : [name, value.replace(/\w(?=\W*$)/, (c) => (c === "a" ? "b" : "a"))],
    ),
  })),
  "a bit of the request's first byte": sentFlipped(() => 0),
  "a bit in the request's middle": sentFlipped((length) => length >> 1),
  "a bit of the request's last byte": sentFlipped((length) => length - 1),
  "a bit of the request's path": async (exchange) =>
    exchange.answer(await exchange.forward({ target: exchange.target.replace(/[0-9a-f](?=[^0-9a-f]*$)/, "g") })),
  "a bit of the request's signature": async (exchange) => {
    const headers = (await exchange.rawHeaders()).map((text, i, all) =>
      i % 2 === 1 && /^(signature|authorization)$/i.test(all[i - 1]!) ? text.replace(/[0-9a-zA-Z](?=\W*$)/, "0") : text,
    );
    await exchange.answer(await exchange.forward({ headers }));
  },
};

/** Answers at the wrong time, to the wrong question, or more than once. */
export const orderFaults: Readonly<Record<string, Fault>> = {
  "answer late": answered(async (exchange, answer) => {
    await delay(LATE_MS);
    await exchange.answer(answer);
  }),
  "request held up": async (exchange) => {
    await exchange.body();
    await delay(LATE_MS);
    await exchange.answer(await exchange.forward());
  },
  "answer drop by drop": answered(async (exchange, answer) => {
    const bytes = serialized(answer);
    const step = Math.ceil(bytes.length / 40);
    for (let at = 0; at < bytes.length; at += step) {
      await exchange.write(bytes.subarray(at, at + step));
      await delay(10);
    }
  }),
  "answer byte by byte in its head": answered(async (exchange, answer) => {
    for (const byte of Buffer.from(headOf(answer), "latin1")) await exchange.write(Buffer.of(byte));
    await exchange.write(answer.body);
  }),
  "request twice, first answer": async (exchange) => {
    const first = await exchange.forward();
    await exchange.forward();
    await exchange.answer(first);
  },
  "request twice, second answer": async (exchange) => {
    await exchange.forward();
    await exchange.answer(await exchange.forward());
  },
  "request twice at once": async (exchange) => {
    await exchange.body();
    const [first] = await Promise.all([exchange.forward(), exchange.forward()]);
    await exchange.answer(first!);
  },
  "request again much later": async (exchange) => {
    await exchange.answer(await exchange.forward());
    await delay(LATE_MS);
    await exchange.forward();
  },
  "said to be gzip, and isn't": edited((answer) => withHeaders(answer, { "content-encoding": "gzip" })),
  "gzip, unasked": edited((answer) =>
    withHeaders(withBody(answer, gzipSync(answer.body)), { "content-encoding": "gzip" }),
  ),
  "said to be br": edited((answer) => withHeaders(answer, { "content-encoding": "br" })),
  "a clock 20 minutes ahead": edited((answer) => withHeaders(answer, { date: inMinutes(20) })),
  "a clock 20 minutes behind": edited((answer) => withHeaders(answer, { date: inMinutes(-20) })),
};

function inMinutes(minutes: number): string {
  return new Date(Date.now() + minutes * 60_000).toUTCString();
}
