import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { StoreConfig } from "../../functions/store.ts";
import { type Guarded, spawnGuarded } from "../../local/guard.ts";
import type { Peer } from "./peers.ts";

// What the tools talk to: processes of their own, on loopback and free ports, that end with the benchmark.

const REGION = "us-east-1";
const BUCKET = "bench";
/** A server that isn't there after this won't come. */
const START_MS = 20_000;

export interface Server {
  stop(): Promise<void>;
}

/** A path of `files` is read at `${http}/bench/...`, which looks like a bucket to those that want one. */
export interface Web extends Server {
  readonly http: string;
  readonly https: string;
}

export async function startNginx({ path }: Peer, dir: string, files: string): Promise<Web> {
  const [http, https] = [await freePort(), await freePort()];
  const { certificate, key } = await certify(dir);
  const home = join(dir, "nginx");
  await mkdir(home);
  const config = join(home, "nginx.conf");
  // Two processes, as many as a small server has. As root they would become nobody, who can't read our folder.
  await writeFile(
    config,
    `${process.getuid?.() === 0 ? "user root; " : ""}daemon off; worker_processes 2; pid ${home}/pid; error_log ${home}/errors;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000; default_type application/octet-stream;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((what) => `${what}_temp_path ${home}/${what};`).join(" ")}
  server {
    listen 127.0.0.1:${http}; listen 127.0.0.1:${https} ssl;
    ssl_certificate ${certificate}; ssl_certificate_key ${key}; ssl_session_cache shared:ssl:1m;
    location /bench/ { alias ${files}/; }
  }
}
`,
  );
  const child = await spawnGuarded(path, ["-c", config, "-p", home, "-e", join(home, "errors")]);
  await listening(child, http);
  return { http: `http://127.0.0.1:${http}`, https: `https://127.0.0.1:${https}`, stop: () => child.stop() };
}

/** A certificate for 127.0.0.1 that signs itself, and is its own authority. */
async function certify(dir: string): Promise<{ certificate: string; key: string }> {
  const [certificate, key] = [caOf(dir), join(dir, "server.key")];
  const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const child = await spawnGuarded("openssl", [...args, ...names, "-keyout", key, "-out", certificate]);
  const { code } = await child.ended;
  if (code !== 0) throw new Error("openssl made no certificate.");
  return { certificate, key };
}

/** The authority's certificate. */
export function caOf(dir: string): string {
  return join(dir, "ca.pem");
}

export interface S3 extends Server {
  readonly config: Required<Pick<StoreConfig, "bucket" | "region" | "s3Endpoint" | "s3Credentials">>;
}

/** A real S3 server over a folder. */
export async function startVersity({ path }: Peer, dir: string): Promise<S3> {
  const port = await freePort();
  const root = join(dir, "versity");
  await mkdir(join(root, BUCKET), { recursive: true });
  const s3Credentials = { accessKeyId: "bench", secretAccessKey: "bench-secret" };
  const args = ["--access", "bench", "--secret", "bench-secret", "--region", REGION, "--port", `127.0.0.1:${port}`];
  const child = await spawnGuarded(path, [...args, "--quiet", "posix", root], { env: { HOME: dir } });
  await listening(child, port);
  const s3Endpoint = `http://127.0.0.1:${port}`;
  return { config: { bucket: BUCKET, region: REGION, s3Endpoint, s3Credentials }, stop: () => child.stop() };
}

/** Our own store, with parts as small as a case wants them. */
export async function startEmbedded(dir: string): Promise<S3> {
  const root = join(dir, "embedded");
  await mkdir(root);
  const { child, said } = await startNode("embedded.js", [root, BUCKET]);
  return { config: JSON.parse(said) as S3["config"], stop: () => child.stop() };
}

/** A link whose every connection carries so much, comes so late, and breaks so often. */
export interface Link {
  /** Bytes per second of one connection, either way; 0: no limit. */
  readonly rate: number;
  /** Milliseconds that an answer comes later. */
  readonly delay: number;
  /** All connections together carry so many bytes between two breaks; 0: none breaks. */
  readonly breakEvery: number;
}

export async function startLink(to: string, link: Link): Promise<Server & { readonly origin: string }> {
  const { child, said } = await startNode("link.js", [new URL(to).port, JSON.stringify(link)]);
  return { origin: `http://127.0.0.1:${said.trim()}`, stop: () => child.stop() };
}

/** A module of ours as a process that says one line when it is ready. */
async function startNode(name: string, args: readonly string[]): Promise<{ child: Guarded; said: string }> {
  const child = await spawnGuarded(process.execPath, [fileURLToPath(new URL(name, import.meta.url)), ...args]);
  const said = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk;
      if (text.includes("\n")) resolve(text);
    });
    void child.ended.then(() => reject(new Error(`${name} did not start.`)));
  });
  return { child, said };
}

/** Nobody else on this machine takes ports as fast as they are found here. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listening(child: Guarded, port: number): Promise<void> {
  let said = "";
  let ended = false;
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text: Buffer) => (said += text));
  void child.ended.then(() => (ended = true));
  for (const end = performance.now() + START_MS; performance.now() < end && !ended; ) {
    if (await accepts(port)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await child.stop();
  throw new Error(`A server did not start: ${said.slice(-500)}`);
}

async function accepts(port: number): Promise<boolean> {
  const { connect } = await import("node:net");
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
