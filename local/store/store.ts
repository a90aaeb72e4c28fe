import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { WaybillError } from "../../lib/protocol/errors.ts";
import { Authenticator, type Credentials } from "./auth.ts";
import { Buckets } from "./buckets.ts";
import { Cors } from "./cors.ts";
import { Disk, newId } from "./disk.ts";
import { type RequestLog, S3Server } from "./server.ts";

export type { Credentials } from "./auth.ts";
export type { RequestLog } from "./server.ts";

/** S3's least size of a part that is not the last. */
const MIN_PART_SIZE = 5 * 2 ** 20;

export interface StoreOptions {
  /** Where the objects are kept from one life of the store to the next. By default a temporary folder that `stop` removes. */
  readonly dir?: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** 127.0.0.1 by default. Anything else lets other machines in; they still need the credentials. */
  readonly host?: string;
  /** By default made up at every start. */
  readonly credentials?: Credentials;
  readonly region?: string;
  /** Created at start unless it is there. */
  readonly bucket?: string;
  /** Bytes; 5 MiB by default, as on S3. */
  readonly minPartSize?: number;
  /** Pages of which origins may use presigned URLs; all by default. */
  readonly corsOrigins?: readonly string[];
  /** Called after every request, with nothing secret. */
  readonly onRequest?: (entry: RequestLog) => void;
  /** The clock, for tests of what expires. */
  readonly now?: () => number;
}

export interface Store {
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  readonly credentials: Credentials;
  /** Where the objects are on disk. */
  readonly dir: string;
  /** Ends every connection, and removes the folder unless it was given. May be called again. */
  stop(): Promise<void>;
}

/**
 * Starts an S3-compatible store: the part of S3's API that Waybill uses, with real signatures, conditions and checksums, path-style
 * addresses, and files on disk. It is for development and tests, on one machine: nothing is replicated or fsynced.
 *
 * @throws WaybillError USAGE when the port is taken
 */
export async function startStore(options: StoreOptions = {}): Promise<Store> {
  const { region = "us-east-1", bucket = "waybill", now = Date.now, credentials = makeCredentials() } = options;
  const dir = options.dir === undefined ? await mkdtemp(join(tmpdir(), "waybill-store-")) : resolve(options.dir);
  const remove = async (): Promise<void> => {
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    const buckets = new Buckets(new Disk(dir));
    await buckets.load();
    if (!buckets.all.has(bucket)) await buckets.create(bucket);
    const server = new S3Server({
      buckets,
      authenticator: new Authenticator(credentials, region, now),
      cors: new Cors(options.corsOrigins ?? ["*"]),
      minPartSize: options.minPartSize ?? MIN_PART_SIZE,
      now,
      ...(options.onRequest ? { onRequest: options.onRequest } : {}),
    });
    const endpoint = await listen(server, options.host ?? "127.0.0.1", options.port ?? 0);
    let stopped: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      stopped ??= server.close().then(remove);
      return stopped;
    };
    return { endpoint, bucket, region, credentials, dir, stop };
  } catch (error) {
    await remove();
    throw error;
  }
}

function makeCredentials(): Credentials {
  return { accessKeyId: `LOCAL${newId().slice(0, 15).toUpperCase()}`, secretAccessKey: newId() + newId() };
}

async function listen({ server }: S3Server, host: string, port: number): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new WaybillError("USAGE", `The store can't listen on ${host}:${port}.`, { cause })),
    );
    server.listen(port, host, resolve);
  });
  const { address, family, port: chosen } = server.address() as AddressInfo;
  return `http://${family === "IPv6" ? `[${address}]` : address}:${chosen}`;
}
