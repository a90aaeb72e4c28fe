import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { HDNodeWallet, Mnemonic } from "ethers";

/** Something secret in a log. The line is not quoted: a report is a log, too. */
export interface Leak {
  readonly what: string;
  /** The file, which is named for its process, and the line's number. */
  readonly where: string;
}

export interface Examined {
  readonly lines: number;
  readonly processes: number;
  readonly secrets: number;
  readonly leaks: readonly Leak[];
}

/** What betrays a secret whoever it belongs to. */
const MARKERS: readonly (readonly [string, RegExp])[] = [
  ["a presigned URL", /x-amz-(signature|credential|security-token)/i],
  ["a header that authorizes", /authorization["']?\s*[:=]|AWS4-HMAC-SHA256/i],
  ["the signature of a request", /eth=:[\w+/]{20}/],
  ["the local store's access key", /\bLOCAL[0-9A-Z]{15}\b/],
  ["a password or an RPC key of the suite", /sekrit/i], // all of them have this word in them
  ["a private key", /BEGIN [A-Z ]*PRIVATE KEY/],
];
const PHRASE = "test test test test test test test test test test test junk";
/** The fields of a line that hold ids; 32 bytes of hex anywhere else are no id. */
const IDS = new Set(["task", "transfer", "notice", "statement", "statements", "transaction"]);
const WORD = /(?:0x)?[0-9a-f]{64,}/gi;

/** Looks through everything that the processes of a test run have logged and written. */
export async function examine(folder: string): Promise<Examined> {
  const names = await readdir(folder);
  const secrets = await knownSecrets(folder, names);
  const leaks: Leak[] = [];
  let lines = 0;
  for (const name of names.filter((file) => /\.(log|out)$/.test(file))) {
    const texts = (await readFile(join(folder, name), "utf8")).split("\n").filter((text) => text !== "");
    lines += name.endsWith(".log") ? texts.length : 0;
    for (const [i, text] of texts.entries())
      for (const what of found(text, secrets, name.endsWith(".log"))) leaks.push({ what, where: `${name}:${i + 1}` });
  }
  const processes = new Set(names.map((name) => name.split(".")[0])).size;
  return { lines, processes, secrets: secrets.words.size + secrets.texts.size, leaks };
}

interface Secrets {
  /** 64 hex digits, lower-case. */
  readonly words: ReadonlySet<string>;
  readonly texts: ReadonlySet<string>;
}

async function knownSecrets(folder: string, names: readonly string[]): Promise<Secrets> {
  const files = names.filter((name) => name.endsWith(".secrets"));
  const noted = await Promise.all(files.map((name) => readFile(join(folder, name), "utf8")));
  const all = noted.flatMap((text) => text.split("\n").filter((line) => line !== ""));
  const texts = all.map((line) => JSON.parse(line) as string);
  const isWord = (text: string): boolean => /^(0x)?[0-9a-f]{64}$/i.test(text);
  return {
    words: new Set([...texts.filter(isWord), ...richKeys()].map((text) => text.slice(-64).toLowerCase())),
    texts: new Set([PHRASE, ...texts.filter((text) => !isWord(text))]),
  };
}

/** The keys that every development chain gives away: their owners' logs must not show keys even so. */
function richKeys(): string[] {
  const root = HDNodeWallet.fromMnemonic(Mnemonic.fromPhrase(PHRASE), "m/44'/60'/0'/0");
  return Array.from({ length: 20 }, (_, i) => root.deriveChild(i).privateKey);
}

function found(text: string, { words, texts }: Secrets, isLog: boolean): string[] {
  const marked = MARKERS.filter(([, marker]) => marker.test(text)).map(([what]) => what);
  const hex = text.match(WORD) ?? [];
  const key = hex.some((word) => words.has(word.slice(-64).toLowerCase())) ? ["a private key of the suite"] : [];
  const secret = [...texts].some((known) => text.includes(known)) ? ["a secret of the suite"] : [];
  const shape = isLog ? misshapen(text) : [];
  return [...marked, ...key, ...secret, ...shape];
}

/** A line is an object, and what could be a key stands in it only where ids do. */
function misshapen(text: string): string[] {
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return ["a line that is no JSON"];
  }
  const others = Object.fromEntries(Object.entries(line).filter(([name]) => !IDS.has(name)));
  return /[0-9a-f]{64}/i.test(JSON.stringify(others)) ? ["32 bytes of hex that are no id"] : [];
}
