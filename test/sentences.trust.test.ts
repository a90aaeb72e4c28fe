import { Wallet } from "ethers";
import { afterAll, beforeAll, expect, it } from "vitest";
import { compileFile } from "../contracts/build.mjs";
import { type Address, type Hex, TaskContractor } from "../lib/index.ts";
import { encodeKind } from "../lib/messages.ts";
import { EVERYONE, type Message, signStatement, taskId } from "../lib/protocol/statements.ts";
import { random32 } from "./support/contract.ts";
import {
  type Cast,
  coded,
  nameOf,
  newsOf,
  noticed,
  parcel,
  readings,
  rejection,
  Scene,
  signpost,
  standing,
  watching,
} from "./support/members.ts";

// Design §8, "The client is a fold ..." and "Trust". Events that cannot be true are in ledger.test.ts; servers that lie, and
// what is pinned in the deployment file (chain id, contract, store origin), in channel.test.ts.

let scene: Scene;
let walletCode: string;
beforeAll(async () => {
  walletCode = compileFile("test/Wallets.sol").OwnedWallet!.bytecode;
  scene = await Scene.start();
});
afterAll(() => scene?.stop());

const lower = (account: string): Address => account.toLowerCase() as Address;

it.concurrent("what follows from the events is the same whether they come from an RPC node or over HTTPS", async () => {
  const cast = await scene.cast(3);
  const [alice, bob, carol] = cast.accounts as [string, string, string];
  const { tag, dataStream } = parcel();
  const owner = cast.process(0);
  const { onNotice, notice } = noticed();
  const sent = owner.channel.batchSendStream({ target: [bob, carol], dataStream, tag, onNotice });
  await cast.process(1).channel.receiveStream({ source: alice, tag });
  await owner.contractor.post({ kind: "hello", body: [1] });
  await owner.contractor.expel([carol]);
  await owner.contractor.admit([carol]);
  expect(await sent).toEqual([bob]);
  const views = readings.map(async ([, reading]) => {
    const { contractor } = cast.process(1, { ...reading, from: 0 });
    const news = await newsOf(contractor, 4);
    return { members: await contractor.members(), status: await contractor.status((await notice).notice), news };
  });
  const [overHttps, fromNode] = await Promise.all(views);
  expect(overHttps).toEqual(fromNode);
  expect(overHttps!.news).toHaveLength(4);
});

it.concurrent("over HTTPS alone a server can withhold; an RPC node of one's own closes that", async () => {
  const cast = await scene.cast(2);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  const { seq, block } = { seq: await cast.seq(), block: (await scene.block()).number };
  const withhold = (path: string, text: string): string => {
    const answer = JSON.parse(text) as Record<string, unknown>;
    if (path.endsWith("/events")) return JSON.stringify({ ...answer, events: [], next: { seq, block } });
    return path.endsWith(cast.task) ? JSON.stringify({ ...answer, latest: { seq, block } }) : text;
  };
  const { onNotice, notice } = noticed();
  const sender = cast.process(0);
  const sent = sender.channel.sendStream({ target: bob, dataStream, tag, onNotice });
  await standing(sender, (await notice).notice);
  const fetch = watching(() => {}, withhold);
  const order = { source: alice, tag };
  // The opening came before the server fell silent; without it nothing is believed at all.
  const kept = rejection(cast.process(1, { fetch }).channel.receiveStream({ ...order, timeout: 2_000 }));
  expect(["TIMEOUT", "UNAVAILABLE"]).toContain(((await kept) as { code: string }).code);
  const [from, data] = await cast.process(1, { fetch, ownNode: true }).channel.receiveStream(order);
  expect([from, Buffer.compare(data, dataStream)]).toEqual([alice, 0]);
  expect(await sent).toBe(bob);
});

it.concurrent.each(readings)("a server that misreports the time: %s", async (_name, reading) => {
  const cast = await scene.cast(2, reading);
  const [alice, bob] = cast.accounts as [string, string];
  const { tag, dataStream } = parcel();
  let ahead = 0;
  const later = (_path: string, text: string): string =>
    text.replace(/("head":\{[^}]*"timestamp":)(\d+)/, (_, name, time) => `${name}${Number(time) + ahead}`);
  const fetch = watching(() => {}, later);
  const { onNotice, notice } = noticed();
  const sent = cast.process(0, { fetch }).channel.sendStream({ target: bob, dataStream, tag, onNotice });
  await standing(cast.process(1), (await notice).notice);
  ahead = 5_000;
  if (reading.ownNode) {
    expect((await cast.process(1, { fetch }).channel.receiveStream({ source: alice, tag }))[0]).toBe(alice);
    expect(await sent).toBe(bob);
  } else {
    // Over HTTPS alone it ends the wait too early; that somebody has verified it can't make up.
    expect(await sent).toBeNull();
  }
});

/**
 * A server that says of every statement that it is refused, and passes what is posted to `path` on only when it has said
 * so twice; or never.
 */
