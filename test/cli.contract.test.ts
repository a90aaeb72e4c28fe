import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encryptKeystoreJsonSync, JsonRpcProvider, toQuantity, Wallet } from "ethers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { checkCode } from "../cli/deploy/code.ts";
import { TaskContractor } from "../lib/index.ts";
import { deploymentSchema } from "../lib/protocol/deployment.ts";
import type { Address, Hex } from "../lib/protocol/hex.ts";
import { type Anvil, startAnvil } from "../local/anvil.ts";
import { deployContract } from "../local/contract.ts";
import { startStack } from "../local/stack.ts";
import { KmsStub, newKey } from "./support/kms.ts";
import { type Consumer, packedConsumer, ROOT, type Run, run } from "./support/packed.ts";
import { startRpcProxy } from "./support/rpcproxy.ts";

// The built command, as its users run it, against real chains.

const WAYBILL = join(ROOT, "dist/cli/waybill.js");
const BLOCK_TIME = ["--block-time", "1000"];

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-test-cli-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function waybill(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Run> {
  return run(process.execPath, [WAYBILL, ...args], dir, env);
}

/** `contract deploy` with an account of the chain, whose key is in the environment. */
function deploy(
  anvil: Pick<Anvil, "url" | "accounts">,
  more: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Run> {
  const args = ["contract", "deploy", "--chain", "31337", "--confirmations", "0", "--json", ...BLOCK_TIME, ...more];
  return waybill(args, { WAYBILL_RPC: anvil.url, WAYBILL_DEPLOYER_KEY: anvil.accounts[0]!.privateKey, ...env });
}

async function withAnvil<T>(
  args: readonly string[],
  act: (anvil: Anvil, node: JsonRpcProvider) => Promise<T>,
): Promise<T> {
  const anvil = await startAnvil({ args });
  const node = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true, cacheTimeout: -1 });
  try {
    return await act(anvil, node);
  } finally {
    node.destroy();
    await anvil.stop();
  }
}

/** Quick to make and to open, for a password that isn't guessed here. */
function keystore(account: { address: string; privateKey: string }, password: string): string {
  return encryptKeystoreJsonSync(account, password, { scrypt: { N: 1024, r: 8, p: 1 } });
}

async function written(): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(dir, "deployment.json"), "utf8"));
}

/** Takes the chain's blocks into one's own hands. */
async function holdBlocks(node: JsonRpcProvider): Promise<void> {
  await node.send("evm_setAutomine", [false]);
  await node.send("evm_setIntervalMining", [0]);
}

