import type { Hono } from "hono";
import type * as z from "zod/mini";
import type { NoticeState } from "../lib/chain/view.ts";
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
import type { Head, noticeAnswer, recipientState, taskAnswer } from "../lib/protocol/wire.ts";
import { App, type Call, type Reply } from "./app.ts";
import type { Config } from "./config.ts";
import { checkDeadline } from "./deadline.ts";
import { nowOf, type PostingDeps as Posting } from "./deps.ts";
import { Events } from "./events.ts";
import type { Chain, Glance } from "./glance.ts";
import { type LambdaHandler, lambdaOf } from "./lambda.ts";
import { Objects } from "./objects.ts";
import { Reports } from "./progress.ts";
import { Records, type SignedNotice } from "./records.ts";
import type { Standing } from "./roles.ts";
import * as routes from "./routes.ts";

type PostingDeps = Posting<Objects>;
type NoticeAnswer = z.output<typeof noticeAnswer>;

/** The app for tasks and the statements in them. It has no access to payloads. */
export function createTasks(deps: PostingDeps): Hono {
  const records = new Records(deps.store);
  const events = new Events(deps);
  const app = new App(deps, "tasks")
    .serve(routes.openTask, async (call) => {
      const { signature, ...open } = call.body;
      const posted = await relay(deps, call, { kind: "open", ...open }, signature);
      const task = taskId(open.owner, open.salt);
      return { answer: { task, ...posted.answer }, about: { task, ...posted.about } };
    })
    .serve(routes.changeRoster, async (call) => {
      const { signature, ...change } = call.body;
      return relay(deps, call, { ...change, task: call.ids.task! }, signature);
    })
    .serve(
      routes.postMessage,
      async (call) => {
        const { message, signature } = call.body;
        if (message.task !== call.ids.task) throw bad("The message names another task than the path.");
        await checkMessage(deps, call.chain, message);
        return relay(deps, call, message, signature);
      },
      ({ chain, ids, body }) => !isForEveryone(body.message) && chain.roster(ids.task!),
    )
    .serve(routes.postReceipt, async (call) => {
      const { account, ids, standing } = call;
      const { signature, ...receipt } = call.body;
      const signed = await records.notice(ids.task!, receipt.notice);
      if (signed === null) await checkOnChain(call.chain, ids.task!, receipt.notice, standing!.index!);
      else if (!signed.recipients.includes(account)) throw notForYou();
      return relay(deps, call, { kind: "receipt", task: ids.task!, ...receipt }, signature);
    })
    .serve(routes.postWithdrawal, async (call) => {
      const { notice, signature } = call.body;
      const { notice: of } = (await records.notice(call.ids.task!, notice)) ?? unknownNotice();
      await checkWithdrawable(call.chain, of);
      return relay(deps, call, { kind: "withdraw", of }, signature);
    })
    .serve(
      routes.readTask,
      async ({ chain, ids }) => ({ answer: await readTask(chain, ids.task!) }),
      ({ chain, ids }) => readTask(chain, ids.task!),
    )
    .serve(
      routes.readEvents,
      async ({ chain, ids, query, signal }) => ({
        answer: await chain.once("events", () => events.read(ids.task!, query, signal)),
      }),
      // One that waits for an event begins to wait when it may.
      ({ chain, ids, query, signal }) =>
        !deps.config.longPoll && chain.once("events", () => events.read(ids.task!, query, signal)),
    )
    .serve(routes.readStatement, async ({ account, ids, standing }) => ({
      answer: await deps.outbox.stateFor(ids.statement!, ids.task!, account, standing!.isOwner),
    }))
    .serve(
      routes.readNotice,
      async ({ account, chain, ids, query, standing }) => {
        const signed = (await records.notice(ids.task!, ids.notice!)) ?? unknownNotice();
        checkParty(signed, account, standing!);
        const seesAll = standing!.isOwner || signed.notice.sender === account;
        const sees = (recipient: Address): boolean => seesAll || recipient === account;
        const { manifest, ...answer } = await readNotice({ ...deps, chain, sees }, records, ids.notice!, signed);
        return { answer: query.manifest === "true" ? { ...answer, manifest: toBase64(manifest) } : answer };
      },
      // Few tasks have members on another page.
      ({ chain, ids }) => noticeAtHead(chain, ids.task!, 0, ids.notice!).catch(() => null),
    ).hono;
  app.get("/health", (c) => c.json({ ok: true }));
  return describeApi(app, deps.config);
}

export const handler: LambdaHandler = lambdaOf("tasks", createTasks, (config) => new Objects(config));

/** What tells of the API itself is imported when somebody asks: no call of a participant's needs it. */
function describeApi(app: Hono, config: Config): Hono {
  let server: ((request: Request) => Response) | undefined;
  return app
    .get("/openapi.json", async (c) => {
      const { documentServer } = await import("./document.ts");
      server ??= documentServer(config);
      return server(c.req.raw);
    })
    .get("/docs", async (c) => {
      const [{ DOCS_HEADERS, docsPage }, { openapiDocument }] = await Promise.all([
        import("./docs-page.ts"),
        import("./document.ts"),
      ]);
      return c.body(docsPage(openapiDocument(config)), 200, { ...DOCS_HEADERS });
    });
}