function slandering(path: RegExp, passOn = true): typeof fetch {
  const { reach, reached } = signpost();
  let lies = 0;
  return async (input, init) => {
    const { pathname } = new URL(String(input));
    if (/\/statements\/0x\w+$/.test(pathname)) {
      lies += 1;
      if (lies === 2) reach();
      return new Response(JSON.stringify({ state: "refused", reason: "BAD_SIGNATURE" }));
    }
    if (!path.test(pathname)) return fetch(input, init);
    if (passOn) void reached.then(() => fetch(input, init));
    return new Response(JSON.stringify({ statement: `0x${"0".repeat(64)}` }), { status: 202 });
  };
}

it("over HTTPS alone a server can say that a message or roster change is refused; an RPC node of one's own closes that", async () => {
  const cast = await scene.cast(1);
  const owner = (path: RegExp, ownNode: boolean) => cast.process(0, { fetch: slandering(path), ownNode }).contractor;
  const slandered = coded("REFUSED_STATEMENT", { reason: "BAD_SIGNATURE" });
  const post = (ownNode: boolean) => owner(/messages$/, ownNode).post({ kind: "hello", body: 1 });
  const newcomer = Wallet.createRandom().address;
  const [posted] = await Promise.all([post(true), owner(/roster$/, true).admit([newcomer])]);
  expect(posted).toHaveLength(1);
  const lies = [post(false), owner(/roster$/, false).expel([newcomer])].map(rejection);
  expect(await Promise.all(lies)).toEqual([slandered, slandered]);
});

it("with an RPC node of one's own a withdrawal isn't given up because a server says that it is refused", async () => {
  const cast = await scene.cast(2);
  const sender = cast.process(0, { fetch: slandering(/withdrawals$/), ownNode: true });
  const end = new AbortController();
  const { onNotice, notice } = noticed();
  const target = cast.accounts[1]!;
  const sent = rejection(sender.channel.sendStream({ target, ...parcel(), onNotice, signal: end.signal }));
  await standing(sender, (await notice).notice);
  end.abort();
  expect(await sent).toEqual(coded("ABORTED"));
  expect((await sender.contractor.status((await notice).notice)).withdrawn).toBe(true);
});

it("what the contract refuses indeed is refused at once, and with the contract's own reason", async () => {
  const cast = await scene.cast(2);
  const member = cast.process(1, { fetch: slandering(/messages$/, false), ownNode: true });
  const posting = rejection(member.contractor.post({ kind: "hello", body: 1 }));
  await cast.process(0).contractor.expel([member.account]);
  expect(await posting).toEqual(coded("REFUSED_STATEMENT", { reason: "EXPELLED" }));
});

/** A contract wallet whose owner's key the test holds. */
function walletOf(owner: { readonly address: string }): Promise<Address> {
  return scene.deploy(walletCode, ["constructor(address owner)"], owner.address);
}

it.concurrent("over HTTPS alone a contract wallet's statements are not delivered; with an RPC node of one's own they are", async () => {
  const cast = await scene.cast(2);
  const key = Wallet.createRandom();
  const wallet = await walletOf(key);
  await cast.process(0).contractor.admit([wallet]);
  const { timestamp } = await scene.block();
  const said: Message = {
    ...{ kind: "message", task: cast.task, sender: wallet, page: 0, recipients: EVERYONE, payload: "0x31" },
    ...{ name: encodeKind("from the wallet"), salt: random32(), deadline: timestamp + 600 },
  };
  const signed = await signStatement(key, scene.stack.deployment, said);
  await scene.relay({ ...signed, author: wallet });
  await cast.process(0).contractor.post({ kind: "from a key", body: 1 });
  const heard = readings.map(async ([, reading]) => {
    const news = await newsOf(cast.process(1, { ...reading, from: 2 }).contractor, reading.ownNode ? 2 : 1);
    return news.map(nameOf);
  });
  expect(await Promise.all(heard)).toEqual([["from a key"], ["from the wallet", "from a key"]]);
});

it.concurrent("over HTTPS alone a task opened by a contract wallet is refused", async () => {
  const key = Wallet.createRandom();
  const member = Wallet.createRandom();
  const wallet = await walletOf(key);
  const salt = random32();
  const { deployment, rpc } = scene.stack;
  const open = { kind: "open", owner: wallet, salt, members: [lower(member.address)] } as const;
  await scene.relay({ ...(await signStatement(key, deployment, open)), author: wallet });
  const task = taskId(wallet, salt) as Hex;
  const make = (use: Cast["scene"]["stack"]["deployment"]) =>
    scene.adopt(new TaskContractor({ task, signer: member, deployment: use }));
  expect(await rejection(make(deployment).members())).toEqual(coded("NEEDS_RPC"));
  expect(await make({ ...deployment, rpc }).members()).toMatchObject([{ account: lower(member.address) }]);
});
