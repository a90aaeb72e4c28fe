import type { Hex } from "../lib/protocol/hex.ts";
import { curable, type Reason } from "../lib/protocol/reasons.ts";
import type { Entry } from "./outbox.ts";
import { itemOf, type Packet, packetsOf } from "./packing.ts";
import type { Simulate, Skip } from "./selection.ts";

/** Statements per simulation at the final block. */
const JUDGED_AT_ONCE = 100;

/**
 * What the contract never takes back once a final block says so: a timestamp only rises, and so does a roster's version;
 * a cleared bit never returns; and the rest is in the statement itself. Not among them: EXPELLED (there may be another
 * Admit) and BAD_SIGNATURE (a wallet may change its mind).
 */
const lasting: ReadonlySet<Reason> = new Set<Reason>([
  "EXPIRED",
  "STALE_ROSTER",
  "NOT_OUTSTANDING",
  "TASK_EXISTS",
  "BAD_RECIPIENTS",
  "BAD_OUTCOME",
  "BAD_MEMBERS",
  "BAD_KIND",
  "TOO_LARGE",
  "MALFORMED",
]);

/** What is to become of statements that are not on their way. */
export interface Verdicts {
  /** On the chain for good; somebody else put them there. */
  readonly there: readonly Entry[];
  /** Can never take effect on this chain again, whoever relays them. */
  readonly void: ReadonlyMap<Entry, Reason>;
  /** Won't be relayed by us: they could take effect some day, but for that they have had their time. */
  readonly refused: ReadonlyMap<Entry, Reason>;
}

/**
 * Judges statements by what the contract says at the newest block and at the newest one that is final. Only what both
 * refuse is refused: what the newest block says may be undone, and what the final one says may be over. A "duplicate" at
 * the newest block alone is a statement that is there and may be undone: it waits.
 */
export function judge(
  skips: readonly Skip[],
  atHead: ReadonlyMap<Entry, Reason>,
  isOld: (entry: Entry) => boolean,
): Verdicts {
  const verdicts = { there: [] as Entry[], void: new Map<Entry, Reason>(), refused: new Map<Entry, Reason>() };
  for (const { entry, reason: atTip, standing } of skips) {
    const final = atHead.get(entry);
    if (final === undefined || final === "OK") continue;
    if (final === "DUPLICATE") verdicts.there.push(entry);
    if (final === "DUPLICATE" || atTip === "DUPLICATE" || !standing) continue;
    if ((curable.has(final) || curable.has(atTip)) && !isOld(entry)) continue;
    verdicts[lasting.has(final) ? "void" : "refused"].set(entry, curable.has(final) ? atTip : final);
  }
  return verdicts;
}

/** What the contract would answer to statements, but for those of which an earlier one in the same call may change the answer. */
export async function standingReasons(entries: readonly Entry[], simulate: Simulate): Promise<Map<Entry, Reason>> {
  const reasons = new Map<Entry, Reason>();
  for (let rest = entries, atOnce = JUDGED_AT_ONCE; rest.length > 0; ) {
    const some = rest.slice(0, atOnce);
    const packets = packetsOf(some);
    const answers = await simulate(packets.map(itemOf));
    if (answers) addStanding(reasons, packets, answers);
    else if (some.length > 1) {
      atOnce = Math.ceil(some.length / 2); // too much for one call, if only for its bytes (EIP-7623)
      continue;
    }
    rest = rest.slice(some.length);
  }
  return reasons;
}

function addStanding(
  reasons: Map<Entry, Reason>,
  packets: readonly Packet[],
  answers: readonly (readonly Reason[])[],
): void {
  const touched = new Set<Hex>();
  for (const [nth, { task, entries }] of packets.entries()) {
    const codes = answers[nth] ?? [];
    for (const [at, entry] of entries.entries()) {
      const reason = codes[at] ?? codes[0];
      if (reason && (!touched.has(task) || reason === "DUPLICATE")) reasons.set(entry, reason);
    }
    if (codes.includes("OK")) touched.add(task);
  }
}