describe("waybill contract deploy", () => {
  let anvil: Anvil;
  let node: JsonRpcProvider;
  beforeAll(async () => {
    anvil = await startAnvil();
    node = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true, cacheTimeout: -1 });
  });
  afterAll(async () => {
    node?.destroy();
    await anvil?.stop();
  });

  it("puts the contract on the chain, writes what is known of deployment.json, and says no secret", async () => {
    const { code, stdout, stderr } = await deploy(anvil);
    expect(stderr).toContain("waybill deployment complete");
    expect(code).toBe(0);
    const said = JSON.parse(stdout);
    expect(said).toMatchObject({ chainId: 31337, evm: "current", from: anvil.accounts[0]!.address.toLowerCase() });
    expect(BigInt(said.paid)).toBeGreaterThan(0n);
    expect(await written()).toEqual({
      ...{ chainId: 31337, contract: said.contract, confirmations: 0, fromBlock: said.block },
      ...{ blockTime: 1000, maxBlockAge: 30_000 },
    });
    expect(await readdir(dir)).toEqual(["deployment.json"]);
    const receipt = await node.getTransactionReceipt(said.transaction);
    expect(receipt!.contractAddress!.toLowerCase()).toBe(said.contract);
    expect(stdout + stderr).not.toContain(anvil.accounts[0]!.privateKey.slice(2));
  });

  it("says the settings of a stage to people", async () => {
    const args = ["contract", "deploy", "--chain", "31337", "--confirmations", "2", "--block-time", "2000"];
    const { stdout } = await waybill(args, {
      WAYBILL_RPC: anvil.url,
      WAYBILL_DEPLOYER_KEY: anvil.accounts[1]!.privateKey,
    });
    const { contract, fromBlock } = await written();
    expect(stdout).toContain(
      `WAYBILL_CHAIN_ID=31337\nWAYBILL_CONTRACT=${contract}\nWAYBILL_FROM_BLOCK=${fromBlock}\nWAYBILL_CONFIRMATIONS=2\nWAYBILL_BLOCK_TIME=2000\n`,
    );
  });

  it("measures the time between blocks when nobody says it", async () => {
    await node.send("anvil_mine", ["0xc8", "0x3"]); // 200 blocks, 3 s apart
    const args = ["contract", "deploy", "--chain", "31337", "--confirmations", "0", "--json"];
    await waybill(args, { WAYBILL_RPC: anvil.url, WAYBILL_DEPLOYER_KEY: anvil.accounts[0]!.privateKey });
    const { blockTime, maxBlockAge } = await written();
    expect(blockTime).toBeGreaterThan(2_500);
    expect(blockTime).toBeLessThanOrEqual(3_000);
    expect(maxBlockAge).toBe(Math.max(30_000, 10 * Number(blockTime)));
  });

  it("never overwrites, and finds that out before it pays", async () => {
    await writeFile(join(dir, "deployment.json"), "mine");
    const before = await node.getTransactionCount(anvil.accounts[0]!.address);
    const { code, stderr } = await deploy(anvil);
    expect(code).toBe(1);
    expect(JSON.parse(stderr).error).toMatchObject({
      code: "TARGET_EXISTS",
      message: expect.stringContaining("deployment.json"),
    });
    expect(await readFile(join(dir, "deployment.json"), "utf8")).toBe("mine");
    expect(await node.getTransactionCount(anvil.accounts[0]!.address)).toBe(before);
  });

  it("sends nothing to another chain than the one that was named", async () => {
    const before = await node.getTransactionCount(anvil.accounts[0]!.address);
    const { code, stderr } = await deploy(anvil, ["--chain", "1"]);
    expect(code).toBe(2);
    expect(JSON.parse(stderr).error).toMatchObject({
      code: "WRONG_CHAIN",
      message: expect.stringContaining("31337, not 1"),
    });
    expect(await node.getTransactionCount(anvil.accounts[0]!.address)).toBe(before);
  });

  it("rehearses without sending", async () => {
    const before = await node.getTransactionCount(anvil.accounts[0]!.address);
    const { code, stdout } = await deploy(anvil, ["--dry-run"]);
    expect(code).toBe(0);
    const { gasLimit, nonce } = JSON.parse(stdout);
    expect(Number(gasLimit)).toBeGreaterThan(2_000_000);
    expect(nonce).toBe(before);
    expect(await readdir(dir)).toEqual([]);
    expect(await node.getTransactionCount(anvil.accounts[0]!.address)).toBe(before);
  });

  it("says what is missing when the account can't pay, and leaves nothing", async () => {
    const poor = Wallet.createRandom();
    const { code, stderr } = await deploy(anvil, [], { WAYBILL_DEPLOYER_KEY: poor.privateKey });
    expect(code).toBe(5);
    expect(JSON.parse(stderr).error).toMatchObject({
      code: "NOT_PUBLISHED",
      message: expect.stringMatching(new RegExp(`^${poor.address.toLowerCase()} has 0.0 .* Send it some`)),
    });
    expect(await readdir(dir)).toEqual([]);
  });

  it("pays no more for gas than it may", async () => {
    const { code, stderr } = await deploy(anvil, ["--max-fee-per-gas", "1"]);
    expect(code).toBe(5);
    expect(JSON.parse(stderr).error.message).toContain("raise --max-fee-per-gas");
  });

  it("takes the key from a keystore whose password is in a file", async () => {
    const { privateKey, address } = anvil.accounts[2]!;
    const json = keystore({ address, privateKey }, "correct horse");
    await writeFile(join(dir, "key.json"), json);
    await writeFile(join(dir, "password"), "correct horse\n", { mode: 0o600 });
    const args = ["--keystore", "key.json", "--password-file", "password"];
    const { code, stdout } = await deploy(anvil, args); // flags before the environment's key
    expect(code).toBe(0);
    expect(JSON.parse(stdout).from).toBe(address.toLowerCase());
  });

  it("does not tell a wrong password, nor ask for one where nobody can answer", async () => {
    const json = keystore(anvil.accounts[2]!, "right");
    await writeFile(join(dir, "key.json"), json);
    await writeFile(join(dir, "password"), "wrong-password", { mode: 0o600 });
    const wrong = await deploy(anvil, ["--keystore", "key.json", "--password-file", "password"]);
    expect([wrong.code, JSON.parse(wrong.stderr).error.code]).toEqual([2, "USAGE"]);
    expect(wrong.stderr).toContain("The deployer's keystore can't be opened");
    expect(wrong.stderr).not.toContain("wrong-password");
    const none = await deploy(anvil, ["--keystore", "key.json"]);
    expect([none.code, JSON.parse(none.stderr).error.message]).toEqual([2, expect.stringContaining("--password-file")]);
  });

  it("has the transaction signed by a key in KMS", async () => {
    const kms = await KmsStub.start();
    try {
      const key = newKey();
      kms.hold(key, "high");
      await node.send("anvil_setBalance", [key.address, toQuantity(10n ** 18n)]);
      const env = { AWS_ENDPOINT_URL_KMS: kms.endpoint, AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test" };
      const { code, stdout, stderr } = await deploy(
        anvil,
        ["--kms", "alias/deployer", "--region", "eu-central-1"],
        env,
      );
      expect(stderr).not.toContain("NodeVersion");
      expect(code).toBe(0);
      expect(JSON.parse(stdout).from).toBe(key.address);
    } finally {
      await kms.stop();
    }
  });

  it("refuses a node that shows other code than the artifact's", async () => {
    const proxy = await startRpcProxy(anvil.url);
    try {
      proxy.answer = ({ method }, result) => (method === "eth_getCode" ? `${String(result).slice(0, -2)}00` : result);
      const { code, stderr } = await deploy(anvil, [], { WAYBILL_RPC: proxy.url });
      expect(code).toBe(4);
      expect(stderr.trim().split("\n").at(-1)).toContain("is not this package's contract");
      expect(stderr).not.toContain(proxy.key);
      expect(existsSync(join(dir, "deployment.json"))).toBe(false);
    } finally {
      await proxy.stop();
    }
  });

  it("tells nothing of an RPC URL's key when the node does not answer", async () => {
    const url = "http://127.0.0.1:1/v3/0123456789abcdef";
    const { code, stdout, stderr } = await deploy(anvil, [], { WAYBILL_RPC: url });
    expect(code).toBe(5);
    expect(stdout + stderr).not.toContain("0123456789abcdef");
  });

  it.each([
    ["without a key", [], { WAYBILL_DEPLOYER_KEY: "" }, "exactly one way"],
    ["with two keys", ["--keystore", "a", "--kms", "b"], {}, "exactly one way"],
    ["with a key that is none", [], { WAYBILL_DEPLOYER_KEY: "0x12" }, "deployer's key must be 32 bytes"],
    ["without a node", [], { WAYBILL_RPC: undefined }, "--rpc"],
    ["with a chain that is none", ["--chain", "mainnet"], {}, "whole number"],
    ["with an option that there isn't", ["--chian", "1"], {}, "--chain"],
    ["with an artifact that there isn't", ["--evm", "london"], {}, "current"],
  ])("says in one line what to do %s", async (_case, more, env, words) => {
    const { code, stdout, stderr } = await deploy(anvil, more, env);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    const lines = stderr.trim().split("\n");
    expect(lines.length).toBe(1);
    expect(JSON.parse(lines[0]!).error).toMatchObject({ code: "USAGE", message: expect.stringContaining(words) });
    expect(stderr).not.toContain("0x12");
  });
});