/** Puts the caller's own statement into the outbox, and nobody else's. */
async function relay(
  deps: PostingDeps,
  { account: caller, requestId }: Pick<Call<unknown, unknown>, "account" | "requestId">,
  statement: Statement,
  signature: Hex,
): Promise<Reply<{ statement: Hex }>> {
  const named = namedAuthor(statement);
  if (named !== null && named !== caller) throw bad("The statement is another account's. Each account posts its own.");
  if (signerOf(deps.config, statement, signature) !== caller)
    throw new WaybillError("BAD_SIGNATURE", "The statement's signature is not yours for this chain and contract.");
  const id = await deps.outbox.post({ statement, author: caller, signature }, requestId);
  return { answer: { statement: id }, about: { statements: [id] } };
}

/** A notice that its sender relayed itself has no record here, but it stands on the chain, on its recipients' page. */
async function checkOnChain(chain: Chain, task: Hex, notice: Hex, index: number): Promise<void> {
  const { page, bit } = placeOf(index);
  const state = (await chain.notice(task, page, notice)) ?? unknownNotice();
  if (!(((state.outstanding | state.verified) >> BigInt(bit)) & 1n)) throw notForYou();
}

/**
 * What the contract would skip now and might take later must not wait in the outbox, where it is simulated again and again:
 * there anybody could keep everybody waiting.
 */
async function checkMessage({ config }: PostingDeps, chain: Chain, message: Message): Promise<void> {
  const { task, page, recipients, deadline } = message;
  checkDeadline(config, deadline, (await chain.tip()).timestamp);
  if (isForEveryone(message)) return;
  const roster = await chain.roster(task);
  const last = recipients >> BigInt(PAGE_SIZE) ? undefined : indicesOf(page, recipients).at(-1);
  if (last === undefined || last >= (roster?.count ?? 0))
    throw bad("A message's recipients must be everyone on page 0, or members of one page of 104.");
}

function isForEveryone({ page, recipients }: Message): boolean {
  return recipients === EVERYONE && page === 0;
}

/** A notice that missed its deadline never comes to stand, and there will be nothing to withdraw. */
async function checkWithdrawable(chain: Chain, notice: Notice): Promise<void> {
  const { task, page, deadline } = notice;
  if (deadline >= (await chain.tip()).timestamp) return;
  if ((await chain.notice(task, page, noticeId(notice))) === null)
    throw new WaybillError("BAD_DEADLINE", "The notice never got onto the chain, and its deadline is over.");
}

async function readTask(chain: Glance, task: Hex): Promise<z.output<typeof taskAnswer>> {
  const [head, roster, members, latest] = await chain.once("task", () =>
    chain.atOne(async (view) => {
      const { block, head } = await view.depth();
      return Promise.all([head, view.roster(task, block), view.members(task, block), view.latest(task, block)]);
    }),
  );
  // The role was read at the newest block; the answer is as of the depth that everybody agrees on.
  if (roster === null)
    throw new WaybillError("UNKNOWN_TASK", "The task's opening has too few blocks on top. Try again in a moment.");
  return { task, owner: roster.owner, roster: roster.version, count: roster.count, members, latest, head };
}

/** `sees`: whose progress the caller is shown. */
async function readNotice(
  { chain, outbox, sees, ...deps }: PostingDeps & { readonly chain: Glance; readonly sees: (one: Address) => boolean },
  records: Records,
  id: Hex,
  { notice, signature, recipients }: SignedNotice,
): Promise<Omit<NoticeAnswer, "manifest"> & { manifest: Uint8Array }> {
  const ref = { task: notice.task, sender: notice.sender, transfer: notice.transfer };
  const [{ head, state }, manifest, statement] = await Promise.all([
    noticeAtHead(chain, notice.task, notice.page, id),
    records.manifest(ref, notice.manifest),
    outbox.state(id),
  ]);
  if (manifest === null) throw new WaybillError("GONE", "The notice's manifest is not there any more.");
  const bits = indicesOf(0, notice.recipients).map((bit) => 1n << BigInt(bit));
  const stateOf = (bit: bigint): z.output<typeof recipientState> => {
    if (state === null || state.outstanding & bit) return "outstanding";
    return state.verified & bit ? "verified" : "cleared";
  };
  const reports = new Reports(deps.store, () => nowOf(deps));
  const shown = recipients.map(async (account, i) => {
    const state = stateOf(bits[i]!);
    const wanted = state === "outstanding" && sees(account);
    const progress = wanted ? await reports.read(notice.task, id, account, manifest.manifest.size) : null;
    return { account, state, ...(progress && { progress }) };
  });
  return {
    notice,
    signature,
    recipients: await Promise.all(shown),
    published: state !== null,
    withdrawn: state?.withdrawn ?? false,
    transaction: statement.state === "settled" ? statement.transaction : null,
    tag: manifest.manifest.tag,
    size: manifest.manifest.size,
    manifest: manifest.bytes,
    head,
  };
}

function noticeAtHead(
  chain: Glance,
  task: Hex,
  page: number,
  id: Hex,
): Promise<{ head: Head; state: NoticeState | null }> {
  return chain.once(`notice ${page}`, () =>
    chain.atOne(async (view) => {
      const { block, head } = await view.depth();
      const [at, state] = await Promise.all([head, view.notice(task, page, id, block)]);
      return { head: at, state };
    }),
  );
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
