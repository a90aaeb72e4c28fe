import { once } from "node:events";
import { type Command, Option } from "commander";
import type { Finding } from "../../local/serve/checks.ts";
import type { ServeChoices, WayOut } from "../../local/serve/settings.ts";
import { type Context, newAction, place, positive, whole } from "../command.ts";
import { answer, note } from "../output.ts";
import { version } from "../version.ts";

interface Place {
  readonly host: string;
  readonly port: number;
}

interface Options {
  readonly listen: Place;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly metrics: Place | false;
  readonly publisher: boolean;
  readonly sweeper: boolean;
  readonly nonces: ServeChoices["nonces"];
  readonly maxConnections: number;
  readonly drainWait: number;
  readonly logLevel: "info" | "warn" | "error";
  readonly check?: true;
  readonly json?: true;
}

const HELP = `
Everything else is told by the functions' WAYBILL_* variables, and the S3 credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or
as the AWS SDK finds them). docs/on-premises.md has them all, step by step.

  $ waybill serve --check                          # looks at chain, bucket, key and clocks, and ends
  $ waybill serve --listen 127.0.0.1:8080          # behind a proxy that speaks TLS
  $ waybill serve --listen 0.0.0.0:443 --tls-cert fullchain.pem --tls-key privkey.pem

Several may run at once, over the same bucket and chain: as many as you like serve, and more than one publisher or sweeper does no harm.
--nonces memory is quicker, for a process that is the only one: requests of its last minute could be replayed to its successor.`;

/** `waybill serve` */
export function serve(context: Context): Command {
  return newAction("serve")
    .description("the API, the publisher and the sweeper as one server, over any S3-compatible store and any EVM chain")
    .addOption(
      new Option("--listen <host:port>", "where")
        .env("WAYBILL_LISTEN")
        .argParser(place)
        .default(LISTEN, "127.0.0.1:8080"),
    )
    .addOption(
      new Option("--tls-cert <file>", "certificate chain (PEM), read again when it changes").env("WAYBILL_TLS_CERT"),
    )
    .addOption(new Option("--tls-key <file>", "its key (PEM)").env("WAYBILL_TLS_KEY"))
    .addOption(
      new Option("--metrics <host:port>", "where metrics, /health and /ready are told, to you alone")
        .env("WAYBILL_METRICS")
        .argParser(place)
        .default(METRICS, "127.0.0.1:9464"),
    )
    .option("--no-metrics", "tell none")
    .option("--no-publisher", "another process publishes; this one needs no relayer's key")
    .option("--no-sweeper", "another process clears the bucket of what is over")
    .addOption(
      new Option("--nonces <where>", "where requests are remembered against replays")
        .choices(["store", "memory"])
        .default("store"),
    )
    .option("--max-connections <n>", "more are closed at once; who waits for events has one", positive, 4096)
    .option("--drain-wait <ms>", "on SIGTERM, how long /health says so before connections are refused", whole, 0)
    .addOption(new Option("--log-level <level>", "what is logged").choices(["info", "warn", "error"]).default("info"))
    .option("--check", "only look whether it would work")
    .addHelpText("after", HELP)
    .action((_options, command: Command) => run(command.opts<Options>(), context));
}

const LISTEN: Place = { host: "127.0.0.1", port: 8080 };
const METRICS: Place = { host: "127.0.0.1", port: 9464 };

async function run(options: Options, context: Context): Promise<void> {
  const { outbound } = await import("../../lib/outbound.ts");
  const way = await outbound();
  try {
    await serveBy(way, options, context);
  } finally {
    way.close();
  }
}

async function serveBy(way: WayOut, options: Options, { signal }: Context): Promise<void> {
  const { needPeers, servePeers } = await import("../../local/peers.ts");
  needPeers(servePeers(), "waybill serve");
  const { readSettings, tlsOf } = await import("../../local/serve/settings.ts");
  const { check, errorIn } = await import("../../local/serve/checks.ts");
  const { metrics, tlsCert, tlsKey } = options;
  const choices = { ...options, tls: tlsOf(tlsCert, tlsKey), metrics: metrics === false ? null : metrics };
  const settings = await readSettings(process.env, choices, way);
  const findings = await check(settings);
  const error = errorIn(findings);
  if (options.check) report(findings, error === null, options.json);
  if (error) throw error;
  if (options.check) return;
  for (const { text } of findings.filter(({ state }) => state === "warning")) note(`Warning: ${text}`);
  signal.throwIfAborted();

  const { startServing } = await import("../../local/serve/serve.ts");
  const { linesTo } = await import("../../local/lines.ts");
  const json = options.json === true || !process.stderr.isTTY;
  const least = options.logLevel.toUpperCase() as Uppercase<Options["logLevel"]>;
  const serving = await startServing(settings, linesTo(process.stderr, { json, least }), version());
  const { origin } = serving;
  const told = serving.metrics && `${serving.metrics}/metrics`;
  const api = settings.config.apiOrigin;
  const text = `Serving ${api} on ${origin}${told === null ? "" : `; metrics at ${told}`}. SIGTERM ends it in order.`;
  answer(options.json, { api, origin, metrics: told }, text);
  if (!signal.aborted) await once(signal, "abort");
  const done = await serving.leave();
  if (!done) process.exit(0); // what still runs would hold the process, and is safe to leave
}

function report(findings: readonly Finding[], ok: boolean, json: true | undefined): void {
  const marks = { ok: "ok      ", warning: "warning ", failed: "FAILED  " };
  const lines = findings.map(({ check, state, text }) => `${marks[state]}${check.padEnd(12)}${text}`);
  answer(json, { ok, checks: findings }, lines.join("\n"));
}
