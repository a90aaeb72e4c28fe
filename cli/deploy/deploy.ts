import { formatEther, formatUnits, getCreateAddress, keccak256, Transaction } from "ethers";
import { type Fees, feesNow, learnPolicy } from "../../lib/chain/fees.ts";
import { ChainReader } from "../../lib/chain/reader.ts";
import { outbound } from "../../lib/outbound.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";
import { type Address, type Hex, toHex } from "../../lib/protocol/hex.ts";
import { pause } from "../../lib/waiting.ts";
import { creationCode, type Evm } from "../../local/contract.ts";
import type { Relayer } from "../../local/payer.ts";
import type { DeployChain, Mined } from "./chain.ts";
import { checkCode } from "./code.ts";
import type { Pending, PendingFile } from "./pending.ts";

/** The state moves between the estimate and the block; what isn't used isn't paid. */
const GAS_MARGIN = { by: 12n, of: 10n };
/** Nodes take a replacement when both of its prices are 12.5 % higher. */
const raise = (price: bigint): bigint => (price * 9n) / 8n + 1n;
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
/** Between two looks at the chain. */
const LOOK_MS = 1_000;

export interface DeployOrder {
  readonly chain: DeployChain;
  readonly rpc: string;
  readonly chainId: number;
  readonly payer: Relayer;
  /** Null: what the chain can run. */
  readonly evm: Evm | null;
  /** Wei per unit of gas. */
  readonly maxFeePerGas: bigint;
  readonly confirmations: number;
  readonly pendingFile: PendingFile;
  /** Milliseconds to wait until it is mined. */
  readonly timeout: number;
  readonly signal: AbortSignal;
  /** Says what is going on. */
  readonly note: (text: string) => void;
}

/** What a deployment would be. */
export interface Draft {
  readonly evm: Evm;
  readonly nonce: number;
  readonly contract: Address;
  readonly gasLimit: bigint;
  readonly fees: Fees;
}

export interface Deployed {
  readonly evm: Evm;
  readonly contract: Address;
  readonly block: number;
  readonly transaction: Hex;
  readonly gasUsed: bigint;
  /** Wei; null where the node doesn't tell. */
  readonly paid: bigint | null;
}

/**
 * Puts the contract on a chain, and proves that it is there: chain id, code, domain. A note of the signed transaction is
 * written down before anybody sees it, so that a run after a crash or a time-out goes on with that one.
 *
 * @throws WaybillError WRONG_CHAIN; NOT_PUBLISHED when the account can't pay or the price is above the cap; CONFLICT when
 * another transaction of the account took the nonce; TIMEOUT (run it again); BAD_SERVER when other code is there.
 */
export async function deploy(order: DeployOrder): Promise<Deployed> {
  const pending = (await resume(order)) ?? (await begin(order));
  const { transaction, mined } = await untilMined(order, pending);
  if (!mined.succeeded) {
    await order.pendingFile.remove(); // at its depth: its nonce is used up, so no further run could go on with it
    throw new WaybillError(
      "NOT_PUBLISHED",
      `The deployment failed on the chain (transaction ${transaction}). Nothing was deployed; run the command again.`,
    );
  }
  const { evm, contract } = pending;
  const domain = { chainId: order.chainId, contract };
  checkCode(await order.chain.code(contract), evm, domain);
  await checkDomain(order, contract);
  const paid = mined.price === null ? null : mined.price * mined.gasUsed;
  return { evm, contract, block: mined.block, transaction, gasUsed: mined.gasUsed, paid };
}

/** @throws WaybillError WRONG_CHAIN */
export async function checkChain({ chain, chainId }: Pick<DeployOrder, "chain" | "chainId">): Promise<void> {
  const found = await chain.chainId();
  if (found !== chainId)
    throw new WaybillError("WRONG_CHAIN", `The RPC node serves chain ${found}, not ${chainId}. Nothing was sent.`);
}

