/** Coefficients so that the sum of coefficient × feature comes as near as possible to each value. */
export type Coefficients = Readonly<Record<string, number>>;

/** One measurement: what it depends on, by name, and what came out. */
export interface Sample {
  readonly features: Readonly<Record<string, number>>;
  readonly value: number;
}

/** Least squares by the normal equations: a handful of well-scaled features. @throws Error when the samples don't tell them apart. */
export function leastSquares(samples: readonly Sample[]): Coefficients {
  const names = Object.keys(samples[0]?.features ?? {});
  const rows = names.map((row) => [
    ...names.map((column) => sum(samples, ({ features }) => features[row]! * features[column]!)),
    sum(samples, ({ features, value }) => features[row]! * value),
  ]);
  const solved = solve(rows);
  return Object.fromEntries(names.map((name, i) => [name, solved[i]!]));
}

export function predict(coefficients: Coefficients, features: Readonly<Record<string, number>>): number {
  return Object.entries(coefficients).reduce((total, [name, coefficient]) => total + coefficient * features[name]!, 0);
}

function sum(samples: readonly Sample[], of: (sample: Sample) => number): number {
  return samples.reduce((total, sample) => total + of(sample), 0);
}

/** Gauss and Jordan, with the largest pivot of each column. Each row has its right side as its last element. */
function solve(rows: number[][]): number[] {
  const size = rows.length;
  for (let column = 0; column < size; column++) {
    const candidates = rows.slice(column).map((row) => Math.abs(row[column]!));
    const best = column + candidates.indexOf(Math.max(...candidates));
    [rows[column], rows[best]] = [rows[best]!, rows[column]!];
    const pivot = rows[column]!;
    if (Math.abs(pivot[column]!) < 1e-9) throw new Error("The measurements don't tell the features apart.");
    for (const row of rows) {
      if (row === pivot) continue;
      const share = row[column]! / pivot[column]!;
      for (let i = column; i <= size; i++) row[i] = row[i]! - share * pivot[i]!;
    }
  }
  return rows.map((row, i) => row[size]! / row[i]!);
}
