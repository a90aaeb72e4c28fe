/** Options whose values may hold a secret: an RPC URL may carry a key. */
const SECRET = new Set(["--rpc"]);
/** What a terminal would obey, or show otherwise than it is: a file may be called so by somebody else. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/u;
const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** The command that was typed, for a shell, and with it who typed it; without what may be secret in it. */
export function typed(args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
  const words = args.map((word, i) => {
    const [name = "", value] = word.split(/=(.*)/s, 2);
    if (SECRET.has(name) && value !== undefined) return `${name}=…`;
    return SECRET.has(args[i - 1] ?? "") ? "…" : quoted(word);
  });
  const config = env.WAYBILL_CONFIG ? [`WAYBILL_CONFIG=${quoted(env.WAYBILL_CONFIG)}`] : [];
  return [...config, ...(env.npm_command === "exec" ? ["npx"] : []), "waybill", ...words].join(" ");
}

function quoted(word: string): string {
  if (PLAIN.test(word)) return word;
  // In the shell's own escapes.
  if (UNSAFE.test(word)) return `$'${[...word].map(escaped).join("")}'`;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function escaped(character: string): string {
  if (character === "'" || character === "\\") return `\\${character}`;
  if (!UNSAFE.test(character)) return character;
  return [...Buffer.from(character)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}
