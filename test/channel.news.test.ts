import { describe, expect, it } from "vitest";
import type { News } from "../lib/chain/ledger.ts";
import { NewsDesk } from "../lib/news.ts";

// How news is handed out, without a chain: what only the order of things decides.

const newsOf = (seq: number): News => {
  const place = { seq, block: seq, transaction: `0x${seq}` as const };
  return { type: "roster", id: `0x${seq}`, change: "admitted", members: [], place };
};

function desk(...seqs: number[]): NewsDesk {
  const made = new NewsDesk(() => {});
  made.begin(0);
  for (const seq of seqs) made.add(newsOf(seq));
  return made;
}

/** A handler that finishes when it is told to. */
function slow(): { handle: (news: News) => Promise<void>; begun: number[]; finish: () => Promise<void> } {
  const begun: number[] = [];
  let end = (): void => {};
  const handle = (news: News): Promise<void> => {
    begun.push(news.place.seq);
    return new Promise((resolve) => {
      end = resolve;
    });
  };
  const finish = async (): Promise<void> => {
    end();
    await settled();
  };
  return { handle, begun, finish };
}

const settled = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve));
const fail = (error: unknown): void => {
  throw error;
};

describe("news", () => {
  it("counts from its beginning on, whatever came before that is known", () => {
    const late = new NewsDesk(() => {});
    for (const seq of [1, 2, 3]) late.add(newsOf(seq));
    expect(late.take()).toBeUndefined();
    late.begin(2);
    late.begin(0); // only the first one says
    expect(late.take()?.news.place.seq).toBe(3);
    expect(late.take()).toBeUndefined();
  });

  it("goes to a handler one by one, and never at once while it is being given", async () => {
    const one = slow();
    const at = desk(1, 2);
    at.attach(one.handle, fail);
    expect(one.begun).toEqual([]);
    await settled();
    expect(one.begun).toEqual([1]);
    await one.finish();
    expect(one.begun).toEqual([1, 2]);
  });

  it("that a handler had not begun when it left waits for the next one, in order; what it had begun does not", async () => {
    const one = slow();
    const at = desk(1, 2, 3);
    const seat = at.attach(one.handle, fail);
    await settled();
    seat.leave(true);
    at.add(newsOf(4));
    expect([at.take(), at.take(), at.take(), at.take()].map((found) => found?.news.place.seq)).toEqual([
      ...[2, 3, 4],
      undefined,
    ]);
  });

  it("that another handler has too is not handed out a second time", async () => {
    const [one, two] = [slow(), slow()];
    const at = desk();
    const [first, second] = [at.attach(one.handle, fail), at.attach(two.handle, fail)];
    for (const seq of [1, 2]) at.add(newsOf(seq));
    await settled();
    first.leave(true); // 2 is before the second one only
    await two.finish();
    expect(two.begun).toEqual([1, 2]);
    second.leave(true);
    expect(at.take()).toBeUndefined();
  });

  it("moves the position only when all who had it are done, and not past what nobody had", async () => {
    const [one, two] = [slow(), slow()];
    const at = desk();
    at.attach(one.handle, fail);
    const seat = at.attach(two.handle, fail);
    for (const seq of [2, 5]) at.add(newsOf(seq));
    await settled();
    await one.finish();
    expect(at.position(7)).toBe(1);
    await two.finish();
    expect(at.position(7)).toBe(4);
    await one.finish();
    seat.leave(true); // in the middle of 5
    expect(at.position(7)).toBe(4);
    await two.finish();
    expect(at.position(7)).toBe(7);
  });

  it("whose handler failed holds the position until somebody carries on, and a handler that failed gets no more", async () => {
    const at = desk(1, 2);
    const errors: unknown[] = [];
    const seen: number[] = [];
    const mine = new Error("mine");
    const seat = at.attach(
      (news) => {
        seen.push(news.place.seq);
        throw mine;
      },
      (error) => errors.push(error),
    );
    await settled();
    expect([seen, errors]).toEqual([[1], [mine]]);
    seat.leave(false);
    expect(at.position(2)).toBe(0);
    const next = at.take();
    expect(next?.news.place.seq).toBe(2);
    expect(at.position(2)).toBe(1);
    next?.done();
    expect(at.position(2)).toBe(2);
  });
});
