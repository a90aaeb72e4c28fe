import { text } from "node:stream/consumers";
import type { Command } from "commander";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Context } from "../command.ts";
import { inTask, type RelayOptions } from "../membership.ts";
import { answer } from "../output.ts";
import { accountOf, participantOf, taskOf } from "../participant.ts";

interface Options extends RelayOptions {
  readonly to?: readonly string[];
  readonly json?: true;
}

/** What `waybill post` does. */
export async function postMessage(
  kind: string,
  bodyText: string | undefined,
  command: Command,
  context: Context,
): Promise<void> {
  const options = command.opts<Options>();
  const body = await bodyOf(bodyText);
  const participant = await participantOf(command, context);
  const task = taskOf(command, participant);
  const targets = options.to?.map((one) => accountOf(one, participant));
  await participant.unlock();
  const order = { kind, body, ...(targets && { targets }), signal: context.signal };
  const statements = await inTask(participant, task, context, (contractor) => contractor.post(order), options);
  answer(options.json, { task, kind, statements }, statements.join("\n"));
}

async function bodyOf(given: string | undefined): Promise<unknown> {
  if (given === undefined) return null;
  try {
    return JSON.parse(given === "-" ? await text(process.stdin) : given);
  } catch {
    throw new WaybillError("USAGE", `The body is no JSON. Write it as '{"round": 7}', or '"text"'.`);
  }
}
