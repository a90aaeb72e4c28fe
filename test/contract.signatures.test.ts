import { Signature, toBeHex } from "ethers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Compiled, compileFile } from "../contracts/build.mjs";
import { type Address, type Hex, toHex } from "../lib/protocol/hex.ts";
import { bitmapOf, type Signed, type WalletReceipt } from "../lib/protocol/statements.ts";
import { addressOf, item, join, newKey, random32, Task, World } from "./support/contract.ts";

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

let world: World;
let wallets: Record<string, Compiled>;
beforeAll(async () => {
  wallets = compileFile("test/Wallets.sol");
  world = await World.start();
});
afterAll(() => world.stop());

const walletOf = (name: string): Promise<Address> => world.deploy(wallets[name]!.bytecode);
const ownedWallet = (owner: Address): Promise<Address> =>
  world.deploy(wallets.OwnedWallet!.bytecode, ["constructor(address owner)"], owner);

describe("A key's signature", () => {
  const forms: [string, (signature: Signature) => string][] = [
    ["a high s", ({ r, s, yParity }) => join(r, toBeHex(ORDER - BigInt(s), 32), toBeHex(28 - yParity))],
    ["v 0 or 1", ({ r, s, yParity }) => join(r, s, toBeHex(yParity, 1))],
    ["the wrong v", ({ r, s, yParity }) => join(r, s, toBeHex(28 - yParity))],
    ["EIP-2098's 64 bytes", ({ compactSerialized }) => compactSerialized],
    ["a byte more", ({ serialized }) => join(serialized, "0x00")],
    ["a byte less", ({ serialized }) => serialized.slice(0, -2)],
    ["nothing at all", () => "0x"],
    ["zeros", () => `0x${"00".repeat(65)}`],
  ];

  it.each(forms)("with %s is refused, of a notice and of a receipt", async (_, change) => {
    const task = await Task.opened(world, 2);
    const notice = await task.noticed([1]);
    const altered = (entry: ReturnType<typeof item>) => ({
      ...entry,
      signatures: change(Signature.from(entry.signatures)) as Hex,
    });
    const another = altered(item(await task.notice([1])));
    const receipt = altered(await task.receipts(notice, [task.members[1]!]));
    const { results } = await world.relay([another, receipt]);
    expect(results[0]).toEqual(["BAD_SIGNATURE"]);
    // With another v a receipt has another author, who is no member.
    expect(["BAD_SIGNATURE", "UNKNOWN_MEMBER"]).toContain(results[1]![0]);
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([1]), verified: 0n });
  });

  it("still counts when its account delegates to a contract (EIP-7702) that accepts nothing", async () => {
    const task = await Task.opened(world, 2);
    await delegate(addressOf(task.members[0]!), await walletOf("RevertingWallet"));
    expect((await world.relay([item(await task.notice([1]))])).results).toEqual([["OK"]]);
  });

  it("isn't needed when its account delegates to a contract that accepts another", async () => {
    const task = await Task.opened(world, 2);
    const session = newKey();
    await delegate(addressOf(task.members[0]!), await ownedWallet(addressOf(session)));
    const { statement } = await task.notice([1]);
    expect((await world.relay([item(await task.sign(session, statement))])).results).toEqual([["OK"]]);
  });

  const delegate = (account: Address, to: Address): Promise<unknown> =>
    world.provider.send("anvil_setCode", [account, join("0xef0100", to)]);
});

