import { type BaseWallet, getBytes } from "ethers";
import { toBase64 } from "../../lib/protocol/hex.ts";
import { coveredComponents, keyIdOf, signatureBase, signatureInput } from "../../lib/protocol/httpsig.ts";
import type { Cast } from "./members.ts";

/** What came of requests: how many of each status ("lost" where no answer came), and how long the good ones took, in ms. */
export interface Load {
  readonly statuses: ReadonlyMap<number | "lost", number>;
  readonly latencies: readonly number[];
  readonly seconds: number;
}

/** So many callers at once, each asking again when it is answered, until `more` says no. All members take turns. */
export async function load(cast: Cast, callers: number, more: (asked: number) => boolean): Promise<Load> {
  const statuses = new Map<number | "lost", number>();
  const latencies: number[] = [];
  const begun = performance.now();
  let asked = 0;
  const caller = async (): Promise<void> => {
    while (more(asked)) {
      const wallet = cast.wallets[asked++ % cast.wallets.length]!;
      const sent = performance.now();
      const status = await ask(cast, wallet);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (status === 200) latencies.push(performance.now() - sent);
      if (status === 503 || status === 429) await new Promise((resolve) => setTimeout(resolve, 250));
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return { statuses, latencies: latencies.sort((a, b) => a - b), seconds: (performance.now() - begun) / 1000 };
}

/** A member's signed reading of its task. */
async function ask({ scene, task }: Cast, wallet: BaseWallet): Promise<number | "lost"> {
  const { api, chainId } = scene.stack.deployment;
  const path = `/v1/tasks/${task}`;
  const request = { method: "GET", authority: new URL(api).host, path, query: "", body: new Uint8Array() };
  const created = Math.floor(Date.now() / 1000);
  const keyid = keyIdOf(chainId, wallet.address.toLowerCase() as `0x${string}`);
  const components = coveredComponents(request);
  const input = signatureInput(components, { created, expires: created + 60, keyid });
  const signature = await wallet.signMessage(signatureBase(request, components, input));
  const headers = { "signature-input": `eth=${input}`, signature: `eth=:${toBase64(getBytes(signature))}:` };
  try {
    const answer = await fetch(`${api}${path}`, { headers, redirect: "manual" });
    await answer.arrayBuffer();
    return answer.status;
  } catch {
    return "lost";
  }
}

/** The value below which that share of sorted ones lies. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
