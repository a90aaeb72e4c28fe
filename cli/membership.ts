import type { Command } from "commander";
import { Option } from "commander";
import type { TaskContractor } from "../lib/index.ts";
import type { Hex } from "../lib/protocol/hex.ts";
import type { Session } from "../lib/session.ts";
import { type Context, price } from "./command.ts";
import type { Participant } from "./participant.ts";

/** Who brings the statement onto the chain, as the library's options say it. */
export interface RelayOptions {
  readonly relay?: "api" | "self";
  readonly maxFeePerGas?: bigint;
}

/** For commands that say something. */
export function addRelayOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--relay <who>", "who pays the gas: the operator's relayer, or you (needs an RPC node)")
        .choices(["api", "self"])
        .default("api"),
    )
    .addOption(new Option("--max-fee-per-gas <price>", "with --relay self, in wei or as 20gwei").argParser(price));
}

/** As the library takes them. */
export function relayOf({ relay = "api", maxFeePerGas }: RelayOptions): RelayOptions {
  return { relay, ...(maxFeePerGas !== undefined && { maxFeePerGas }) };
}

/**
 * A participant's part in a task, for as long as `act` takes. It keeps no reading position: it only looks, and what it
 * sees stays news for the programs of the same account.
 * @throws the signal's reason when that ends it.
 */
export async function inTask<T>(
  { signer, deployment }: Participant,
  task: Hex,
  { signal }: Context,
  act: (contractor: TaskContractor, session: Session) => Promise<T>,
  relay: RelayOptions = {},
): Promise<T> {
  const [{ TaskContractor }, { sessionOf }] = await Promise.all([
    import("../lib/index.ts"),
    import("../lib/contractor.ts"),
  ]);
  signal.throwIfAborted();
  const contractor = new TaskContractor({ task, signer, deployment, ...relayOf(relay) });
  try {
    return await orInterrupted(
      sessionOf(contractor).then((session) => act(contractor, session)),
      signal,
    );
  } finally {
    await contractor.close();
  }
}

/** What goes on behind an interrupted command ends with its process. @throws the signal's reason */
export function orInterrupted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const interrupt = (): void => reject(signal.reason);
    if (signal.aborted) interrupt();
    signal.addEventListener("abort", interrupt, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", interrupt));
  });
}
