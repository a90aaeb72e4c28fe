import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MiB } from "../../lib/protocol/limits.ts";
import type { Command } from "./measure.ts";
import { type Peer, PYTHON } from "./peers.ts";
import { type Job, synced, type Tool, urlOf } from "./tool.ts";

// Tools that are given URLs: public ones of nginx, presigned ones of a store.

export const curl: Tool = {
  name: "curl",
  peer: "curl",
  settings: "one connection; many files: --parallel --parallel-max 16",
  verify: () => "none",
  command: async (job, peer) => {
    if (job.connections && job.connections > 1) return null;
    const lines: string[] = [];
    for (const item of job.items) {
      const put = job.way === "upload";
      const url = put ? await job.place.office!.plainPut(`${job.to}/${item.name}`) : await urlOf(job, item);
      lines.push(put ? `upload-file = "${item.path}"` : `output = "${join(job.to, item.name)}"`, `url = "${url}"`);
    }
    const list = join(job.scratch, "curl.list");
    await writeFile(list, lines.join("\n"));
    const parallel = job.items.length > 1 ? ["--parallel", "--parallel-max", "16"] : [];
    const ca = job.place.ca ? ["--cacert", job.place.ca] : [];
    return synced({ path: peer!.path, args: ["-q", "-sSf", ...ca, ...parallel, "-K", list] }, job);
  },
};

export const aria2c: Tool = {
  name: "aria2c",
  peer: "aria2c",
  settings: "-x16 -s16 -k8M --file-allocation=none; many files: -j16",
  verify: () => "none",
  command: async (job, peer) => {
    if (job.way === "upload") return null;
    const lines = await Promise.all(job.items.map(async (item) => `${await urlOf(job, item)}\n  out=${item.name}`));
    const list = join(job.scratch, "aria2c.list");
    await writeFile(list, lines.join("\n"));
    const wide = String(job.connections ?? 16);
    const args = [`-x${wide}`, `-s${wide}`, "-k8M", "-j16", "--file-allocation=none", "--no-conf", "--quiet"];
    const ca = job.place.ca ? [`--ca-certificate=${job.place.ca}`] : [];
    return synced({ path: peer!.path, args: [...args, ...ca, "-d", job.to, "-i", list] }, job);
  },
};

/** What huggingface_hub does around it; an upload's beginning and end are asked of the same office as Waybill's. */
const HF = `
import concurrent.futures, hf_transfer, json, sys, urllib.request
order = json.load(open(sys.argv[1]))
def ask(what, body):
    request = urllib.request.Request(order["office"] + "/" + what, json.dumps(body).encode())
    return json.load(urllib.request.urlopen(request))
def get(item):
    hf_transfer.download(item["url"], item["path"], order["wide"], order["chunk"], 3, 5)
def put(item):
    begun = ask("begin", {"key": item["key"], "checked": False})
    count = -(-item["size"] // order["chunk"])
    sizes = [min(order["chunk"], item["size"] - i * order["chunk"]) for i in range(count)]
    parts = [{"number": i + 1, "length": sizes[i], "sha256": ""} for i in range(count)]
    urls = [one["url"] for one in ask("sign", {**begun, "parts": parts})["urls"]]
    hf_transfer.multipart_upload(item["path"], urls, order["chunk"], order["wide"], 3, 5)
    ask("finish", begun)
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(get if order["way"] == "download" else put, order["items"]))
`;

export const hfTransfer: Tool = {
  name: "hf_transfer",
  peer: "hf_transfer",
  settings: "16 files, chunks of 10 MiB down and 8 MiB up; many files: 8 threads",
  verify: () => "none",
  command: async (job, peer) => {
    const { way, to, place } = job;
    const itemOf = async (item: Job["items"][number]): Promise<object> =>
      way === "download"
        ? { url: await urlOf(job, item), path: join(to, item.name) }
        : { key: `${to}/${item.name}`, path: item.path, size: item.size };
    const order = join(job.scratch, "hf.json");
    const items = await Promise.all(job.items.map(itemOf));
    const chunk = (way === "download" ? 10 : 8) * MiB;
    const wide = job.connections ?? 16;
    await writeFile(order, JSON.stringify({ way, items, chunk, wide, office: place.office?.url ?? "" }));
    return hfCommand(peer!, order, place.ca);
  },
};

function hfCommand({ path }: Peer, order: string, ca: string | undefined): Command {
  return { path, args: ["-c", HF, order], env: { ...PYTHON, ...(ca && { SSL_CERT_FILE: ca }) } };
}
