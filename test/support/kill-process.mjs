// A process of one role that stands ready, with everything loaded, until it is told what to do; to be killed at any moment. A
// member's does one call after the other. Bundled by test/reliability/kill-child.ts, because a start costs most of a kill. Its
// argument: the role.
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

const roles = {
  async functions() {
    const { createApi } = await import("../../functions/api.ts");
    const { Outbox } = await import("../../functions/outbox.ts");
    const { Store } = await import("../../functions/store.ts");
    const { ChainReader } = await import("../../lib/chain/reader.ts");
    const { startServer } = await import("../../local/server.ts");
    return async ({ config }) => {
      const server = await startServer();
      const [store, chain] = [new Store(config), new ChainReader(config)];
      server.mount(
        createApi({ config, store, chain, outbox: new Outbox(store, config), clock: Date.now, log: () => {} }),
      );
      return { up: server.origin };
    };
  },
  async publisher() {
    const { runPublisher } = await import("../../functions/loop.ts");
    const { Publisher } = await import("../../functions/publisher.ts");
    const { keyRelayer } = await import("../../functions/relay.ts");
    const { Store } = await import("../../functions/store.ts");
    const { DoorBell } = await import("../../functions/wake.ts");
    return async ({ config, key }) => {
      const fees = { kind: "market", maxFeePerGas: 10n ** 12n };
      const common = { ...config, store: new Store(config), log: () => {} };
      const publisher = new Publisher({ ...common, relayer: keyRelayer(key), fees });
      const bell = new DoorBell();
      setInterval(bell.ring, 250); // the functions are another process and can't ring
      void runPublisher(publisher, { signal: new AbortController().signal, bell, log: () => {} });
      return { up: "" };
    };
  },
  async member() {
    const { Wallet } = await import("ethers");
    const { SharedFileDataChannel, TaskContractor } = await import("../../lib/index.ts");
    return async ({ deployment, task, key, call, options, stop, giveUp }) => {
      if (stop) await stopAt(stop);
      const contractor = new TaskContractor({ task, signer: new Wallet(key), deployment });
      const end = new AbortController();
      const onNotice = ({ notice }) => {
        process.send({ notice });
        if (giveUp) end.abort();
      };
      const sending = call === "sendStream" && { onNotice, signal: end.signal };
      try {
        return { done: await new SharedFileDataChannel(contractor)[call]({ ...options, ...sending }) };
      } finally {
        await contractor.close();
      }
    };
  },
};

/** At the nth call of a file's function this process says so, before or after it, and waits to be killed. */
async function stopAt({ what, nth, fate }) {
  const handle = await fs.open(process.execPath);
  const files = Object.getPrototypeOf(handle);
  const owner = what in files ? files : fs;
  await handle.close();
  const real = owner[what];
  let calls = 0;
  owner[what] = async function (...args) {
    if (++calls !== nth) return real.apply(this, args);
    if (fate === "carried out") await real.apply(this, args);
    process.send({ stopped: true });
    return new Promise(() => {});
  };
  syncBuiltinESMExports();
}

const play = await roles[process.argv[2]]();
process.on("disconnect", () => process.exit());
process.on("message", async (order) => {
  try {
    process.send(await play(order));
  } catch (error) {
    process.send({ code: error.code ?? String(error.stack), retryable: error.retryable === true });
  }
});
process.send({ ready: true });
