import type { Hono } from "hono";
import type * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, toBase64 } from "../lib/protocol/hex.ts";
import { PAGE_SIZE } from "../lib/protocol/limits.ts";
import {
  EVERYONE,
  indicesOf,
  type Message,
  type Notice,
  namedAuthor,
  noticeId,
  placeOf,
  type Statement,
  signerOf,
  taskId,
} from "../lib/protocol/statements.ts";
import type { noticeAnswer, taskAnswer } from "../lib/protocol/wire.ts";
import { App } from "./app.ts";
import { checkDeadline } from "./deadline.ts";
import type { PostingDeps } from "./deps.ts";
import { readEvents } from "./events.ts";
import { type LambdaHandler, lambdaOf } from "./lambda.ts";
import { openapi } from "./openapi.ts";
import { Records, type SignedNotice } from "./records.ts";
import type { Standing } from "./roles.ts";
import * as routes from "./routes.ts";

/** The app for tasks and the statements in them. It has no access to payloads. */
export function createTasks(deps: PostingDeps): Hono {
  const records = new Records(deps.store);
  const app = new App(deps)
    .serve(routes.openTask, async ({ account, body: { signature, ...open } }) => {
      const statement = await relay(deps, account, { kind: "open", ...open }, signature);
      return { answer: { task: taskId(open.owner, open.salt), statement } };
    })
    .serve(routes.changeRoster, async ({ account, ids, body: { signature, ...change } }) => {
      return { answer: { statement: await relay(deps, account, { ...change, task: ids.task! }, signature) } };
    })
    .serve(routes.postMessage, async ({ account, ids, body: { message, signature } }) => {
      if (message.task !== ids.task) throw bad("The message names another task than the path.");
      await checkMessage(deps, message);
      return { answer: { statement: await relay(deps, account, message, signature) } };
    })
    .serve(routes.postReceipt, async ({ account, ids, standing, body: { signature, ...receipt } }) => {
      const signed = await records.notice(ids.task!, receipt.notice);
      if (signed === null) await checkOnChain(deps, ids.task!, receipt.notice, standing!.index!);
      else if (!signed.recipients.includes(account)) throw notForYou();
      const statement: Statement = { kind: "receipt", task: ids.task!, ...receipt };
      return { answer: { statement: await relay(deps, account, statement, signature) } };
    })
    .serve(routes.postWithdrawal, async ({ account, ids, body }) => {
      const { notice } = (await records.notice(ids.task!, body.notice)) ?? unknownNotice();
      await checkWithdrawable(deps, notice);
      return { answer: { statement: await relay(deps, account, { kind: "withdraw", of: notice }, body.signature) } };
    })
    .serve(routes.readTask, async ({ ids }) => ({ answer: await readTask(deps, ids.task!) }))
    .serve(routes.readEvents, async ({ ids, query, signal }) => {
      return { answer: await readEvents(deps, ids.task!, query, signal) };
    })
    .serve(routes.readStatement, async ({ account, ids, standing }) => ({
      answer: await deps.outbox.stateFor(ids.statement!, ids.task!, account, standing!.isOwner),
    }))
    .serve(routes.readNotice, async ({ account, ids, standing }) => {
      const signed = (await records.notice(ids.task!, ids.notice!)) ?? unknownNotice();
      checkParty(signed, account, standing!);
      return { answer: await readNotice(deps, records, ids.notice!, signed) };
    }).hono;
  return app.get("/health", (c) => c.json({ ok: true })).get("/openapi.json", (c) => c.json(openapi(deps.config)));
}

export const handler: LambdaHandler = lambdaOf(createTasks);

/** Puts the caller's own statement into the outbox, and nobody else's. */
async function relay(deps: PostingDeps, caller: Address, statement: Statement, signature: Hex): Promise<Hex> {
  const named = namedAuthor(statement);
  if (named !== null && named !== caller) throw bad("The statement is another account's. Each account posts its own.");
  if (signerOf(deps.config, statement, signature) !== caller)
    throw new WaybillError("BAD_SIGNATURE", "The statement's signature is not yours for this chain and contract.");
  return deps.outbox.post({ statement, author: caller, signature });
}

