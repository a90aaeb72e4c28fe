import { Wallet } from "ethers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Follower } from "../lib/chain/follower.ts";
import { Ledger, type News } from "../lib/chain/ledger.ts";
import type { Batch, EventSource } from "../lib/chain/source.ts";
import { WaybillError } from "../lib/protocol/errors.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import type { Outcome } from "../lib/protocol/reasons.ts";
import {
  bitmapOf,
  EVERYONE,
  type Message,
  type Notice,
  noticeId,
  type Statement,
  signStatement,
  taskId,
} from "../lib/protocol/statements.ts";
import type { ReceiptGroup, TaskEvent } from "../lib/protocol/wire.ts";

const domain = { chainId: 31337, contract: `0x${"c".repeat(40)}` } as const;
const word = (digit: string): Hex => `0x${digit.repeat(64)}`;
const owner = Wallet.createRandom();
const wallets = Array.from({ length: 4 }, () => Wallet.createRandom());
const stranger = Wallet.createRandom();
const of = (wallet: { address: string }): Address => wallet.address.toLowerCase() as Address;
const accounts = wallets.map(of);
const task = taskId(owner.address, word("5"));
const forged = expect.objectContaining({ name: "WaybillError", code: "BAD_SERVER" });

type Receipts = Extract<TaskEvent, { type: "receipts" }>;

/** What the contract would emit: signed statements, in one line. */
class Line {
  seq = 0;
  block = 0;

  place(
    block = this.block + 1,
  ): Pick<TaskEvent, "task" | "seq" | "prevBlock" | "block" | "blockHash" | "transaction" | "logIndex"> {
    const place = {
      task,
      seq: ++this.seq,
      prevBlock: this.block,
      block,
      blockHash: word("b"),
      transaction: word("e"),
      logIndex: 0,
    };
    this.block = block;
    return place;
  }

  async open(members = accounts, signer = owner): Promise<TaskEvent> {
    const statement = { kind: "open", owner: of(owner), salt: word("5"), members } as const;
    const { signature } = await signStatement(signer, domain, statement);
    return { type: "opened", ...this.place(), owner: of(owner), salt: word("5"), members: [...members], signature };
  }

  async change(kind: "admit" | "expel", members: Address[], roster: number, signer = owner): Promise<TaskEvent> {
    const { signature } = await signStatement(signer, domain, { kind, task, members, roster });
    return { type: kind === "admit" ? "admitted" : "expelled", ...this.place(), roster, members, signature };
  }

  async notice(notice: Notice, signer = wallets[0]!): Promise<TaskEvent> {
    const { signature } = await signStatement(signer, domain, notice);
    const { kind: _kind, ...fields } = notice;
    return { type: "noticed", ...this.place(), ...fields, signature };
  }

  async receipts(notice: Hex, outcome: Outcome, signers: readonly (typeof owner)[]): Promise<Receipts> {
    return this.told([await group(notice, outcome, signers)]);
  }

  told(receipts: ReceiptGroup[]): Receipts {
    return { type: "receipts", ...this.place(), receipts };
  }

  async withdraw(notice: Notice, signer = wallets[0]!): Promise<TaskEvent> {
    const { signature } = await signStatement(signer, domain, { kind: "withdraw", of: notice });
    return { type: "withdrawn", ...this.place(), notice: noticeId(notice), signature };
  }

  async post(more: Partial<Message> = {}, signer = wallets[0]!): Promise<TaskEvent> {
    const message: Message = {
      ...{ kind: "message", task, sender: accounts[0]!, page: 0, recipients: EVERYONE, name: word("7") },
      ...{ payload: "0x01", salt: word("8"), deadline: 2_000 },
      ...more,
    };
    const { signature } = await signStatement(signer, domain, message);
    const { kind: _kind, ...fields } = message;
    return { type: "posted", ...this.place(), ...fields, signature };
  }
}

