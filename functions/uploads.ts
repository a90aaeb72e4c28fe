import type { Hono } from "hono";
import { App, type Call } from "./app.ts";
import { beginTransfer, checkPart } from "./begin.ts";
import type { PostingDeps } from "./deps.ts";
import { abortTransfer, finishTransfer } from "./finish.ts";
import { payloadKey, type TransferRef } from "./keys.ts";
import { type LambdaHandler, lambdaOf } from "./lambda.ts";
import { lookAhead } from "./notices.ts";
import { notOpen, Records, unknownTransfer, type Versioned } from "./records.ts";
import * as routes from "./routes.ts";
import { Store } from "./store.ts";

/** The app that writes payloads, and only each caller's own: {sender} in every key is who signed the request. */
export function createUploads(deps: PostingDeps): Hono {
  const app = new App(deps, "uploads");
  const { metrics } = app;
  const signed = (urls: number): void => {
    if (urls === 0) return;
    metrics.count("SignCalls");
    metrics.count("PartUrls", urls);
  };
  return app
    .serve(routes.begin, async (call) => {
      const ref = { task: call.ids.task!, sender: call.account, transfer: call.body.transfer };
      const answer = await beginTransfer({ ...deps, chain: call.chain }, ref, call.body);
      signed(answer.urls.length);
      return { answer, about: { transfer: ref.transfer } };
    })
    .serve(routes.signParts, async (call) => {
      const { record } = await openTransfer(deps, call);
      for (const part of call.body.parts) checkPart(deps.config, record, part);
      const key = payloadKey(refOf(call), record.generation);
      const answer = await deps.store.presignParts(key, record.uploadId, call.body.parts);
      signed(answer.urls.length);
      return { answer };
    })
    .serve(routes.listParts, async (call) => {
      const { record } = await openTransfer(deps, call);
      const held = await deps.store.listParts(payloadKey(refOf(call), record.generation), record.uploadId);
      const parts = (held ?? []).map(({ number, length, sha256 }) => ({ number, length, sha256 }));
      return { answer: { parts } };
    })
    .serve(
      routes.finish,
      async (call) => {
        const { chain, requestId, body } = call;
        const answer = await finishTransfer({ ...deps, chain }, refOf(call), body, { requestId, metrics });
        const done = answer.state === "finished" && answer.notices.length === 0;
        return { answer, status: done ? 200 : 202, about: { statements: answer.notices } };
      },
      ({ chain, ids, body }) => lookAhead(chain, ids.task!, body.notices),
    )
    .serve(routes.abort, async (call) => ({
      answer: await abortTransfer({ ...deps, chain: call.chain }, refOf(call)),
    })).hono;
}

export const handler: LambdaHandler = lambdaOf("uploads", createUploads, (config) => new Store(config));

type AnyCall = Pick<Call<unknown, unknown>, "account" | "ids">;

function refOf({ account, ids }: AnyCall): TransferRef {
  return { task: ids.task!, sender: account, transfer: ids.transfer! };
}

async function openTransfer(deps: PostingDeps, call: AnyCall): Promise<Versioned> {
  const found = (await new Records(deps.store).read(refOf(call))) ?? unknownTransfer();
  return found.record.state === "open" ? found : notOpen(found.record);
}
