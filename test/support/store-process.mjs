// The store in a process of its own, from what is built: beside a test that has much else to do.
import { startStore } from "../../dist/local/store/store.js";

const store = await startStore();
process.on("disconnect", () => void store.stop().then(() => process.exit()));
const { bucket, region, endpoint: s3Endpoint, credentials: s3Credentials } = store;
process.send({ bucket, region, s3Endpoint, s3Credentials });
