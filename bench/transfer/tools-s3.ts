import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AWS, NODE_PEERS, PYTHON } from "./peers.ts";
import { folderOf, type Job, synced, type Tool } from "./tool.ts";

// Tools that speak S3. To nginx they speak without a signature, as to a public bucket; it can't list one.

/** What nobody checks on nginx. */
const NOBODY = { accessKeyId: "nobody", secretAccessKey: "nothing" };
const BUCKET = "bench";

const isMany = ({ items }: Job): boolean => items.length > 1;
const canList = ({ place }: Job): boolean => place.s3 !== undefined;
const keysOf = (job: Job): typeof NOBODY => job.place.s3?.s3Credentials ?? NOBODY;

/** From and to, for tools that take both. */
function ends(job: Job, at: string): { from: string; to: string } {
  const folder = folderOf(job.items);
  const [item] = job.items;
  const many = isMany(job);
  if (job.way === "download")
    return { from: `${at}/${many ? folder.key : item!.key}`, to: many ? `${job.to}/` : join(job.to, item!.name) };
  return { from: many ? folder.path : item!.path, to: `${at}/${job.to}/${many ? "" : item!.name}` };
}

function aws(name: string, client: "classic" | "crt", checksum: string | null): Tool {
  const settings = {
    classic: "max_concurrent_requests 16, multipart_chunksize 8MB",
    crt: "preferred_transfer_client crt, target_bandwidth 20Gb/s, multipart_chunksize 8MB",
  }[client];
  return {
    name,
    peer: "aws",
    settings: checksum ? `${settings}, --checksum-algorithm ${checksum}` : settings,
    verify: ({ way }) => (way === "download" ? "none" : checksum ? "sha-256" : "crc-64"),
    command: async (job, peer) => {
      if ((isMany(job) && !canList(job)) || (checksum && job.way === "download") || job.durable) return null;
      const config = join(job.scratch, `${client}.config`);
      const own = client === "crt" ? "target_bandwidth = 20Gb/s" : `max_concurrent_requests = ${job.connections ?? 16}`;
      await writeFile(
        config,
        `[default]\nregion = us-east-1\ns3 =\n  preferred_transfer_client = ${client}\n  multipart_chunksize = 8MB\n  ${own}\n  addressing_style = path\n`,
      );
      const { from, to } = ends(job, `s3://${BUCKET}`);
      const options = ["--endpoint-url", job.place.origin, "--only-show-errors"];
      if (isMany(job)) options.push("--recursive");
      if (checksum) options.push("--checksum-algorithm", checksum);
      if (!job.place.s3) options.push("--no-sign-request");
      const { accessKeyId, secretAccessKey } = keysOf(job);
      const env = {
        ...PYTHON,
        AWS_CONFIG_FILE: config,
        ...(job.place.s3 && { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey }),
        ...(job.place.ca && { AWS_CA_BUNDLE: job.place.ca }),
      };
      return { path: peer!.path, args: [AWS, "s3", "cp", from, to, ...options], env };
    },
  };
}

export const awsClassic: Tool = aws("aws s3 cp", "classic", null);
export const awsCrt: Tool = aws("aws s3 cp, CRT", "crt", null);
export const awsCrtSha: Tool = aws("aws s3 cp, CRT, SHA-256", "crt", "SHA256");

export const s5cmd: Tool = {
  name: "s5cmd",
  peer: "s5cmd",
  settings: "--concurrency 16 --part-size 8; many files: --numworkers 16",
  verify: ({ way }) => (way === "download" ? "none" : "sha-256"),
  command: async (job, peer) => {
    if (isMany(job) && !canList(job)) return null;
    const { from, to } = ends(job, `s3://${BUCKET}`);
    const globals = ["--endpoint-url", job.place.origin, "--log", "error", "--numworkers", "16"];
    if (!job.place.s3) globals.push("--no-sign-request");
    const copy = ["cp", "--concurrency", String(job.connections ?? 16), "--part-size", "8"];
    const { accessKeyId, secretAccessKey } = keysOf(job);
    const env = {
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_REGION: "us-east-1",
      ...(job.place.ca && { SSL_CERT_FILE: job.place.ca }),
    };
    return synced({ path: peer!.path, args: [...globals, ...copy, isMany(job) ? `${from}*` : from, to], env }, job);
  },
};

export const rclone: Tool = {
  name: "rclone",
  peer: "rclone",
  settings:
    "--multi-thread-streams 16 --multi-thread-chunk-size 8M --s3-upload-concurrency 16 --s3-chunk-size 8M --transfers 16",
  verify: ({ way, place }) => (way === "upload" && place.s3 ? "md5" : "none"),
  command: async (job, peer) => {
    const { s3, origin, ca } = job.place;
    if (isMany(job) && !canList(job)) return null;
    const { from, to } = ends(job, s3 ? `store:${BUCKET}` : "web:");
    const wide = String(job.connections ?? 16);
    const options = ["--multi-thread-streams", wide, "--multi-thread-chunk-size", "8M", "--multi-thread-cutoff", "32M"];
    options.push(
      "--s3-no-check-bucket",
      "--s3-upload-cutoff",
      "32M",
      "--s3-upload-concurrency",
      wide,
      "--s3-chunk-size",
      "8M",
      "--transfers",
      "16",
      "--checkers",
      "16",
    );
    if (ca) options.push("--ca-cert", ca);
    const { accessKeyId, secretAccessKey } = keysOf(job);
    const env = {
      RCLONE_CONFIG: "/dev/null",
      RCLONE_CONFIG_WEB_TYPE: "http",
      RCLONE_CONFIG_WEB_URL: `${origin}/${BUCKET}/`,
      RCLONE_CONFIG_STORE_TYPE: "s3",
      RCLONE_CONFIG_STORE_PROVIDER: "Other",
      RCLONE_CONFIG_STORE_ENDPOINT: origin,
      RCLONE_CONFIG_STORE_ACCESS_KEY_ID: accessKeyId,
      RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY: secretAccessKey,
    };
    const args = [isMany(job) ? "copy" : "copyto", s3 ? from : from.replace("web:/", "web:"), to, ...options];
    return synced({ path: peer!.path, args, env }, job);
  },
};

function sdk(name: string, checksum: string | null): Tool {
  return {
    name,
    peer: "aws-sdk",
    settings: `GetObject into a file; lib-storage: queueSize 16, partSize 8 MiB${checksum ? `, ${checksum}` : ""}`,
    verify: ({ way }) => (way === "download" ? "none" : checksum ? "sha-256" : "crc-32"),
    command: async (job) => {
      if ((checksum && job.way === "download") || job.durable || job.connections) return null;
      const order = join(job.scratch, "sdk.json");
      const { way, items, to, place } = job;
      await writeFile(
        order,
        JSON.stringify({ way, items, to, endpoint: place.origin, credentials: keysOf(job), bucket: BUCKET, checksum }),
      );
      const env = {
        WAYBILL_BENCH_SDK: NODE_PEERS,
        AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
        ...(place.ca && { NODE_EXTRA_CA_CERTS: place.ca }),
      };
      return { path: process.execPath, args: [fileURLToPath(new URL("sdk.js", import.meta.url)), order], env };
    },
  };
}

export const awsSdk: Tool = sdk("@aws-sdk", null);
export const awsSdkSha: Tool = sdk("@aws-sdk, SHA-256", "SHA256");
