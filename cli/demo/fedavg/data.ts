import { Random } from "./random.ts";

/** Labelled inputs, one row after the other. */
export interface Samples {
  readonly count: number;
  readonly width: number;
  readonly inputs: Float32Array;
  readonly labels: Uint8Array;
}

/** A classification task that is made up, from its seed alone. */
export interface World {
  readonly seed: number;
  readonly width: number;
  readonly classes: number;
  /** Each class is that many separate clouds of points, so that no plane divides the classes. */
  readonly clouds: number;
  /** The clouds' radius; their centres are normal with variance 1 in each direction. */
  readonly noise: number;
}

/**
 * `count` samples whose classes have these weights. The world's clouds come from its own seed, the samples from another one:
 * who has other samples lives in the same world.
 */
export function drawSamples(world: World, seed: number, count: number, weights: readonly number[]): Samples {
  const centres = centresOf(world);
  const random = new Random(seed);
  const { width, noise, clouds } = world;
  const samples = { count, width, inputs: new Float32Array(count * width), labels: new Uint8Array(count) };
  for (let sample = 0; sample < count; sample++) {
    const label = drawClass(weights, random);
    const centre = centres[label * clouds + random.below(clouds)]!;
    samples.labels[sample] = label;
    for (let i = 0; i < width; i++) samples.inputs[sample * width + i] = centre[i]! + noise * random.normal();
  }
  return samples;
}

function centresOf({ seed, classes, clouds, width }: World): Float32Array[] {
  const random = new Random(seed);
  return Array.from({ length: classes * clouds }, () => Float32Array.from({ length: width }, () => random.normal()));
}

function drawClass(weights: readonly number[], random: Random): number {
  let left = random.next() * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [label, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return label;
  }
  return weights.length - 1;
}
