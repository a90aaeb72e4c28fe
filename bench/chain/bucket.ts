import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { StoreConfig } from "../../functions/store.ts";
import { startStore } from "../../local/store/store.ts";

// The bucket in a process of its own, as it is elsewhere in real life: its work is none of the publisher's.

/** A bucket that counts what it is asked. */
export interface Bucket {
  readonly config: StoreConfig;
  readonly pid: number;
  /** Requests since the last time. */
  requests(): Promise<number>;
  stop(): Promise<void>;
}

export async function startBucket(): Promise<Bucket> {
  const child = fork(fileURLToPath(import.meta.url), { execArgv: [] });
  const ended = once(child, "exit");
  const ask = async (): Promise<unknown> => {
    const answer = once(child, "message");
    child.send("");
    return (await answer)[0];
  };
  const config = (await once(child, "message"))[0] as StoreConfig;
  const stop = async (): Promise<void> => {
    child.disconnect();
    await ended;
  };
  return { config, pid: child.pid!, requests: async () => Number(await ask()), stop };
}

async function serve(): Promise<void> {
  let requests = 0;
  const store = await startStore({ onRequest: () => void requests++ });
  const { bucket, region, endpoint: s3Endpoint, credentials: s3Credentials } = store;
  process.on("disconnect", () => void store.stop().then(() => process.exit()));
  process.on("SIGINT", () => {}); // a terminal's Ctrl-C reaches us too; our parent decides
  process.on("message", () => {
    process.send!(requests);
    requests = 0;
  });
  process.send!({ bucket, region, s3Endpoint, s3Credentials } satisfies StoreConfig);
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) await serve();
