/** Bytes from `start` up to, not including, `end`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** A stretch of one file. */
export interface Slice extends ByteRange {
  readonly file: string;
}

/**
 * The range that a Range header asks of `size` bytes; "unsatisfiable" if none of it exists; null if the header is to be
 * ignored, as HTTP wants for a malformed one and S3 does for several ranges at once.
 */
export function parseRange(header: string, size: number): ByteRange | "unsatisfiable" | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header);
  const [from, to] = [match?.[1], match?.[2]];
  if (from === undefined || to === undefined || from + to === "") return null;
  if (from === "") {
    const length = Math.min(Number(to), size);
    return length === 0 ? "unsatisfiable" : { start: size - length, end: size };
  }
  const start = Number(from);
  if (to !== "" && Number(to) < start) return null;
  if (start >= size) return "unsatisfiable";
  return { start, end: to === "" ? size : Math.min(Number(to) + 1, size) };
}

/** The stretches of consecutive files that hold a range of their concatenation. */
export function slicesOf(files: readonly { file: string; size: number }[], range: ByteRange): Slice[] {
  const slices: Slice[] = [];
  let offset = 0;
  for (const { file, size } of files) {
    const start = Math.max(range.start - offset, 0);
    const end = Math.min(range.end - offset, size);
    if (start < end) slices.push({ file, start, end });
    offset += size;
    if (offset >= range.end) break;
  }
  return slices;
}
