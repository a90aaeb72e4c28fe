import { rmSync } from "node:fs";
import { join } from "node:path";
import { runBundled } from "./bundle.ts";
import type { AppSettings, Evaluation, JsonObject, Order } from "./order.ts";
import { SstProgram } from "./program.ts";
import { Recorder } from "./recorder.ts";

// Evaluates a project's sst.config.ts as the `sst` program does and tells its parent what a deployment would make. In a
// process of its own: the stack, its transformations and the recorder are the process's.

/** A test waits for 300 s: what the config was waiting for is to be told first. */
const LIMIT_MS = 280_000;

async function evaluate(order: Order): Promise<Evaluation> {
  for (const [name, value] of Object.entries(order.secrets)) process.env[`SST_SECRET_${name}`] = value;
  process.env.SST_AWS_REGION = order.region;
  const app = await settingsOf(order);
  const program = await SstProgram.start(order);
  process.env.SST_SERVER = program.url;
  try {
    const recorder = await Recorder.start(order, app.name);
    const run = await programOf(order, app);
    const outputs = await failing(recorder.run(run, () => program.asked));
    return { app, resources: recorder.resources, outputs, errors: [] };
  } finally {
    program.stop();
    rmSync(join(order.platform, `../artifacts/${process.pid}`), { recursive: true, force: true });
  }
}

/** What the config says of the app, before anything is made. */
async function settingsOf(order: Order): Promise<AppSettings> {
  const said = await runBundled<AppSettings>(order, {
    code: `import config from "${order.root}/sst.config.ts"; export default await config.app($input);`,
    define: { $input: JSON.stringify({ stage: order.stage }) },
    banner: "const $config = (input) => input;",
  });
  return { removal: "retain", protect: false, ...said, stage: order.stage };
}

async function programOf(order: Order, app: AppSettings): Promise<() => Promise<unknown>> {
  const { root, platform } = order;
  const providers = { [String(app.home)]: {}, ...(app.providers as JsonObject | undefined) };
  const paths = { home: join(platform, ".."), root, work: join(platform, ".."), platform };
  return runBundled(order, {
    globals: true,
    code: `import { run } from "${platform}/src/auto/run.ts"; import config from "${root}/sst.config.ts";
      export default () => run(config.run);`,
    define: {
      $app: JSON.stringify({ ...app, providers }),
      $cli: JSON.stringify({ command: "deploy", dev: false, rpc: "", home: app.home, paths, state: { version: {} } }),
      $dev: "false",
    },
  });
}

/** As under Pulumi's own launcher, a promise that nobody handles ends the run; what waits for it would wait for ever. */
function failing<T>(work: Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    process.on("unhandledRejection", reject);
    process.on("uncaughtException", reject);
    setTimeout(() => reject(new Error("The config was not evaluated in time.")), LIMIT_MS).unref();
    work.then(resolve, reject);
  });
}

process.once("message", async (order: Order) => {
  const failed = (error: unknown): Evaluation => ({
    ...{ app: { name: "" }, resources: [], outputs: {} },
    errors: [String(error)],
  });
  const evaluation = await evaluate(order).catch(failed);
  process.send!(evaluation, () => process.exit(0));
});
