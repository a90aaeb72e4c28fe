// The embedded stack in a process of its own, from what is built; store, functions and publisher are in it. Parts may be small, so
// that a transfer has many in few bytes. Its argument: the least size of a part.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { startStack } from "../../dist/local/stack.js";
import { startStore } from "../../dist/local/store/store.js";

const minPartSize = Number(process.argv[2]);
const store = await startStore({ minPartSize });
const { bucket, region, endpoint: s3Endpoint, credentials: s3Credentials } = store;
const config = { minPartSize, nonces: "memory" };
const stack = await startStack({ bucket: { bucket, region, s3Endpoint, s3Credentials }, config });

process.on("disconnect", () => void stack.stop().then(() => store.stop().then(() => process.exit())));
/** What is alive: the rest is only not yet collected. And how many objects there are, whose index the embedded store has in memory. */
process.on("message", async () => {
  const objects = (await readdir(join(store.dir, "buckets", bucket, "objects"))).length;
  globalThis.gc();
  process.send({ live: process.memoryUsage().heapUsed, objects });
});
process.send({ deployment: stack.deployment });