describe("on a chain of other rules, waybill contract deploy", () => {
  it("takes the artifact for old rules, and finds that out by itself", async () => {
    await withAnvil(["--hardfork", "paris"], async (anvil) => {
      const { code, stdout } = await deploy(anvil);
      expect([code, JSON.parse(stdout).evm]).toEqual([0, "paris"]);
    });
  });

  it("takes an artifact that runs where only the newest opcode is missing", async () => {
    await withAnvil(["--hardfork", "prague"], async (anvil) => {
      expect(JSON.parse((await deploy(anvil)).stdout).evm).toBe("paris");
    });
  });

  it("pays by gas price where there is no EIP-1559", async () => {
    await withAnvil(["--hardfork", "berlin"], async (anvil, node) => {
      const { code, stdout } = await deploy(anvil);
      expect(code).toBe(0);
      expect((await node.getTransaction(JSON.parse(stdout).transaction))!.type).toBe(0);
    });
  });

  it("pays nothing where gas is free, from an account that owns nothing", async () => {
    const free = ["--hardfork", "berlin", "--gas-price", "0"];
    await withAnvil(free, async (anvil) => {
      const poor = Wallet.createRandom();
      const { code, stdout } = await deploy(anvil, [], { WAYBILL_DEPLOYER_KEY: poor.privateKey });
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ paid: "0", from: poor.address.toLowerCase() });
    });
  });
});

