import type { Command } from "commander";
import type { SharedFileDataChannel, TaskContractor } from "../../lib/index.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Context } from "../command.ts";
import { exitCodeOf, INTERRUPTED } from "../exit.ts";
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

/** Whoever has interrupted and waits longer for the end is told how to end it at once. */
const TIDY_MS = 1_000;

/** Beside what is interrupted, late, out of reach or partly done: what passes, or is mended without another command. */
const PASSING: ReadonlySet<string> = new Set([
  "CLOCK_SKEW",
  "REPLAYED",
  "NO_SPACE",
  "TARGET_BUSY",
  "NOT_STORED",
  "INTERNAL",
]);
/** Exit codes of those. */
const GOES_ON: ReadonlySet<number> = new Set([5, 6, INTERRUPTED]);

/** Would the same command go on, or make the same mistake again? */
function goesOn(error: unknown): boolean {
  if (!(error instanceof WaybillError)) return true;
  return PASSING.has(error.code) || GOES_ON.has(exitCodeOf(error.code));
}

/** To the library's sender, having been expelled is not being a member; every other command says which of the two it is. */
function expelledIn(error: unknown): unknown {
  if (!(error instanceof WaybillError) || error.code !== "NOT_MEMBER") return error;
  return error.cause instanceof WaybillError && error.cause.code === "EXPELLED" ? error.cause : error;
}

/**
 * Moves a payload as a participant. What fails says by which command to go on.
 * @param act Gets the channel, and somewhere to show what goes on.
 * @param need What the same command takes to go on, beside itself.
 */
export async function moving(
  command: Command,
  context: Context,
  act: (moving: Moving) => Promise<void>,
  need?: string,
): Promise<void> {
  const { json = false, relay = "api", maxFeePerGas } = command.opts<{ json?: boolean } & Omit<Common, "json">>();
  const participant = await participantOf(command, context);
  const task = taskOf(command, participant);
  await participant.unlock();
  const library = await import("../../lib/index.ts");
  const screen = new Screen({ silent: json });
  const { deployment, signer } = participant;
  const { onTrouble } = new Outlook(screen, json);
  const fee = maxFeePerGas === undefined ? {} : { maxFeePerGas };
  const tidying = (): void => {
    setTimeout(() => screen.note("Tidying up. Ctrl-C once more ends it at once."), TIDY_MS).unref();
  };
  context.signal.addEventListener("abort", tidying, { once: true });
  let contractor: TaskContractor | undefined;
  try {
    contractor = new library.TaskContractor({ task, signer, deployment, relay, onTrouble, ...fee });
    await act({ channel: new library.SharedFileDataChannel(contractor), participant, screen, signal: context.signal });
  } catch (error) {
    const told = expelledIn(error);
    throw goesOn(told)
      ? failedWith(told, { command: typed(process.argv.slice(2)), ...(need !== undefined && { need }) })
      : told;
  } finally {
    context.signal.removeEventListener("abort", tidying);
    screen.end();
    await contractor?.close();
  }
}
