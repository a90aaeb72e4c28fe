/** Options whose values may hold a secret: an RPC URL may carry a key. */
const SECRET = new Set(["--rpc"]);
const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** The command that was typed, for a shell; without what may be secret in it. */
export function typed(args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
  const words = args.map((word, i) => {
    const [name = "", value] = word.split(/=(.*)/s, 2);
    if (SECRET.has(name) && value !== undefined) return `${name}=…`;
    return SECRET.has(args[i - 1] ?? "") ? "…" : quoted(word);
  });
  return [...(env.npm_command === "exec" ? ["npx"] : []), "waybill", ...words].join(" ");
}

function quoted(word: string): string {
  if (PLAIN.test(word)) return word;
  const control = [...word].some((character) => character < " " || character === "\x7f");
  // What a terminal would obey is written in the shell's own escapes.
  if (control) return `$'${[...word].map(escaped).join("")}'`;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function escaped(character: string): string {
  if (character === "'" || character === "\\") return `\\${character}`;
  if (character >= " " && character !== "\x7f") return character;
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