describe("A contract wallet (ERC-1271)", () => {
  /** A task with the wallet as member 1, and a notice to it. */
  const noticed = async (wallet: Address) => {
    const task = await Task.opened(world, 1);
    expect((await world.relay([item(await task.change("admit", [wallet], 1))])).results).toEqual([["OK"]]);
    return { task, notice: await task.noticed([1]) };
  };
  const answer = async (wallet: Address, signature: Hex = random32()) => {
    const { task, notice } = await noticed(wallet);
    const signed: Signed<WalletReceipt> = {
      statement: task.walletReceipt(notice, wallet),
      author: wallet,
      signature,
    };
    return { task, notice, signed };
  };

  it("answers with its owner's signature", async () => {
    const owner = newKey();
    const wallet = await ownedWallet(addressOf(owner));
    const { task, notice } = await noticed(wallet);
    const signed = await task.sign(owner, task.walletReceipt(notice, wallet));
    const { results, events } = await world.relay([item(signed), item(signed)]);
    expect(results).toEqual([["OK"], ["DUPLICATE"]]);
    expect(events[0]!.name).toBe("WalletReceipt");
    expect(events[0]!.args.account.toLowerCase()).toBe(wallet);
    expect(events[0]!.args.signature).toBe(signed.signature);
    expect(await task.state(notice)).toMatchObject({ outstanding: 0n, verified: bitmapOf([1]) });
  });

  it("may reject, once: the same rejection is a duplicate, and nothing follows it", async () => {
    const owner = newKey();
    const wallet = await ownedWallet(addressOf(owner));
    const { task, notice } = await noticed(wallet);
    const verified = task.walletReceipt(notice, wallet);
    const refused = item(await task.sign(owner, { ...verified, outcome: "REFUSED" }));
    const { results } = await world.relay([refused, refused, item(await task.sign(owner, verified))]);
    expect(results).toEqual([["OK"], ["DUPLICATE"], ["NOT_OUTSTANDING"]]);
    expect(await task.state(notice)).toMatchObject({ outstanding: 0n, verified: 0n });
  });

  it("is not answered for by a receipt of its owner's key, nor by one that names another wallet of that owner", async () => {
    const owner = newKey();
    const [one, two] = [await ownedWallet(addressOf(owner)), await ownedWallet(addressOf(owner))];
    const { task, notice } = await noticed(one);
    const plain = await task.receipts(notice, [owner]);
    const forTwo = await task.sign(owner, task.walletReceipt(notice, two));
    const swapped = { ...forTwo, statement: task.walletReceipt(notice, one) };
    const { results } = await world.relay([plain, item(forTwo), item(swapped)]);
    expect(results).toEqual([["UNKNOWN_MEMBER"], ["UNKNOWN_MEMBER"], ["BAD_SIGNATURE"]]);
  });

  it("may own a task, send a notice, withdraw it and post", async () => {
    const owner = newKey();
    const wallet = await ownedWallet(addressOf(owner));
    const { task } = await noticed(wallet);
    const notice = await task.sign(owner, (await task.notice([0], { sender: wallet })).statement);
    const items = [
      item(await task.sign(owner, { ...task.open, owner: wallet })),
      item(notice),
      item(await task.sign(owner, { kind: "withdraw", of: notice.statement })),
      item(await task.sign(owner, (await task.message({ sender: wallet })).statement)),
    ];
    expect((await world.relay(items)).results).toEqual([["OK"], ["OK"], ["OK"], ["OK"]]);
  });

  it("signs in any length", async () => {
    const wallet = await walletOf("AcceptingWallet");
    for (const signature of ["0x", random32(), `0x${"ab".repeat(1000)}`] as Hex[]) {
      const { signed } = await answer(wallet, signature);
      const { results, events } = await world.relay([item(signed)]);
      expect(results).toEqual([["OK"]]);
      expect(events[0]!.args.signature).toBe(signature);
    }
  });

  it.each(["LyingWallet", "ShortWallet", "RevertingWallet"])("that answers like %s has not signed", async (name) => {
    const { task, notice, signed } = await answer(await walletOf(name));
    expect((await world.relay([item(signed), item(await task.message())])).results).toEqual([
      ["BAD_SIGNATURE"],
      ["OK"],
    ]);
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([1]) });
  });

  it("that burns all its gas is skipped at the cost of that gas, and affects nobody else", async () => {
    const { task, signed } = await answer(await walletOf("BurningWallet"));
    const { results, gas } = await world.relay([item(signed), item(await task.message())]);
    expect(results).toEqual([["BAD_SIGNATURE"], ["OK"]]);
    expect(gas).toBeGreaterThan(400_000);
    expect(gas).toBeLessThan(550_000);
  });

  it("that returns a mountain of bytes costs no more than its own gas", async () => {
    const { signed } = await answer(await walletOf("BombingWallet"));
    const { results, gas } = await world.relay([item(signed)]);
    expect(results).toEqual([["OK"]]);
    expect(gas).toBeLessThan(450_000);
  });

  it("can't be skipped for the relayer's thrift: it gets all of its gas, or the relay reverts", async () => {
    const { task, notice, signed } = await answer(await walletOf("HungryWallet"));
    for (let gasLimit = 60_000; gasLimit < 460_000; gasLimit += 20_000) {
      await expect(world.send([item(signed)], gasLimit)).rejects.toThrow();
    }
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([1]) });
    expect((await world.relay([item(signed)])).results).toEqual([["OK"]]);
  });

  it("is judged at the very edge of the gas in the same way: done or reverted, never skipped", async () => {
    const { task, notice, signed } = await answer(await walletOf("HungryWallet"));
    const { gas } = await world.relay([item(await (await answer(await walletOf("HungryWallet"))).signed)]);
    const call = (gasLimit: number) => world.attempt([item(signed)], gasLimit);
    const answers = new Set<string>();
    for (let gasLimit = gas; gasLimit < gas + 480_000; gasLimit += 4_001) answers.add(await call(gasLimit));
    expect([...answers].sort()).toEqual(["OK", "reverted"]);
    expect(await task.state(notice)).toMatchObject({ outstanding: bitmapOf([1]) });
  });

  it("that isn't deployed has not signed", async () => {
    const { signed } = await answer(toHex(newKey().address));
    expect((await world.relay([item(signed)])).results).toEqual([["BAD_SIGNATURE"]]);
  });
});
