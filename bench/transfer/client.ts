import { readFile } from "node:fs/promises";
import type { Manifest } from "../../lib/protocol/manifest.ts";
import { planOf } from "../../lib/protocol/plan.ts";
import { type DownloadJob, download, downloadTraffic } from "../../lib/transfer/download.ts";
import type { StoreRequest, Transport } from "../../lib/transfer/http.ts";
import { sourceOf } from "../../lib/transfer/source.ts";
import { targetOf } from "../../lib/transfer/target.ts";
import type { Traffic } from "../../lib/transfer/traffic.ts";
import { transportOf } from "../../lib/transfer/transport.ts";
import { upload } from "../../lib/transfer/upload.ts";
import type { Signed, Upload } from "./office.ts";

// Waybill's client as the benchmark runs it: node client.js JOB.json. It goes the way of receiveStream and sendStream, with
// the same source, target, transport and engine; what it leaves out are accounts and chain.

export interface DownloadOrder {
  readonly kind: "download";
  readonly storeOrigin: string;
  readonly files: readonly {
    readonly url: DownloadJob["url"];
    /** A file with it. */
    readonly manifest: string;
    readonly to: string;
  }[];
  /** At the same time; receiveStream's batches take four. */
  readonly atOnce: number;
  /** Requests at a time; by default as many as pay. */
  readonly connections?: number;
  /** Ends it without a word when so many parts are verified, as kill -9 would. */
  readonly dieAfter?: number;
}

export interface UploadOrder {
  readonly kind: "upload";
  readonly storeOrigin: string;
  readonly office: string;
  readonly files: readonly { readonly path: string; readonly key: string }[];
  readonly atOnce: number;
  /** Whether the parts carry their SHA-256. */
  readonly checked: boolean;
  readonly partSize?: number;
}

type Order = DownloadOrder | UploadOrder;

/** Nobody in particular sent it. */
const SENDER = "0x0000000000000000000000000000000000000001";

async function work(order: Order): Promise<void> {
  const transport = await transportOf({});
  try {
    if (order.kind === "download") {
      const traffic = downloadTraffic(order.connections);
      await atOnce(order.atOnce, order.files, (file) => fetchOne(order, file, transport, traffic));
    } else await atOnce(order.atOnce, order.files, (file) => sendOne(order, file, transport));
  } finally {
    transport.close();
  }
}

async function fetchOne(
  { storeOrigin, dieAfter = Number.POSITIVE_INFINITY }: DownloadOrder,
  { url, manifest: path, to }: DownloadOrder["files"][number],
  transport: Transport,
  traffic: Traffic,
): Promise<void> {
  const issued = performance.now();
  const manifest = JSON.parse(await readFile(path, "utf8")) as Manifest;
  const target = await targetOf({ path: to }, {});
  await target.check();
  const sink = await target.begin(manifest, SENDER);
  if (!sink) throw new Error(`${to} was there already.`);
  const refresh = async (): Promise<DownloadJob["url"]> => url;
  const onProgress = ({ partsDone }: { partsDone: number }): void => {
    if (partsDone >= dieAfter) process.kill(process.pid, "SIGKILL");
  };
  await download({ manifest, sink, url, issued, refresh, transport, storeOrigin, traffic, onProgress });
  await target.commit();
}

async function sendOne(
  order: UploadOrder,
  { path, key }: UploadOrder["files"][number],
  transport: Transport,
): Promise<void> {
  const { storeOrigin, checked } = order;
  const ask = async <T>(what: string, body: object): Promise<T> => {
    const answer = await fetch(`${order.office}/${what}`, { method: "POST", body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`The office can't ${what}: ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  const source = await sourceOf({ path });
  const begun = await ask<Upload>("begin", { key, checked });
  const reader = await source.open();
  try {
    await upload({
      reader,
      plan: planOf(source.size ?? 0, order.partSize),
      stored: new Map(),
      sign: (parts) => ask<Signed>("sign", { ...begun, parts }),
      transport: checked ? transport : withoutDigests(transport),
      storeOrigin,
    });
  } finally {
    await reader.close();
  }
  await ask("finish", begun);
}

/** Sends no SHA-256: only to be measured, because nothing in Waybill sends without. */
function withoutDigests(transport: Transport): Transport {
  const request = ({ headers, ...rest }: StoreRequest): ReturnType<Transport["request"]> => {
    const { "x-amz-checksum-sha256": _digest, ...others } = headers;
    return transport.request({ ...rest, headers: others });
  };
  return { request, close: () => transport.close() };
}

async function atOnce<T>(count: number, items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const one = async (): Promise<void> => {
    for (const item of rest) await act(item);
  };
  await Promise.all(Array.from({ length: count }, one));
}

const [path] = process.argv.slice(2);
if (!path) throw new Error("Usage: client.js JOB.json");
await work(JSON.parse(await readFile(path, "utf8")) as Order);
