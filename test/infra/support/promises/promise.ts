import type { Graph, Wanted } from "../graph.ts";

/** The deployments that are looked at. */
export const scenes = {
  production: { stage: "production" },
  /** Somebody's own stage, with only what must be set. */
  dev: { stage: "alice", env: { WAYBILL_ORIGINS: "", WAYBILL_ALARM_EMAIL: "" } },
  /** One that isn't called production, and is to be kept like it. */
  kept: { stage: "pilot", env: { WAYBILL_PROTECTED: "1" } },
  /** Production with everything that may be set, on a chain whose gas is free. */
  full: {
    stage: "production",
    env: {
      WAYBILL_DOMAIN: "api.example.org",
      WAYBILL_MAX_FEE_PER_GAS: "0",
      WAYBILL_MIN_BALANCE: undefined,
      WAYBILL_FEES: "legacy",
      WAYBILL_MAX_BLOCK_AGE: "60000",
      WAYBILL_RETENTION: "3600000",
      WAYBILL_MAX_PAYLOAD: "1000000",
      WAYBILL_MAX_OPEN_UPLOADS: "7",
      WAYBILL_MAX_REQUESTS: "8",
      WAYBILL_MAX_STATEMENTS: "9",
      WAYBILL_API_RATE: "5",
      WAYBILL_API_BURST: "6",
      WAYBILL_PUBLISHER_CONCURRENCY: "1",
      WAYBILL_RELAYER_GENERATION: "2",
      WAYBILL_MONTHLY_BUDGET: "12.5",
      WAYBILL_LOG_DAYS: "90",
    },
  },
} as const satisfies Readonly<Record<string, Wanted>>;
export type Scene = keyof typeof scenes;

/** Something that every deployment like the scene's keeps; `holds` throws where it does not. */
export interface Promised {
  readonly says: string;
  readonly scene: Scene;
  readonly holds: (graph: Graph) => void;
}

type Promising = (says: string, holds: (graph: Graph) => void) => Promised;
const of =
  (scene: Scene): Promising =>
  (says, holds) => ({ says, scene, holds });

export const inProduction: Promising = of("production");
export const inDev: Promising = of("dev");
export const inKept: Promising = of("kept");
export const inFull: Promising = of("full");
