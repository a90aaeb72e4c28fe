import { prepareEvaluator } from "./graph.ts";
import { preparePlatform } from "./platform.ts";

/** Before any test: what all of them need, so that no two make it at once. */
export default async function setup(): Promise<void> {
  await preparePlatform();
  await prepareEvaluator();
}
