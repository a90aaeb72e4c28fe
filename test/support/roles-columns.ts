import { getBytes, hexlify } from "ethers";
import { needsNonce, routes } from "../../functions/routes.ts";
import type { ErrorCode } from "../../lib/protocol/errors.ts";
import { contentDigest } from "../../lib/protocol/httpsig.ts";
import type { Bend, Caller } from "./api.ts";
import { random32 } from "./contract.ts";
import { partyOf, type Role, type RouteName, roles, type Sign, type Stage } from "./roles.ts";
import { compact, highS, oldV } from "./roles-forms.ts";

// The matrix of who may do what: every role, and every way of bending the request of somebody who may, times every route.

/** A status of success, or the code of a refusal; null: that can't be asked of this route. */
export type Expected = number | ErrorCode | null;

export interface Column {
  readonly name: string;
  /** Whose account the request acts for. */
  readonly by: (route: RouteName) => Role;
  readonly expects: (route: RouteName) => Expected;
  /** The request that is judged; what has to go before it is sent by then. */
  readonly ask: (stage: Stage, route: RouteName) => Promise<Request>;
}

type Row = Readonly<Record<Role, Expected>>;

const strangers = { expelled: "EXPELLED", wallet: "UNAUTHENTICATED" } as const;
const others = { otherOwner: "NOT_MEMBER", outsider: "NOT_MEMBER", stranger: "NOT_MEMBER" } as const;
const nobody = { ...strangers, ...others };
const readers: Row = row(nobody, 200, { elsewhere: 200 });
const owners: Row = { ...row({}, "NOT_OWNER"), owner: 202, wallet: "UNAUTHENTICATED" };
const posters: Row = row({ ...nobody, owner: "NOT_MEMBER" }, 202, { elsewhere: "BAD_REQUEST" });
const parties: Row = row({ ...nobody, owner: "NOT_MEMBER" }, "NOT_RECIPIENT", { elsewhere: "UNKNOWN_NOTICE" });
const senders: Row = row({ ...nobody, owner: "NOT_MEMBER" }, "UNKNOWN_TRANSFER");

/** Who may what. A route that isn't here fails the test. */
export const matrix: Readonly<Record<RouteName, Row>> = {
  openTask: { ...owners, otherOwner: 202 },
  changeRoster: owners,
  readTask: readers,
  readEvents: readers,
  readStatement: readers,
  readNotice: { ...readers, bystander: "NOT_RECIPIENT", elsewhere: "UNKNOWN_NOTICE" },
  postMessage: posters,
  // By account: the contract takes it for the index that the account had, or says that it isn't outstanding.
  postReceipt: { ...parties, recipient: 202, readmitted: 202 },
  postWithdrawal: row({ ...nobody, owner: "NOT_MEMBER" }, "BAD_REQUEST", { sender: 202, elsewhere: "UNKNOWN_NOTICE" }),
  begin: row({ ...nobody, owner: "NOT_MEMBER" }, 200),
  signParts: { ...senders, sender: 200 },
  listParts: { ...senders, sender: 200 },
  finish: { ...senders, sender: 202 },
  abort: { ...senders, sender: 200 },
  download: { ...parties, recipient: 200 },
  reportProgress: { ...parties, recipient: 200 },
};

function row(some: Partial<Row>, all: Expected, more: Partial<Row> = {}): Row {
  const everyone = Object.fromEntries(roles.map((role) => [role, all])) as Record<Role, Expected>;
  return { ...everyone, ...some, ...more };
}

/** The answers that hold a presigned URL, and nobody else's does. */
export function issuesUrls(column: Column, route: RouteName): boolean {
  return column.expects(route) === 200 && (route === "signParts" || route === "download");
}

const who: Readonly<Record<Role, string>> = {
  owner: "the task's owner",
  sender: "the sender",
  recipient: "a recipient",
  bystander: "another member",
  readmitted: "a recipient, expelled and admitted again",
  expelled: "an expelled recipient",
  wallet: "a contract wallet that is a member",
  otherOwner: "another task's owner",
  outsider: "another task's member",
  elsewhere: "another task's member, by its own task's path",
  stranger: "a stranger",
};

const roleColumns: readonly Column[] = roles.map((role) => ({
  name: who[role],
  by: () => role,
  expects: (route) => matrix[route]![role],
  ask: (stage, route) => asking(stage, route, role, role === "wallet" ? { account: stage.wallet } : {}),
}));

/** A request of the role, with its signature bent. */
async function asking(stage: Stage, route: RouteName, role: Role, bend: Bend = {}, sign?: Sign): Promise<Request> {
  const caller = stage.callers[role];
  const { method, path } = stage.targetOf(route, role);
  const body = await stage.bodyFor(route, caller, sign);
  // An abort that succeeds takes its transfer away.
  const target = route === "abort" && role === "sender" ? path.replace(stage.open.transfer, await fresh(stage)) : path;
  return caller.sign(method, target, body, { ...(method === "GET" && { nonce: null }), ...bend });
}

