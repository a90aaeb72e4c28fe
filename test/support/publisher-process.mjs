// A publisher in a process of its own, from what is built, to be killed at any moment. Its first message tells it everything.
import { runPublisher } from "../../dist/functions/loop.js";
import { Publisher } from "../../dist/functions/publisher.js";
import { keyRelayer } from "../../dist/functions/relay.js";
import { Store } from "../../dist/functions/store.js";
import { DoorBell } from "../../dist/functions/wake.js";

process.on("disconnect", () => process.exit());
process.once("message", ({ store, key, ...deps }) => {
  const fees = { kind: "market", maxFeePerGas: 10n ** 13n };
  const publisher = new Publisher({ ...deps, store: new Store(store), relayer: keyRelayer(key), fees });
  const bell = new DoorBell();
  setInterval(bell.ring, 1_000); // a schedule that doesn't let a test wait for a minute
  void runPublisher(publisher, { signal: new AbortController().signal, bell });
});
