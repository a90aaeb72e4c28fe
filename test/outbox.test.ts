import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Entry, Outbox, type OutboxStore, type Settlement } from "../functions/outbox.ts";
import { Store } from "../functions/store.ts";
import { wordHex } from "../lib/protocol/hex.ts";
import { type Domain, EVERYONE, type Signed, type Statement, statementId } from "../lib/protocol/statements.ts";
import { type Store as Bucket, startStore } from "../local/store/store.ts";
import { random32, randomAddresses } from "./support/contract.ts";
import { failing } from "./support/publishing.ts";

const domain: Domain = { chainId: 31337, contract: `0x${"c0".repeat(20)}` };
const prefix = `outbox/31337/${domain.contract}/`;
const [owner, member] = randomAddresses(2) as [`0x${string}`, `0x${string}`];
const task = random32();
const notice = {
  kind: "notice",
  task,
  sender: member,
  page: 3,
  recipients: 2n ** 103n + 5n,
  transfer: random32(),
  manifest: random32(),
  deadline: 2 ** 40,
} as const;

/** One of each kind. */
const statements: Statement[] = [
  { kind: "open", owner, salt: random32(), members: randomAddresses(256) },
  { kind: "admit", task, members: randomAddresses(2), roster: 1 },
  { kind: "expel", task, members: randomAddresses(1), roster: 2 ** 32 - 1 },
  notice,
  { kind: "receipt", task, notice: random32(), outcome: "VERIFIED" },
  { kind: "walletReceipt", task, notice: random32(), outcome: "REFUSED", account: member },
  { kind: "withdraw", of: notice },
  {
    kind: "message",
    task,
    sender: member,
    page: 0,
    recipients: EVERYONE,
    name: random32(),
    payload: `0x${"00ff".repeat(2048)}`,
    salt: random32(),
    deadline: 7,
  },
];

let bucket: Bucket;
let store: Store;

beforeEach(async () => {
  bucket = await startStore();
  const { endpoint: s3Endpoint, bucket: name, region, credentials: s3Credentials } = bucket;
  store = new Store({ bucket: name, region, s3Endpoint, s3Credentials });
});
afterEach(async () => {
  store.close();
  await bucket.stop();
});

const sign = (statement: Statement, author = member): Signed => ({
  statement,
  author,
  signature: `0x${"1b".repeat(65)}`,
});
const message = (): Signed => sign({ ...(statements[7] as Statement & { kind: "message" }), salt: random32() });
const outboxAt = (now: () => number, over: OutboxStore = store): Outbox => new Outbox(over, domain, { now });
const keys = async (): Promise<string[]> => (await store.list("")).map(({ key }) => key);

describe("the outbox", () => {
  it("gives back statements of every kind as they were posted", async () => {
    const outbox = new Outbox(store, domain);
    const posted = statements.map((statement) => sign(statement));
    for (const signed of posted) expect(await outbox.post(signed)).toBe(statementId(signed.statement, member));
    const read = await new Outbox(store, domain).pending();
    expect(read.map(({ signed }) => signed)).toEqual(expect.arrayContaining(posted));
    expect(read).toHaveLength(posted.length);
  });

  it("keeps the order of arrival, and within a millisecond puts first what the others need", async () => {
    let now = 999; // fewer digits than later ones
    const outbox = outboxAt(() => now);
    for (const statement of statements.toReversed()) await outbox.post(sign(statement));
    const [late, later] = [message(), message()];
    now = 1000;
    await outbox.post(late);
    now = 1_800_000_000_000;
    await outbox.post(later);
    const read = await outbox.pending();
    const rank = ["open", "admit", "expel", "notice", "receipt", "walletReceipt", "withdraw", "message"];
    expect(read.slice(0, 8).map(({ signed }) => signed.statement.kind)).toEqual(rank);
    expect(read.slice(8).map(({ signed, arrival }) => [signed, arrival])).toEqual([
      [late, 1000],
      [later, 1_800_000_000_000],
    ]);
    expect((await keys())[0]).toMatch(new RegExp(`^${prefix}0000000000999-0-0x[0-9a-f]{64}\\.json$`));
  });

  it("is the outbox of one contract on one chain", async () => {
    const elsewhere = new Outbox(store, { ...domain, chainId: 1 });
    await elsewhere.post(message());
    await new Outbox(store, { ...domain, contract: owner }).post(message());
    expect(await new Outbox(store, domain).pending()).toEqual([]);
    expect(await elsewhere.pending()).toHaveLength(1);
  });

  it("rings after the statement is written, and takes a broken bell for no error", async () => {
    const seen: number[] = [];
    const bell = async () => {
      seen.push((await keys()).length);
      throw new Error("the queue is gone");
    };
    const id = await new Outbox(store, domain, { bell }).post(message());
    expect(seen).toEqual([1]);
    expect(id).toMatch(/^0x/);
  });

  it("does not take a statement that it could not write", async () => {
    let rung = false;
    const broken = failing(store, (operation) => (operation === "putJson" ? "before" : null));
    const bell = async () => {
      rung = true;
    };
    await expect(new Outbox(broken, domain, { bell }).post(message())).rejects.toThrow("injected");
    expect(rung).toBe(false);
  });

  it("tells ten authors' equal receipts apart", async () => {
    const outbox = new Outbox(store, domain);
    for (const author of randomAddresses(10)) await outbox.post(sign(statements[4]!, author));
    expect(new Set((await outbox.pending()).map(({ id }) => id)).size).toBe(10);
  });
});