/** What would be sent now. @throws WaybillError NOT_PUBLISHED, UNAVAILABLE when the account has transactions on their way. */
export async function draft(order: DeployOrder): Promise<Draft> {
  const { chain, payer } = order;
  const [nonce, known] = await Promise.all([
    chain.nonce(payer.address, "latest"),
    chain.nonce(payer.address, "pending"),
  ]);
  if (known > nonce)
    throw new WaybillError(
      "UNAVAILABLE",
      `${payer.address} has transactions that aren't mined yet; one of them could be a deployment. Wait until they are.`,
    );
  const evm = order.evm ?? (await chain.evm());
  const estimated = await chain.creationGas(payer.address, creationCode(evm));
  const gasLimit = (estimated * GAS_MARGIN.by) / GAS_MARGIN.of;
  const fees = await affordable(order, gasLimit);
  const contract = toHex(getCreateAddress({ from: payer.address, nonce }).toLowerCase());
  return { evm, nonce, contract, gasLimit, fees };
}

/** One line for people: what it may cost at most. */
export function costOf({ gasLimit, fees }: Pick<Draft, "gasLimit" | "fees">): string {
  const price = maxFeeOf(fees);
  return `at most ${gasLimit} gas at ${formatUnits(price, "gwei")} gwei, ${formatEther(price * gasLimit)} of the chain's coin`;
}

async function begin(order: DeployOrder): Promise<Pending> {
  const { payer, chainId, pendingFile, note } = order;
  const wanted = await draft(order);
  note(`${payer.address} deploys the artifact "${wanted.evm}" on chain ${chainId}: ${costOf(wanted)}.`);
  const { evm, nonce, contract } = wanted;
  const attempt = await signed(order, wanted);
  order.signal.throwIfAborted();
  const pending = { chainId, from: payer.address, nonce, contract, evm, attempts: [attempt] };
  await pendingFile.create(pending);
  await send(order, pending);
  return pending;
}

/** Goes on with what an earlier run began; null if there is nothing. */
async function resume(order: DeployOrder): Promise<Pending | null> {
  const { chain, pendingFile, note, payer } = order;
  const pending = await pendingFile.read();
  if (pending === null) return null;
  if (pending.chainId !== order.chainId || pending.from !== payer.address)
    throw new WaybillError(
      "USAGE",
      `${pendingFile.path} tells of a deployment of ${pending.from} on chain ${pending.chainId}. Finish that one, or remove the file.`,
    );
  if (order.evm !== null && order.evm !== pending.evm)
    throw new WaybillError("USAGE", `${pendingFile.path} tells of a deployment of the artifact "${pending.evm}".`);
  note(`Going on with the deployment that ${pendingFile.path} tells of.`);
  if (await minedOf(chain, pending)) return pending;
  const dearer = await raised(order, pending);
  const next = dearer ? { ...pending, attempts: [...pending.attempts, dearer] } : pending;
  if (dearer) await pendingFile.replace(next);
  await send(order, next);
  return next;
}

/** The same transaction at today's price, when that has risen so far that nodes take it instead; else null. */
async function raised(order: DeployOrder, pending: Pending): Promise<Hex | null> {
  const { chain, maxFeePerGas } = order;
  const {
    maxFeePerGas: last,
    maxPriorityFeePerGas: tip,
    gasPrice,
    gasLimit,
  } = Transaction.from(pending.attempts.at(-1));
  const now = await feesNow(chain.rpc, await learnPolicy(chain.rpc, maxFeePerGas));
  if (now === null || maxFeeOf(now) < raise(last ?? gasPrice ?? 0n)) return null;
  if (now.type === 0) return signed(order, { ...pending, gasLimit, fees: now });
  const fees = { ...now, maxPriorityFeePerGas: larger(now.maxPriorityFeePerGas, raise(tip ?? 0n)) };
  return signed(order, { ...pending, gasLimit, fees });
}

async function signed(order: DeployOrder, wanted: Draft): Promise<Hex> {
  const { payer, chainId } = order;
  const { fees, nonce, gasLimit, evm } = wanted;
  const data = creationCode(evm);
  return payer.sign({ ...fees, chainId, nonce, to: null, data, gasLimit: Number(gasLimit), value: 0 });
}

