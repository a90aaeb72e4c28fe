// The library's sentences name its own options. Whoever types a command knows them by other names.

/** Each pattern is a piece of a sentence of the library, so that a file or a tag of the same name stays as it is. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/^The call was ended by its signal\.$/, "Interrupted."],
  [/^idleTimeout (?=is at least|must be|is in milliseconds|may be)/, "--idle-timeout "],
  [/^timeout (?=must be|is in milliseconds|may be)/, "--timeout "],
  [/^graceAfter (?=must be|is in milliseconds|may be)/, "--grace "],
  [/^atLeast (?=must be)/, "--at-least "],
  [/^maxBytes (?=must be)/, "--max-bytes "],
  [/(?<= bytes, and )maxBytes(?= is \d)/, "--max-bytes"],
  [/(?<=or overwrite it with )force(?=\.$)/, "--force"],
  [/(?<=gas was above )maxFeePerGas/, "--max-fee-per-gas"],
  [/^maxFeePerGas goes with relay: "self"/, "--max-fee-per-gas goes with --relay self"],
  [/Put `rpc` into the deployment\.$/, 'Name one with --rpc, in WAYBILL_RPC, or as "rpc" in the config file.'],
  [/Send it as a transfer\.$/, "Send it as a file: waybill send."],
];

/** A sentence of the library, for who types commands. */
export function inCommandWords(message: string): string {
  return WORDS.reduce((text, [pattern, word]) => text.replace(pattern, word), message);
}
