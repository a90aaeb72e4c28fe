import type { Command } from "commander";
import type { SharedFileDataChannel } from "../../lib/index.ts";
import type { Context } from "../command.ts";
import { failedWith } from "../output.ts";
import { type Participant, participantOf, taskOf } from "../participant.ts";
import { typed } from "./again.ts";
import { Outlook } from "./outlook.ts";
import { Screen } from "./screen.ts";

/** What send and receive have in common. */
export interface Common {
  readonly json?: true;
  readonly relay?: "api" | "self";
  readonly maxFeePerGas?: bigint;
}

export interface Moving {
  readonly channel: SharedFileDataChannel;
  readonly participant: Participant;
  readonly screen: Screen;
  readonly signal: AbortSignal;
}

/** Mistakes of the command line itself: the same command would make them again. */
const HOPELESS: ReadonlySet<string> = new Set(["USAGE", "SOURCE_MISSING", "CONFLICT", "TARGET_EXISTS"]);

/**
 * Moves a payload as a participant. What fails says by which command to go on.
 * @param act Gets the channel, and somewhere to show what goes on.
 */
export async function moving(
  command: Command,
  context: Context,
  act: (moving: Moving) => Promise<void>,
): Promise<void> {
  const { json = false, relay = "api", maxFeePerGas } = command.opts<{ json?: boolean } & Omit<Common, "json">>();
  const participant = await participantOf(command, context);
  const task = taskOf(command, participant);
  await participant.unlock();
  const { SharedFileDataChannel, TaskContractor } = await import("../../lib/index.ts");
  const screen = new Screen({ silent: json });
  const { deployment, signer } = participant;
  const { onTrouble } = new Outlook(screen, json);
  const fee = maxFeePerGas === undefined ? {} : { maxFeePerGas };
  const contractor = new TaskContractor({ task, signer, deployment, relay, onTrouble, ...fee });
  try {
    await act({ channel: new SharedFileDataChannel(contractor), participant, screen, signal: context.signal });
  } catch (error) {
    const { code = "" } = error as { code?: string };
    throw HOPELESS.has(code) ? error : failedWith(error, typed(process.argv.slice(2)));
  } finally {
    screen.end();
    await contractor.close();
  }
}
