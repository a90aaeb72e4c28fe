import { watch } from "./alarms.ts";
import { createApi, mount } from "./api.ts";
import { createBucket } from "./bucket.ts";
import { createFunctions } from "./functions.ts";
import { createBell, wakePublisher, wakeSweeper } from "./queue.ts";
import { createRelayerKey } from "./relayer.ts";
import { type ApiFunction, routes } from "./routes.ts";
import { checkRpc, readStage } from "./stages.ts";
import { createBudget, createTopic } from "./topic.ts";

/** Everything that a stage is made of; answers what its operator gives to others. */
export function deploy(): Record<string, unknown> {
  const stage = readStage($app.stage, process.env);
  const rpc = new sst.Secret("Rpc").value.apply((value) => checkRpc(stage, value));
  const bucket = createBucket(stage);
  const bell = createBell();
  const relayerKey = createRelayerKey(stage);
  const api = createApi(stage);
  const around = { stage, bucket, bell: bell.queue, relayerKey, origin: api.url, rpc };
  const functions = createFunctions(around);
  for (const name of Object.keys(routes) as ApiFunction[]) mount(api, name, functions[name].lambda);
  wakePublisher(bell, functions.publisher.lambda);
  wakeSweeper(functions.sweeper.lambda);
  const topic = createTopic(stage);
  watch({ stage, bell, api, functions }, topic);
  createBudget(stage, topic);
  return { api: api.url, bucket: bucket.name, relayerKey: relayerKey.arn };
}