describe("an interrupted waybill contract deploy", () => {
  const pending = async (): Promise<{ nonce: number; contract: string; attempts: string[] }> =>
    JSON.parse(await readFile(join(dir, "deployment.json.pending"), "utf8"));

  it("goes on with its transaction, and never pays for another one", async () => {
    await withAnvil([], async (anvil, node) => {
      await holdBlocks(node);
      const late = await deploy(anvil, ["--timeout", "100"]);
      expect(late.code).toBe(5);
      expect(late.stderr).toContain("Run the same command again");
      const noted = await pending();
      const again = await deploy(anvil, ["--timeout", "100"]);
      expect(again.code).toBe(5);
      expect(await pending()).toEqual(noted);
      await node.send("evm_mine", []);
      const { code, stdout } = await deploy(anvil);
      expect(code).toBe(0);
      expect(JSON.parse(stdout).contract).toBe(noted.contract);
      expect(await node.getTransactionCount(anvil.accounts[0]!.address)).toBe(noted.nonce + 1);
      expect(await readdir(dir)).toEqual(["deployment.json"]);
    });
  });

  it("does so after a kill, too, and when the node has forgotten the transaction", async () => {
    await withAnvil([], async (anvil, node) => {
      await holdBlocks(node);
      const args = ["contract", "deploy", "--chain", "31337", "--confirmations", "0", ...BLOCK_TIME];
      const env = { ...process.env, WAYBILL_RPC: anvil.url, WAYBILL_DEPLOYER_KEY: anvil.accounts[0]!.privateKey };
      const child = spawn(process.execPath, [WAYBILL, ...args], { cwd: dir, env, stdio: "ignore" });
      const ended = new Promise((resolve) => child.once("exit", resolve));
      while ((await node.send("txpool_status", [])).pending !== "0x1")
        await new Promise((next) => setTimeout(next, 50));
      child.kill("SIGKILL");
      await ended;
      const { contract } = await pending();
      await node.send("anvil_dropAllTransactions", []);
      await node.send("evm_setAutomine", [true]);
      const { code, stdout } = await deploy(anvil);
      expect([code, JSON.parse(stdout).contract]).toEqual([0, contract]);
    });
  });

  it("pays more for the same transaction when gas has become dearer", async () => {
    await withAnvil([], async (anvil, node) => {
      await holdBlocks(node);
      await deploy(anvil, ["--timeout", "100"]);
      const { contract } = await pending();
      await node.send("anvil_setNextBlockBaseFeePerGas", [toQuantity(50_000_000_000)]);
      await node.send("anvil_dropAllTransactions", []);
      await node.send("evm_mine", []); // the fee history's last entry is of a block that came
      const dearer = await deploy(anvil, ["--timeout", "100"]);
      expect(dearer.code).toBe(5);
      expect((await pending()).attempts.length).toBe(2);
      await node.send("evm_mine", []);
      const { code, stdout } = await deploy(anvil);
      expect([code, JSON.parse(stdout).contract]).toEqual([0, contract]);
    });
  });

  it("gives up, and says so, when another transaction of the account came instead", async () => {
    await withAnvil([], async (anvil, node) => {
      await holdBlocks(node);
      await deploy(anvil, ["--timeout", "100"]);
      await node.send("anvil_dropAllTransactions", []);
      const wallet = new Wallet(anvil.accounts[0]!.privateKey, node);
      await wallet.sendTransaction({ to: wallet.address, value: 0 });
      await node.send("evm_mine", []);
      const { code, stderr } = await deploy(anvil);
      expect([code, stderr.trim().split("\n").at(-1)]).toEqual([1, expect.stringContaining('"CONFLICT"')]);
      expect(await readdir(dir)).toEqual([]);
      await node.send("evm_setAutomine", [true]);
      expect((await deploy(anvil)).code).toBe(0);
    });
  });

  it("waits for transactions of the account of which it knows nothing", async () => {
    await withAnvil([], async (anvil, node) => {
      await holdBlocks(node);
      const wallet = new Wallet(anvil.accounts[0]!.privateKey, node);
      await wallet.sendTransaction({ to: wallet.address, value: 0 });
      const { code, stderr } = await deploy(anvil);
      expect([code, JSON.parse(stderr).error.message]).toEqual([5, expect.stringContaining("aren't mined yet")]);
    });
  });

  it("goes on with nobody else's", async () => {
    await withAnvil([], async (anvil, node) => {
      await holdBlocks(node);
      await deploy(anvil, ["--timeout", "100"]);
      const other = await deploy(anvil, [], { WAYBILL_DEPLOYER_KEY: anvil.accounts[3]!.privateKey });
      expect([other.code, JSON.parse(other.stderr).error.message]).toEqual([
        2,
        expect.stringContaining("tells of a deployment of"),
      ]);
      await writeFile(join(dir, "deployment.json.pending"), "{}");
      const torn = await deploy(anvil);
      expect([torn.code, JSON.parse(torn.stderr).error.message]).toEqual([
        2,
        expect.stringContaining("no note of a pending"),
      ]);
    });
  });
});

