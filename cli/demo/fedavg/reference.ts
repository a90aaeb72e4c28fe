import { average, type Update } from "./average.ts";
import { averagedIn, initialModel, ROUNDS, samplesOf, trainRound } from "./plan.ts";

/** The same federated training in one process: no keys, no messages, no transfers. */
export async function trainHere(signal?: AbortSignal): Promise<Float32Array> {
  let model = initialModel();
  for (let round = 1; round <= ROUNDS; round++) {
    const updates: Update[] = [];
    for (const owner of averagedIn(round))
      updates.push({ parameters: await trainRound(model, owner, round, signal), samples: samplesOf(owner).count });
    model = average(updates);
  }
  return model;
}
