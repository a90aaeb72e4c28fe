// A publisher in a process of its own, from what is built, to be killed at any moment. It is told everything by its first message.
import { setTimeout as delay } from "node:timers/promises";
import { Publisher } from "../../dist/functions/publisher.js";
import { keyRelayer } from "../../dist/functions/relay.js";
import { Store } from "../../dist/functions/store.js";

process.on("disconnect", () => process.exit());
process.once("message", async ({ store, key, ...deps }) => {
  const publisher = new Publisher({
    ...deps,
    store: new Store(store),
    relayer: keyRelayer(key),
    fees: { kind: "market", maxFeePerGas: 10n ** 13n },
    log: (line) => process.stderr.write(`${process.pid} ${line}\n`),
  });
  for (;;) {
    const stepped = await publisher.step().catch((error) => {
      process.stderr.write(`${process.pid} ${error.stack}\n`);
      return { moved: false };
    });
    if (!stepped.moved) await delay(100);
  }
});
