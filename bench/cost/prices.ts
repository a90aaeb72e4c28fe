// What AWS asks in eu-central-1 (Frankfurt): public list prices in US dollars, first tier, without free quotas, discounts and tax.
// Written down by hand on 2026-11-22; nothing here asks AWS. Another region or a new price: change it here, then
// `npm run bench:cost -- --render`.

export const REGION = "eu-central-1";
export const PRICES_OF = "2026-11-22";

export interface Price {
  readonly usd: number;
  /** So many units cost that much. */
  readonly per: number;
  readonly unit: string;
  readonly source: string;
}

const page = (path: string): string => `https://aws.amazon.com/${path}/pricing/`;

export const prices = {
  httpApi: {
    usd: 1.2,
    per: 1_000_000,
    unit: "requests to an HTTP API (up to 512 KB each)",
    source: page("api-gateway"),
  },
  lambdaRequests: { usd: 0.2, per: 1_000_000, unit: "invocations", source: page("lambda") },
  lambdaTime: { usd: 0.0000133334, per: 1, unit: "GB-seconds on arm64", source: page("lambda") },
  s3Put: { usd: 0.0054, per: 1_000, unit: "PUT, COPY, POST and LIST requests", source: page("s3") },
  s3Get: { usd: 0.00043, per: 1_000, unit: "GET and HEAD requests", source: page("s3") },
  s3Storage: { usd: 0.0245, per: 1, unit: "GB-months in S3 Standard", source: page("s3") },
  sqs: { usd: 0.5, per: 1_000_000, unit: "requests to a FIFO queue", source: page("sqs") },
  kmsSign: { usd: 0.15, per: 10_000, unit: "signatures with an ECC key", source: page("kms") },
  kmsKey: { usd: 1, per: 1, unit: "keys a month", source: page("kms") },
  logs: { usd: 0.63, per: 1, unit: "GB of logs taken in", source: page("cloudwatch") },
  metric: { usd: 0.3, per: 1, unit: "metrics of one's own a month", source: page("cloudwatch") },
  alarm: { usd: 0.1, per: 1, unit: "alarms a month", source: page("cloudwatch") },
  schedule: { usd: 1, per: 1_000_000, unit: "ticks of a schedule", source: page("eventbridge") },
  transfer: {
    usd: 0.09,
    per: 1,
    unit: "GB out to the internet",
    source: "https://aws.amazon.com/ec2/pricing/on-demand/",
  },
} as const satisfies Readonly<Record<string, Price>>;

/** What gas costs is the chain's affair: these stand for a usual layer-2 chain, and the page has the formula for others. */
export const GAS = { gwei: 0.05, coin: 3_000 } as const;
/** Dollars per million gas. */
export const gasPrice: Price = {
  usd: Number((1_000_000 * GAS.gwei * 1e-9 * GAS.coin).toFixed(6)),
  per: 1_000_000,
  unit: `gas at ${GAS.gwei} gwei, a coin at ${GAS.coin} dollars`,
  source: "an assumption",
};

export function dollars(quantity: number, { usd, per }: Price): number {
  return (quantity * usd) / per;
}