/** Equal words about a notice, signed by these. */
async function group(notice: Hex, outcome: Outcome, signers: readonly (typeof owner)[]): Promise<ReceiptGroup> {
  const receipt: Statement = { kind: "receipt", task, notice, outcome };
  const signed = await Promise.all(signers.map((signer) => signStatement(signer, domain, receipt)));
  return { notice, outcome, signatures: signed.map(({ signature }) => signature) };
}

const notice: Notice = {
  kind: "notice",
  task,
  sender: accounts[0]!,
  page: 0,
  recipients: bitmapOf([1, 2, 3]),
  transfer: word("2"),
  manifest: word("3"),
  deadline: 1_000,
};
const id = noticeId(notice);

/** What counts when it is alone. */
const good = () => group(id, "VERIFIED", [wallets[1]!]);

let line: Line;
let ledger: Ledger;
const state = () => accounts.slice(1).map((account) => ledger.notice(id)?.recipients.get(account)?.state);

async function opened(): Promise<void> {
  line = new Line();
  ledger = new Ledger({ domain, task, trusted: false });
  ledger.apply(await line.open());
}

describe("a ledger", () => {
  beforeEach(opened);

  it("folds a task's life: members, a notice, answers, a withdrawal", async () => {
    expect(ledger.owner).toBe(of(owner));
    expect(ledger.members().map(({ account, active }) => [account, active])).toEqual(
      accounts.map((one) => [one, true]),
    );
    ledger.apply(await line.notice(notice));
    expect(state()).toEqual(["outstanding", "outstanding", "outstanding"]);
    ledger.apply(await line.receipts(id, "VERIFIED", [wallets[2]!]));
    ledger.apply(await line.receipts(id, "CORRUPT", [wallets[1]!]));
    expect(state()).toEqual(["cleared", "verified", "outstanding"]);
    ledger.apply(await line.withdraw(notice));
    expect(state()).toEqual(["cleared", "verified", "cleared"]);
    expect(ledger.notice(id)).toMatchObject({ proved: true, withdrawn: true });
    expect(ledger.noticesOf(accounts[0]!, word("2")).map((record) => record.id)).toEqual([id]);
  });

  it("takes all answers of one event, to several notices and with several outcomes", async () => {
    const other = { ...notice, deadline: 2_000 };
    ledger.apply(await line.notice(notice));
    ledger.apply(await line.notice(other));
    const groups = await Promise.all([
      group(id, "VERIFIED", [wallets[3]!, wallets[1]!]),
      group(noticeId(other), "REFUSED", [wallets[1]!]),
      group(id, "CORRUPT", [wallets[2]!]),
    ]);
    const event = line.told(groups);
    ledger.apply(event);
    expect(state()).toEqual(["verified", "cleared", "verified"]);
    const outcomes = [...ledger.notice(noticeId(other))!.recipients.values()].map(({ outcome }) => outcome);
    expect(outcomes).toEqual(["REFUSED", null, null]);
    expect(ledger.notice(id)!.recipients.get(accounts[2]!)).toMatchObject({
      outcome: "CORRUPT",
      transaction: event.transaction,
    });
    expect(ledger.position.seq).toBe(4);
  });

  it("gives a member that was admitted again a new index, under which old notices are not its own", async () => {
    ledger.apply(await line.notice(notice));
    ledger.apply(await line.change("expel", [accounts[1]!, of(stranger)], 1));
    expect(ledger.member(accounts[1]!)?.active).toBe(false);
    ledger.apply(await line.change("admit", [accounts[1]!, accounts[2]!, of(stranger), of(stranger)], 2));
    expect(ledger.member(accounts[1]!)).toEqual({ account: accounts[1], index: 4, active: true });
    expect(ledger.member(of(stranger))?.index).toBe(5);
    expect(ledger.members()).toHaveLength(6);
    const late = await line.receipts(id, "VERIFIED", [wallets[1]!]);
    expect(() => ledger.apply(late)).toThrow(forged);
  });

  it("hands on messages and roster changes, and knows whom a message is for", async () => {
    const all = ledger.apply(await line.post()) as Extract<News, { type: "message" }>;
    const one = ledger.apply(await line.post({ recipients: 2n })) as Extract<News, { type: "message" }>;
    expect(all.message.payload).toBe("0x01");
    expect(accounts.map((account) => ledger.concerns(all.message, account))).toEqual([true, true, true, true]);
    expect(accounts.map((account) => ledger.concerns(one.message, account))).toEqual([false, true, false, false]);
    expect(ledger.apply(await line.change("expel", [accounts[3]!], 1))).toMatchObject({
      type: "roster",
      change: "expelled",
    });
  });

  it.each<[string, () => Promise<TaskEvent>]>([
    ["a second opening", () => line.open()],
    ["an event of another task", async () => ({ ...(await line.post()), task: word("9") })],
    ["a gap in seq", async () => ({ ...(await line.post()), seq: 3 })],
    ["a repeated seq", async () => ({ ...(await line.post()), seq: 1 })],
    ["a wrong prevBlock", async () => ({ ...(await line.post()), prevBlock: 0 })],
    ["a block before the last one", async () => ({ ...(await line.post()), block: 0 })],
    ["an admission that the owner did not sign", () => line.change("admit", [of(stranger)], 1, stranger)],
    ["an expulsion that the owner did not sign", () => line.change("expel", [accounts[1]!], 1, wallets[0]!)],
    ["an old roster version", () => line.change("admit", [of(stranger)], 0)],
    ["a future roster version", () => line.change("admit", [of(stranger)], 2)],
    [
      "an admission with another member added",
      async () =>
        ({ ...(await line.change("admit", [of(stranger)], 1)), members: [of(stranger), of(owner)] }) as TaskEvent,
    ],
    ["a notice of no member", () => line.notice({ ...notice, sender: of(stranger) }, stranger)],
    ["a notice to nobody", () => line.notice({ ...notice, recipients: 0n })],
    ["a notice to an index that nobody has", () => line.notice({ ...notice, recipients: 1n << 4n })],
    ["a notice with bits above its page", () => line.notice({ ...notice, recipients: 1n << 104n })],
    ["a notice on another page", () => line.notice({ ...notice, page: 1 })],
    ["a receipt for a notice that isn't there", () => line.receipts(id, "VERIFIED", [wallets[1]!])],
    ["a withdrawal of a notice that isn't there", () => line.withdraw(notice)],
    ["a message of no member", () => line.post({ sender: of(stranger) }, stranger)],
    ["a message to nobody", () => line.post({ recipients: 0n })],
  ])("refuses %s, and stays as it was", async (_name, make) => {
    const event = await make();
    const before = ledger.position;
    expect(() => ledger.apply(event)).toThrow(forged);
    expect(ledger.position).toEqual(before);
    expect([...ledger.notices()]).toEqual([]);
    expect(ledger.members()).toHaveLength(4);
  });

  it.each<[string, () => Promise<TaskEvent>]>([
    ["of a stranger", () => line.receipts(id, "VERIFIED", [stranger])],
    ["of the sender itself", () => line.receipts(id, "VERIFIED", [wallets[0]!])],
    ["of one who has answered", () => line.receipts(id, "VERIFIED", [wallets[3]!])],
    ["of one twice", () => line.receipts(id, "VERIFIED", [wallets[1]!, wallets[1]!])],
    ["at all", async () => line.told([])],
    ["of nobody", () => line.receipts(id, "VERIFIED", [])],
    ["with a group of nobody", async () => line.told([await good(), await group(id, "CORRUPT", [])])],
    ["of one twice in two groups", async () => line.told([await good(), await group(id, "CORRUPT", [wallets[1]!])])],
    [
      "with a stranger's group behind a good one",
      async () => line.told([await good(), await group(id, "REFUSED", [stranger])]),
    ],
    [
      "with a group for a notice that isn't there",
      async () => line.told([await good(), await group(word("4"), "VERIFIED", [wallets[2]!])]),
    ],
    ["with a stranger's among good ones", () => line.receipts(id, "VERIFIED", [wallets[1]!, stranger])],
    [
      "for another outcome than signed",
      async () => line.told([{ ...(await group(id, "CORRUPT", [wallets[1]!])), outcome: "VERIFIED" }]),
    ],
    [
      "for another notice than signed",
      async () => line.told([{ ...(await group(word("4"), "VERIFIED", [wallets[1]!])), notice: id }]),
    ],
    [
      "that is no signature",
      async () => line.told([{ notice: id, outcome: "VERIFIED", signatures: [`0x${"11".repeat(65)}`] }]),
    ],
    [
      "of a wallet that is no member",
      async () => ({
        type: "walletReceipt",
        ...line.place(),
        notice: id,
        outcome: "VERIFIED",
        account: of(stranger),
        signature: "0x",
      }),
    ],
    ["the very notice again", () => line.notice(notice)],
  ])("counts no receipt %s", async (_name, make) => {
    ledger.apply(await line.notice(notice));
    ledger.apply(await line.receipts(id, "REFUSED", [wallets[3]!]));
    const event = await make();
    expect(() => ledger.apply(event)).toThrow(forged);
    expect(state()).toEqual(["outstanding", "outstanding", "cleared"]);
  });

  it("refuses a repeated receipt before it looks at what follows: a server could send thousands", async () => {
    ledger.apply(await line.notice(notice));
    const { signatures, ...said } = await good();
    const event = line.told([{ ...said, signatures: [...signatures, ...signatures, `0x${"11".repeat(65)}`] }]);
    expect(() => ledger.apply(event)).toThrow(/one member answers twice/);
  });

  it("takes a message and a withdrawal once only", async () => {
    ledger.apply(await line.notice(notice));
    const message = await line.post();
    ledger.apply(message);
    expect(() => ledger.apply({ ...message, ...line.place() })).toThrow(forged);
    line.seq -= 1;
    line.block -= 1;
    ledger.apply(await line.withdraw(notice));
    const again = await line.withdraw(notice);
    expect(() => ledger.apply(again)).toThrow(forged);
  });

  it("does not count what only a contract wallet could have signed, but goes on", async () => {
    ledger.apply(await line.notice(notice, stranger));
    ledger.apply(await line.post({}, stranger));
    expect([...ledger.notices()]).toEqual([]);
    expect(ledger.noticesOf(accounts[0]!, word("2"))).toEqual([]);
    expect(ledger.notice(id)?.proved).toBe(false);
    const other = { ...notice, deadline: 2_000 };
    ledger.apply(await line.notice(other));
    ledger.apply({
      type: "walletReceipt",
      ...line.place(),
      notice: noticeId(other),
      outcome: "VERIFIED",
      account: accounts[1]!,
      signature: "0x01",
    });
    ledger.apply(await line.withdraw(other, stranger));
    expect(ledger.notice(noticeId(other))).toMatchObject({ proved: true, withdrawn: false });
    expect(ledger.notice(noticeId(other))?.recipients.get(accounts[1]!)?.state).toBe("outstanding");
  });

  it("counts contract wallets when the events come from a node of one's own", async () => {
    const own = new Ledger({ domain, task, trusted: true });
    const start = new Line();
    own.apply(await start.open(accounts, stranger));
    own.apply(await start.notice(notice, stranger));
    own.apply({
      type: "walletReceipt",
      ...start.place(),
      notice: id,
      outcome: "VERIFIED",
      account: accounts[1]!,
      signature: "0x01",
    });
    expect(own.notice(id)?.recipients.get(accounts[1]!)?.state).toBe("verified");
  });
});

