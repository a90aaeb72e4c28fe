import { connect } from "node:net";
import { createApi } from "../../functions/api.ts";
import { DEFAULT_CAPS } from "../../functions/config.ts";
import { routes } from "../../functions/routes.ts";
import { type ErrorCode, isErrorCode, statusOf } from "../../lib/protocol/errors.ts";
import { type Hex, wordHex } from "../../lib/protocol/hex.ts";
import { wireText } from "../../lib/protocol/requests.ts";
import { bitmapOf } from "../../lib/protocol/statements.ts";
import { type Server, startServer } from "../../local/server.ts";
import { type Caller, expectStatus, ORIGIN } from "./api.ts";
import { Mutator, type Subject, shown, Violation } from "./fuzz.ts";
import { partyOf, type Role, type RouteName, routeNames, type Stage } from "./roles.ts";

// Hostile requests to every route: bent before they are signed, as somebody with a key can, and bent after it or never signed.

const WHO: readonly Role[] = ["owner", "sender", "recipient", "bystander", "expelled", "outsider", "stranger"];
const METHODS: readonly string[] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PROPFIND"];
/** Nobody waits so long for an answer about nothing. */
const HANG_MS = 60_000;

/** Rate caps would answer most of a long run. Nonces in memory, because a listing of all of them would be its most. */
export const UNCAPPED = {
  nonces: "memory",
  caps: { ...DEFAULT_CAPS, requests: 1e9, statements: 1e9, reads: 1e9 },
} as const;

export class RouteFuzz {
  readonly #stage: Stage;
  readonly #server: Server;
  readonly #urls: readonly Signed[];
  readonly #payload: Buffer;
  /** How many requests were answered so. */
  readonly answers = new Map<string, number>();

  static async start(stage: Stage): Promise<RouteFuzz> {
    const server = await startServer();
    server.mount(createApi(stage.api.deps));
    const { recipient, sender } = stage.callers;
    const got = expectStatus(await recipient.download(stage.task, stage.published.id), 200) as unknown as Signed;
    const path = `${sender.transfers(stage.task)}/${stage.open.transfer}/parts`;
    const put = expectStatus(await sender.post(path, { parts: stage.open.parts }), 200) as { urls: Signed[] };
    return new RouteFuzz(stage, server, [got, put.urls[0]!]);
  }

  private constructor(stage: Stage, server: Server, urls: readonly Signed[]) {
    this.#stage = stage;
    this.#server = server;
    this.#urls = urls;
    this.#payload = Buffer.concat(stage.published.slices);
  }

  stop(): Promise<void> {
    return this.#server.stop();
  }

