/** Rows under their heads: words to the left, numbers to the right. */
export function tableOf(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => String(row[i]).length)));
  const lineOf = (row: readonly (string | number)[]): string =>
    row
      .map((cell, i) => (typeof cell === "number" ? String(cell).padStart : cell.padEnd).call(String(cell), widths[i]!))
      .join("  ")
      .trimEnd();
  return [heads, widths.map((width) => "-".repeat(width)), ...rows].map(lineOf).join("\n");
}
