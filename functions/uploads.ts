import type { Hono } from "hono";
import { App, type Call } from "./app.ts";
import { beginTransfer, checkPart } from "./begin.ts";
import type { PostingDeps } from "./deps.ts";
import { abortTransfer, finishTransfer } from "./finish.ts";
import { payloadKey, type TransferRef } from "./keys.ts";
import { type LambdaHandler, lambdaOf } from "./lambda.ts";
import { notOpen, Records, unknownTransfer, type Versioned } from "./records.ts";
import * as routes from "./routes.ts";

/** The app that writes payloads, and only each caller's own: {sender} in every key is who signed the request. */
export function createUploads(deps: PostingDeps): Hono {
  return new App(deps)
    .serve(routes.begin, async (call) => {
      const ref = { task: call.ids.task!, sender: call.account, transfer: call.body.transfer };
      return { answer: await beginTransfer(deps, ref, call.body) };
    })
    .serve(routes.signParts, async (call) => {
      const { record } = await openTransfer(deps, call);
      for (const part of call.body.parts) checkPart(deps.config, record, part);
      return { answer: await deps.store.presignParts(payloadKey(refOf(call)), record.uploadId, call.body.parts) };
    })
    .serve(routes.listParts, async (call) => {
      const { record } = await openTransfer(deps, call);
      const held = await deps.store.listParts(payloadKey(refOf(call)), record.uploadId);
      const parts = (held ?? []).map(({ number, length, sha256 }) => ({ number, length, sha256 }));
      return { answer: { parts } };
    })
    .serve(routes.finish, async (call) => {
      const answer = await finishTransfer(deps, refOf(call), call.body);
      return { answer, status: answer.state === "finished" && answer.notices.length === 0 ? 200 : 202 };
    })
    .serve(routes.abort, async (call) => ({ answer: await abortTransfer(deps, refOf(call)) })).hono;
}

export const handler: LambdaHandler = lambdaOf(createUploads);

type AnyCall = Pick<Call<unknown, unknown>, "account" | "ids">;

function refOf({ account, ids }: AnyCall): TransferRef {
  return { task: ids.task!, sender: account, transfer: ids.transfer! };
}

async function openTransfer(deps: PostingDeps, call: AnyCall): Promise<Versioned> {
  const found = (await new Records(deps.store).read(refOf(call))) ?? unknownTransfer();
  return found.record.state === "open" ? found : notOpen(found.record);
}
