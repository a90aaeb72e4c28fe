import { Api } from "../../lib/api.ts";
import { Rpc } from "../../lib/chain/rpc.ts";
import { type Outbound, outbound } from "../../lib/outbound.ts";
import { readWithin } from "../../lib/protocol/body.ts";
import { certificateFault } from "../../lib/protocol/certificates.ts";
import { type ErrorCode, WaybillError } from "../../lib/protocol/errors.ts";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import { taskAnswer } from "../../lib/protocol/wire.ts";
import type { Participant } from "../participant.ts";
import { spanOf } from "../words.ts";

/** Something that a participant needs. `code`: what it fails with. */
export interface Check {
  readonly name: string;
  readonly state: "ok" | "warning" | "failed" | "skipped";
  /** What was found, and, unless it is ok, what to do. */
  readonly said: string;
  readonly code?: ErrorCode;
}

const TIMEOUT_MS = 10_000;
const MAX_ANSWER = 64 * 1024;
/** The API takes requests that are so far ahead; a client corrects its clock by more, but not by any amount. */
const CLOCK_MS = { fine: 5_000, most: 30 * 60_000 };

/** All checks, in the order in which they matter. */
export async function checksOf(participant: Participant, signal: AbortSignal): Promise<Check[]> {
  const way = await outbound();
  const look: Look = { participant, way, signal };
  try {
    const [[clock, api], store, nodes] = await Promise.all([apiAndClock(look), storeOf(look), nodesOf(look)]);
    const task = api.state === "ok" ? await taskOf(look) : skipped("task", "the API has to answer first");
    return [clock, api, store, ...nodes, task];
  } finally {
    way.close();
  }
}

interface Look {
  readonly participant: Participant;
  readonly way: Outbound;
  readonly signal: AbortSignal;
}

async function apiAndClock(look: Look): Promise<[Check, Check]> {
  const { api } = look.participant.deployment;
  const began = Date.now();
  const answer = await get(look, `${api}/health`);
  if (typeof answer === "string")
    return [skipped("clock", "the API has to answer first"), failed("api", "UNREACHABLE", `${api} ${answer}`)];
  if (answer.status !== 200)
    return [
      skipped("clock", "the API has to answer first"),
      failed("api", "UNREACHABLE", `${api}/health answers ${answer.status}; tell its operator`),
    ];
  return [clockOf(answer.date, began, Date.now()), { name: "api", state: "ok", said: `${api} answers` }];
}

/** The Date header has whole seconds, and was written somewhere between question and answer. */
function clockOf(date: string | null, began: number, ended: number): Check {
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return { name: "clock", state: "warning", said: "the API doesn't tell the time" };
  const off = ended < theirs ? ended - theirs : Math.max(0, began - (theirs + 1000));
  const way = off < 0 ? "behind" : "ahead of";
  const said = Math.abs(off) < 1000 ? "as the API's" : `${spanOf(Math.abs(off))} ${way} the API's`;
  if (Math.abs(off) <= CLOCK_MS.fine) return { name: "clock", state: "ok", said };
  if (Math.abs(off) > CLOCK_MS.most) return failed("clock", "CLOCK_SKEW", `${said}: set this machine's clock`);
  return { name: "clock", state: "warning", said: `${said}: requests allow for it, but set this machine's clock` };
}

/** Nobody is let in without a signature, and S3 says so in its own way. */
async function storeOf(look: Look): Promise<Check> {
  const { storeOrigin } = look.participant.deployment;
  const answer = await get(look, `${storeOrigin}/`);
  if (typeof answer === "string") return failed("store", "UNREACHABLE", `${storeOrigin} ${answer}`);
  const isS3 = answer.amz || /<(Error|ListBucketResult|ListAllMyBucketsResult)[\s>]/.test(answer.text);
  if (isS3) return { name: "store", state: "ok", said: `${storeOrigin} answers` };
  return failed("store", "BAD_SERVER", `${storeOrigin} doesn't answer as S3 does: is a proxy in between?`);
}

