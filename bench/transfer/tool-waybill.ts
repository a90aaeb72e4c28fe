import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { DownloadOrder, UploadOrder } from "./client.ts";
import type { Command } from "./measure.ts";
import { type Job, type Place, type Tool, urlOf } from "./tool.ts";

/** As receiveStream's batches. */
const DOWNLOADS = 4;
/** What a caller with many small payloads may do. */
const UPLOADS = 8;
/** Milliseconds; longer than any case. */
const LIFE = 900_000;

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const CLIENT: string = fileOf("client.js");

export const waybill: Tool = tool("waybill", "the engine as it is", true);
export const unverified: Tool = tool(
  "waybill, no SHA-256",
  "a copy of the build whose lib/transfer/hash.js hashes nothing",
  false,
);

function tool(name: string, settings: string, verified: boolean): Tool {
  return {
    name,
    peer: null,
    settings,
    verify: () => (verified ? "sha-256" : "none"),
    command: async (job) => {
      const order = join(job.scratch, "order.json");
      await writeFile(
        order,
        JSON.stringify(job.way === "download" ? await download(job, verified) : upload(job, verified)),
      );
      return clientCommand(order, job.place, verified ? CLIENT : job.unverified);
    },
  };
}

export function clientCommand(order: string, { ca }: Pick<Place, "ca">, client: string = CLIENT): Command {
  return { path: process.execPath, args: [client, order], env: ca ? { NODE_EXTRA_CA_CERTS: ca } : {} };
}

export async function download(job: Job, verified = true): Promise<DownloadOrder> {
  const { place, items, to, connections } = job;
  const files: DownloadOrder["files"][number][] = [];
  for (const item of items) {
    const plain = async () => ({ url: await urlOf(job, item), headers: {}, expiresIn: LIFE });
    const url = place.office ? await place.office.get(item.key) : await plain();
    files.push({ url, manifest: verified ? item.manifest : item.unhashed, to: join(to, item.name) });
  }
  const order = { kind: "download", storeOrigin: place.origin, files, atOnce: DOWNLOADS } as const;
  return connections ? { ...order, connections } : order;
}

function upload({ place, items, to }: Job, checked: boolean): UploadOrder {
  const files = items.map(({ path, name }) => ({ path, key: `${to}/${name}` }));
  return { kind: "upload", storeOrigin: place.origin, office: place.office!.url, files, atOnce: UPLOADS, checked };
}

export function memberCommand(order: string): Command {
  return { path: process.execPath, args: [fileOf("member.js"), order] };
}
