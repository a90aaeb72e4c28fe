import { Argument, type Command } from "commander";
import { newCommand } from "../command.ts";

const HELP = `
A new shell knows it afterwards:

  $ waybill completion bash > ~/.local/share/bash-completion/completions/waybill
  $ waybill completion zsh > "\${fpath[1]}/_waybill"
  $ waybill completion fish > ~/.config/fish/completions/waybill.fish`;

/** `waybill completion`. The script is made from the tree of commands that `program` is by then. */
export function completion(program: Command): Command {
  return newCommand("completion")
    .description("prints a script by which a shell completes commands and options")
    .addArgument(new Argument("<shell>", "which").choices(["bash", "zsh", "fish"]))
    .addHelpText("after", HELP)
    .action(async (shell: "bash" | "zsh" | "fish") => {
      const [{ placesOf }, { scriptOf }] = await Promise.all([
        import("../completion/places.ts"),
        import("../completion/scripts.ts"),
      ]);
      process.stdout.write(scriptOf(shell, program.name(), placesOf(program)));
    });
}
