import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isMessage, type TaskNews } from "../lib/index.ts";
import { type Cast, coded, nameOf, noticed, parcel, readings, rejection, Scene, standing } from "./support/members.ts";

// Messages and roster changes beside transfers, over the real stack.

declare module "../lib/index.ts" {
  interface MessageKinds {
    evaluated: { readonly accuracy: number };
  }
}

let scene: Scene;
beforeAll(async () => {
  scene = await Scene.start();
});
afterAll(() => scene?.stop());

/** A promise and what resolves it. */
function gate(): { open: () => void; opened: Promise<void> } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

/** A process whose position in the task is known. */
async function ready(cast: Cast, index: number, more: Parameters<Cast["process"]>[1] = {}) {
  const process = cast.process(index, more);
  await process.contractor.members();
  return process;
}

describe.each(readings)("a complementaryHandler %s", (_name, { ownNode }) => {
  it("sees messages for me or everyone and roster changes, in order, never notices or receipts", async () => {
    const cast = await scene.cast(3, { ownNode });
    const [owner, me] = [await ready(cast, 0), await ready(cast, 1)];
    const [, bob, carol] = cast.accounts as [string, string, string];
    const { tag, dataStream } = parcel();
    const seen: string[] = [];
    const received = me.channel.receiveStream({
      ...{ source: owner.account, tag },
      complementaryHandler: (news) => seen.push(nameOf(news)),
    });
    await owner.contractor.post({ kind: "start_round", body: { round: 1 } });
    await owner.contractor.post({ kind: "not for bob", body: null, targets: [carol] });
    await owner.contractor.post({ kind: "for bob", body: null, targets: [bob] });
    await owner.contractor.admit([`0x${"ab".repeat(20)}`]);
    await owner.channel.sendStream({ target: bob, dataStream, tag });
    await received;
    expect(seen).toEqual(["start_round", "for bob", "admitted"]);
  });
});

