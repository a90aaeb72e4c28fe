import { once } from "node:events";
import { join, normalize } from "node:path";
import type { Command } from "commander";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { GivenBucket, Stack, StackOptions } from "../../local/stack.ts";
import { type Context, newAction, origin, place, positive, whole } from "../command.ts";
import { addKeyOptions, holderOf } from "../keys.ts";
import type { Kit, Party } from "../local/kit.ts";
import { answer, note } from "../output.ts";

interface Options {
  readonly dir: string;
  readonly participants: number;
  readonly port: number;
  readonly s3Port: number;
  readonly rpcPort: number;
  readonly blockTime?: number;
  readonly rpc?: string;
  readonly s3?: string;
  readonly bucket?: string;
  readonly region?: string;
  readonly metrics?: { readonly host: string; readonly port: number };
  readonly verbose?: true;
  readonly json?: true;
}

/** What one opening may enrol. */
const MAX_PARTICIPANTS = 256;

const HELP = `
Everything is on loopback and ends with this command; store and chain keep nothing. It is a toy: each participant's password lies beside
its keystore. The participants keep their keys when it is started again in the same folder; the task is a new one.

  $ waybill local
  $ waybill local --participants 10 --dir /tmp/trial --port 8080 --metrics 127.0.0.1:9464

With --rpc a chain that is there already is used, and a contract put on it; whoever has the relayer's key pays. With --s3 a bucket of any
S3-compatible server; its credentials are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

  $ WAYBILL_RELAYER_KEY=0x… waybill local --rpc http://127.0.0.1:8545 --s3 http://127.0.0.1:9000 --bucket trial`;

/** `waybill local` */
export function local(context: Context): Command {
  const command = newAction("local")
    .description(
      "a whole Waybill on this machine until Ctrl-C, with participants and an open task, for trying things out",
    )
    .option("--dir <folder>", "where the participants' files are; made, or one of its own", "waybill-local")
    .option("--participants <n>", `how many; at most ${MAX_PARTICIPANTS}`, positive, 3)
    .option("--port <n>", "of the API; by default a free one, as are the others", whole, 0)
    .option("--s3-port <n>", "of the store", whole, 0)
    .option("--rpc-port <n>", "of the chain", whole, 0)
    .option("--block-time <ms>", "between blocks; 1000 unless --rpc's are measured", positive)
    .option("--rpc <url>", "JSON-RPC of a chain to use instead of an embedded one")
    .option("--s3 <origin>", "an S3-compatible server to use instead of the embedded one", origin)
    .option("--bucket <name>", "the bucket there")
    .option("--metrics <host:port>", "also tell metrics there, in Prometheus' format", place)
    .option("--verbose", "show the functions' log, not only its warnings")
    .addHelpText("after", HELP);
  return addKeyOptions(command, "relayer").action(() => run(command, context));
}

async function run(command: Command, { signal }: Context): Promise<void> {
  const options = command.opts<Options>();
  if (options.participants > MAX_PARTICIPANTS)
    throw new WaybillError("USAGE", `A task is opened with at most ${MAX_PARTICIPANTS} participants.`);
  const { needPeers, stackPeers, monitorPeers } = await import("../../local/peers.ts");
  needPeers([...stackPeers(), ...(options.metrics ? monitorPeers() : [])], "waybill local");
  const { Kit } = await import("../local/kit.ts");
  const kit = new Kit(normalize(options.dir));
  await kit.claim();
  try {
    const { startStack } = await import("../../local/stack.ts");
    const stack = await startStack(await stackOptions(command, options, kit, signal));
    try {
      await serve(stack, kit, options, signal);
    } finally {
      await stack.stop();
    }
  } finally {
    await kit.release();
  }
}

async function stackOptions(command: Command, options: Options, kit: Kit, signal: AbortSignal): Promise<StackOptions> {
  const { port: api, s3Port: store, rpcPort: chain, rpc } = options;
  const bucket = bucketOf(options);
  const { linesTo } = await import("../../local/lines.ts");
  const log = linesTo(process.stderr, { json: options.json === true, least: options.verbose ? "INFO" : "WARN" });
  const common = { ports: { api, store, chain }, log, ...(bucket && { bucket }) };
  if (rpc === undefined) return { ...common, blockTime: (options.blockTime ?? 1000) / 1000 };
  const { payerOf } = await import("../../local/payer.ts");
  const { givenChain } = await import("../local/chain.ts");
  const payer = await payerOf(holderOf(command, "relayer"), "relayer's");
  const given = await givenChain(rpc, payer, { dir: kit.dir, blockTime: options.blockTime ?? null, signal, note });
  return { ...common, chain: given.chain, blockTime: given.blockTime / 1000 };
}

