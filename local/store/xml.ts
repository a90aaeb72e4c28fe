import { XMLParser } from "fast-xml-parser";
import { S3Error } from "./errors.ts";

const NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/";
/** Elements that may repeat: one of them is a list of one. */
const LISTS: ReadonlySet<string> = new Set(["Part", "Object"]);

/** A child is [name, value]; undefined leaves it out; a list of children nests. */
export type XmlChild = readonly [name: string, value: string | number | boolean | undefined | readonly XmlChild[]];

/** Writes a document; every text is escaped, so a hostile key stays a text. */
export function writeXml(root: string, children: readonly XmlChild[], namespace: string | null = NAMESPACE): string {
  const opening = namespace === null ? root : `${root} xmlns="${namespace}"`;
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${opening}>${children.map(element).join("")}</${root}>`;
}

function element([name, value]: XmlChild): string {
  if (value === undefined) return "";
  const content = typeof value === "object" ? value.map(element).join("") : escapeText(String(value));
  return `<${name}>${content}</${name}>`;
}

function escapeText(text: string): string {
  return text.replace(/[&<>"\p{Cc}\u2028\ufffe\uffff]/gu, (c) => `&#x${c.charCodeAt(0).toString(16)};`);
}

const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false, // a key may begin with a space
  htmlEntities: true, // decodes numeric references too: a key may hold a line feed
  isArray: (name) => LISTS.has(name),
});

/** Reads a request's document into plain objects and strings; the caller validates its shape. */
export function readXml(text: string): unknown {
  // A document type is where entities are declared; no S3 client sends one.
  if (/<!(?:DOCTYPE|ENTITY)/i.test(text)) throw new S3Error("MalformedXML");
  try {
    return parser.parse(text, true);
  } catch {
    throw new S3Error("MalformedXML");
  }
}