describe("the code on the chain", () => {
  it("is the artifact's, byte for byte, with the words of its own chain and address", async () => {
    for (const evm of ["current", "paris"] as const)
      await withAnvil([], async (anvil, node) => {
        const { contract } = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, node), evm);
        const code = (await node.getCode(contract)) as Hex;
        const domain = { chainId: anvil.chainId, contract };
        expect(() => checkCode(code, evm, domain)).not.toThrow();
        const elsewhere: Address = "0x00000000000000000000000000000000000000aa";
        const middle = code.length >> 1;
        const flipped = `${code.slice(0, middle)}${code[middle] === "0" ? "1" : "0"}${code.slice(middle + 1)}` as Hex;
        const others: [Hex, typeof evm, typeof domain][] = [
          [flipped, evm, domain],
          [`${code}00`, evm, domain],
          [code.slice(0, -2) as Hex, evm, domain],
          ["0x", evm, domain],
          [code, evm === "paris" ? "current" : "paris", domain],
          [code, evm, { ...domain, chainId: 1 }],
          [code, evm, { ...domain, contract: elsewhere }],
        ];
        for (const other of others) expect(() => checkCode(...other)).toThrow("is not this package's contract");
      });
  });
});

describe("waybill relayer address", () => {
  it("says the account of a key and what it owns, and never the key", async () => {
    await withAnvil([], async (anvil) => {
      const { address, privateKey } = anvil.accounts[0]!;
      const env = { WAYBILL_RELAYER_KEY: privateKey };
      const bare = await waybill(["relayer", "address"], env);
      expect(bare).toEqual({ code: 0, stdout: `${address.toLowerCase()}\n`, stderr: "" });
      const { code, stdout } = await waybill(["relayer", "address", "--json", "--rpc", anvil.url], env);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toEqual({
        address: address.toLowerCase(),
        chainId: 31337,
        balance: String(10_000n * 10n ** 18n),
      });
      const several = await waybill(["relayer", "address", "--rpc", `http://127.0.0.1:9, ${anvil.url}`], env);
      expect([several.code, several.stdout]).toEqual([
        0,
        expect.stringContaining("10000.0 of the coin of chain 31337"),
      ]);
    });
  });
});

