import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import type { Command } from "commander";
import { Api } from "../../lib/api.ts";
import { outbound } from "../../lib/outbound.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Context } from "../command.ts";
import { type Participant, participantOf, taskOf } from "../participant.ts";
import { unreadable } from "../settings.ts";

const METHODS = ["GET", "POST", "PUT", "DELETE"];

/** What `waybill request` does. */
export async function sendRequest(method: string, given: string, command: Command, context: Context): Promise<void> {
  const name = method.toUpperCase();
  if (!METHODS.includes(name)) throw new WaybillError("USAGE", `The method is one of ${METHODS.join(", ")}.`);
  const { data } = command.opts<{ data?: string }>();
  const body = data === undefined ? new Uint8Array() : await bodyOf(data);
  const participant = await participantOf(command, context);
  const { pathname: path, search: query } = placeOf(given, command, participant);
  const { deployment, signer, account } = participant;
  const way = await outbound();
  try {
    const api = new Api({ deployment, signer, account, fetch: way.fetch });
    const answered = await api.exchange({ method: name, path, query, signal: context.signal }, body);
    process.stdout.write(answered.body);
    if (process.stdout.isTTY && answered.body.at(-1) !== 0x0a) process.stdout.write("\n");
    if (answered.problem) throw answered.problem;
  } finally {
    way.close();
  }
}

/** As the request will name it, so that exactly that is signed. */
function placeOf(given: string, command: Command, participant: Participant): URL {
  const { api } = participant.deployment;
  const path = given.includes("{task}") ? given.replaceAll("{task}", taskOf(command, participant)) : given;
  const url = path.startsWith("/") && URL.canParse(path, api) ? new URL(path, api) : null;
  if (url?.origin === new URL(api).origin && url.hash === "") return url;
  throw new WaybillError("USAGE", "The path begins with a single /, such as /v1/tasks/{task}.");
}

async function bodyOf(data: string): Promise<Uint8Array> {
  if (data === "-") return buffer(process.stdin);
  if (!data.startsWith("@")) return Buffer.from(data);
  const file = data.slice(1);
  return readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw unreadable(file, error);
  });
}