describe("a complementaryHandler", () => {
  it("works on all four calls, and without one events queue for the next reader", async () => {
    const cast = await scene.cast(2);
    const [alice, bob] = [await ready(cast, 0), await ready(cast, 1)];
    const seen: string[] = [];
    const note = (who: string) => (news: TaskNews) => seen.push(`${who} ${nameOf(news)}`);
    const { dataStream } = parcel();
    await alice.contractor.post({ kind: "one", body: 1 });
    await Promise.all([
      alice.channel.sendStream({ target: bob.account, dataStream, tag: "1", complementaryHandler: note("send") }),
      bob.channel.receiveStream({ source: alice.account, tag: "1", complementaryHandler: note("receive") }),
    ]);
    expect(seen.splice(0).toSorted()).toEqual(["receive one", "send one"]);
    await bob.contractor.post({ kind: "two", body: 2 });
    const [target, sourceList] = [[bob.account], [alice.account]];
    await Promise.all([
      alice.channel.batchSendStream({ target, dataStream, tag: "2", complementaryHandler: note("batch send") }),
      bob.channel.batchReceiveStream({ sourceList, tag: "2", complementaryHandler: note("batch receive") }),
    ]);
    expect(seen.toSorted()).toEqual(["batch receive two", "batch send two"]);
    await alice.contractor.post({ kind: "three", body: 3 });
    for await (const news of bob.contractor.events()) {
      expect(news).toMatchObject({ kind: "three", sender: alice.account.toLowerCase(), body: 3 });
      break;
    }
  });

  it("gets each event once, as does every other that is active then; who comes later gets none of them", async () => {
    const cast = await scene.cast(2);
    const [alice, bob] = [await ready(cast, 0), await ready(cast, 1)];
    const seen: string[] = [];
    const end = new AbortController();
    const both = gate();
    const handler = (who: string) => (news: TaskNews) => {
      seen.push(`${who} ${nameOf(news)}`);
      if (seen.length === 4) both.open();
    };
    const waits = ["a", "b"].map((who) =>
      rejection(
        bob.channel.receiveStream({
          ...{ source: alice.account, tag: who, signal: end.signal },
          complementaryHandler: handler(who),
        }),
      ),
    );
    await bob.contractor.members();
    await alice.contractor.post({ kind: "1", body: 1 });
    await alice.contractor.post({ kind: "2", body: 2 });
    await both.opened;
    end.abort();
    expect(await Promise.all(waits)).toEqual([coded("ABORTED"), coded("ABORTED")]);
    expect(seen.toSorted()).toEqual(["a 1", "a 2", "b 1", "b 2"]);
    for await (const news of bob.contractor.events({ timeout: 1_000 })) seen.push(nameOf(news));
    expect(seen.length).toBe(4);
  });

  it("that throws aborts its receiving call without a receipt, with that same error; the notice stays open", async () => {
    const cast = await scene.cast(2);
    const [alice, bob] = [await ready(cast, 0), await ready(cast, 1)];
    const { tag, dataStream } = parcel();
    const mine = new Error("mine");
    const received = rejection(
      bob.channel.receiveStream({
        ...{ source: alice.account, tag },
        complementaryHandler: async () => {
          await null;
          throw mine;
        },
      }),
    );
    await alice.contractor.post({ kind: "stop", body: null });
    expect(await received).toBe(mine);
    const { onNotice, notice } = noticed();
    const sent = alice.channel.sendStream({ target: bob.account, dataStream, tag, onNotice });
    const { recipients } = await standing(alice, (await notice).notice);
    expect(recipients.map(({ state }) => state)).toEqual(["outstanding"]);
    expect((await bob.channel.receiveStream({ source: alice.account, tag }))[0]).toBe(alice.account);
    expect(await sent).toBe(bob.account);
  });

  it("that throws ends the other calls too: a batch, and a send, whose notice is taken back", async () => {
    const cast = await scene.cast(3); // the third never answers, so that neither call can end by itself
    const [alice, bob] = [await ready(cast, 0), await ready(cast, 1)];
    const mine = new Error("mine");
    const complementaryHandler = (): never => {
      throw mine;
    };
    const collecting = bob.channel.batchReceiveStream({ sourceList: [alice.account], complementaryHandler });
    const { onNotice, notice } = noticed();
    const { tag, dataStream } = parcel();
    const [first, second] = [
      rejection(collecting),
      rejection(
        alice.channel.sendStream({ target: cast.accounts[2]!, dataStream, tag, onNotice, complementaryHandler }),
      ),
    ];
    const id = (await notice).notice;
    await standing(alice, id);
    await bob.contractor.post({ kind: "stop", body: null });
    expect(await first).toBe(mine);
    expect(await second).toBe(mine);
    expect((await alice.contractor.status(id)).recipients[0]?.state).not.toBe("outstanding");
  });

  it("may itself send and receive while its call goes on, also when two peers do so to each other", async () => {
    const cast = await scene.cast(2);
    const [alice, bob] = [await ready(cast, 0), await ready(cast, 1)];
    const side = async (me: typeof alice, you: typeof alice): Promise<unknown> => {
      let inner: Promise<unknown> = Promise.reject(new Error("never asked"));
      inner.catch(() => {});
      const received = me.channel.receiveStream({
        ...{ source: you.account, tag: "outer" },
        complementaryHandler: async (news) => {
          if (!isMessage(news, "start_round")) return;
          inner = (async () => {
            const sent = await me.channel.sendStream({
              target: you.account,
              dataStream: Buffer.from("o"),
              tag: "outer",
            });
            return [sent, (await me.channel.receiveStream({ source: you.account, tag: "inner" }))[0]];
          })();
          await inner;
        },
      });
      await received;
      const sent = me.channel.sendStream({ target: you.account, dataStream: Buffer.from("i"), tag: "inner" });
      return [await inner, await sent];
    };
    const both = Promise.all([side(alice, bob), side(bob, alice)]);
    await alice.contractor.post({ kind: "start_round", body: { round: 0 } });
    expect(await both).toEqual([
      [[bob.account, bob.account], bob.account],
      [[alice.account, alice.account], alice.account],
    ]);
  });

  it("that is busy when its call ends keeps nobody waiting, and what it had not begun goes to the next reader", async () => {
    const cast = await scene.cast(2);
    const [alice, bob] = [await ready(cast, 0), await ready(cast, 1)];
    const { tag, dataStream } = parcel();
    const busy = gate();
    const begun = gate();
    const seen: string[] = [];
    const received = bob.channel.receiveStream({
      ...{ source: alice.account, tag },
      complementaryHandler: (news) => {
        seen.push(nameOf(news));
        begun.open();
        return busy.opened;
      },
    });
    await alice.contractor.post({ kind: "1", body: null });
    await alice.contractor.post({ kind: "2", body: null });
    await begun.opened;
    await alice.channel.sendStream({ target: bob.account, dataStream, tag });
    await received;
    expect(seen).toEqual(["1"]);
    for await (const news of bob.contractor.events()) {
      expect(nameOf(news)).toBe("2");
      break;
    }
    busy.open();
  });
});

describe("a message", () => {
  it("of a kind that a program registers has the type and the check of the program", async () => {
    const cast = await scene.cast(2);
    const [alice, bob] = [await ready(cast, 0), await ready(cast, 1)];
    // @ts-expect-error: its accuracy is a number
    await alice.contractor.post({ kind: "evaluated", body: { accuracy: "high" } });
    await alice.contractor.post({ kind: "evaluated", body: { accuracy: 0.5 } });
    const isNumber = (body: unknown): boolean => typeof (body as { accuracy?: unknown } | null)?.accuracy === "number";
    for await (const news of bob.contractor.events()) {
      if (!isMessage(news, "evaluated", isNumber)) continue;
      expect(news.body.accuracy).toBe(0.5);
      break;
    }
  });

  it("of a registered kind has a body that is checked when it is read", async () => {
    const cast = await scene.cast(2);
    const [alice, bob] = [await ready(cast, 0), await ready(cast, 1)];
    await alice.contractor.post({ kind: "close_round", body: { round: 3, note: "done" } });
    // What a program of another kind may write: the types bind only ours.
    const kind: string = "close_round";
    await alice.contractor.post({ kind, body: { round: "three" } });
    const seen: unknown[] = [];
    for await (const news of bob.contractor.events()) {
      seen.push(isMessage(news, "close_round") ? news.body.round : "no");
      if (seen.length === 2) break;
    }
    expect(seen).toEqual([3, "no"]);
  });

  it("is refused before it is sent when its body is no JSON, or larger than 4 KiB as UTF-8", async () => {
    const { contractor } = (await scene.cast(1)).process(0);
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    for (const body of [cycle, 1n, undefined, "ü".repeat(2_048)])
      await expect(contractor.post({ kind: "x", body })).rejects.toThrow(coded("USAGE"));
  });
});