describe("a task's opening", () => {
  it("by somebody else than the id commits to is forged, by a contract wallet it needs a node", async () => {
    const fresh = () => new Ledger({ domain, task, trusted: false });
    const event = await new Line().open();
    expect(() => fresh().apply({ ...event, owner: of(stranger) } as TaskEvent)).toThrow(forged);
    expect(() => fresh().apply({ ...event, salt: word("6") } as TaskEvent)).toThrow(forged);
    const needsRpc = expect.objectContaining({ code: "NEEDS_RPC" });
    expect(() => fresh().apply({ ...event, signature: "0x01" } as TaskEvent)).toThrow(needsRpc);
    expect(() => fresh().apply({ ...event, members: [of(stranger)] } as TaskEvent)).toThrow(needsRpc);
  });
});

/** A source whose every answer the test gives. */
class Script implements EventSource {
  readonly #answers: (Batch | WaybillError)[] = [];
  #wake = (): void => {};
  reads = 0;
  at = { head: { block: 0, timestamp: 0 }, seq: 0 };

  push(answer: Batch | WaybillError): void {
    this.#answers.push(answer);
    this.#wake();
  }

  async read(_after: unknown, signal: AbortSignal): Promise<Batch> {
    this.reads += 1;
    while (this.#answers.length === 0) {
      await new Promise<void>((resolve, reject) => {
        this.#wake = resolve;
        signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      });
    }
    const answer = this.#answers.shift()!;
    if (answer instanceof WaybillError) throw answer;
    return answer;
  }

