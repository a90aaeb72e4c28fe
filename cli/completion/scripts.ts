import type { OptionWord, Place, Word } from "./places.ts";

// Scripts that know all commands themselves, so that a shell needs no program at each key; only for members is the program
// asked, which reads its config file and nothing else. Where nothing of ours fits, the shell completes files. Nothing that was
// typed is ever evaluated, and a name can't be anything but letters, digits, ".", "_" and "-".

/** The script of a shell, for a program with these places. */
export function scriptOf(shell: "bash" | "zsh" | "fish", program: string, places: readonly Place[]): string {
  return { bash, zsh, fish }[shell](program, places);
}

function bash(program: string, places: readonly Place[]): string {
  return `# ${program}, for bash
_${program}_members() {
  local head=
  [[ $1 == *,* ]] && head=\${1%,*},
  COMPREPLY=($(compgen -P "$head" -W "$(command ${program} completion names 2>/dev/null)" -- "\${1##*,}"))
}
_${program}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} at= commands= options= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
      ${ways(places, "bash")}) at="$at \${COMP_WORDS[i]}" ;;
    esac
  done
  case "$at $prev" in
${values(places, { any: "return", members: `_${program}_members "$cur"; return`, choice: compgen })}
  esac
  case "$at" in
${places.map((place) => `    ${quoted(place.at)}) commands=${quoted(texts(wordsAt(place)))} options=${quoted(texts(place.options))} ;;`).join("\n")}
  esac
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$cur")); return ;;
  esac
  case "$at" in
    ${membersAt(places)}) _${program}_members "$cur" ;;
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
_${program}_members() {
  compset -P '*,'
  compadd -- \${(f)"$(command ${program} completion names 2>/dev/null)"}
}
_${program}() {
  local at= i
  local -a commands options
  for ((i = 2; i < CURRENT; i++)); do
    case "$at $words[i]" in
      (${ways(places, "zsh")}) at="$at $words[i]" ;;
    esac
  done
  case "$at $words[CURRENT-1]" in
${values(places, { any: "_files; return", members: `_${program}_members; return`, choice: (words) => `compadd ${words.join(" ")}; return` })}
  esac
  case "$at" in
${places.map((place) => `    (${quoted(place.at)}) commands=(${described(wordsAt(place))}) options=(${described(place.options)}) ;;`).join("\n")}
  esac
  if [[ $PREFIX == -* ]]; then
    _describe option options
  elif [[ $at == (${membersAt(places, "zsh")}) ]]; then
    _${program}_members
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
    return [
      ...(place.arguments === "members" ? [`${here} -f -a '(__${program}_members)'`] : []),
      ...wordsAt(place).map(({ text, description }) => `${here} -f -a ${quoted(text)} -d ${quoted(description)}`),
      ...place.options.map(
        (option) =>
          `${here} -l ${option.text.slice(2)}${valueInFish(option, program)} -d ${quoted(option.description)}`,
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
function __${program}_members
    set -l head (string match -r '.*,' -- (commandline -ct))
    for name in (command ${program} completion names 2>/dev/null)
        echo "$head$name"
    end
end
${lines.join("\n")}
`;
}

function valueInFish({ value }: OptionWord, program: string): string {
  if (value === "none") return "";
  if (value === "members") return ` -x -a '(__${program}_members)'`;
  return value === "any" ? " -r" : ` -x -a ${quoted(value.join(" "))}`;
}

/** The commands that lead further, as patterns. */
function ways(places: readonly Place[], shell: "bash" | "zsh" | "fish"): string {
  const all = places.flatMap(({ at }) => (at === "" ? [] : [quoted(at)]));
  return all.join(shell === "fish" ? " " : " | ");
}

/** What a shell does where a value is to follow. */
interface Acts {
  readonly any: string;
  readonly members: string;
  readonly choice: (words: readonly string[]) => string;
}

/** For all options that a value follows: what completes it. A line of a `case` each. */
function values(places: readonly Place[], { any, members, choice }: Acts): string {
  const valued = places.flatMap(({ at, options }) =>
    options.map(({ text, value }) => ({ way: quoted(`${at} ${text}`), value })),
  );
  const waysOf = (wanted: OptionWord["value"]): string =>
    valued.flatMap(({ way, value }) => (value === wanted ? [way] : [])).join(" | ");
  const chosen = valued.flatMap(({ way, value }) => (typeof value === "string" ? [] : `${way}) ${choice(value)} ;;`));
  const lines = [`${waysOf("any")}) ${any} ;;`, `${waysOf("members")}) ${members} ;;`, ...chosen];
  return lines.map((line) => `    ${line}`).join("\n");
}

/** The commands whose arguments are members, as patterns. */
function membersAt(places: readonly Place[], shell: "bash" | "zsh" = "bash"): string {
  const all = places.flatMap((place) => (place.arguments === "members" ? [quoted(place.at)] : []));
  return all.join(shell === "zsh" ? "|" : " | ");
}

/** Commands, and the words that the first argument may be. */
function wordsAt({ commands, arguments: words }: Place): Word[] {
  return [...commands, ...(words === "members" ? [] : words.map((text) => ({ text, description: "" })))];
}

function texts(words: readonly Word[]): string {
  return words.map(({ text }) => text).join(" ");
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
