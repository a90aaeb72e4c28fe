/** Longer texts say no more to a person; a stranger's may have any length. */
const MAX_TEXT = 600;
/** What is looked at: a rule takes a text's length in time, and what lies behind it is never shown. */
const MAX_READ = 8_000;
const GONE = "…";

/**
 * What no line may hold, in the order in which it is looked for. Ids are 32 bytes of hex like keys, so neither may stand in a
 * text: ids have fields of their own.
 */
const RULES: readonly (readonly [RegExp, string])[] = [
  // The path of an RPC node's URL may be its key, a presigned URL's query is one, and so is what stands before an @.
  [/\b(?!file:)([a-z][a-z0-9+.-]{1,20}:\/\/)(?:[^\s/?#"'<>]*@)?([^\s/?#"'<>]*)[^\s"'<>]*/gi, `$1$2/${GONE}`],
  [/\?[\w.~%-]+=[^\s"'<>]*/g, `?${GONE}`],
  [/\bx-amz-[\w-]+["']?\s*(?:[:=]|%3d)[^\s&,]*/gi, `x-amz-${GONE}`],
  [/\b((?:proxy-)?authorization|signature(?:-input)?|(?:set-)?cookie)["']?\s*[:=][^\n]*/gi, `$1 ${GONE}`],
  [/\b(bearer|basic)\s+[\w.+/=~-]{8,}/gi, `$1 ${GONE}`],
  [/\b(password|passphrase|secret|token|api[-_ ]?key|private[-_ ]?key)["']?\s*[:=]\s*\S+/gi, `$1 ${GONE}`],
  [/\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b/g, GONE],
  // Keys and tokens in base64 may be cut into short pieces by slashes; their padding gives them away.
  [/(?<![\w+/-])[\w+/-]{22,}={1,2}(?![\w=])/g, GONE],
  // Accounts may stay. What else is so long is a key, a signature or a token, or an id.
  [/(?<![\w+=-])(?!0x[0-9a-f]{40}(?![\w+=-]))[\w+=-]{40,}/gi, GONE],
];

/** A text without what could be a secret in it: URLs' paths, queries and passwords, headers that authorize, keys, tokens. */
export function redact(text: string): string {
  let shown = text.slice(0, MAX_READ);
  for (const [secret, instead] of RULES) shown = shown.replace(secret, instead);
  return shown.length > MAX_TEXT ? `${shown.slice(0, MAX_TEXT)}${GONE}` : shown;
}
