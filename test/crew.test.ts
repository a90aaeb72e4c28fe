import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { eachOf } from "../functions/crew.ts";

describe("a crew", () => {
  it("does everything, never more than so many at once, and answers in order", async () => {
    let [busy, most] = [0, 0];
    const items = Array.from({ length: 100 }, (_, i) => i);
    const doubled = await eachOf(items, 7, async (item) => {
      most = Math.max(most, ++busy);
      for (let i = 0; i < item % 5; i++) await turn();
      busy -= 1;
      return 2 * item;
    });
    expect(doubled).toEqual(items.map((item) => 2 * item));
    expect(most).toBe(7);
    expect(await eachOf([], 7, async () => 1)).toEqual([]);
  });

  it("begins nothing after a failure, and throws it when nobody works any more", async () => {
    const begun: number[] = [];
    let busy = 0;
    const work = async (item: number): Promise<void> => {
      begun.push(item);
      busy += 1;
      for (let i = 0; i < 3 + item; i++) await turn();
      busy -= 1;
      if (item === 0) throw new Error("no");
    };
    await expect(eachOf([0, 1, 2, 3, 4, 5], 3, work)).rejects.toThrow("no");
    expect([begun, busy]).toEqual([[0, 1, 2], 0]);
  });
});
