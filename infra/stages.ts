import * as z from "zod/mini";
import { configFromEnv } from "../functions/config.ts";
import { pageOrigins } from "../functions/cors.ts";
import { METRIC_NAMESPACE } from "../functions/metric-names.ts";
import { WaybillError } from "../lib/protocol/errors.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** What one stage is told. The chain's RPC URLs may carry keys, so they are the secret `Rpc` and not among these. */
export interface Stage {
  readonly name: string;
  /** The CloudWatch namespace of the functions' metrics: stages of one account must not count as one. */
  readonly metrics: string;
  /** Variables that every function reads just as they are set here. */
  readonly environment: Readonly<Record<string, string>>;
  /** Variables of the publisher alone. */
  readonly publisherEnvironment: Readonly<Record<string, string>>;
  /** Milliseconds between blocks. */
  readonly blockTime: number;
  /** Exact origins of the web pages that may use the API and the bucket; none: no browser may. */
  readonly origins: readonly string[];
  /** The API's own host name, with its zone in Route 53; without one, API Gateway's. */
  readonly domain: string | undefined;
  /** Who is told of alarms and of the budget. */
  readonly alarmEmail: string | undefined;
  /** US dollars a month at which the budget warns. */
  readonly monthlyBudget: number;
  /** Whole coins under which the relayer's balance alarms; undefined where gas is free. */
  readonly minBalance: number | undefined;
  /** Requests in a second that the API takes, for long and at once. */
  readonly throttle: { readonly rate: number; readonly burst: number };
  /** Instances of the publisher at the same time; unset: the account's. */
  readonly publisherConcurrency: number | undefined;
  /** Counts the relayer's keys: raising it makes a new one and moves the publisher to it. */
  readonly relayerGeneration: number;
  readonly logDays: number;
}

/** What the functions are told by the operator; everything else of theirs follows from the deployment itself. */
const PASSED_ON = [
  "WAYBILL_CHAIN_ID",
  "WAYBILL_CONTRACT",
  "WAYBILL_FROM_BLOCK",
  "WAYBILL_CONFIRMATIONS",
  "WAYBILL_BLOCK_TIME",
  "WAYBILL_MAX_BLOCK_AGE",
  "WAYBILL_OWNERS",
  "WAYBILL_RETENTION",
  "WAYBILL_MAX_PAYLOAD",
  "WAYBILL_MAX_OPEN_UPLOADS",
  "WAYBILL_MAX_REQUESTS",
  "WAYBILL_MAX_STATEMENTS",
] as const;

/** Stands in for what the deployment adds, so that the functions' own reader can check the rest before anything is made. */
const ADDED: Env = {
  WAYBILL_API_ORIGIN: "https://api.invalid",
  WAYBILL_BUCKET: "bucket",
  AWS_REGION: "region",
};

/** Lambda takes 4 KiB of environment, and the deployment's own variables and the RPC URLs take their part. Owners take the most. */
const MAX_PASSED_ON = 3 * 1024;

/** The bucket itself ends a payload after 120 days; 30 may go by while it is uploaded, and its last deadline is 60 days later. */
const MAX_RETENTION_MS = 29 * 24 * 3_600_000;

/** CloudWatch keeps logs for these numbers of days and for no others. */
const LOG_DAYS = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731];

const number = z.pipe(
  z.pipe(
    z.string().check(z.regex(/^[0-9]{1,9}(\.[0-9]{1,9})?$/)),
    z.transform((text) => Number(text)),
  ),
  z.number(),
);
const positive = z.pipe(number, z.number().check(z.gt(0)));
const count = z.pipe(number, z.int().check(z.gte(1)));

const settings = z.object({
  /** sst.config.ts reads it before this is checked; so what looks like a yes and isn't one stops the deployment. */
  WAYBILL_PROTECTED: z.optional(z.enum(["0", "1"])),
  WAYBILL_MAX_FEE_PER_GAS: z.string().check(z.regex(/^[0-9]{1,30}$/)),
  WAYBILL_FEES: z.optional(z.enum(["market", "legacy"])),
  WAYBILL_ORIGINS: z._default(pageOrigins, []),
  WAYBILL_DOMAIN: z.optional(z.string().check(z.regex(/^([a-z0-9-]+\.)+[a-z]{2,}$/))),
  WAYBILL_ALARM_EMAIL: z.optional(z.email()),
  WAYBILL_MONTHLY_BUDGET: z._default(positive, 50),
  // Without a default: coins are worth too different things.
  WAYBILL_MIN_BALANCE: z.optional(positive),
  // A stranger's request costs a signature check and, if it is signed, one question to the chain's node: at this rate a
  // flood costs some 40 dollars a day and stays below what a paid node takes. A hundred members poll well below it.
  WAYBILL_API_RATE: z._default(count, 100),
  WAYBILL_API_BURST: z._default(count, 200),
  WAYBILL_PUBLISHER_CONCURRENCY: z.optional(count),
  WAYBILL_RELAYER_GENERATION: z._default(count, 1),
  WAYBILL_LOG_DAYS: z._default(z.pipe(count, z.int().check(z.refine((days) => LOG_DAYS.includes(days)))), 30),
});

