import type { Command } from "commander";
import { randomBytes } from "ethers/crypto";
import { hexlify } from "ethers/utils";
import { TaskContractor, WaybillError } from "../../lib/index.ts";
import type { Context } from "../command.ts";
import { orInterrupted, type RelayOptions, relayOf } from "../membership.ts";
import { answer, note } from "../output.ts";
import { accountOf, participantOf } from "../participant.ts";

interface Options extends RelayOptions {
  readonly salt?: string;
  readonly json?: true;
}

/** What `waybill task open` does. */
export async function openTask(list: readonly string[], command: Command, context: Context): Promise<void> {
  const options = command.opts<Options>();
  const participant = await participantOf(command, context);
  const { signer, deployment, account: owner } = participant;
  const members = list.map((text) => accountOf(text, participant));
  if (!members.includes(owner))
    note(
      "Note: you don't name yourself. You own the task, and to send, receive or post in it you must admit yourself.",
    );
  const salt = options.salt ?? hexlify(randomBytes(32));
  await participant.unlock();
  const opening = TaskContractor.open({ signer, deployment, members, salt, ...relayOf(options) });
  const contractor = await orInterrupted(opening, context.signal).catch((error: unknown) => {
    throw options.salt === undefined ? withSalt(error, salt) : error;
  });
  const { task } = contractor;
  await contractor.close();
  answer(options.json, { task, owner, members, salt }, task);
  if (!options.json && process.stderr.isTTY) note(`For the members: export WAYBILL_TASK=${task}`);
}

/** It may stand on the chain by now, or soon: with the same salt the command goes on instead of opening another one. */
function withSalt(error: unknown, salt: string): unknown {
  if (!(error instanceof WaybillError) || !(error.retryable || error.code === "ABORTED")) return error;
  const { code, message, details, retryable } = error;
  const hint = `${message} To go on with the same task, run it again with --salt ${salt}`;
  return new WaybillError(code, hint, { details, retryable, cause: error });
}
