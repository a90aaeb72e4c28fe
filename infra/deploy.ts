import { watch } from "./alarms.ts";
import { createApi, mount } from "./api.ts";
import { createBucket } from "./bucket.ts";
import { createFunctions } from "./functions.ts";
import { createBell, wakePublisher, wakeSweeper } from "./queue.ts";
import { createRelayerKeys, guardRelayerKeys } from "./relayer.ts";
import { type ApiFunction, routes } from "./routes.ts";
import { checkRpc, readStage, type Stage } from "./stages.ts";
import { createBudget, createTopic } from "./topic.ts";

/** Everything that a stage is made of; answers what its operator gives to others. */
export function deploy(): Record<string, unknown> {
  const stage = readStage($app.stage, process.env);
  const rpc = new sst.Secret("Rpc").value.apply((value) => checkRpc(stage, value));
  const bucket = createBucket(stage);
  const bell = createBell();
  const keys = createRelayerKeys(stage);
  const relayerKey = keys.current;
  const api = createApi(stage);
  const around = { stage, bucket, bell: bell.queue, relayerKey, origin: api.url, rpc };
  const functions = createFunctions(around);
  guardRelayerKeys(keys, functions.publisher.lambda);
  for (const name of Object.keys(routes) as ApiFunction[]) mount(api, name, functions[name].lambda);
  wakePublisher(bell, functions.publisher.lambda);
  wakeSweeper(functions.sweeper.lambda);
  const topic = createTopic(stage);
  watch({ stage, bell, api, functions }, topic);
  createBudget(stage, topic);
  const { bucketRegionalDomainName } = bucket.nodes.bucket;
  const deployment = $jsonStringify(deploymentOf(stage, api.url, $interpolate`https://${bucketRegionalDomainName}`));
  return { api: api.url, bucket: bucket.name, relayerKey: relayerKey.arn, deployment };
}

/** What participants pin: the content of their deployment.json. */
function deploymentOf(stage: Stage, api: $util.Input<string>, storeOrigin: $util.Input<string>): object {
  const { WAYBILL_CHAIN_ID, WAYBILL_CONTRACT, WAYBILL_CONFIRMATIONS, WAYBILL_FROM_BLOCK } = stage.environment;
  const { blockTime } = stage;
  return {
    api,
    chainId: Number(WAYBILL_CHAIN_ID),
    contract: WAYBILL_CONTRACT,
    storeOrigin,
    confirmations: Number(WAYBILL_CONFIRMATIONS),
    blockTime,
    // A chain without a block for ten block times is called stalled; quick chains get half a minute.
    maxBlockAge: Math.max(30_000, 10 * blockTime),
    ...(WAYBILL_FROM_BLOCK !== undefined && { fromBlock: Number(WAYBILL_FROM_BLOCK) }),
  };
}
