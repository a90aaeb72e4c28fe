// A process of any role that stands ready, with everything loaded, until its first message tells it what it is; to be killed at
// any moment. Its argument: the folder of the compiled sources.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Wallet } from "ethers";

const load = (module) => import(pathToFileURL(join(process.argv[2], module)).href);
const [{ createApi }, { runPublisher }, { Outbox }, { Publisher }, { keyRelayer }, { Store }, { DoorBell }] =
  await Promise.all(
    ["api", "loop", "outbox", "publisher", "relay", "store", "wake"].map((name) => load(`functions/${name}.js`)),
  );
const { ChainReader } = await load("lib/chain/reader.js");
const { SharedFileDataChannel, TaskContractor } = await load("lib/index.js");
const { startServer } = await load("local/server.js");

const roles = {
  async api({ config }) {
    const server = await startServer();
    const [store, chain] = [new Store(config), new ChainReader(config)];
    server.mount(
      createApi({ config, store, chain, outbox: new Outbox(store, config), clock: Date.now, log: () => {} }),
    );
    return { up: server.origin };
  },
  async publisher({ config, key }) {
    const fees = { kind: "market", maxFeePerGas: 10n ** 12n };
    const publisher = new Publisher({
      ...config,
      store: new Store(config),
      relayer: keyRelayer(key),
      fees,
      log: () => {},
    });
    const bell = new DoorBell();
    setInterval(bell.ring, 100); // the functions are another process and can't ring
    void runPublisher(publisher, { signal: new AbortController().signal, bell, log: () => {} });
    return { up: "" };
  },
  async member({ deployment, task, key, call, options }) {
    const contractor = new TaskContractor({ task, signer: new Wallet(key), deployment });
    const onNotice = ({ notice }) => process.send({ notice });
    const channel = new SharedFileDataChannel(contractor);
    return { done: await channel[call]({ ...options, ...(call === "sendStream" && { onNotice }) }) };
  },
};

process.on("disconnect", () => process.exit());
process.once("message", async (order) => {
  try {
    process.send(await roles[order.role](order));
  } catch (error) {
    process.send({ code: error.code ?? String(error.stack) });
  }
});
process.send({ ready: true });