/**
 * Reads a stage's settings from the environment, where `sst` has put those of `.env.<stage>` and `.env`.
 * @throws WaybillError USAGE that names every variable that is missing or malformed.
 */
export function readStage(name: string, given: Env): Stage {
  // A variable that is there and empty is not set, as everywhere in a shell.
  const env = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ""));
  const environment = passedOn(env);
  const parsed = settings.safeParse(env);
  const tooLong = JSON.stringify(environment).length > MAX_PASSED_ON ? ["WAYBILL_OWNERS"] : [];
  const tooLate = Number(environment.WAYBILL_RETENTION) > MAX_RETENTION_MS ? ["WAYBILL_RETENTION"] : [];
  const poor =
    isPaid(env.WAYBILL_MAX_FEE_PER_GAS) && env.WAYBILL_MIN_BALANCE === undefined ? ["WAYBILL_MIN_BALANCE"] : [];
  const wrong = [
    ...wrongOf(environment),
    ...poor,
    ...tooLong,
    ...tooLate,
    ...(parsed.success ? [] : namesOf(parsed.error)),
  ];
  if (!parsed.success || wrong.length > 0)
    throw new WaybillError(
      "USAGE",
      `The stage ${name} lacks settings, or they are malformed: ${wrong.join(", ")}. Put them into .env.${name} (docs/operate.md).`,
    );
  const set = parsed.data;
  return {
    name,
    metrics: name === "production" ? METRIC_NAMESPACE : `${METRIC_NAMESPACE}-${name}`,
    environment,
    publisherEnvironment: {
      WAYBILL_MAX_FEE_PER_GAS: set.WAYBILL_MAX_FEE_PER_GAS,
      ...(set.WAYBILL_FEES !== undefined && { WAYBILL_FEES: set.WAYBILL_FEES }),
    },
    blockTime: Number(environment.WAYBILL_BLOCK_TIME),
    origins: set.WAYBILL_ORIGINS,
    domain: set.WAYBILL_DOMAIN,
    alarmEmail: set.WAYBILL_ALARM_EMAIL,
    monthlyBudget: set.WAYBILL_MONTHLY_BUDGET,
    minBalance: isPaid(set.WAYBILL_MAX_FEE_PER_GAS) ? set.WAYBILL_MIN_BALANCE : undefined,
    throttle: { rate: set.WAYBILL_API_RATE, burst: set.WAYBILL_API_BURST },
    publisherConcurrency: set.WAYBILL_PUBLISHER_CONCURRENCY,
    relayerGeneration: set.WAYBILL_RELAYER_GENERATION,
    logDays: set.WAYBILL_LOG_DAYS,
  };
}

/** The secret as the functions would read it. @throws WaybillError USAGE that does not repeat it. */
export function checkRpc(stage: Stage, rpc: string): string {
  try {
    configFromEnv({ ...stage.environment, ...ADDED, WAYBILL_RPC: rpc });
  } catch {
    throw new WaybillError("USAGE", "The secret Rpc must be one or more http(s) URLs with commas between them.");
  }
  return rpc;
}

function passedOn(env: Env): Record<string, string> {
  return Object.fromEntries(
    PASSED_ON.flatMap((key) => {
      const value = env[key];
      return value === undefined ? [] : [[key, value] as const];
    }),
  );
}

/** What the functions would refuse to start with, in their own words. */
function wrongOf(environment: Env): string[] {
  try {
    configFromEnv({ ...environment, ...ADDED, WAYBILL_RPC: "https://rpc.invalid" });
    return [];
  } catch (error) {
    return String(error).match(/WAYBILL_[A-Z_]+/g) ?? [String(error)];
  }
}

/** Whether gas costs the relayer anything. */
function isPaid(maxFeePerGas = "0"): boolean {
  return /[1-9]/.test(maxFeePerGas);
}

function namesOf(error: z.core.$ZodError): string[] {
  return [...new Set(error.issues.map(({ path }) => String(path[0])))];
}
