import type { Row } from "./trial.ts";
export async function record(_all: {
  began: Date;
  rows: Row[];
  peers: object[];
  missing: string[];
  size: number;
  runs: number;
}): Promise<void> {}
