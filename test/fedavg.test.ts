import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { average } from "../cli/demo/fedavg/average.ts";
import { drawSamples } from "../cli/demo/fedavg/data.ts";
import { decodeModel, encodeModel, sha256 } from "../cli/demo/fedavg/model.ts";
import { Network, parameterCount } from "../cli/demo/fedavg/network.ts";
import {
  accuracyOf,
  averagedIn,
  initialModel,
  OWNERS,
  ROUNDS,
  samplesOf,
  trainAlone,
} from "../cli/demo/fedavg/plan.ts";
import { Random } from "../cli/demo/fedavg/random.ts";
import { trainHere } from "../cli/demo/fedavg/reference.ts";
import { train } from "../cli/demo/fedavg/training.ts";

const WORLD = { seed: 1, width: 12, classes: 3, styles: 2, favourites: 3, length: 6, share: 0.9 };
const SHAPE = [WORLD.width, 7, 6, WORLD.classes];
const even = [1, 1, 1];

describe("the network", () => {
  it("counts weights and biases of every layer", () => {
    expect(parameterCount([2, 3, 4])).toBe(2 * 3 + 3 + 3 * 4 + 4);
    expect(() => new Network([2, 3, 4], new Float32Array(24))).toThrow(RangeError);
  });

  it("has the gradient that finite differences find, for every parameter", () => {
    const samples = drawSamples(WORLD, 2, 4, even);
    const network = Network.initial(SHAPE, new Random(3));
    const { parameters } = network;
    const gradient = new Float64Array(parameters.length);
    let loss = 0;
    for (let sample = 0; sample < samples.count; sample++) loss += network.learn(samples, sample, gradient);
    const lossNow = (): number => {
      let sum = 0;
      for (let sample = 0; sample < samples.count; sample++) sum += network.loss(samples, sample);
      return sum;
    };
    expect(lossNow()).toBe(loss);
    expect(gradient.filter((slope) => slope !== 0).length).toBeGreaterThan(parameters.length / 2);
    for (let i = 0; i < parameters.length; i++) {
      const here = parameters[i]!;
      const [above, below] = [Math.fround(here + 2 ** -11), Math.fround(here - 2 ** -11)];
      parameters[i] = above;
      const more = lossNow();
      parameters[i] = below;
      const less = lossNow();
      parameters[i] = here;
      expect(Math.abs((more - less) / (above - below) - gradient[i]!)).toBeLessThan(1e-5);
    }
  });

  it("gives a loss of ln(classes) when it knows nothing", () => {
    const samples = drawSamples(WORLD, 2, 1, even);
    expect(new Network(SHAPE, new Float32Array(parameterCount(SHAPE))).loss(samples, 0)).toBeCloseTo(Math.log(3), 12);
  });

  it("takes logits beyond what an exponential can hold", () => {
    const samples = { count: 1, width: 1, inputs: Float32Array.of(1), labels: Uint8Array.of(1) };
    const network = new Network([1, 2], Float32Array.of(5000, -5000, 0, 0));
    expect(network.loss(samples, 0)).toBe(10_000);
    expect(network.accuracy(samples)).toBe(0);
  });
});

