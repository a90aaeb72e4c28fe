import type { Hono } from "hono";
import type * as z from "zod/mini";
import { WaybillError } from "../lib/protocol/errors.ts";
import { type Address, type Hex, toBase64 } from "../lib/protocol/hex.ts";
import { REPORT_INTERVAL_MS } from "../lib/protocol/limits.ts";
import type { downloadAnswer } from "../lib/protocol/wire.ts";
import { App } from "./app.ts";
import { type Deps, nowOf } from "./deps.ts";
import type { Chain } from "./glance.ts";
import { payloadKey } from "./keys.ts";
import { type LambdaHandler, lambdaOf } from "./lambda.ts";
import { bitIn } from "./notices.ts";
import { Payloads } from "./payloads.ts";
import { ReportPace, Reports } from "./progress.ts";
import { Records, type SignedNotice } from "./records.ts";
import * as routes from "./routes.ts";

/** The app that hands out payloads, and takes recipients' word on how far they are with them. */
export function createDownloads(deps: Deps<Payloads>): Hono {
  const app = new App(deps, "downloads");
  const pace = new ReportPace();
  app.serve(
    routes.reportProgress,
    async ({ account, ids, body, standing }) => {
      const { task, notice } = ids as { task: Hex; notice: Hex };
      const signed = (await new Records(deps.store).notice(task, notice)) ?? unknownNotice();
      checkNamed(signed, { account, index: standing!.index! });
      await new Reports(deps.store, () => nowOf(deps)).write(task, notice, account, body);
      pace.note(account, notice);
      app.metrics.count("ProgressReports");
      return { answer: { wait: REPORT_INTERVAL_MS } };
    },
    () => {},
    ({ account, ids }) => pace.check(account, ids.notice!),
  );
  return app.serve(
    routes.download,
    async ({ account, chain, ids, standing }) => {
      const records = new Records(deps.store);
      const signed = (await records.notice(ids.task!, ids.notice!)) ?? unknownNotice();
      const index = standing!.index!; // an active member's, or the role check had refused
      await checkRecipient(chain, signed, ids.notice!, { account, index });
      const answer = await grant(deps, records, signed);
      app.metrics.count("Downloads");
      return { answer, about: { transfer: signed.notice.transfer } };
    },
    // Few tasks have members on another page.
    ({ chain, ids }) => chain.notice(ids.task!, 0, ids.notice!),
  ).hono;
}

export const handler: LambdaHandler = lambdaOf("downloads", createDownloads, (config) => new Payloads(config));

/**
 * A download is for whom the notice names, by the account and by the index that it has now, and only once the contract
 * has seen the sender's signature. Served until the payload is deleted: a restarted process may need its model again.
 */
async function checkRecipient(chain: Chain, signed: SignedNotice, id: Hex, caller: Named): Promise<void> {
  const bit = checkNamed(signed, caller);
  const { notice } = signed;
  const state = await chain.notice(notice.task, notice.page, id);
  if (state === null) unknownNotice();
  if (state.withdrawn && !(state.verified & bit))
    throw new WaybillError("GONE", "The sender has withdrawn this notice. Wait for another one.");
}

interface Named {
  readonly account: Address;
  readonly index: number;
}

/** @returns The caller's bit. @throws WaybillError NOT_RECIPIENT unless the notice names its account and its present index. */
function checkNamed({ notice, recipients }: SignedNotice, { account, index }: Named): bigint {
  const bit = bitIn(notice, index);
  if (bit !== null && recipients.includes(account)) return bit;
  throw new WaybillError("NOT_RECIPIENT", "This notice is not for you, or was for an index that you no longer have.");
}

/**
 * The sender in the keys is the proved notice's, so nobody's notice can open another's payload. The record says whether it is
 * there and under which of its keys; which is almost always the first, so that is asked for at once.
 */
async function grant(
  { store }: Deps<Payloads>,
  records: Records,
  { notice }: SignedNotice,
): Promise<z.output<typeof downloadAnswer>> {
  const ref = { task: notice.task, sender: notice.sender, transfer: notice.transfer };
  const [found, versioned, first] = await Promise.all([
    records.manifest(ref, notice.manifest),
    records.read(ref),
    store.head(payloadKey(ref)),
  ]);
  const { state, generation = 0 } = versioned?.record ?? {};
  const key = payloadKey(ref, generation);
  const object = generation === 0 ? first : await store.head(key);
  if (found === null || object === null || state !== "finished")
    throw new WaybillError("GONE", "The payload is not there any more. Ask its sender to send it again.");
  const { bytes, manifest } = found;
  if (object.checksum !== manifest.checksum || object.size !== manifest.size)
    throw new WaybillError("CONFLICT", "The stored payload is not what the notice commits to. Ask its sender.");
  const signed = await store.presignGet(key, object.etag);
  return { notice, manifest: toBase64(bytes), ...signed };
}

function unknownNotice(): never {
  throw new WaybillError("UNKNOWN_NOTICE", "There is no such notice in this task on the chain, or not yet.");
}
