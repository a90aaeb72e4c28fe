import type { Command } from "commander";
import { type Context, newAction } from "../command.ts";
import { addParticipantOptions, addTaskOption } from "../participant.ts";

const HELP = `
The request is signed with your key as every client's is (ERC-8128). What the API answers comes on stdout as it is; an
answer that isn't 2xx is told on stderr, too, and decides the exit code. {task} in the path is the task. The routes are in
the API's document, at /docs of its origin.

  $ waybill request GET /v1/tasks/{task} | jq .members
  $ waybill request GET '/v1/tasks/{task}/events?after=0&block=0'
  $ waybill request POST /v1/tasks/{task}/receipts --data @receipt.json
  $ jq -c . receipt.json | waybill request POST /v1/tasks/{task}/receipts --data -`;

/** `waybill request` */
export function request(context: Context): Command {
  const command = newAction("request")
    .description("sends a signed request to the API, for people who script")
    .argument("<method>", "GET, POST, PUT or DELETE")
    .argument("<path>", "from / on, with its query")
    .option("--data <json>", "the body: JSON, @FILE, or - for stdin")
    .addHelpText("after", HELP);
  return addParticipantOptions(addTaskOption(command)).action(async (method: string, path: string) =>
    (await import("../request/run.ts")).sendRequest(method, path, command, context),
  );
}