async function fresh(stage: Stage): Promise<string> {
  const transfer = random32();
  const { sender } = stage.callers;
  await sender.post(sender.transfers(stage.task), { transfer, size: 3 });
  return transfer;
}

// ---- requests of somebody who may, bent

type Bent = (stage: Stage, caller: Caller, route: RouteName) => Bend;
type Edit = (request: Request, stage: Stage, route: RouteName) => Promise<Request> | Request;
type Exceptions = (route: RouteName) => Expected | undefined;

function column(
  name: string,
  expected: Expected,
  { bend = () => ({}), edit = (request) => request, except = () => undefined }: Partial<Bending>,
): Column {
  return {
    name,
    by: partyOf,
    expects: (route) => {
      const other = except(route);
      return other === undefined ? expected : other;
    },
    ask: async (stage, route) => {
      const role = partyOf(route);
      return edit(await asking(stage, route, role, bend(stage, stage.callers[role], route)), stage, route);
    },
  };
}

interface Bending {
  readonly bend: Bent;
  readonly edit: Edit;
  readonly except: Exceptions;
}

const seconds = (): number => Math.floor(Date.now() / 1000);
const hasBody = (route: RouteName): boolean => routes[route]!.body !== undefined;
const takesNone: Exceptions = (route) => (hasBody(route) ? undefined : null);
const takesNonce: Exceptions = (route) => (needsNonce(routes[route]!) ? undefined : null);

const forgeries: readonly Column[] = [
  column("not signed", "UNAUTHENTICATED", { edit: (r) => without(r, ["signature", "signature-input"]) }),
  column("without Signature", "UNAUTHENTICATED", { edit: (r) => without(r, ["signature"]) }),
  column("without Signature-Input", "UNAUTHENTICATED", { edit: (r) => without(r, ["signature-input"]) }),
  column("without a nonce", "UNAUTHENTICATED", { bend: () => ({ nonce: null }), except: takesNonce }),
  column("body edited", "UNAUTHENTICATED", { edit: (r) => edited(r), except: takesNone }),
  column("body and its digest edited", "UNAUTHENTICATED", { edit: (r) => edited(r, true), except: takesNone }),
  column("body added", "PAYLOAD_TOO_LARGE", {
    edit: (r) => new Request(r, { body: "{}" }),
    except: (route) => (hasBody(route) || routes[route]!.method === "GET" ? null : undefined),
  }),
  column("path edited", "UNAUTHENTICATED", { edit: otherPath }),
  column("query added", "UNAUTHENTICATED", { edit: (r) => new Request(`${r.url}?after=0&block=0`, r) }),
  column("nonce or time edited", "UNAUTHENTICATED", { edit: otherParams }),
  column("sent with another method", "UNAUTHENTICATED", {
    bend: () => ({}),
    edit: async (r, stage, route) => signedAs(await bodyOf(r), stage, route, r),
  }),
  column("in another's name", "UNAUTHENTICATED", { bend: (stage) => ({ account: stage.callers.bystander.account }) }),
  column("signed by another for me", "UNAUTHENTICATED", { edit: signedByAnother }),
  column("too late", "CLOCK_SKEW", { bend: () => ({ created: seconds() - 120, expires: seconds() - 60 }) }),
  column("from the future", "CLOCK_SKEW", { bend: () => ({ created: seconds() + 600 }) }),
  column("for a window of an hour", "UNAUTHENTICATED", {
    bend: () => ({ created: seconds(), expires: seconds() + 3600 }),
  }),
  column("for another host", "UNAUTHENTICATED", { bend: () => ({ authority: "evil.test" }) }),
  column("for another chain", "WRONG_CHAIN", { bend: () => ({ chainId: 1 }) }),
  column("with a high s", "UNAUTHENTICATED", { bend: () => ({ signature: highS }) }),
  column("with v = 0 or 1", "UNAUTHENTICATED", { bend: () => ({ signature: oldV }) }),
  column("in EIP-2098's form", "UNAUTHENTICATED", { bend: () => ({ signature: compact }) }),
  column("with a signature of zeros", "UNAUTHENTICATED", { bend: () => ({ signature: (s) => s.map(() => 0) }) }),
];

/** Sent before, and taken. What changes nothing twice is answered again, to whoever sends it: it holds no URL. */
const replayed: Column = {
  ...column("replayed", "REPLAYED", {
    edit: async (request, stage) => {
      const first = await stage.api.drive(request.clone());
      if (first.status >= 300) throw new Error(`the first of the two was answered ${first.status}`);
      return request;
    },
  }),
  expects: (route) => {
    if (needsNonce(routes[route]!)) return "REPLAYED";
    // How soon a report may be followed by another is a matter of time: functions.progress.test.ts.
    return route === "reportProgress" ? null : 200;
  },
};

// ---- good requests with statements that aren't the caller's, or not for here

const posting: readonly RouteName[] = [
  "openTask",
  "changeRoster",
  "postMessage",
  "postReceipt",
  "postWithdrawal",
  "finish",
];