/** A notice that its sender relayed itself has no record here, but it stands on the chain, on its recipients' page. */
async function checkOnChain({ chain }: PostingDeps, task: Hex, notice: Hex, index: number): Promise<void> {
  const { page, bit } = placeOf(index);
  const state = (await chain.notice(task, page, notice)) ?? unknownNotice();
  if (!(((state.outstanding | state.verified) >> BigInt(bit)) & 1n)) throw notForYou();
}

/**
 * What the contract would skip now and might take later must not wait in the outbox, where it is simulated again and again:
 * there anybody could keep everybody waiting.
 */
async function checkMessage(
  { chain, config }: PostingDeps,
  { task, page, recipients, deadline }: Message,
): Promise<void> {
  const [{ timestamp }, roster] = await chain.atOne((view) => Promise.all([view.tip(), view.roster(task)]));
  checkDeadline(config, deadline, timestamp);
  if (recipients === EVERYONE && page === 0) return;
  const last = recipients >> BigInt(PAGE_SIZE) ? undefined : indicesOf(page, recipients).at(-1);
  if (last === undefined || last >= (roster?.count ?? 0))
    throw bad("A message's recipients must be everyone on page 0, or members of one page of 104.");
}

/** A notice that missed its deadline never comes to stand, and there will be nothing to withdraw. */
async function checkWithdrawable({ chain }: PostingDeps, notice: Notice): Promise<void> {
  const { task, page, deadline } = notice;
  const [{ timestamp }, state] = await chain.atOne((view) =>
    Promise.all([view.tip(), view.notice(task, page, noticeId(notice))]),
  );
  if (state === null && deadline < timestamp)
    throw new WaybillError("BAD_DEADLINE", "The notice never got onto the chain, and its deadline is over.");
}

async function readTask(deps: PostingDeps, task: Hex): Promise<z.output<typeof taskAnswer>> {
  const [head, roster, members, latest] = await deps.chain.atOne(async (chain) => {
    const at = await chain.head();
    const block = at.block;
    return Promise.all([at, chain.roster(task, block), chain.members(task, block), chain.latest(task, block)]);
  });
  // The role was read at the newest block; the answer is as of the depth that everybody agrees on.
  if (roster === null)
    throw new WaybillError("UNKNOWN_TASK", "The task's opening has too few blocks on top. Try again in a moment.");
  return { task, owner: roster.owner, roster: roster.version, count: roster.count, members, latest, head };
}

async function readNotice(
  { chain, outbox }: PostingDeps,
  records: Records,
  id: Hex,
  { notice, signature, recipients }: SignedNotice,
): Promise<z.output<typeof noticeAnswer>> {
  const ref = { task: notice.task, sender: notice.sender, transfer: notice.transfer };
  const head = await chain.head();
  const [state, manifest, statement] = await Promise.all([
    chain.notice(notice.task, notice.page, id, head.block),
    records.manifest(ref, notice.manifest),
    outbox.state(id),
  ]);
  if (manifest === null) throw new WaybillError("GONE", "The notice's manifest is not there any more.");
  const bits = indicesOf(0, notice.recipients).map((bit) => 1n << BigInt(bit));
  const stateOf = (bit: bigint) => {
    if (state === null || state.outstanding & bit) return "outstanding";
    return state.verified & bit ? "verified" : "cleared";
  };
  return {
    notice,
    signature,
    recipients: recipients.map((account, i) => ({ account, state: stateOf(bits[i]!) })),
    published: state !== null,
    withdrawn: state?.withdrawn ?? false,
    transaction: statement.state === "settled" ? statement.transaction : null,
    manifest: toBase64(manifest.bytes),
    head,
  };
}

function checkParty({ notice, recipients }: SignedNotice, account: Address, standing: Standing): void {
  if (standing.isOwner || notice.sender === account || recipients.includes(account)) return;
  throw notForYou();
}

function notForYou(): WaybillError {
  return new WaybillError("NOT_RECIPIENT", "This notice is for others. Ask its sender for one of your own.");
}

function unknownNotice(): never {
  throw new WaybillError("UNKNOWN_NOTICE", "There is no such notice in this task, or not yet.");
}

function bad(message: string): WaybillError {
  return new WaybillError("BAD_REQUEST", message);
}
