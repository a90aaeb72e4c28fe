import type { Command } from "commander";
import { type Context, newAction, newCommand } from "../command.ts";
import { addConfigOption, addKeyOptions } from "../participant.ts";

const NEW = `
The password is typed twice, or is a file's first line. Whoever has the file and the password is you: keep a copy of both,
for nobody can restore them.

  $ waybill key new
  $ waybill key new --out alice.json --password-file alice.password`;

const IMPORT = `
The key, 64 hex digits, is read from stdin, or asked for without showing it; never from the command line, which others see.

  $ waybill key import --out alice.json
  $ pass waybill/alice | waybill key import --out alice.json --password-file alice.password`;

const SHOW = `
The account is what you tell the owner of a task. A keystore says it without its password; --check opens it.

  $ waybill key show
  0x…
  $ waybill key show --keystore alice.json --check`;

/** `waybill key new|import|show` */
export function key(context: Context): Command {
  return newCommand("key")
    .description("your key, in an encrypted keystore")
    .addCommand(making("new", context).description("makes a key").addHelpText("after", NEW))
    .addCommand(making("import", context).description("encrypts a key that you have").addHelpText("after", IMPORT))
    .addCommand(show(context));
}

function making(kind: "new" | "import", context: Context): Command {
  const command = newAction(kind)
    .option("--out <file>", "never overwritten; by default key.json beside the config file")
    .option("--password-file <file>", "its first line is the password; asked for if left out");
  return command.action(async () => (await import("../key/make.ts")).makeKey(kind, command.opts(), context));
}

function show(context: Context): Command {
  const command = newAction("show")
    .description("says whose key it is")
    .option("--check", "open it with its password")
    .addHelpText("after", SHOW);
  addConfigOption(command);
  return addKeyOptions(command).action(async () => (await import("../key/show.ts")).showKey(command, context));
}
