import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { audit } from "../cli/demo/fedavg/audit.ts";
import { average } from "../cli/demo/fedavg/average.ts";
import { drawSamples } from "../cli/demo/fedavg/data.ts";
import { modelTag, understand, updateTag } from "../cli/demo/fedavg/messages.ts";
import { decodeModel, encodeModel } from "../cli/demo/fedavg/model.ts";
import { Network, parameterCount } from "../cli/demo/fedavg/network.ts";
import {
  accuracyOf,
  averagedIn,
  initialModel,
  OWNERS,
  ROUNDS,
  STRAGGLER,
  samplesOf,
  trainAlone,
} from "../cli/demo/fedavg/plan.ts";
import { Random } from "../cli/demo/fedavg/random.ts";
import { trainHere } from "../cli/demo/fedavg/reference.ts";
import { train } from "../cli/demo/fedavg/training.ts";
import type { OnChain } from "../cli/demo/ledger.ts";
import type { Address, Hex, TaskNews } from "../lib/index.ts";
import { transferId } from "../lib/protocol/manifest.ts";

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

  it("makes a model together that beats what any owner learns alone", async () => {
    const before = accuracyOf(initialModel());
    const together = await trainHere();
    const alone = [];
    for (const [owner] of OWNERS.entries()) alone.push(accuracyOf(await trainAlone(owner)));
    expect(before).toBeLessThan(0.2);
    expect(Math.min(...alone)).toBeGreaterThan(before);
    expect(accuracyOf(together)).toBeGreaterThan(Math.max(...alone) + 0.2);
  });
});

describe("the audit", () => {
  const cast = { aggregator: account(0), owners: OWNERS.map((_, owner) => account(owner + 1)) };

  it("counts a receipt of every owner for each model, and the aggregator's for what it averaged", () => {
    const books = audit(chainOf(planned()), cast);
    expect(books.complete).toBe(true);
    expect(books.late).toBe(false);
    expect(books.receipts).toBe(planned().length);
    expect(books.rounds.slice(1).map(({ receipts }) => receipts)).toEqual(
      Array.from({ length: ROUNDS }, (_, i) => OWNERS.length + averagedIn(i + 1).length),
    );
    expect(books.rounds[1]!.gas).toBeGreaterThan(0);
  });

  it("misses a receipt that does not stand, wherever it belongs", () => {
    for (const [i] of planned().entries())
      expect(audit(chainOf(planned().filter((_, j) => j !== i)), cast).complete).toBe(false);
  });

  it("is content with a late update that nobody took, and only then", () => {
    const late = { sender: cast.owners[STRAGGLER.owner]!, tag: updateTag(STRAGGLER.round), author: cast.aggregator };
    expect(audit(chainOf([...planned(), late]), cast)).toMatchObject({ complete: false, late: true });
    const { notices, ...rest } = chainOf([...planned(), late]);
    expect(audit({ notices, ...rest, receipts: rest.receipts.slice(0, -1) }, cast)).toMatchObject({
      complete: true,
      late: true,
    });
  });

  it("counts a recipient's two receipts for one payload once, and a stranger's transfer not as a planned one", () => {
    const [first] = planned();
    expect(audit(chainOf([...planned(), first!]), cast)).toMatchObject({ complete: true, receipts: planned().length });
    const stranger = { ...first!, tag: "something else" };
    expect(audit(chainOf([...planned().slice(1), stranger]), cast).complete).toBe(false);
  });

  interface Receipt {
    readonly sender: Address;
    readonly tag: string;
    readonly author: Address;
  }

  function planned(): Receipt[] {
    const { aggregator, owners } = cast;
    return Array.from({ length: ROUNDS }, (_, i) => i + 1).flatMap((round) => [
      ...owners.map((author) => ({ sender: aggregator, tag: modelTag(round), author })),
      ...averagedIn(round).map((i) => ({ sender: owners[i]!, tag: updateTag(round), author: aggregator })),
    ]);
  }

  function chainOf(list: readonly Receipt[]): OnChain {
    const notices = list.map(({ sender, tag }, i) => {
      return { id: word(i), sender, transfer: transferId(tag), transaction: word(i) };
    });
    return {
      notices: new Map(notices.map((notice) => [notice.id, notice])),
      receipts: list.map(({ author }, i) => ({ notice: word(i), author, transaction: word(i) })),
      messages: [],
      transactions: notices.map(({ transaction }) => ({ hash: transaction, gas: 1000, carries: new Set() })),
      gas: 1000 * list.length,
    };
  }
});

describe("a message", () => {
  const news = (kind: string, body: unknown): TaskNews => {
    return { type: "message", seq: 1, sender: account(1), kind, body, payload: new Uint8Array(), transaction: word(1) };
  };

  it("is understood with its kind and body", () => {
    const body = { round: 2, notice: word(7) };
    expect(understand(news("start_round", body))).toEqual({ kind: "start_round", sender: account(1), body });
  });

  it.each([
    ["another kind", "gossip", { round: 1 }],
    ["a name that objects have", "toString", {}],
    ["no body", "start_round", undefined],
    ["a round that is none", "close_round", { round: 1.5, averaged: [], sha256: "" }],
    ["a round that is not due", "start_round", { round: ROUNDS + 1 }],
    ["a notice that is none", "start_round", { round: 1, notice: "0x12" }],
    ["a weight below one", "check_in", { samples: 0 }],
    ["a weight that swallows the others", "check_in", { samples: 1e300 }],
    ["a time that is no number", "ready_for_aggregation", { round: 1, seconds: "fast" }],
  ])("with %s is passed over", (_name, kind, body) => {
    expect(understand(news(kind, body))).toBeNull();
  });
});

function account(i: number): Address {
  return `0x${String(i).padStart(40, "0")}`;
}

function word(i: number): Hex {
  return `0x${String(i).padStart(64, "0")}`;
}
