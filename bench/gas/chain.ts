import { JsonRpcProvider, NonceManager, Wallet } from "ethers";
import type { Domain, Item } from "../../lib/protocol/statements.ts";
import { type Anvil, startAnvil } from "../../local/anvil.ts";
import { deployContract, type Evm } from "../../local/contract.ts";
import { waybill } from "../contract.ts";

/** No block comes by itself. */
const NEVER = 365 * 86_400;
/** What mainnet lets one transaction use (EIP-7825). */
export const TRANSACTION_GAS: number = 2 ** 24;
/** Each artifact runs on the rules that it was made for. */
const RULES: Record<Evm, readonly string[]> = {
  current: ["--enable-tx-gas-limit"],
  paris: ["--hardfork", "paris"],
};

/** A chain with one of the contract's artifacts, that tells what a relay used. */
export class GasChain {
  readonly domain: Domain;
  readonly #anvil: Anvil;
  readonly #provider: JsonRpcProvider;
  readonly #relayer: NonceManager;

  private constructor(anvil: Anvil, provider: JsonRpcProvider, relayer: NonceManager, domain: Domain) {
    this.#anvil = anvil;
    this.#provider = provider;
    this.#relayer = relayer;
    this.domain = domain;
  }

  static async start(artifact: Evm): Promise<GasChain> {
    const anvil = await startAnvil({ blockTime: NEVER, args: RULES[artifact] });
    const options = { staticNetwork: true, cacheTimeout: -1, pollingInterval: 20 };
    const provider = new JsonRpcProvider(anvil.url, anvil.chainId, options);
    try {
      const relayer = new NonceManager(new Wallet(anvil.accounts[0]!.privateKey, provider));
      const { contract } = await deployContract(relayer, artifact);
      return new GasChain(anvil, provider, relayer, { chainId: anvil.chainId, contract });
    } catch (error) {
      provider.destroy();
      await anvil.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#provider.destroy();
    await this.#anvil.stop();
  }

  async now(): Promise<number> {
    return (await this.#provider.getBlock("latest"))!.timestamp;
  }

  /** Puts code where a wallet is meant to be. */
  async setCode(address: string, code: string): Promise<void> {
    await this.#provider.send("anvil_setCode", [address, code]);
  }

  /** What one transaction used, all of it. Fails unless so many statements were skipped as are meant to be. */
  async relay(items: readonly Item[], skipped = 0): Promise<number> {
    const data = waybill.encodeFunctionData("relay", [items]);
    const request = { to: this.domain.contract, data, gasLimit: TRANSACTION_GAS };
    const receipt = (await (await this.#relayer.sendTransaction(request)).wait())!;
    const names = receipt.logs.map((log) => waybill.parseLog(log)?.name);
    const found = names.filter((name) => name === "Skipped").length;
    if (found !== skipped) throw new Error(`The contract skipped ${found} statements, not ${skipped}.`);
    return Number(receipt.gasUsed);
  }
}