  async look(): Promise<{ head: { block: number; timestamp: number }; seq: number }> {
    return this.at;
  }

  close(): void {}
}

describe("a follower", () => {
  const source = () => new Script();
  const follow = (script: EventSource, maxBlockAge = 60_000) =>
    new Follower({ ledger: new Ledger({ domain, task, trusted: false }), source: script, blockTime: 100, maxBlockAge });
  const head = (block: number, timestamp: number) => ({ block, timestamp });

  it("wakes everybody whom an event concerns, survives passing faults, and stops reading when nobody waits", async () => {
    const script = source();
    const follower = follow(script);
    const start = new Line();
    const both = [
      follower.until(() => follower.ledger.member(accounts[1]!) ?? undefined),
      follower.until(() => (follower.ledger.noticesOf(accounts[0]!, word("2")).length > 0 ? true : undefined)),
    ];
    script.push(new WaybillError("UNREACHABLE", "for now"));
    script.push({ events: [await start.open()], head: null, poll: 0 });
    script.push({ events: [await start.notice(notice)], head: head(2, 50), poll: 0 });
    await Promise.all(both);
    expect(follower.head).toEqual(head(2, 50));
    const { reads } = script;
    await new Promise((resolve) => setImmediate(resolve));
    expect(script.reads).toBe(reads);
    expect(await follower.until(() => "at once")).toBe("at once");
  });

  it("hands a forged event and a fatal fault to all who wait", async () => {
    for (const [fault, code] of [
      [new WaybillError("EXPELLED", "out"), "EXPELLED"],
      [{ events: [await new Line().open(accounts, stranger)], head: null, poll: 0 }, "NEEDS_RPC"],
      [{ events: [{ ...(await new Line().open()), seq: 2 }], head: null, poll: 0 }, "BAD_SERVER"],
    ] as const) {
      const script = source();
      const follower = follow(script);
      const waits = [follower.until(() => undefined), follower.until(() => undefined)];
      script.push(fault);
      for (const wait of await Promise.allSettled(waits))
        expect(wait).toMatchObject({ status: "rejected", reason: { code } });
    }
  });

  it("syncs with what stood at the time of the call, and not before", async () => {
    const script = source();
    const follower = follow(script);
    script.at = { head: head(7, 70), seq: 1 };
    let done = false;
    const sync = follower.sync().then((found) => {
      done = true;
      return found;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(done).toBe(false);
    script.push({ events: [await new Line().open()], head: null, poll: 0 });
    expect(await sync).toEqual({ head: head(7, 70), seq: 1 });
    expect(follower.head).toEqual(head(7, 70));
  });

  it("does not wait without end for events that a source tells of and doesn't show", async () => {
    const script = source();
    script.at = { head: head(7, 70), seq: 5 };
    script.push({ events: [await new Line().open()], head: null, poll: 0 });
    await expect(follow(script, 1_000).sync()).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
  });

  it("sees the end of a deadline at a block up to which it knows every event, even while the source is silent", async () => {
    const script = source();
    const follower = follow(script);
    const over = follower.until(() => (follower.head && follower.head.timestamp > 100 ? follower.head : undefined), {
      at: 100,
    });
    script.at = { head: head(9, 101), seq: 1 }; // there is an event that we don't have: not decided
    script.push({ events: [], head: head(1, 1), poll: 0 });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(follower.head).toEqual(head(1, 1));
    script.push({ events: [await new Line().open()], head: null, poll: 0 });
    script.push({ events: [], head: head(9, 101), poll: 0 });
    expect(await over).toEqual(head(9, 101));
  });

  it("calls a chain stalled that makes no block after a deadline, and says why when the source is gone", async () => {
    const script = source();
    const follower = follow(script, 1_000);
    script.push({ events: [], head: head(1, 100), poll: 0 });
    await expect(follower.until(() => undefined, { at: 99 })).rejects.toMatchObject({
      code: "CHAIN_STALLED",
      retryable: true,
    });
    const gone = follow(
      {
        ...script,
        read: script.read.bind(script),
        close: () => {},
        look: () => Promise.reject(new WaybillError("UNREACHABLE", "gone")),
      },
      1_000,
    );
    await expect(gone.until(() => undefined, { at: 99 })).rejects.toMatchObject({ code: "UNREACHABLE" });
  });

  it("tells once that the chain stands still after a deadline, and goes on when a block comes", async () => {
    const script = source();
    const follower = follow(script);
    script.at = { head: head(1, 100), seq: 0 };
    script.push({ events: [], head: head(1, 100), poll: 0 });
    let told = 0;
    const over = follower.until(() => (follower.head && follower.head.timestamp > 100 ? follower.head : undefined), {
      at: 100,
      onStill: () => {
        told += 1;
        setTimeout(() => {
          script.at = { head: head(2, 104), seq: 0 };
        }, 700); // two more looks
      },
    });
    expect(await over).toEqual(head(2, 104));
    expect(told).toBe(1);
  });

  it("does not call a chain still before the deadline is over by our own clock", async () => {
    const script = source();
    script.at = { head: head(1, 100), seq: 0 };
    script.push({ events: [], head: head(1, 100), poll: 0 });
    const onStill = vi.fn();
    const end = new AbortController();
    const wait = follow(script, 3_000).until(() => undefined, { at: 1_000, onStill, signal: end.signal });
    const left = wait.catch((error: unknown) => error);
    await vi.waitUntil(() => script.reads > 0);
    await new Promise((resolve) => setTimeout(resolve, 3_500)); // longer than a chain may stand still after it
    expect(onStill).not.toHaveBeenCalled();
    end.abort(new Error("enough"));
    expect(await left).toMatchObject({ message: "enough" });
  });

  it("does not call a chain still that nobody can see", async () => {
    const script = source();
    script.look = () => Promise.reject(new WaybillError("UNREACHABLE", "gone"));
    script.push({ events: [], head: head(1, 100), poll: 0 });
    const onStill = vi.fn();
    const wait = follow(script, 3_000).until(() => undefined, { at: 100, onStill });
    await expect(wait).rejects.toMatchObject({ code: "UNREACHABLE" });
    expect(onStill).not.toHaveBeenCalled();
  });

  it("rejects with its signal's reason, with what a probe throws, and when it is closed", async () => {
    const follower = follow(source());
    const end = new AbortController();
    const wait = follower.until(() => undefined, { signal: end.signal });
    end.abort(new Error("enough"));
    await expect(wait).rejects.toThrow("enough");
    await expect(follower.until(() => undefined, { signal: end.signal })).rejects.toThrow("enough");
    await expect(
      follower.until(() => {
        throw new Error("probe");
      }),
    ).rejects.toThrow("probe");
    const last = follower.until(() => undefined);
    follower.close();
    await expect(last).rejects.toMatchObject({ code: "ABORTED" });
    await expect(follower.until(() => 1)).rejects.toMatchObject({ code: "ABORTED" });
  });
});
