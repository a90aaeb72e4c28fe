import { Argument, type Command } from "commander";
import { newCommand } from "../command.ts";
import { addConfigOption } from "../participant.ts";

const HELP = `
A new shell knows it afterwards:

  $ waybill completion bash > ~/.local/share/bash-completion/completions/waybill
  $ waybill completion zsh > "\${fpath[1]}/_waybill"
  $ waybill completion fish > ~/.config/fish/completions/waybill.fish

By "waybill completion names" the scripts complete members: it prints the names of your config file, and asks nobody.`;

/** `waybill completion`. The script is made from the tree of commands that `program` is by then. */
export function completion(program: Command): Command {
  const command = newCommand("completion")
    .description("prints a script by which a shell completes commands, options and members")
    .addArgument(new Argument("<shell>", "which").choices(["bash", "zsh", "fish", "names"]))
    .addHelpText("after", HELP);
  return addConfigOption(command).action(async (shell: "bash" | "zsh" | "fish" | "names") => {
    if (shell === "names") {
      const { printNames } = await import("../completion/names.ts");
      return printNames(command.opts<{ config?: string }>().config);
    }
    const [{ placesOf }, { scriptOf }] = await Promise.all([
      import("../completion/places.ts"),
      import("../completion/scripts.ts"),
    ]);
    process.stdout.write(scriptOf(shell, program.name(), placesOf(program)));
    return undefined;
  });
}