describe("waybill deployment complete", () => {
  it("makes of the chain's half and SST's outputs what participants are given", async () => {
    const stack = await startStack();
    try {
      const { api, storeOrigin, ...half } = stack.deployment;
      await writeFile(join(dir, "deployment.json"), JSON.stringify(half));
      const outputs = (deployment: unknown): Promise<void> =>
        writeFile(join(dir, "outputs.json"), JSON.stringify({ bucket: "b", deployment: JSON.stringify(deployment) }));
      const complete = ["deployment", "complete", "--outputs", "outputs.json"];
      await outputs({ ...half, api, storeOrigin: "https://bucket.s3.example", fromBlock: 12_345 });
      const wrong = await waybill(complete);
      expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining("the functions were told 12345")]);
      await outputs({ ...half, api, storeOrigin: "https://bucket.s3.example" });
      const { code, stdout } = await waybill(complete);
      expect([code, stdout]).toEqual([0, expect.stringContaining(`${api} answers`)]);
      expect(deploymentSchema.parse(await written())).toEqual({
        ...half,
        api,
        storeOrigin: "https://bucket.s3.example",
      });
      const other = await waybill(["deployment", "complete", "--api", api, "--store", storeOrigin]);
      expect([other.code, other.stderr]).toEqual([1, expect.stringContaining("names another storeOrigin")]);
      const forced = await waybill(["deployment", "complete", "--api", api, "--store", storeOrigin, "--force"]);
      expect(forced.code).toBe(0);
      const signer = Wallet.createRandom();
      const deployment = deploymentSchema.parse(await written());
      const opened = await TaskContractor.open({ signer, members: [signer.address], deployment });
      await opened.close();
    } finally {
      await stack.stop();
    }
  });

  it("changes nothing when no API answers there", async () => {
    await writeFile(join(dir, "deployment.json"), JSON.stringify({ chainId: 1 }));
    const args = ["deployment", "complete", "--api", "http://127.0.0.1:1", "--store", "https://s3.example"];
    const half = await waybill(args);
    expect([half.code, half.stderr]).toEqual([2, expect.stringContaining("is no deployment")]);
    const whole = {
      chainId: 1,
      contract: `0x${"a".repeat(40)}`,
      confirmations: 0,
      blockTime: 1000,
      maxBlockAge: 30_000,
    };
    await writeFile(join(dir, "deployment.json"), JSON.stringify(whole));
    const dead = await waybill(args);
    expect([dead.code, dead.stderr]).toEqual([5, expect.stringContaining("Nothing answers at http://127.0.0.1:1")]);
    expect(await written()).toEqual(whole);
  });
});

describe("the command of the packed package", () => {
  let consumer: Consumer;
  beforeAll(async () => {
    consumer = await packedConsumer();
  });
  afterAll(() => consumer?.remove());
  const installed = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Run> =>
    run(join(consumer.dir, "node_modules/.bin/waybill"), args, consumer.dir, env);

  it("is there, tells its version, and explains each of its commands", async () => {
    const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
    expect(await installed(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
    for (const command of [
      ["contract", "deploy"],
      ["deployment", "complete"],
      ["relayer", "address"],
    ]) {
      const { code, stdout } = await installed([...command, "--help"]);
      expect(code).toBe(0);
      expect(stdout).toContain(`$ waybill ${command.join(" ")}`);
    }
  });

  it("works with a key of one's own without any optional package", async () => {
    const { address, privateKey } = Wallet.createRandom();
    const { code, stdout } = await installed(["relayer", "address"], { WAYBILL_RELAYER_KEY: privateKey });
    expect([code, stdout]).toEqual([0, `${address.toLowerCase()}\n`]);
  });

  it("says the npm line that adds what a key in KMS needs, and exits 2", async () => {
    const { code, stdout, stderr } = await installed([
      "relayer",
      "address",
      "--kms",
      "alias/a",
      "--region",
      "eu-central-1",
    ]);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/add them with: npm install "@smithy\/signature-v4@\^5[^"]*" \(USAGE\)\n$/);
  });

  it("exits 2 when no command is given, and lists them", async () => {
    const { code, stderr } = await installed([]);
    expect(code).toBe(2);
    for (const name of ["contract", "deployment", "relayer"]) expect(stderr).toContain(name);
  });
});
