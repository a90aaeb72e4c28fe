import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cut, harmless, jsonLine, printable, sizeOf, spanOf } from "../cli/words.ts";
import { ROOT, run } from "./support/packed.ts";
import { openShell } from "./support/terminal.ts";

const WAYBILL = join(ROOT, "dist/cli/waybill.js");

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "waybill-test-completion-"));
  await mkdir(join(dir, "bin"));
  const program = `#!/bin/sh\nexec ${process.execPath} ${WAYBILL} "$@"\n`;
  await writeFile(join(dir, "bin/waybill"), program, { mode: 0o755 });
  const names = { alice: `0x${"0a".repeat(20)}`, bob: `0x${"0b".repeat(20)}`, carol: `0x${"0c".repeat(20)}` };
  await writeFile(join(dir, "config.json"), JSON.stringify({ names }));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

function has(shell: string): boolean {
  try {
    execFileSync(shell, ["-c", "true"]);
    return true;
  } catch {
    return false;
  }
}

/** Where `waybill` is a command, and a config file knows names. */
const here = (): NodeJS.ProcessEnv => ({
  PATH: `${join(dir, "bin")}${delimiter}${process.env.PATH}`,
  WAYBILL_CONFIG: join(dir, "config.json"),
});

async function script(shell: string): Promise<string> {
  const { code, stdout } = await run(process.execPath, [WAYBILL, "completion", shell], dir);
  expect(code).toBe(0);
  await writeFile(join(dir, shell), stdout);
  return join(dir, shell);
}

describe("waybill completion", () => {
  it.runIf(has("bash"))(
    "completes in bash commands, options and choices; elsewhere files; and evaluates nothing",
    async () => {
      const file = await script("bash");
      // Sourced twice, as a shell in a shell does.
      const shell = `source ${file}; source ${file}
      try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _waybill; echo "\${COMPREPLY[*]}"; }
      try waybill ta
      try waybill task ""
      try waybill task open --rel
      try waybill task open --relay ""
      try waybill key show --keystore ""
      try waybill send model.bin --to ""
      try waybill receive --from alice,c
      try waybill task admit alice b
      try waybill send mod
      try waybill key show '$(touch ${dir}/evaluated)' --ch
      complete -p waybill`;
      const { stdout, stderr } = await run("bash", ["-c", shell], dir, here());
      expect(stderr).toBe("");
      expect(stdout.split("\n").map((line) => line.trim())).toEqual([
        "task tail",
        "open admit expel show",
        "--relay",
        "api self",
        "",
        "alice bob carol",
        "alice,carol",
        "bob",
        "",
        "--check",
        "complete -o bashdefault -o default -F _waybill waybill",
        "",
      ]);
      expect((await run("ls", [dir], dir)).stdout).not.toContain("evaluated");
    },
  );

  for (const shell of ["zsh", "fish"])
    it.runIf(has(shell))(`is a script that ${shell} can read`, async () => {
      const file = await script(shell);
      expect(await run(shell, ["-n", file], dir)).toMatchObject({ code: 0, stderr: "" });
    });

  it.runIf(has("fish"))("completes in fish commands, choices and members", async () => {
    const file = await script("fish");
    const shell = `source ${file}
      for line in "waybill ta" "waybill task open --relay " "waybill send m --to " "waybill send m --to alice,c" "waybill task expel b"
        complete -C $line | string replace -r "\\t.*" "" | string join " "
      end`;
    const { stdout, stderr } = await run("fish", ["-c", shell], dir, { ...here(), HOME: dir });
    expect(stderr).toBe("");
    expect(stdout.trim().split("\n")).toEqual(["tail task", "api self", "alice bob carol", "alice,carol", "bob"]);
  });

  it.runIf(has("zsh"))("completes in zsh what is typed in a terminal", async () => {
    const file = await script("zsh");
    const shell = openShell("zsh", dir, { ...here(), HOME: dir });
    shell.type(
      `autoload -U compinit && compinit -u -D && source ${file} && waybill() { echo "[$*]"; }; PS1="ready"$'> '\r`,
    );
    await shell.until("ready> ");
    const lines = [
      ["waybill rec\t", "[receive]"],
      ["waybill send m --to c\t", "[send m --to carol]"],
      ["waybill send m --to bob,al\t", "[send m --to bob,alice]"],
      ["waybill task admit b\t", "[task admit bob]"],
      ["waybill send m --relay s\t", "[send m --relay self]"],
    ];
    for (const [typed, understood] of lines) {
      shell.type(`${typed}\r`);
      await shell.until(understood!);
    }
    shell.kill();
  });

  it("names nobody where there is no config file, and says nothing of one that is broken", async () => {
    await writeFile(join(dir, "broken.json"), "{");
    for (const config of ["nowhere.json", "broken.json"]) {
      const found = await run(process.execPath, [WAYBILL, "completion", "names", "--config", config], dir);
      expect(found).toEqual({ code: 0, stdout: "", stderr: "" });
    }
  });

  it("knows every command of the program in each shell", async () => {
    for (const shell of ["bash", "zsh", "fish"]) {
      const { stdout } = await run(process.execPath, [WAYBILL, "completion", shell], dir);
      for (const command of ["participant", "admit", "request", "deploy"]) expect(stdout).toContain(command);
      expect(stdout).not.toContain("undefined");
    }
  });
});

describe("words of others", () => {
  it("stand on one line, and nothing in them is obeyed by a terminal", () => {
    expect(printable("round-7/model ünï 模型 🙂")).toBe("round-7/model ünï 模型 🙂");
    expect(printable("a\u001b[2Jb\nc\td\u007fe\u009bf")).toBe("a\\x1b[2Jb\\nc\\td\\x7fe\\x9bf");
    expect(printable("\u202e\u2066\u200b\ufeff\u2028\ud800")).toBe(
      "\\u{202e}\\u{2066}\\u{200b}\\u{feff}\\u{2028}\\u{d800}",
    );
    expect(printable("\\x1b")).toBe("\\\\x1b"); // not to be mistaken for the escape
    expect(printable("x".repeat(300), 5)).toBe("xxxxx…");
    expect(cut("🙂🙂🙂", 2)).toBe("🙂🙂…");
    expect(harmless("C:\\x \u001b[1m")).toBe("C:\\x \\x1b[1m");
  });

  it("are the same value to a parser of JSON", () => {
    const value = { text: '\u001b\u202e\u{e0041}\ud800\\ "🙂"', list: ["\u2028"] };
    expect(jsonLine(value)).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}]/u);
    expect(JSON.parse(jsonLine(value))).toEqual(value);
  });

  it("sizes and times are short", () => {
    expect([0, 1023, 1024, 1.5 * 2 ** 30, 2 ** 60].map(sizeOf)).toEqual([
      "0 B",
      "1023 B",
      "1.0 KiB",
      "1.5 GiB",
      "1048576.0 TiB",
    ]);
    expect([0, 119_000, 300_000, 7_200_000, 300_000_000].map(spanOf)).toEqual(["0 s", "119 s", "5 min", "2 h", "3 d"]);
  });
});
