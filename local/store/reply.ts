import type { Slice } from "./ranges.ts";
import type { XmlChild } from "./xml.ts";
import { writeXml } from "./xml.ts";

/** What an operation answers. */
export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly xml?: string;
  /** Bytes of files. */
  readonly content?: Content;
}

export interface Content {
  readonly size: number;
  readonly slices: readonly Slice[];
  /** To be called once when no byte of the slices is needed any more. */
  release(): Promise<void>;
}

export function xmlReply(
  root: string,
  children: readonly XmlChild[],
  headers: Readonly<Record<string, string>> = {},
): Reply {
  return { status: 200, headers, xml: writeXml(root, children) };
}

export function timestamp(ms: number): string {
  return new Date(ms).toISOString();
}

export function quoted(etag: string): string {
  return `"${etag}"`;
}