  get subjects(): readonly Subject[] {
    return [
      { name: "requests signed as they are", share: 600, try: (dice) => this.#signed(new Mutator(dice)) },
      { name: "statements signed as they are", share: 300, try: (dice) => this.#stated(new Mutator(dice)) },
      { name: "requests that nobody signed", share: 1_500, try: (dice) => this.#unsigned(new Mutator(dice)) },
      { name: "broken requests on the wire", share: 300, try: (dice) => this.#raw(new Mutator(dice)) },
      { name: "broken requests to the store", share: 300, try: (dice) => this.#stored(new Mutator(dice)) },
    ];
  }

  async #signed(mutator: Mutator): Promise<void> {
    const { name, caller, method, path, body } = await this.#draw(mutator);
    const bent = mutator.dice.pick(["body", "body", "body", "path", "query", "method"] as const);
    const text = body === undefined ? undefined : wireText(body);
    const target = bent === "path" ? idsBent(mutator, path) : bent === "query" ? `${path}${queryOf(mutator)}` : path;
    const sent = bent === "body" ? bodyBent(mutator, body) : text;
    const asked = bent === "method" ? mutator.dice.pick(METHODS) : method;
    const bytes = sent === undefined ? undefined : Buffer.from(sent, "utf8");
    const request = await requestOf(() =>
      caller.sign(asked, safe(target), bytes, routes[name]!.method === "GET" ? { nonce: null } : {}),
    );
    if (request) await this.#judge(request, [name, asked, target, sent], caller);
  }

  /** Well-formed statements about anything, with good signatures of their authors. */
  async #stated(mutator: Mutator): Promise<void> {
    const { dice } = mutator;
    const name = dice.pick(["postMessage", "postReceipt", "finish", "changeRoster"] as const);
    const caller = this.#stage.callers[mutator.chance(0.7) ? partyOf(name) : dice.pick(WHO)];
    const { method, path } = this.#stage.targetOf(name, "sender");
    const body = await this.#statementOf(name, caller, mutator);
    await this.#judge(await caller.sign(method, path, body), [name, wireText(body)], caller);
  }

  async #statementOf(name: string, caller: Caller, mutator: Mutator): Promise<unknown> {
    const { task, published, api } = this.#stage;
    const { dice } = mutator;
    const now = await api.world.now();
    const deadline = dice.pick([0, 1, now, now + 1, now + 600, now + 31 * 86_400, 2 ** 47 - 1]);
    const page = dice.pick([0, 0, 1, 65_535]);
    const recipients = dice.pick([0n, 2n, 2n ** 103n, 2n ** 104n, 2n ** 256n - 1n, bitmapOf([dice.whole(0, 103)])]);
    if (name === "postMessage") {
      const payload: Hex = `0x${"00".repeat(dice.pick([0, 1, 4_096]))}`;
      const message = await this.#stage.messageOf(caller, { deadline, page, recipients, payload });
      return { message, signature: await this.#stage.sign(caller, message) };
    }
    if (name === "postReceipt") {
      const notice = dice.pick([published.id, wordHex(0n), wordHex(2n ** 256n - 1n)]);
      const outcome = dice.pick(["VERIFIED", "CORRUPT", "TOO_LARGE", "REFUSED"] as const);
      return {
        notice,
        outcome,
        signature: await this.#stage.sign(caller, { kind: "receipt", task: task.id, notice, outcome }),
      };
    }
    if (name === "changeRoster") {
      const change = { members: [caller.account], roster: dice.pick([0, 1, 3, 2 ** 32 - 1]) };
      const signature = await this.#stage.sign(caller, { kind: "expel", task: task.id, ...change });
      return { kind: "expel", ...change, signature };
    }
    const manifest = dice.pick([published.digest, wordHex(0n)]);
    const { notice } = await caller.notice(task, published, [1], { deadline, page, recipients, manifest });
    const accounts = Array.from({ length: dice.pick([1, 2, 104]) }, () => dice.pick(WHO)).map((who) =>
      this.#stage.accountOf(who),
    );
    const signature = await this.#stage.sign(caller, notice);
    return { manifest: published.text, notices: [{ notice, signature, recipients: accounts }] };
  }

  async #unsigned(mutator: Mutator): Promise<void> {
    const { method, path } = this.#stage.targetOf(mutator.dice.pick(routeNames), "sender");
    const input = `eth=("@authority" "@method" "@path");created=1;expires=61;keyid="erc8128:31337:${this.#stage.wallet}"`;
    const headers = { "signature-input": latin(mutator.text(input)), signature: latin(mutator.text("eth=:AAAA:")) };
    const asked = mutator.chance(0.8) ? method : mutator.dice.pick(METHODS);
    const body = asked === "GET" || asked === "HEAD" ? {} : { body: mutator.text('{"transfer":"0x00"}') };
    const target = safe(
      `${mutator.chance(0.5) ? idsBent(mutator, path) : path}${mutator.chance(0.2) ? queryOf(mutator) : ""}`,
    );
    const request = await requestOf(() => new Request(new URL(target, ORIGIN), { method: asked, headers, ...body }));
    if (!request) return;
    const status = await this.#judge(request, [asked, target, headers], null);
    const open = /^\/(health|docs|openapi\.json)$/.test(new URL(request.url).pathname);
    if (status < 300 && !open) throw new Violation(`an unsigned request was taken: ${shown([asked, target])}`);
  }

  async #raw(mutator: Mutator): Promise<void> {
    const { caller, method, path, body } = await this.#draw(mutator);
    const request = await caller.sign(method, path, body, method === "GET" ? { nonce: null } : {});
    const text = Buffer.from(await request.clone().arrayBuffer()).toString("latin1");
    const lines = [...request.headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const length = text === "" ? "" : `content-length: ${text.length}\r\n`;
    const whole = `${method} ${path} HTTP/1.1\r\nhost: api.waybill.test\r\n${lines}${length}connection: close\r\n\r\n${text}`;
    const sent = bodyOfWire(mutator, whole);
    for (const status of await statusesOf(this.#server.origin, sent))
      if (status >= 500) throw new Violation(`${status} to ${shown(sent)}`);
  }

  async #stored(mutator: Mutator): Promise<void> {
    const { url, headers } = mutator.dice.pick(this.#urls);
    const { pathname, search, origin, host } = new URL(url);
    const isPut = search.includes("partNumber");
    const lines = Object.entries({ host, ...headers, connection: "close" }).map((pair) => `${pair.join(": ")}\r\n`);
    const body = isPut ? Buffer.from(this.#stage.open.slices[0]!).toString("latin1") : "";
    const sent = bodyOfWire(
      mutator,
      `${isPut ? "PUT" : "GET"} ${pathname}${search} HTTP/1.1\r\n${lines.join("")}\r\n${body}`,
    );
    const answer = await exchange(origin, sent);
    for (const status of statusesIn(answer))
      if (status >= 500 && status !== 501) throw new Violation(`${status} of the store to ${shown(sent)}`);
    const given = /^HTTP\/1\.1 20[06][\s\S]*?\r\n\r\n([\s\S]*)$/.exec(answer)?.[1] ?? "";
    if (sent.startsWith("GET") && given !== "" && !this.#payload.includes(Buffer.from(given, "latin1")))
      throw new Violation(`other bytes to ${shown(sent)}`);
  }

  async #draw(mutator: Mutator) {
    const name = mutator.dice.pick(routeNames);
    const role = mutator.chance(0.7) ? partyOf(name) : mutator.dice.pick(WHO);
    const caller = this.#stage.callers[role];
    const target = this.#stage.targetOf(name, role);
    return { name, caller, ...target, body: await this.#stage.bodyFor(name as RouteName, caller) };
  }

  /** @returns the status */
  async #judge(request: Request, input: unknown, caller: Caller | null): Promise<number> {
    const { method } = request;
    const response = await this.#stage.api.drive(request);
    const text = await response.text();
    const { status } = response;
    if (status >= 500) throw new Violation(`${status} ${text} to ${shown(input)}`);
    const code = status >= 400 && method !== "HEAD" ? judgeProblem(status, text, input) : String(status);
    this.answers.set(code, (this.answers.get(code) ?? 0) + 1);
    for (const url of text.match(/https?:\/\/[^"\\\s]*X-Amz-[^"\\\s]*/gi) ?? [])
      if (!this.#mayHave(url, caller)) throw new Violation(`somebody else's URL to ${shown(input)}`);
    return status;
  }

  #mayHave(url: string, caller: Caller | null): boolean {
    const { published, callers, task } = this.#stage;
    const { pathname } = new URL(url);
    if (caller && pathname.includes(`/payload/${task.id}/${caller.account}/`)) return true;
    return caller === callers.recipient && pathname.endsWith(`/${callers.sender.account}/${published.transfer}`);
  }
}

interface Signed {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

function judgeProblem(status: number, text: string, input: unknown): ErrorCode {
  const { code, detail, status: said } = JSON.parse(text) as { code: ErrorCode; detail: string; status: number };
  if (!isErrorCode(code) || statusOf(code) !== status || said !== status)
    throw new Violation(`${status} without its code to ${shown(input)}`);
  if (/\p{Cc}/u.test(detail)) throw new Violation(`control characters in ${shown(text)}`);
  return code;
}

function idsBent(mutator: Mutator, path: string): string {
  const ids = [...path.matchAll(/0x[0-9a-f]{64}/g)];
  const found = ids.length > 0 ? mutator.dice.pick(ids) : null;
  if (!found || mutator.chance(0.3)) return `/${mutator.text(path.slice(1))}`;
  return `${path.slice(0, found.index)}${mutator.text(found[0])}${path.slice(found.index + found[0].length)}`;
}

const QUERIES = ["?after=0&block=0", "?before=1&block=1", `?after=1&block=1&hash=${wordHex(1n)}`, "?x=1", "?"] as const;

function queryOf(mutator: Mutator): string {
  return `?${mutator.text(mutator.dice.pick(QUERIES).slice(1))}`;
}

function bodyBent(mutator: Mutator, body: unknown): string {
  const twice =
    body !== undefined && mutator.chance(0.1) ? mutator.doubled(JSON.parse(wireText(body)) as object) : null;
  return twice ?? mutator.json(body === undefined ? {} : (JSON.parse(wireText(body)) as unknown));
}

/** Bent in its head, mostly: a body is others' subject. */
function bodyOfWire(mutator: Mutator, whole: string): string {
  const end = whole.indexOf("\r\n\r\n") + 4;
  return (
    latin(mutator.text(whole.slice(0, end)), false) +
    (mutator.chance(0.1) ? mutator.text(whole.slice(end)) : whole.slice(end))
  );
}

/** What URL and Request would refuse themselves never comes to us. */
function safe(target: string): string {
  return `/${target.replace(/^[/\\]+/, "")}`;
}

function latin(text: string, strict = true): string {
  const bytes = text.replaceAll(/[^\0-\xff]/g, "~");
  return strict ? bytes.replaceAll(/[\0\r\n]/g, "~") : bytes;
}

/** Null where there can be no such request. */
async function requestOf(make: () => Request | Promise<Request>): Promise<Request | null> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

async function statusesOf(origin: string, sent: string): Promise<number[]> {
  return statusesIn(await exchange(origin, sent));
}

function statusesIn(answer: string): number[] {
  return [...answer.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));
}

/** Everything that comes back. What was sent may be no whole request: then the server is told that there is no more. */
function exchange(origin: string, sent: string): Promise<string> {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(Number(port), hostname, () => socket.write(Buffer.from(sent, "latin1")));
    const quiet = setTimeout(() => socket.end(), 250);
    const hang = setTimeout(
      () => socket.destroy(new Violation(`no end after ${HANG_MS} ms of ${shown(sent)}`)),
      HANG_MS,
    );
    socket.on("data", (bytes) => {
      answer += bytes.toString("latin1");
      if (/\r\n\r\n/.test(answer)) quiet.refresh();
    });
    socket.on("error", (error) => {
      if (error instanceof Violation) reject(error); // a reset is an answer, too
    });
    socket.on("close", () => {
      clearTimeout(quiet);
      clearTimeout(hang);
      resolve(answer);
    });
  });
}
