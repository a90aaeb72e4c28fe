import type { Command } from "commander";
import { list } from "../move/options.ts";

/** A word that can be typed next. */
export interface Word {
  readonly text: string;
  readonly description: string;
}

/** An option, with what may follow it: one of these words, members, anything (a file, most likely), or nothing. */
export interface OptionWord extends Word {
  readonly value: readonly string[] | "members" | "any" | "none";
}

/** A command's place on the command line, by the names that lead there: "" is the program itself, " task open" a command. */
export interface Place {
  readonly at: string;
  readonly commands: readonly Word[];
  readonly options: readonly OptionWord[];
  /** What its first argument may be, where that is one of a few words; or that its arguments are members. */
  readonly arguments: readonly string[] | "members";
}

/** Every command that help shows. */
export function placesOf(command: Command, at = ""): Place[] {
  const help = command.createHelp();
  const children = help.visibleCommands(command);
  const options = help.visibleOptions(command).map((option): OptionWord => {
    const { long, flags, description, argChoices } = option;
    const free = option.required || option.optional ? "any" : "none";
    return { text: long ?? flags, description, value: option.parseArg === list ? "members" : (argChoices ?? free) };
  });
  const [first] = command.registeredArguments;
  const place = {
    at,
    commands: children.map((child) => ({ text: child.name(), description: child.description() })),
    options,
    arguments: first?.name() === "members" ? ("members" as const) : (first?.argChoices ?? []),
  };
  return [place, ...children.flatMap((child) => placesOf(child, `${at} ${child.name()}`))];
}