async function send({ chain, pendingFile }: DeployOrder, { from, nonce, attempts }: Pending): Promise<void> {
  const raw = attempts.at(-1)!;
  const complaint = await chain.broadcast(raw);
  if (complaint === null || (await chain.knows(hashOf(raw)))) return;
  if ((await chain.nonce(from, "latest")) > nonce) return; // one of them was mined, or somebody else's: that is seen below
  // Another of its nodes may have it all the same, so the note stays.
  const message = `The RPC node does not take the transaction: ${complaint}. Once that is cured, the same command tries it again (${pendingFile.path}).`;
  throw new WaybillError("NOT_PUBLISHED", message);
}

async function untilMined(order: DeployOrder, pending: Pending): Promise<{ transaction: Hex; mined: Mined }> {
  const { chain, confirmations, signal, timeout, note, pendingFile } = order;
  const end = performance.now() + timeout;
  for (let told = -1; ; await pause(LOOK_MS, signal)) {
    const [found, tip] = await Promise.all([minedOf(chain, pending), chain.tip()]);
    const depth = found ? tip - found.mined.block : -1;
    if (found && depth >= confirmations) return found;
    if (found && depth !== told)
      note(`Mined in block ${found.mined.block}; ${depth} of ${confirmations} blocks on top.`);
    told = depth;
    if (!found && (await isOvertaken(chain, pending, tip - confirmations))) {
      await pendingFile.remove();
      throw new WaybillError(
        "CONFLICT",
        `Another transaction of ${pending.from} was mined instead. Nothing was deployed; run the command again.`,
      );
    }
    if (performance.now() < end) continue;
    const message = `The deployment is not mined yet. Run the same command again: it goes on with that one (${pendingFile.path}).`;
    throw new WaybillError("TIMEOUT", message);
  }
}

async function minedOf(chain: DeployChain, { attempts }: Pending): Promise<{ transaction: Hex; mined: Mined } | null> {
  const found = await Promise.all(attempts.map((raw) => chain.mined(hashOf(raw))));
  const nth = found.findIndex((one) => one !== null);
  return nth < 0 ? null : { transaction: hashOf(attempts[nth]!), mined: found[nth]! };
}

function hashOf(raw: Hex): Hex {
  return toHex(keccak256(raw));
}

/** The nonce is used up, at the depth that counts, and there is no contract. */
async function isOvertaken(chain: DeployChain, { from, nonce, contract }: Pending, depth: number): Promise<boolean> {
  if (depth < 0 || (await chain.nonce(from, depth)) <= nonce) return false;
  return (await chain.code(contract)) === "0x";
}

async function affordable({ chain, payer, maxFeePerGas }: DeployOrder, gas: bigint): Promise<Fees> {
  const fees = await feesNow(chain.rpc, await learnPolicy(chain.rpc, maxFeePerGas));
  if (fees === null) {
    const message = `Gas costs more than ${formatUnits(maxFeePerGas, "gwei")} gwei now. Wait, or raise --max-fee-per-gas.`;
    throw new WaybillError("NOT_PUBLISHED", message);
  }
  const [balance, needed] = [await chain.balance(payer.address), maxFeeOf(fees) * gas];
  if (balance >= needed) return fees;
  const message = `${payer.address} has ${formatEther(balance)} of the chain's coin, and the deployment may take ${formatEther(needed)}. Send it some.`;
  throw new WaybillError("NOT_PUBLISHED", message, { details: { reason: "INSUFFICIENT_FUNDS" } });
}

function maxFeeOf(fees: Fees): bigint {
  return fees.type === 2 ? fees.maxFeePerGas : fees.gasPrice;
}

/** As every participant will check it: the chain's id, the contract's EIP-712 domain, the numbering of blocks. */
async function checkDomain({ rpc, chainId, confirmations }: DeployOrder, contract: Address): Promise<void> {
  const reader = new ChainReader({ rpc, chainId, contract, confirmations, fetch: (await outbound()).fetch });
  try {
    await reader.tip();
  } finally {
    reader.close();
  }
}
