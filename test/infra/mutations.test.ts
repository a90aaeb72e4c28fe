import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluate, type Graph } from "./support/graph.ts";
import { mutations } from "./support/mistakes.ts";
import { type Mutation, planted, removeMutants } from "./support/mutants.ts";
import { parts, promises } from "./support/promises/all.ts";
import { type Promised, scenes } from "./support/promises/promise.ts";

// Mistakes planted into copies of the deployment's code: each must break the promise that is there to find it.

/** A mistake with the promise that is to find it, and the part of the promises to which that belongs. */
interface Planting {
  readonly mutation: Mutation;
  readonly promised: Promised;
  readonly part: readonly Promised[];
}

function plantingOf(mutation: Mutation): Planting {
  const found = promises.filter(({ says }) => says.startsWith(mutation.breaks));
  if (found.length !== 1) throw new Error(`${found.length} promises begin with "${mutation.breaks}".`);
  const [promised] = found as [Promised];
  return { mutation, promised, part: parts.find((part) => part.includes(promised))! };
}

/**
 * Mistakes that are planted into one copy, because an evaluation takes seconds: in a copy, each concerns another part of the
 * promises, and all other parts must hold.
 */
function copiesOf(plantings: readonly Planting[]): Planting[][] {
  const copies: Planting[][] = [];
  for (const planting of plantings) {
    const { promised, part } = planting;
    const fits = (copy: Planting[]): boolean =>
      copy[0]!.promised.scene === promised.scene && copy.every((other) => other.part !== part);
    const copy = copies.find(fits);
    if (copy) copy.push(planting);
    else copies.push([planting]);
  }
  return copies;
}

const holding = ({ holds }: Promised, graph: Graph): boolean => {
  try {
    holds(graph);
    return true;
  } catch {
    return false;
  }
};

describe("mistakes", () => {
  afterAll(removeMutants);

  it("are planted in every room of the deployment", () => {
    expect(new Set(mutations.map(({ file }) => file)).size).toBe(13);
    expect(mutations.length).toBeGreaterThanOrEqual(25);
  });

  it("are what breaks the promises: a copy without one keeps them", async () => {
    const graph = await evaluate({ ...scenes.production, root: await planted([], "none") });
    const broken = promises.filter((promised) => promised.scene === "production" && !holding(promised, graph));
    expect([graph.errors, broken]).toEqual([[], []]);
  });

  describe.each(copiesOf(mutations.map(plantingOf)).map((copy, nth) => ({ copy, nth })))(
    "in copy $nth",
    ({ copy, nth }) => {
      const { scene } = copy[0]!.promised;
      let graph: Graph;
      beforeAll(async () => {
        const root = await planted(
          copy.map(({ mutation }) => mutation),
          String(nth),
        );
        graph = await evaluate({ ...scenes[scene], root });
      });

      it("are such that somebody could deploy them", () => expect(graph.errors).toEqual([]));

      it.each(copy)("($mutation.mistake) break: $mutation.breaks…", ({ promised }) => {
        expect(holding(promised, graph)).toBe(false);
      });

      it("break nothing that they don't concern", () => {
        const concerned = new Set(copy.flatMap(({ part }) => part));
        const others = promises.filter((promised) => promised.scene === scene && !concerned.has(promised));
        expect(others.filter((promised) => !holding(promised, graph)).map(({ says }) => says)).toEqual([]);
      });
    },
  );
});
