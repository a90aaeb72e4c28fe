import type { Command } from "commander";

/** A word that can be typed next. */
export interface Word {
  readonly text: string;
  readonly description: string;
}

/** An option, with what may follow it: one of these words, anything (a file, most likely), or nothing. */
export interface OptionWord extends Word {
  readonly value: readonly string[] | "any" | "none";
}

/** A command's place on the command line, by the names that lead there: "" is the program itself, " task open" a command. */
export interface Place {
  readonly at: string;
  readonly commands: readonly Word[];
  readonly options: readonly OptionWord[];
  /** What its first argument may be, where that is one of a few words. */
  readonly arguments: readonly string[];
}

/** Every command that help shows. */
export function placesOf(command: Command, at = ""): Place[] {
  const help = command.createHelp();
  const children = help.visibleCommands(command);
  const options = help.visibleOptions(command).map((option): OptionWord => {
    const free = option.required || option.optional ? "any" : "none";
    return { text: option.long ?? option.flags, description: option.description, value: option.argChoices ?? free };
  });
  const place = {
    at,
    commands: children.map((child) => ({ text: child.name(), description: child.description() })),
    options,
    arguments: command.registeredArguments[0]?.argChoices ?? [],
  };
  return [place, ...children.flatMap((child) => placesOf(child, `${at} ${child.name()}`))];
}
