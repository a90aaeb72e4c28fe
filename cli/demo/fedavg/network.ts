import type { Samples } from "./data.ts";
import type { Random } from "./random.ts";

// A multi-layer perceptron: dense layers with ReLU between them, softmax and cross-entropy at the end. Parameters are 32-bit
// floats, as they travel; everything computed from them is in 64 bits.

/** Inputs, hidden units per layer, classes. */
export type Shape = readonly number[];

interface Layer {
  readonly inputs: number;
  readonly outputs: number;
  /** Where its weights begin among the parameters, a row per input; its biases follow them. */
  readonly weights: number;
  readonly biases: number;
}

export class Network {
  readonly parameters: Float32Array;
  readonly #layers: readonly Layer[];
  /** What each layer was given, and at the end the logits. */
  readonly #activations: readonly Float64Array[];

  constructor(shape: Shape, parameters: Float32Array) {
    this.#layers = layersOf(shape);
    this.#activations = shape.map((width) => new Float64Array(width));
    this.parameters = parameters;
    if (parameters.length !== parameterCount(shape))
      throw new RangeError(
        `A ${shape.join("-")} network has ${parameterCount(shape)} parameters, not ${parameters.length}.`,
      );
  }

  /** He's initialisation: the variance of a layer's inputs survives its ReLU. */
  static initial(shape: Shape, random: Random): Network {
    const network = new Network(shape, new Float32Array(parameterCount(shape)));
    for (const { inputs, weights, biases } of network.#layers) {
      const scale = Math.sqrt(2 / inputs);
      for (let i = weights; i < biases; i++) network.parameters[i] = scale * random.normal();
    }
    return network;
  }

  /** Adds the gradient of one sample's loss to `gradient`, and gives the loss. */
  learn(samples: Samples, sample: number, gradient: Float64Array): number {
    const logits = this.#forward(samples, sample);
    const label = samples.labels[sample]!;
    const loss = softmax(logits, label);
    logits[label]! -= 1; // what is left of softmax and cross-entropy: d loss / d logits
    this.#backward(gradient);
    return loss;
  }

  /** The sample's loss. */
  loss(samples: Samples, sample: number): number {
    return softmax(this.#forward(samples, sample), samples.labels[sample]!);
  }

  /** The share of samples whose largest logit is their label's. */
  accuracy(samples: Samples): number {
    let right = 0;
    for (let sample = 0; sample < samples.count; sample++) {
      const logits = this.#forward(samples, sample);
      if (logits.indexOf(Math.max(...logits)) === samples.labels[sample]) right++;
    }
    return right / samples.count;
  }

  #forward({ inputs, width }: Samples, sample: number): Float64Array {
    this.#activations[0]!.set(inputs.subarray(sample * width, (sample + 1) * width));
    const last = this.#layers.length - 1;
    for (const [i, layer] of this.#layers.entries()) {
      const to = this.#activations[i + 1]!;
      forward(layer, this.parameters, this.#activations[i]!, to);
      if (i < last) relu(to);
    }
    return this.#activations[last + 1]!;
  }

  /** From the logits' derivatives back to the first layer; each activation gives way to its own derivative. */
  #backward(gradient: Float64Array): void {
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const from = this.#activations[i]!;
      const slopes = this.#activations[i + 1]!;
      addGradient(this.#layers[i]!, from, slopes, gradient);
      if (i > 0) backward(this.#layers[i]!, this.parameters, from, slopes);
    }
  }
}

export function parameterCount(shape: Shape): number {
  const last = layersOf(shape).at(-1);
  return last ? last.biases + last.outputs : 0;
}

function layersOf(shape: Shape): Layer[] {
  let at = 0;
  return shape.slice(1).map((outputs, i) => {
    const inputs = shape[i]!;
    const layer = { inputs, outputs, weights: at, biases: at + inputs * outputs };
    at = layer.biases + outputs;
    return layer;
  });
}

function forward(
  { inputs, outputs, weights, biases }: Layer,
  all: Float32Array,
  x: Float64Array,
  y: Float64Array,
): void {
  for (let j = 0; j < outputs; j++) y[j] = all[biases + j]!;
  for (let i = 0; i < inputs; i++) {
    const value = x[i]!;
    if (value === 0) continue; // words that aren't there, units that ReLU turned off
    const row = weights + i * outputs;
    for (let j = 0; j < outputs; j++) y[j]! += value * all[row + j]!;
  }
}

function relu(values: Float64Array): void {
  for (let i = 0; i < values.length; i++) if (values[i]! < 0) values[i] = 0;
}

function addGradient(
  { inputs, outputs, weights, biases }: Layer,
  x: Float64Array,
  dy: Float64Array,
  sum: Float64Array,
): void {
  for (let j = 0; j < outputs; j++) sum[biases + j]! += dy[j]!;
  for (let i = 0; i < inputs; i++) {
    const value = x[i]!;
    if (value === 0) continue;
    const row = weights + i * outputs;
    for (let j = 0; j < outputs; j++) sum[row + j]! += value * dy[j]!;
  }
}

/** Writes d loss / d x over x, of which each value comes from a ReLU: where that is 0, nothing passes. */
function backward({ inputs, outputs, weights }: Layer, all: Float32Array, x: Float64Array, dy: Float64Array): void {
  for (let i = 0; i < inputs; i++) {
    if (x[i] === 0) continue;
    const row = weights + i * outputs;
    let sum = 0;
    for (let j = 0; j < outputs; j++) sum += all[row + j]! * dy[j]!;
    x[i] = sum;
  }
}

/** Turns logits into probabilities, in place; gives the cross-entropy for the label. */
function softmax(logits: Float64Array, label: number): number {
  const most = Math.max(...logits);
  const own = logits[label]! - most;
  let sum = 0;
  for (let j = 0; j < logits.length; j++) sum += logits[j] = Math.exp(logits[j]! - most);
  for (let j = 0; j < logits.length; j++) logits[j]! /= sum;
  return Math.log(sum) - own;
}
