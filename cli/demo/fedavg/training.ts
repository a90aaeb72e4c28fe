import { setImmediate } from "node:timers/promises";
import type { Samples } from "./data.ts";
import { Network, type Shape } from "./network.ts";
import { Random } from "./random.ts";

/** How an owner trains. */
export interface Recipe {
  readonly shape: Shape;
  readonly epochs: number;
  readonly batch: number;
  readonly rate: number;
}

/**
 * Plain stochastic gradient descent from `start`, which stays as it is. The same start, samples and seed give the same bits.
 * Between batches the process may do other things, such as ending.
 */
export async function train(
  recipe: Recipe,
  start: Float32Array,
  samples: Samples,
  seed: number,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const { shape, epochs, batch, rate } = recipe;
  const network = new Network(shape, start.slice());
  const random = new Random(seed);
  const gradient = new Float64Array(start.length);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = random.order(samples.count);
    for (let at = 0; at < order.length; at += batch) {
      step(network, samples, order.subarray(at, at + batch), rate, gradient);
      await setImmediate();
      signal?.throwIfAborted();
    }
  }
  return network.parameters;
}

function step(network: Network, samples: Samples, batch: Uint32Array, rate: number, gradient: Float64Array): void {
  const { parameters } = network;
  gradient.fill(0);
  for (const sample of batch) network.learn(samples, sample, gradient);
  const scale = rate / batch.length;
  for (let i = 0; i < parameters.length; i++) parameters[i]! -= scale * gradient[i]!;
}