describe("settling", () => {
  it("answers pending, then what became of it, and keeps the first word", async () => {
    const outbox = new Outbox(store, domain);
    const [one, two] = [message(), message()];
    await outbox.post(one);
    await outbox.post(two);
    const [first, second] = (await outbox.pending()) as [Entry, Entry];
    expect(await outbox.state(first.id)).toEqual({ state: "pending" });
    const settled = { state: "settled", transaction: random32(), block: 7 } as const;
    await outbox.settle(first, settled);
    await outbox.settle(second, { state: "refused", reason: "EXPIRED" });
    await outbox.settle(second, settled);
    expect(await outbox.state(first.id)).toEqual(settled);
    expect(await outbox.state(second.id)).toEqual({ state: "refused", reason: "EXPIRED" });
    expect(await outbox.pending()).toEqual([]);
    expect((await keys()).filter((key) => !key.startsWith("refused/"))).toEqual(
      [first.id, second.id].sort().map((id) => `settled/31337/${domain.contract}/${id}.json`),
    );
  });

  it("deletes an entry only after the settlement is written", async () => {
    const broken = failing(store, (_operation, key) => (key.startsWith("settled/") ? "before" : null));
    await new Outbox(store, domain).post(message());
    const [entry] = await new Outbox(store, domain).pending();
    await expect(new Outbox(broken, domain).settle(entry!, { state: "refused", reason: "EXPIRED" })).rejects.toThrow();
    expect(await new Outbox(store, domain).pending()).toHaveLength(1);
  });

  it("of many writes all their ends before it removes any entry, and these with one request", async () => {
    const outbox = new Outbox(store, domain);
    for (let i = 0; i < 120; i++) await outbox.post(message());
    const ended = (await outbox.pending()).map((entry, i): [Entry, Settlement] => [
      entry,
      i % 3 ? { state: "settled", transaction: random32(), block: i } : { state: "refused", reason: "EXPIRED" },
    ]);
    const [last] = ended[100]!;
    const broken = failing(store, (_operation, key) =>
      key.includes(`settled/`) && key.includes(last.id) ? "before" : null,
    );
    await expect(new Outbox(broken, domain).settleAll(ended)).rejects.toThrow("injected");
    expect((await keys()).filter((key) => key.startsWith("outbox/"))).toHaveLength(120);
    const deleted: string[] = [];
    const watched = failing(store, (operation, key) => {
      if (operation === "delete") deleted.push(key);
      return null;
    });
    await new Outbox(watched, domain).settleAll(ended);
    expect(deleted).toEqual([ended.map(([entry]) => entry.key).join()]);
    expect((await keys()).filter((key) => key.startsWith("outbox/"))).toEqual([]);
    for (const [{ id }, end] of ended) expect(await outbox.state(id)).toEqual(end);
  });

  it("takes no statement again that is settled", async () => {
    const outbox = new Outbox(store, domain);
    for (const end of [
      { state: "settled", transaction: null, block: 1 },
      { state: "refused", reason: "EXPIRED" },
    ] as const) {
      const signed = message();
      const id = await outbox.post(signed);
      await outbox.settle((await outbox.pending())[0]!, end);
      expect(await outbox.post(signed)).toBe(id);
      expect((await keys()).filter((key) => key.startsWith("outbox/"))).toEqual([]);
    }
  });

  it("clears away what was refused while it was posted again, or before a crash", async () => {
    const signed = message();
    const outbox = new Outbox(store, domain);
    await outbox.post(signed);
    const [entry] = await outbox.pending();
    const settling = failing(store, (operation) => (operation === "delete" ? "before" : null));
    const dying = new Outbox(settling, domain).settle(entry!, { state: "refused", reason: "EXPELLED" });
    await expect(dying).rejects.toThrow("injected");
    const again = entry!.key.replace(/[0-9]{13}/, "1900000000000");
    await store.putJson(again, (await store.getJson(entry!.key))!.value);
    for (const reader of [outbox, new Outbox(store, domain)]) expect(await reader.pending()).toEqual([]);
    expect((await keys()).filter((key) => key.startsWith("outbox/"))).toEqual([]);
  });

  it("remembers what was refused, however much more was since, and however long nobody looked", async () => {
    const day = 24 * 3600 * 1000;
    let now = 10 * day;
    const signed = message();
    const outbox = outboxAt(() => now);
    await outbox.post(signed);
    const [entry] = await outbox.pending();
    const value = (await store.getJson(entry!.key))!.value;
    await outbox.settle(entry!, { state: "refused", reason: "EXPELLED" });
    await store.putJson(entry!.key, value); // posted again in the same moment
    const refused = `refused/31337/${domain.contract}/`;
    const others = Array.from({ length: 20_000 }, (_, i) => ({
      key: `${refused}${String(now - 20_000 + i).padStart(13, "0")}-${random32()}.json`,
      size: 2,
      modified: new Date(0),
    }));
    const list: OutboxStore["list"] = async (prefix, options) => {
      const listed = await store.list(prefix, options);
      return prefix === refused ? [...others, ...listed].slice(0, options?.limit) : listed;
    };
    const busy: OutboxStore = {
      ...{ getJson: store.getJson.bind(store), putJson: store.putJson.bind(store), delete: store.delete.bind(store) },
      list,
    };
    now += day;
    expect(await outboxAt(() => now, busy).pending()).toEqual([]);
    expect((await keys()).filter((key) => key.startsWith("outbox/"))).toEqual([]);
  });

  it("leaves what was settled and not cleared away to whoever asks the chain", async () => {
    const outbox = new Outbox(store, domain);
    await outbox.post(message());
    const [entry] = await outbox.pending();
    const settling = failing(store, (operation) => (operation === "delete" ? "before" : null));
    const dying = new Outbox(settling, domain).settle(entry!, { state: "settled", transaction: null, block: 1 });
    await expect(dying).rejects.toThrow("injected");
    expect(await outbox.pending()).toEqual([entry]);
  });

  it("of a statement that was posted often keeps the first entry alone, so that it takes one place", async () => {
    const signed = message();
    let now = 1;
    const outbox = outboxAt(() => now);
    for (; now <= 3; now++) await outbox.post(signed);
    const [first] = await keys();
    for (const reader of [outbox, new Outbox(store, domain)]) {
      expect(await reader.pending()).toMatchObject([{ arrival: 1, key: first, signed }]);
      expect(await keys()).toEqual([first]);
      now += 1;
      await outbox.post(signed);
    }
    const [entry] = await outbox.pending();
    await outbox.settle(entry!, { state: "settled", transaction: null, block: 1 });
    expect((await keys()).filter((key) => key.startsWith("outbox/"))).toEqual([]);
  });

  it("cannot be read from a damaged record", async () => {
    const id = random32();
    await store.putJson(`settled/31337/${domain.contract}/${id}.json`, { state: "settled", transaction: "0x" });
    await expect(new Outbox(store, domain).state(id)).rejects.toMatchObject({ code: "INTERNAL" });
  });
});

