import type { OptionWord, Place, Word } from "./places.ts";

// Scripts that know all commands themselves, so that a shell needs no program at each key. Where nothing of ours fits, the
// shell completes files. Nothing that was typed is ever evaluated.

/** The script of a shell, for a program with these places. */
export function scriptOf(shell: "bash" | "zsh" | "fish", program: string, places: readonly Place[]): string {
  return { bash, zsh, fish }[shell](program, places);
}

function bash(program: string, places: readonly Place[]): string {
  return `# ${program}, for bash
_${program}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} at= commands= options= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
      ${ways(places, "bash")}) at="$at \${COMP_WORDS[i]}" ;;
    esac
  done
  case "$at $prev" in
${values(places, (choices) => (choices ? compgen(choices) : "return"))}
  esac
  case "$at" in
${places.map((place) => `    ${quoted(place.at)}) commands=${quoted(list(place))} options=${quoted(texts(place.options))} ;;`).join("\n")}
  esac
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "$commands" -- "$cur")) ;;
  esac
}
complete -o bashdefault -o default -F _${program} ${program}
`;
}

function compgen(words: readonly string[]): string {
  return `COMPREPLY=($(compgen -W ${quoted(words.join(" "))} -- "$cur")); return`;
}

function zsh(program: string, places: readonly Place[]): string {
  return `#compdef ${program}
_${program}() {
  local at= i
  local -a commands options
  for ((i = 2; i < CURRENT; i++)); do
    case "$at $words[i]" in
      (${ways(places, "zsh")}) at="$at $words[i]" ;;
    esac
  done
  case "$at $words[CURRENT-1]" in
${values(places, (choices) => (choices ? `compadd ${choices.join(" ")}; return` : "_files; return"))}
  esac
  case "$at" in
${places.map((place) => `    (${quoted(place.at)}) commands=(${described([...place.commands, ...plain(place.arguments)])}) options=(${described(place.options)}) ;;`).join("\n")}
  esac
  if [[ $PREFIX == -* ]]; then
    _describe option options
  elif (( $#commands )); then
    _describe command commands
  else
    _files
  fi
}
if [[ $funcstack[1] == _${program} ]]; then _${program}; else compdef _${program} ${program}; fi
`;
}

function fish(program: string, places: readonly Place[]): string {
  const lines = places.flatMap((place) => {
    const here = `complete -c ${program} -n '__${program}_at ${escaped(`"${place.at}"`)}'`;
    const words = [...place.commands, ...plain(place.arguments)];
    return [
      ...words.map(({ text, description }) => `${here} -f -a ${quoted(text)} -d ${quoted(description)}`),
      ...place.options.map(
        (option) => `${here} -l ${option.text.slice(2)}${valueInFish(option)} -d ${quoted(option.description)}`,
      ),
    ];
  });
  return `# ${program}, for fish
function __${program}_at
    set -l at
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
            case ${ways(places, "fish")}
                set at "$at $word"
        end
    end
    test "$at" = "$argv[1]"
end
${lines.join("\n")}
`;
}

function valueInFish({ value }: OptionWord): string {
  if (value === "none") return "";
  return value === "any" ? " -r" : ` -x -a ${quoted(value.join(" "))}`;
}

/** The commands that lead further, as patterns. */
function ways(places: readonly Place[], shell: "bash" | "zsh" | "fish"): string {
  const all = places.flatMap(({ at }) => (at === "" ? [] : [quoted(at)]));
  return all.join(shell === "fish" ? " " : " | ");
}

/** For all options that a value follows: what their values are, or null where that may be anything. A line of a `case` each. */
function values(places: readonly Place[], act: (choices: readonly string[] | null) => string): string {
  const valued = places.flatMap(({ at, options }) =>
    options.map(({ text, value }) => ({ way: quoted(`${at} ${text}`), value })),
  );
  const free = valued.filter(({ value }) => value === "any").map(({ way }) => way);
  const chosen = valued.flatMap(({ way, value }) => (typeof value === "string" ? [] : `${way}) ${act(value)} ;;`));
  return [`${free.join(" | ")}) ${act(null)} ;;`, ...chosen].map((line) => `    ${line}`).join("\n");
}

function list(place: Place): string {
  return [texts(place.commands), ...place.arguments].filter((text) => text !== "").join(" ");
}

function texts(words: readonly Word[]): string {
  return words.map(({ text }) => text).join(" ");
}

function plain(words: readonly string[]): Word[] {
  return words.map((text) => ({ text, description: "" }));
}

function described(words: readonly Word[]): string {
  return words.map(({ text, description }) => quoted(`${text}:${description.replaceAll(":", "\\:")}`)).join(" ");
}

/** In single quotes, as all three shells read them. */
function quoted(text: string): string {
  return `'${escaped(text)}'`;
}

function escaped(text: string): string {
  return text.replaceAll("'", "’");
}
