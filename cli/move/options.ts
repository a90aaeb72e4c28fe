import { InvalidArgumentError } from "commander";

const DURATIONS: Readonly<Record<string, number>> = {
  "": 1,
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const SIZES: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

/** Milliseconds, as the library has them, or a number with a unit. */
export function duration(text: string): number {
  const [, number, unit = ""] = /^([0-9]{1,12}(?:\.[0-9]{1,3})?)(ms|s|m|min|h|d)?$/.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError('It must be milliseconds, or "90s", "10m", "2h", "3d".');
  const ms = Math.round(Number(number) * DURATIONS[unit]!);
  if (unit === "" && ms > 0 && ms < 1000)
    throw new InvalidArgumentError(`A number alone is milliseconds. Did you mean "${number}s"?`);
  return ms;
}

/** Bytes, or a number with a unit. */
export function bytes(text: string): number {
  const [, number, unit = ""] = /^([0-9]{1,15}(?:\.[0-9]{1,3})?)(B|[KMGT]iB|[kMGT]B)?$/.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError('It must be bytes, or "500MiB", "2GiB".');
  return Math.floor(Number(number) * SIZES[unit]!);
}

/** Accounts or names with commas between them; an option that is given again adds to them. (Words in a row would swallow the FILE behind them.) */
export function list(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...text.split(",").filter((word) => word !== "")];
}