function bucketOf({ s3: s3Endpoint, bucket, region = "us-east-1" }: Options): GivenBucket | undefined {
  if (s3Endpoint === undefined && bucket === undefined) return undefined;
  if (s3Endpoint !== undefined && bucket !== undefined) return { s3Endpoint, bucket, region };
  throw new WaybillError("USAGE", "--s3 and --bucket go together: the server's origin, and a bucket that is there.");
}

/** Opens the task, says where everything is, and stays until the user has enough. */
async function serve(stack: Stack, kit: Kit, options: Options, signal: AbortSignal): Promise<void> {
  const parties = await kit.parties(options.participants);
  const { TaskContractor } = await import("../../lib/contractor.ts");
  const { deployment } = stack;
  const members = parties.map(({ wallet }) => wallet.address);
  const opened = await TaskContractor.open({ signer: parties[0]!.wallet, members, deployment });
  const { task } = opened;
  await opened.close();
  signal.throwIfAborted();
  await kit.write(deployment, task, parties);
  const monitor = options.metrics && (await monitorOf(stack, options.metrics));
  try {
    tell(stack, { task, kit, parties, options, metrics: monitor?.origin });
    const ended = await Promise.race([
      signal.aborted || once(signal, "abort").then(() => false),
      stack.ended.then(() => true),
    ]);
    if (ended === true && !signal.aborted) throw new WaybillError("UNAVAILABLE", "The chain has ended by itself.");
  } finally {
    await monitor?.stop();
  }
}

async function monitorOf(
  stack: Stack,
  place: NonNullable<Options["metrics"]>,
): Promise<{ origin: string; stop(): Promise<void> }> {
  const { startMonitor } = await import("../../local/prometheus.ts");
  const { version } = await import("../version.ts");
  return startMonitor(place, { samples: stack.metrics, version: version() });
}

interface Told {
  readonly task: string;
  readonly kit: Kit;
  readonly parties: readonly Party[];
  readonly options: Options;
  readonly metrics: string | undefined;
}

function tell({ deployment, rpc }: Stack, { task, kit, parties, options, metrics }: Told): void {
  const { api, storeOrigin: store } = deployment;
  const file = join(kit.dir, "deployment.json");
  const participants = parties.map(({ name, wallet, config }) => ({
    name,
    account: wallet.address.toLowerCase(),
    config,
  }));
  const commands = commandsFor(parties);
  const text = [
    "Waybill runs on this machine until Ctrl-C. It is a toy: passwords lie beside keys, and nothing is kept.",
    "",
    `api      ${api}`,
    `store    ${store}`,
    `chain    ${rpc}`,
    ...(metrics === undefined ? [] : [`metrics  ${metrics}/metrics`]),
    `task     ${task}`,
    `members  ${parties.map(({ name }) => name).join(", ")} (${parties[0]!.name} owns the task)`,
    `files    ${file}, and of each member ${join(kit.dir, parties[0]!.name, "config.json")} and so on`,
    ...(commands.length === 0 ? [] : ["", "Now in two other terminals, in this folder:", ""]),
    ...commands.map((command) => `  ${command}`),
  ];
  const places = { api, store, rpc, ...(metrics !== undefined && { metrics: `${metrics}/metrics` }) };
  answer(options.json, { ...places, task, dir: kit.dir, deployment: file, participants, commands }, text.join("\n"));
}

/** What to try first: with one participant there is nobody to send to. */
function commandsFor([sender, recipient]: readonly Party[]): string[] {
  if (!sender || !recipient) return [];
  const call = process.env.npm_command === "exec" ? "npx waybill" : "waybill";
  return [
    `WAYBILL_CONFIG=${recipient.config} ${call} receive --from ${sender.name}`,
    `WAYBILL_CONFIG=${sender.config} ${call} send FILE --to ${recipient.name}`,
  ];
}