describe("an entry that nobody could have posted", () => {
  const good = message();
  const json = {
    ...good,
    statement: { ...good.statement, recipients: wordHex(EVERYONE) } as Record<string, unknown>,
  };
  const changed = (over: Record<string, unknown>) => ({ ...json, statement: { ...json.statement, ...over } });
  it.each([
    ["is no object", 7],
    ["has no signature", { statement: json.statement, author: member }],
    ["has a field too many", { ...json, more: 1 }],
    ["has a field too many in its statement", changed({ more: 1 })],
    ["has upper-case hex", changed({ salt: `0x${"AB".repeat(32)}` })],
    ["has a number for a bitmap", changed({ recipients: 5 })],
    ["has a short bitmap", changed({ recipients: "0x5" })],
    ["has a payload of 4097 bytes", changed({ payload: `0x${"00".repeat(4097)}` })],
    ["has an unknown kind", changed({ kind: "order" })],
    ["has another statement than its key says", changed({ salt: random32() })],
    ["has another author than its key says", { ...json, author: owner }],
    ["is no JSON", new TextEncoder().encode('{"statement":')],
    ["is no text", Uint8Array.of(0xff, 0x00)],
  ])("because it %s is refused, and the others are read", async (_why, value) => {
    const outbox = new Outbox(store, domain);
    const id = statementId(good.statement, member);
    const bytes = value instanceof Uint8Array ? value : new TextEncoder().encode(JSON.stringify(value));
    await store.putBytes(`${prefix}0000000000001-7-${id}.json`, bytes, "application/json");
    await store.putJson(`${prefix}something-else`, 1);
    const fine = message();
    await outbox.post(fine);
    expect((await outbox.pending()).map(({ signed }) => signed)).toEqual([fine]);
    expect(await outbox.state(id)).toEqual({ state: "refused", reason: "MALFORMED" });
  });

  it("because it was spoilt on its way is read once more, and is not refused", async () => {
    const posted = message();
    await new Outbox(store, domain).post(posted);
    let spoilt = 0;
    const getJson: OutboxStore["getJson"] = async (key) => {
      const found = await store.getJson(key);
      if (!key.startsWith(prefix) || spoilt > 0) return found;
      spoilt += 1;
      return found && { ...found, value: undefined };
    };
    const outbox = new Outbox({ ...failing(store, () => null), getJson }, domain);
    expect((await outbox.pending()).map(({ signed }) => signed)).toEqual([posted]);
    expect(spoilt).toBe(1);
  });

  it("is read when nothing is wrong with it", async () => {
    const id = statementId(good.statement, member);
    await store.putJson(`${prefix}0000000000001-7-${id}.json`, json);
    expect((await new Outbox(store, domain).pending()).map(({ signed }) => signed)).toEqual([good]);
  });
});

