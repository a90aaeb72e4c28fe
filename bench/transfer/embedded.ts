import { startStore } from "../../local/store/store.ts";
import type { S3 } from "./servers.ts";

// The embedded store as a process of its own: node embedded.js FOLDER BUCKET

const [dir, bucket] = process.argv.slice(2);
if (!dir || !bucket) throw new Error("Usage: embedded.js FOLDER BUCKET");
const store = await startStore({ dir, bucket, minPartSize: 1 });
const { endpoint: s3Endpoint, region, credentials: s3Credentials } = store;
const config: S3["config"] = { bucket, region, s3Endpoint, s3Credentials };
process.stdout.write(`${JSON.stringify(config)}\n`);
process.on("SIGTERM", () => void store.stop().then(() => process.exit()));
