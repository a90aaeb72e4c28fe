import { prepareEvaluator } from "./graph.ts";
import { node24 } from "./node24.ts";
import { preparePlatform } from "./platform.ts";

/** Before any test: what several files need, so that no two make it at once. */
export default async function setup(): Promise<void> {
  await preparePlatform();
  await node24();
  await prepareEvaluator();
}