describe("training", () => {
  const samples = drawSamples(WORLD, 4, 60, even);
  const recipe = { shape: SHAPE, epochs: 30, batch: 8, rate: 0.1 };
  const start = Network.initial(SHAPE, new Random(5)).parameters;

  it("learns its samples, leaves the start as it was, and gives the same bits again", async () => {
    const copy = start.slice();
    const trained = await train(recipe, start, samples, 6);
    expect(start).toEqual(copy);
    expect(new Network(SHAPE, start).accuracy(samples)).toBeLessThan(0.7);
    expect(new Network(SHAPE, trained).accuracy(samples)).toBeGreaterThan(0.95);
    expect(await train(recipe, start, samples, 6)).toEqual(trained);
    expect(await train(recipe, start, samples, 7)).not.toEqual(trained);
  });

  it("one step is the mean gradient times the rate, downhill", async () => {
    const two = { ...samples, count: 2 };
    const gradient = new Float64Array(start.length);
    const network = new Network(SHAPE, start);
    const loss = (parameters: Float32Array): number => {
      const at = new Network(SHAPE, parameters);
      return at.loss(two, 0) + at.loss(two, 1);
    };
    for (const sample of [0, 1]) network.learn(two, sample, gradient);
    const stepped = await train({ ...recipe, epochs: 1, rate: 0.01 }, start, two, 6);
    for (const [i, value] of stepped.entries()) expect(value).toBeCloseTo(start[i]! - 0.005 * gradient[i]!, 6);
    expect(loss(stepped)).toBeLessThan(loss(start));
  });

  it("ends when it is told to", async () => {
    await expect(train(recipe, start, samples, 6, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
  });
});

describe("averaging", () => {
  it("weighs by samples", () => {
    const updates = [
      { parameters: Float32Array.of(1, 0), samples: 3 },
      { parameters: Float32Array.of(5, -8), samples: 1 },
    ];
    expect(average(updates)).toEqual(Float32Array.of(2, -2));
  });

  it("of equal models is that model, whatever their samples", () => {
    const samples = fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 5 });
    const model = fc.float32Array({ noNaN: true, noDefaultInfinity: true, minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(samples, model, (counts, parameters) => {
        // Positive zero: a sum that begins at 0 never gives -0.
        const expected = parameters.map((value) => value + 0);
        expect(average(counts.map((count) => ({ parameters, samples: count })))).toEqual(expected);
      }),
    );
  });

  it("takes neither nothing nor models of different size", () => {
    const update = (length: number) => ({ parameters: new Float32Array(length), samples: 1 });
    expect(() => average([])).toThrow(RangeError);
    expect(() => average([update(2), update(3)])).toThrow(RangeError);
  });
});

describe("a model on its way", () => {
  it("comes back as it was, in little-endian floats", () => {
    const parameters = Float32Array.of(1, -0.1, 3e-40);
    const bytes = encodeModel(parameters);
    expect(new DataView(bytes.buffer).getFloat32(4, true)).toBe(Math.fround(-0.1));
    expect(decodeModel(bytes, 3)).toEqual(parameters);
  });

  it.each([
    ["too short", new Uint8Array(8)],
    ["too long", new Uint8Array(16)],
    ["not all numbers", encodeModel(Float32Array.of(1, Number.NaN, 2))],
    ["infinite", encodeModel(Float32Array.of(1, 2, Number.POSITIVE_INFINITY))],
  ])("that is %s is CORRUPT", (_name, bytes) => {
    expect(() => decodeModel(bytes, 3)).toThrow(expect.objectContaining({ code: "CORRUPT" }));
  });
});

describe("the plan", () => {
  it("gives each owner mostly classes that the others hardly see", () => {
    for (const [owner] of OWNERS.entries()) {
      const { labels, count } = samplesOf(owner);
      const own = labels.filter((label) => label % OWNERS.length === owner).length;
      expect(own / count).toBeGreaterThan(0.85);
      expect(own).toBeLessThan(count);
    }
  });

  it("leaves somebody out of exactly one round", () => {
    const counts = Array.from({ length: ROUNDS }, (_, i) => averagedIn(i + 1).length);
    expect(counts.filter((count) => count === OWNERS.length)).toHaveLength(ROUNDS - 1);
    expect(Math.min(...counts)).toBe(OWNERS.length - 1);
  });

  it("makes a model together that beats what any owner learns alone, and the same one every time", async () => {
    const before = accuracyOf(initialModel());
    const together = await trainHere();
    const alone = [];
    for (const [owner] of OWNERS.entries()) alone.push(accuracyOf(await trainAlone(owner)));
    expect(before).toBeLessThan(0.2);
    expect(Math.min(...alone)).toBeGreaterThan(before);
    expect(accuracyOf(together)).toBeGreaterThan(Math.max(...alone) + 0.2);
    expect(sha256(encodeModel(await trainHere()))).toBe(sha256(encodeModel(together)));
  });
});
