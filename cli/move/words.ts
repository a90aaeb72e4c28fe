// Numbers as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 1.2 GiB */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? Math.floor(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** 9 s, 3 min, 2 h 10 min */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  return `${hours} h ${minutes % 60} min`;
}

/** Whole percents; 100 only when all is there. */
export function percent(bytes: number, total: number): number {
  return total === 0 ? 100 : Math.max(0, Math.min(100, Math.floor((100 * bytes) / total)));
}