function nodesOf({ participant, way }: Look): Promise<Check[]> {
  const { deployment } = participant;
  const urls = [deployment.rpc ?? []].flat();
  if (urls.length === 0)
    return Promise.resolve([
      skipped("node", "none of your own: the chain is read over the API, and its signatures checked"),
    ]);
  return Promise.all(urls.map((url, i) => nodeOf(`node ${i + 1}`, url, deployment, way)));
}

/** Its URL may carry a key, and is not shown. */
async function nodeOf(
  name: string,
  url: string,
  { chainId, contract, maxBlockAge }: Participant["deployment"],
  way: Outbound,
): Promise<Check> {
  const rpc = new Rpc(url, { fetch: way.fetch });
  try {
    const asked = ["eth_chainId", "eth_getCode", "eth_getBlockByNumber"] as const;
    const params = [[], [contract, "latest"], ["latest", false]];
    const [chain, code, block] = await Promise.all(asked.map((method, i) => rpc.send(method, params[i]!)));
    if (Number(chain) !== chainId)
      return failed(name, "WRONG_CHAIN", `it serves chain ${Number(chain)}, and the deployment is on ${chainId}`);
    if (code === "0x") return failed(name, "WRONG_CHAIN", `there is no contract at ${contract}: another chain?`);
    const age = Date.now() - Number((block as { timestamp?: unknown }).timestamp) * 1000;
    if (age <= maxBlockAge) return { name, state: "ok", said: `chain ${chainId}, with the contract` };
    return { name, state: "warning", said: `its newest block is ${spanOf(age)} old: it lags, or the chain is idle` };
  } catch (error) {
    if (error instanceof WaybillError) return failed(name, error.code, error.message);
    throw error;
  } finally {
    rpc.close();
  }
}

async function taskOf({ participant, way, signal }: Look): Promise<Check> {
  const { task, account, deployment, signer } = participant;
  if (task === undefined) return skipped("task", "none yet: --task, when its owner has told you its id");
  await participant.unlock();
  const api = new Api({ deployment, signer, account, fetch: way.fetch });
  try {
    const { problem, body } = await api.exchange(
      { method: "GET", path: `/v1/tasks/${task}`, signal },
      new Uint8Array(),
    );
    if (problem) throw problem;
    return enrolled(Buffer.from(body).toString(), task, account);
  } catch (error) {
    if (error instanceof WaybillError && error.code !== "ABORTED") return failed("task", error.code, error.message);
    throw error;
  }
}

function enrolled(text: string, task: Hex, account: Address): Check {
  const parsed = taskAnswer.safeParse(JSON.parse(text));
  if (!parsed.success || parsed.data.task !== task)
    return failed("task", "BAD_SERVER", "the API's answer has not the agreed shape");
  const { members, owner } = parsed.data;
  const active = members.filter((member) => member.active);
  if (active.some((member) => member.account === account))
    return { name: "task", state: "ok", said: `you are one of its ${active.length} members` };
  if (owner === account)
    return { name: "task", state: "ok", said: "you own it, and are no member: to send, admit yourself" };
  return failed("task", "NOT_MEMBER", "you are no member; tell its owner your account");
}

interface Got {
  readonly status: number;
  readonly date: string | null;
  /** Does it name its request as S3 does? */
  readonly amz: boolean;
  readonly text: string;
}

/** What came, or in words why nothing did. */
async function get({ way, signal }: Look, url: string): Promise<Got | string> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const answer = await way.fetch(url, { redirect: "manual", signal: limit });
    const { status, headers } = answer;
    const bytes = await readWithin(answer.body, MAX_ANSWER, () => new Error("It is too long."));
    const text = Buffer.from(bytes).toString();
    return { status, date: headers.get("date"), amz: headers.has("x-amz-request-id"), text };
  } catch (error) {
    signal.throwIfAborted();
    const fault = certificateFault(error);
    return fault === null ? "doesn't answer: check address, network and proxy" : `has a certificate that ${fault}`;
  }
}

function failed(name: string, code: ErrorCode, said: string): Check {
  return { name, state: "failed", said, code };
}

function skipped(name: string, said: string): Check {
  return { name, state: "skipped", said };
}