function statement(name: string, expected: Expected, signing: (stage: Stage) => Sign, except?: Exceptions): Column {
  return {
    name,
    by: partyOf,
    expects: (route) => {
      const other = except?.(route);
      if (!posting.includes(route)) return null;
      return other === undefined ? expected : other;
    },
    ask: (stage, route) => asking(stage, route, partyOf(route), {}, signing(stage)),
  };
}

const inForm =
  (form: (signature: Uint8Array) => Uint8Array) =>
  (stage: Stage): Sign =>
  async (caller, said) =>
    hexlify(form(getBytes(await stage.sign(caller, said)))) as `0x${string}`;

const statements: readonly Column[] = [
  statement("its statement for another contract", "BAD_SIGNATURE", (stage) => (caller, said) => {
    return stage.signFor({ contract: stage.callers.stranger.account }, caller.wallet, said);
  }),
  statement("its statement for another chain", "BAD_SIGNATURE", (stage) => (caller, said) => {
    return stage.signFor({ chainId: 1 }, caller.wallet, said);
  }),
  statement("its statement signed by another", "BAD_SIGNATURE", (stage) => (_, said) => {
    return stage.sign(stage.callers.bystander, said);
  }),
  statement("its statement with a high s", "BAD_SIGNATURE", inForm(highS)),
  statement("its statement with v = 0 or 1", "BAD_SIGNATURE", inForm(oldV)),
  statement("its statement in EIP-2098's form", "BAD_REQUEST", inForm(compact)),
  {
    name: "another's good statement",
    by: partyOf,
    expects: (route) => {
      if (!posting.includes(route)) return null;
      const namesNobody = ["changeRoster", "postReceipt", "postWithdrawal"].includes(route);
      return namesNobody ? "BAD_SIGNATURE" : "BAD_REQUEST";
    },
    ask: async (stage, route) => {
      const caller = stage.callers[partyOf(route)];
      const body = await stage.bodyFor(route, stage.callers.bystander);
      const { method, path } = stage.targetOf(route, partyOf(route));
      return caller.sign(method, path, body);
    },
  },
];

export const columns: readonly Column[] = [...roleColumns, ...forgeries, replayed, ...statements];

// ---- edits on the way

function without(request: Request, names: readonly string[]): Request {
  for (const name of names) request.headers.delete(name);
  return request;
}

async function bodyOf(request: Request): Promise<Uint8Array> {
  return new Uint8Array(await request.clone().arrayBuffer());
}

/** Another content of the same form, with or without the digest that belongs to it. */
async function edited(request: Request, digest = false): Promise<Request> {
  const bytes = await bodyOf(request);
  const at = bytes.findLastIndex((byte) => byte >= 0x31 && byte <= 0x38);
  const body = bytes.with(at, bytes[at]! + 1);
  const headers = new Headers(request.headers);
  if (digest) headers.set("content-digest", contentDigest(body));
  return new Request(request.url, { method: request.method, headers, body });
}

/** Another id in the last id's place; where there is none, another route that takes bodies. */
function otherPath(request: Request, stage: Stage, route: RouteName): Request {
  const url = route === "openTask" ? request.url.replace(/$/, `/${stage.task.id}/messages`) : request.url;
  return new Request(route === "openTask" ? url : url.replace(/0x[0-9a-f]{64}(?!.*0x)/, random32()), request);
}

function otherParams(request: Request): Request {
  const input = request.headers.get("signature-input")!;
  const changed = input.includes("nonce=")
    ? input.replace(/nonce="./, (text) => (text.endsWith("A") ? 'nonce="B' : 'nonce="A'))
    : input.replace(/expires=(\d+)/, (_, time) => `expires=${Number(time) - 1}`);
  request.headers.set("signature-input", changed);
  return request;
}

/** The same request, but signed as another method. */
async function signedAs(body: Uint8Array, stage: Stage, route: RouteName, request: Request): Promise<Request> {
  const method = request.method === "PUT" || body.length === 0 ? "DELETE" : "PUT";
  const other = request.method === method ? "PUT" : method;
  const content = body.length === 0 ? undefined : body;
  const signed = await stage.callers[partyOf(route)].sign(other, new URL(request.url).pathname, content);
  return new Request(request.url, {
    method: request.method,
    headers: signed.headers,
    ...(body.length > 0 && { body: Buffer.from(body) }),
  });
}

/** The account's own parameters with somebody else's good signature over the very same text. */
async function signedByAnother(request: Request, stage: Stage, route: RouteName): Promise<Request> {
  const account = stage.callers[partyOf(route)].account;
  const nonce = /nonce="([^"]*)"/.exec(request.headers.get("signature-input")!)?.[1] ?? null;
  const body = await bodyOf(request);
  const content = body.length === 0 ? undefined : body;
  const { pathname } = new URL(request.url);
  return stage.callers.bystander.sign(request.method, pathname, content, { account, nonce });
}