describe("a receipt's entry", () => {
  const receipt = (outcome: "VERIFIED" | "REFUSED" = "VERIFIED"): Signed =>
    sign({ kind: "receipt", task, notice: random32(), outcome });
  const reads = (): { over: OutboxStore; read: string[] } => {
    const read: string[] = [];
    const over = failing(store, (operation, key) => {
      if (operation === "getJson") read.push(key);
      return null;
    });
    return { over, read };
  };

  it("tells all in its name, so that receipts are read by the page", async () => {
    const posted = [receipt(), receipt("REFUSED"), receipt()];
    for (const signed of posted) await new Outbox(store, domain).post(signed);
    const { over, read } = reads();
    expect((await new Outbox(over, domain).pending()).map(({ signed }) => signed)).toEqual(
      expect.arrayContaining(posted),
    );
    expect(read).toEqual([]);
    for (const key of await keys()) expect(Buffer.byteLength(key)).toBeLessThan(512);
  });

  it("is read when its name tells of another statement than its id", async () => {
    const [one, other] = [receipt(), receipt()];
    const outbox = new Outbox(store, domain);
    const id = await outbox.post(one);
    await outbox.post(other);
    const [first, second] = (await outbox.pending()) as [Entry, Entry];
    const [mine, foreign] = first.id === id ? [first, second] : [second, first];
    const told = /\/[^/]{222}(?=\.json$)/;
    const forged = mine.key.replace(told, told.exec(foreign.key)![0]);
    await store.putJson(forged, (await store.getJson(mine.key))!.value);
    await store.delete([mine.key, foreign.key]);
    expect((await new Outbox(store, domain).pending()).map(({ signed }) => signed)).toEqual([one]);
  });

  it("is read when a wallet signed it at length, or its name has lost its end", async () => {
    const long: Signed = { ...receipt(), signature: `0x${"1b".repeat(195)}` };
    const outbox = new Outbox(store, domain);
    await outbox.post(long);
    const short = receipt();
    await outbox.post(short);
    const named = (await keys()).find((key) => key.length > 250)!;
    await store.putJson(named.replace(/\/[^/]*(?=\.json$)/, ""), (await store.getJson(named))!.value);
    await store.delete(named);
    const { over, read } = reads();
    const found = (await new Outbox(over, domain).pending()).map(({ signed }) => signed);
    expect(found).toEqual(expect.arrayContaining([long, short]));
    expect(read).toHaveLength(2);
  });

  it("says which request posted it, as every entry does", async () => {
    const request = "0123456789abcdef".repeat(2);
    const outbox = new Outbox(store, domain);
    for (const signed of [receipt(), message()]) await outbox.post(signed, request);
    await outbox.post(receipt());
    const found = (await new Outbox(store, domain).pending()).map((entry) => entry.request);
    expect(found.toSorted()).toEqual([request, request, undefined]);
  });
});
