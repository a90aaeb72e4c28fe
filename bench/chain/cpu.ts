import { readFile } from "node:fs/promises";

/** Linux counts in hundredths of a second, whatever the machine. */
const TICK_MS = 10;

/** Milliseconds of CPU time that a process has used so far; NaN where the system doesn't tell. */
export async function cpuOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  const [user, system] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13); // its name may hold spaces
  return (Number(user) + Number(system)) * TICK_MS;
}
