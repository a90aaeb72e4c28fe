import * as z from "zod/mini";
import type { Address } from "./hex.ts";
import type { Domain } from "./statements.ts";

/**
 * Where a task lives: what an operator hands to participants as deployment.json. A client pins these; no server can
 * talk it out of them.
 */
export interface Deployment extends Domain {
  /** Origin of the HTTPS API, such as "https://waybill.example.org". */
  readonly api: string;
  /** The chain's number (EIP-155). */
  readonly chainId: number;
  /** The Waybill contract on it. */
  readonly contract: Address;
  /** Origin of every presigned URL; a URL to anywhere else is refused. */
  readonly storeOrigin: string;
  /** Blocks on top before anything counts as being on the chain; 0 where finality is instant. */
  readonly confirmations: number;
  /** Milliseconds between blocks. */
  readonly blockTime: number;
  /** Milliseconds without a new block after which the chain is called stalled. */
  readonly maxBlockAge: number;
  /** The contract's first block; reading begins here. Default 0. */
  readonly fromBlock?: number;
  /**
   * A JSON-RPC node of one's own, or several, of which the first that works is asked. Without any the chain is read over the
   * API, and every signature is checked.
   */
  readonly rpc?: string | readonly string[];
}

const parses = z.refine<string>((text) => URL.canParse(text));
const origin = z.string().check(z.regex(/^https?:\/\/[^/?#@\s]+$/), parses);

const url = z.string().check(z.regex(/^https?:\/\//), parses);

/** Reads deployment.json; account ids in any case. */
export const deploymentSchema: z.ZodMiniType<Deployment, unknown> = z.object({
  api: origin,
  chainId: z.int().check(z.gte(1)),
  contract: z.string().check(z.toLowerCase(), z.regex(/^0x[0-9a-f]{40}$/)),
  storeOrigin: origin,
  confirmations: z.int().check(z.gte(0), z.lte(1000)),
  blockTime: z.int().check(z.gte(1)),
  maxBlockAge: z.int().check(z.gte(1000)),
  fromBlock: z.optional(z.int().check(z.gte(0))),
  rpc: z.optional(z.union([url, z.array(url).check(z.minLength(1))])),
}) as unknown as z.ZodMiniType<Deployment, unknown>;
