import { drawSamples, type Samples, type World } from "./data.ts";
import { Network, parameterCount } from "./network.ts";
import { Random } from "./random.ts";
import { type Recipe, train } from "./training.ts";

// What is agreed before the first round: everything that the processes and the computation in one process must have in common.

export const OWNERS = ["hospital-1", "hospital-2", "bank"] as const;
export const ROUNDS = 4;
/** In this round an owner's process is killed while it trains, and started again. */
export const KILLED: Appointment = { round: 2, owner: 1 };
/** In this round an owner's update comes after the round's end. It is not averaged, in this round or in a later one. */
export const STRAGGLER: Appointment = { round: 3, owner: 2 };

interface Appointment {
  readonly round: number;
  /** Its place among the owners. */
  readonly owner: number;
}

const WORLD: World = {
  seed: 7,
  width: 1024,
  classes: 10,
  styles: 2,
  favourites: 60,
  length: 50,
  share: 0.6,
};
/** 1.1 MiB of parameters: real transfers. As documents have few words, most of the first layer rests: an epoch is quick. */
const RECIPE: Recipe = { shape: [WORLD.width, 256, 64, WORLD.classes], epochs: 2, batch: 10, rate: 0.1 };
export const PARAMETERS: number = parameterCount(RECIPE.shape);

const TEST_SAMPLES = 400;
/** Hospitals and banks are of different size, and none sees the world as it is. */
const SAMPLES = [300, 240, 180] as const;
/** How often an owner sees a class of the others', where 1 is a class of its own. */
const FOREIGN = 0.03;

export function samplesOf(owner: number): Samples {
  const weights = Array.from({ length: WORLD.classes }, (_, label) => (label % OWNERS.length === owner ? 1 : FOREIGN));
  return drawSamples(WORLD, 100 + owner, SAMPLES[owner]!, weights);
}

export function initialModel(): Float32Array {
  return Network.initial(RECIPE.shape, new Random(WORLD.seed + 1)).parameters;
}

/** How good a model is on samples of all classes that no owner has. */
export function accuracyOf(parameters: Float32Array): number {
  const all = Array.from({ length: WORLD.classes }, () => 1);
  return new Network(RECIPE.shape, parameters).accuracy(drawSamples(WORLD, 99, TEST_SAMPLES, all));
}

/** One owner's work in one round. */
export function trainRound(
  model: Float32Array,
  owner: number,
  round: number,
  signal?: AbortSignal,
): Promise<Float32Array> {
  return train(RECIPE, model, samplesOf(owner), 1000 * round + owner, signal);
}

/** What an owner would get without the others: as many rounds, its own samples only. */
export async function trainAlone(owner: number, signal?: AbortSignal): Promise<Float32Array> {
  let model = initialModel();
  for (let round = 1; round <= ROUNDS; round++) model = await trainRound(model, owner, round, signal);
  return model;
}

/** The owners whose updates are averaged in a round, in member order. */
export function averagedIn(round: number): number[] {
  return OWNERS.map((_, owner) => owner).filter((owner) => round !== STRAGGLER.round || owner !== STRAGGLER.owner);
}
