import { Command, InvalidArgumentError, type Option } from "commander";
import { WaybillError } from "../lib/protocol/errors.ts";

/** What a command needs of the process that runs it. */
export interface Context {
  /** Aborted when the user wants it to end. */
  readonly signal: AbortSignal;
}

/** A command whose errors are thrown, so that they are told once, in one form, and with their exit code. */
export function newCommand(name: string): Command {
  return new Command(name)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .helpCommand(false);
}

/** A command that does something: its answer also comes as JSON. */
export function newAction(name: string): Command {
  return newCommand(name).option("--json", "one JSON object on stdout instead of text");
}

/**
 * An option without which there is nothing to do. The parser's own check comes before that of names, so that a misspelt one
 * would be told as a missing one.
 */
export function addNeeded(command: Command, option: Option): Command {
  command.addOption(option).hook("preAction", () => {
    const value: unknown = command.getOptionValue(option.attributeName());
    if (value !== undefined && value !== "" && !(Array.isArray(value) && value.length === 0)) return;
    const variable = option.envVar === undefined ? "" : `, or in ${option.envVar}`;
    throw new WaybillError("USAGE", `Say ${option.flags}${variable}: ${option.description}.`);
  });
  return command;
}

// Readers of options' values. What they throw, the parser tells with the option's name, and with the value: so no secret is read by them.

export function whole(text: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a whole number.");
}

export function positive(text: string): number {
  const number = whole(text);
  if (number > 0) return number;
  throw new InvalidArgumentError("It must be above 0.");
}

/** Wei, or gwei with the unit behind it. */
export function price(text: string): bigint {
  const match = /^([0-9]{1,30})(\.[0-9]{1,9})?(gwei)?$/.exec(text);
  if (match && (match[3] || !match[2]))
    return BigInt(`${match[1]}${match[3] ? (match[2] ?? ".").slice(1).padEnd(9, "0") : ""}`);
  throw new InvalidArgumentError('It must be wei, such as 20000000000, or "20gwei".');
}

export function origin(text: string): string {
  if (/^https?:\/\/[^/?#@\s]+\/?$/.test(text) && URL.canParse(text)) return new URL(text).origin;
  throw new InvalidArgumentError("It must be an origin, such as https://waybill.example.org.");
}

/** Where to listen. */
export function place(text: string): { host: string; port: number } {
  const [, six, host = six, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+)):([0-9]{1,5})$/.exec(text) ?? [];
  if (host !== undefined && Number(port) <= 65_535) return { host, port: Number(port) };
  throw new InvalidArgumentError("It must be host:port, such as 127.0.0.1:8080 or [::1]:8080.");
}
