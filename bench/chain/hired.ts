import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Sink } from "../../functions/log.ts";
import { runPublisher } from "../../functions/loop.ts";
import { Publisher } from "../../functions/publisher.ts";
import { keyRelayer } from "../../functions/relay.ts";
import { Store, type StoreConfig } from "../../functions/store.ts";
import { DoorBell } from "../../functions/wake.ts";
import type { Domain } from "../../lib/protocol/statements.ts";

// The publisher in a process of its own, so that its CPU time is its own: on a busy machine that tells more than the clock.

export interface Job extends Domain {
  readonly store: StoreConfig;
  readonly rpc: string;
  /** Milliseconds. */
  readonly blockTime: number;
  /** The relayer's key: of a chain that ends with the benchmark. */
  readonly key: string;
}

/** A publisher's loop, as `waybill local` runs it, from the ring of its bell to its end. */
export interface Hired {
  ring(): void;
  /** Ends it; answers its milliseconds of CPU time since the ring. */
  leave(): Promise<number>;
}

/** A publisher that has found the outbox empty once, so that its connections stand. */
export async function hire(job: Job): Promise<Hired> {
  const child = fork(fileURLToPath(import.meta.url));
  const ended = once(child, "exit");
  const answer = async (): Promise<unknown> => {
    const [found] = await Promise.race([once(child, "message"), ended.then(() => ["it ended"])]);
    if (typeof found !== "number") throw new Error(`The publisher's process failed: ${found}.`);
    return found;
  };
  child.send(job);
  await answer();
  return {
    ring: () => void child.send("ring"),
    leave: async () => {
      child.send("leave");
      const used = Number(await answer());
      child.disconnect();
      await ended;
      return used;
    },
  };
}

async function work({ store, key, ...job }: Job): Promise<void> {
  const log: Sink = (line, level) => void (level === "INFO" || process.stderr.write(`${line}\n`));
  const fees = { kind: "market", maxFeePerGas: 10n ** 12n } as const;
  const own = { store: new Store(store), relayer: keyRelayer(key), confirmations: 0, fees, log };
  const publisher = new Publisher({ ...job, ...own });
  await publisher.step();
  process.send!(0);
  await once(process, "message");
  const before = process.cpuUsage();
  const ending = new AbortController();
  process.once("message", () => {
    const { user, system } = process.cpuUsage(before);
    process.send!((user + system) / 1_000);
  });
  await runPublisher(publisher, { signal: ending.signal, bell: new DoorBell(), log });
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.on("disconnect", () => process.exit());
  process.on("SIGINT", () => {}); // a terminal's Ctrl-C reaches us too; our parent decides
  const [job] = (await once(process, "message")) as [Job];
  await work(job);
}
