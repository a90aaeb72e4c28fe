/** What one owner trained, and on how many samples. */
export interface Update {
  readonly parameters: Float32Array;
  readonly samples: number;
}

/**
 * FedAvg's step: the mean of the updates, weighted by their samples. Sums run in the order given, so who gives the same order
 * gets the same bits: callers use the order of the task's members.
 */
export function average(updates: readonly Update[]): Float32Array {
  const [first] = updates;
  if (!first) throw new RangeError("There is nothing to average.");
  const total = updates.reduce((sum, { samples }) => sum + samples, 0);
  const sum = new Float64Array(first.parameters.length);
  for (const { parameters, samples } of updates) {
    if (parameters.length !== sum.length) throw new RangeError("Updates of different networks have no average.");
    for (let i = 0; i < sum.length; i++) sum[i]! += samples * parameters[i]!;
  }
  return Float32Array.from(sum, (value) => value / total);
}
