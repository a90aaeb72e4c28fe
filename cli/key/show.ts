import type { Command } from "commander";
import type { Context } from "../command.ts";
import { answer } from "../output.ts";
import { holderOf } from "../participant.ts";
import { readConfig } from "../settings.ts";

interface Options {
  readonly config?: string;
  readonly check?: true;
  readonly json?: true;
}

/** What `waybill key show` does. */
export async function showKey(command: Command, context: Context): Promise<void> {
  const { config, check, json } = command.opts<Options>();
  const holder = await holderOf(command, await readConfig(config || undefined), context);
  if (check) await holder.unlock();
  answer(json, { account: holder.account, ...(check && { checked: true }) }, holder.account);
}
