import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { BucketContents, OpenUpload, RawLog, StoredObject } from "./oracle-evidence.ts";

// Reads a chain and a store at rest, past everything that the product reads them with.

/** One JSON-RPC call. */
export async function rpcCall<T>(url: string, method: string, params: readonly unknown[] = []): Promise<T> {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { result, error } = (await response.json()) as { result: T; error?: { message: string } };
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

/** All logs of a contract, and the times of their blocks. */
export async function readChain(
  url: string,
  contract: string,
): Promise<{ logs: RawLog[]; times: Map<number, number> }> {
  const filter = { address: contract, fromBlock: "0x0", toBlock: "latest" };
  const raw = await rpcCall<Record<"blockNumber" | "logIndex" | "data", string>[]>(url, "eth_getLogs", [filter]);
  const logs = raw.map(({ blockNumber, logIndex, data, ...more }) => ({
    ...{ data, topics: (more as { topics?: string[] }).topics ?? [] },
    ...{ blockNumber: Number(blockNumber), logIndex: Number(logIndex) },
  }));
  const times = new Map<number, number>();
  for (const number of new Set(logs.map(({ blockNumber }) => blockNumber))) {
    const block = await rpcCall<{ timestamp: string }>(url, "eth_getBlockByNumber", [
      `0x${number.toString(16)}`,
      false,
    ]);
    times.set(number, Number(block.timestamp));
  }
  return { logs, times };
}

/** What lies in the embedded store's folder (local/store/disk.ts tells the layout). */
export async function readBucket(dir: string, bucket: string): Promise<BucketContents> {
  const root = join(dir, "buckets", bucket);
  const objects = new Map<string, StoredObject>();
  const used = new Set<string>();
  for (const name of await readdir(join(root, "objects"))) {
    const record = JSON.parse(await readFile(join(root, "objects", name), "utf8")) as ObjectOnDisk;
    const pieces = await Promise.all(record.blobs.map(({ file }) => readFile(join(root, file))));
    objects.set(record.key, { bytes: Buffer.concat(pieces), etag: record.etag });
    for (const { file } of record.blobs) used.add(file);
  }
  const [uploads, strays] = await readUploads(root, used);
  for (const name of await readdir(join(root, "blobs"))) if (!used.has(`blobs/${name}`)) strays.push(`blobs/${name}`);
  for (const name of await readdir(join(dir, "tmp"))) strays.push(`tmp/${name}`);
  return { objects, uploads, strays };
}

interface ObjectOnDisk {
  readonly key: string;
  readonly etag: string;
  readonly blobs: readonly { readonly file: string }[];
}

/** Unfinished uploads, and files in uploads' folders that are no object's and of no unfinished upload. */
async function readUploads(root: string, used: ReadonlySet<string>): Promise<[OpenUpload[], string[]]> {
  const [uploads, strays]: [OpenUpload[], string[]] = [[], []];
  for (const id of await readdir(join(root, "uploads"))) {
    const names = await readdir(join(root, "uploads", id));
    const files = names.map((name) => `uploads/${id}/${name}`);
    if (names.includes("upload.json")) {
      const { key } = JSON.parse(await readFile(join(root, "uploads", id, "upload.json"), "utf8")) as { key: string };
      const times = await Promise.all(files.map((file) => stat(join(root, file))));
      uploads.push({ key, id, moved: Math.max(...times.map(({ mtimeMs }) => mtimeMs)) });
    } else strays.push(...files.filter((file) => !used.has(file)));
  }
  return [uploads, strays];
}

export async function digestOfFile(path: string): Promise<string | null> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw error;
  });
  return bytes && createHash("sha256").update(bytes).digest("hex");
}
