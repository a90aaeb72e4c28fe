import type { Member } from "./chain/ledger.ts";
import { bitmapOf, placeOf } from "./protocol/statements.ts";

/** Members of one page, as a statement names them. */
export interface Page {
  readonly page: number;
  readonly recipients: bigint;
  /** In bit order. */
  readonly members: readonly Member[];
}

/** Puts members on their pages; a statement speaks to one page. */
export function pagesOf(members: readonly Member[]): Page[] {
  const pages = new Map<number, Member[]>();
  for (const member of members) {
    const { page } = placeOf(member.index);
    pages.set(page, [...(pages.get(page) ?? []), member]);
  }
  return [...pages].map(([page, on]) => ({
    page,
    recipients: bitmapOf(on.map(({ index }) => placeOf(index).bit)),
    members: on.toSorted((a, b) => a.index - b.index),
  }));
}

/** Does a statement with this page and bitmap name the member, by the index that it has now? */
export function names(statement: { page: number; recipients: bigint }, member: Member): boolean {
  const { page, bit } = placeOf(member.index);
  return page === statement.page && ((statement.recipients >> BigInt(bit)) & 1n) === 1n;
}
