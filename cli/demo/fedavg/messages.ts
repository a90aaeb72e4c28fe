import * as z from "zod/mini";
import type { Address, TaskContractor, TaskNews } from "../../../lib/index.ts";
import { ROUNDS } from "./plan.ts";

// What the parties say to each other over the chain. Payloads go by transfers, whose tags name their round.

const round = z.int().check(z.minimum(1), z.maximum(ROUNDS));

const bodies = {
  /** An owner is there, for the first time or again, and has this many samples. */
  check_in: z.object({ samples: z.int().check(z.minimum(1), z.maximum(1_000_000)) }),
  /** The round's model is on its way. Who comes back in the middle of a round is told its notice, too. */
  start_round: z.object({ round, notice: z.optional(z.string().check(z.regex(/^0x[0-9a-f]{64}$/))) }),
  /** An owner's update is on its way; it has trained for so many seconds. */
  ready_for_aggregation: z.object({ round, seconds: z.number().check(z.nonnegative()) }),
  /** These owners were averaged; the digest is the new model's. */
  close_round: z.object({ round, averaged: z.array(z.string()), sha256: z.string() }),
} as const;

type Bodies = { [Kind in keyof typeof bodies]: z.output<(typeof bodies)[Kind]> };

/** A message as it was understood. */
export type Said = { [Kind in keyof Bodies]: { kind: Kind; sender: Address; body: Bodies[Kind] } }[keyof Bodies];

export async function tell<Kind extends keyof Bodies>(
  contractor: TaskContractor,
  kind: Kind,
  body: Bodies[Kind],
  targets?: readonly string[],
): Promise<void> {
  await contractor.post<string>({ kind, body, ...(targets && { targets }) });
}

/** Null for what is no message of ours: any member may post anything. */
export function understand(news: TaskNews): Said | null {
  if (news.type !== "message" || !Object.hasOwn(bodies, news.kind)) return null;
  const kind = news.kind as keyof Bodies;
  const body = bodies[kind].safeParse(news.body);
  return body.success ? ({ kind, sender: news.sender, body: body.data } as Said) : null;
}

export function modelTag(round: number): string {
  return `round-${round}/model`;
}

export function updateTag(round: number): string {
  return `round-${round}/update`;
}
