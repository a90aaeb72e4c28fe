import { Random } from "./random.ts";

/** Labelled inputs, one row after the other. */
export interface Samples {
  readonly count: number;
  readonly width: number;
  readonly inputs: Float32Array;
  readonly labels: Uint8Array;
}

/** A world of made-up documents about topics, from its seed alone. A sample is a document's words, its label the topic. */
export interface World {
  readonly seed: number;
  /** Different words. */
  readonly width: number;
  /** Topics. */
  readonly classes: number;
  /** Ways to write about a topic, each with favourite words of its own. */
  readonly styles: number;
  /** Favourite words of a style; styles share some by chance. */
  readonly favourites: number;
  /** Words in a document, and the share of them that are favourites; the others are any. */
  readonly length: number;
  readonly share: number;
}

/**
 * `count` documents whose topics have these weights. The topics come from the world's seed, the documents from another one:
 * who has other documents lives in the same world.
 */
export function drawSamples(world: World, seed: number, count: number, weights: readonly number[]): Samples {
  const styles = stylesOf(world);
  const random = new Random(seed);
  const { width } = world;
  const samples = { count, width, inputs: new Float32Array(count * width), labels: new Uint8Array(count) };
  for (let sample = 0; sample < count; sample++) {
    const label = drawClass(weights, random);
    const style = styles[label * world.styles + random.below(world.styles)]!;
    samples.labels[sample] = label;
    write(world, style, random, samples.inputs.subarray(sample * width, (sample + 1) * width));
  }
  return samples;
}

/** The favourite words of each topic's styles. */
function stylesOf({ seed, width, classes, styles, favourites }: World): Uint32Array[] {
  const random = new Random(seed);
  return Array.from({ length: classes * styles }, () => random.order(width).subarray(0, favourites));
}

/** How often each word stands in a document, scaled to a mean square of about 1. */
function write({ width, length, share }: World, style: Uint32Array, random: Random, counts: Float32Array): void {
  const scale = Math.sqrt(width / length);
  for (let i = 0; i < length; i++) {
    const word = random.next() < share ? style[random.below(style.length)]! : random.below(width);
    counts[word]! += scale;
  }
}

function drawClass(weights: readonly number[], random: Random): number {
  let left = random.next() * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [label, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return label;
  }
  return weights.length - 1;
}
