import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it, vi } from "vitest";
import { typed } from "../cli/move/again.ts";
import { Bar } from "../cli/move/bar.ts";
import { bytes, duration, list } from "../cli/move/options.ts";
import { Rate } from "../cli/move/rate.ts";
import { Recipients } from "../cli/move/recipients.ts";
import { Screen } from "../cli/move/screen.ts";
import { percent, size, span } from "../cli/move/words.ts";

const MiB = 2 ** 20;

describe("the rate of a transfer", () => {
  const rateOf = (...samples: [at: number, bytes: number][]): Rate => {
    const rate = new Rate();
    for (const [at, count] of samples) rate.look(at, count);
    return rate;
  };

  it("is that of the last ten seconds, and says how long the rest takes", () => {
    const rate = rateOf(
      ...Array.from({ length: 31 }, (_, i): [number, number] => [i * 1000, i < 20 ? 0 : (i - 20) * MiB]),
    );
    expect(rate.perSecond).toBe(MiB);
    expect(rate.left(5 * MiB)).toBe(5_000);
    expect(rate.stalled).toBeNull();
  });

  it("isn't known at the beginning, nor right after a sleep", () => {
    expect(rateOf([0, 0]).perSecond).toBeNull();
    const woken = rateOf([0, 0], [1000, MiB], [3_601_000, MiB]);
    expect([woken.perSecond, woken.stalled]).toEqual([null, null]);
  });

  it("has stalled when no byte moved for five seconds, and has no end then", () => {
    const rate = rateOf(...Array.from({ length: 20 }, (_, i): [number, number] => [i * 1000, 7]));
    expect([rate.stalled, rate.left(100)]).toEqual([19_000, null]);
  });

  it("doesn't go below nothing when what failed is taken back", () => {
    expect(rateOf([0, 5 * MiB], [1000, 0]).perSecond).toBe(0);
  });
});

describe("numbers", () => {
  it("are shown as people read them", () => {
    expect([0, 1023, 1536, 200 * MiB, 3 * 2 ** 30, 2 ** 50].map(size)).toEqual([
      ...["0 B", "1023 B", "1.5 KiB", "200 MiB", "3.0 GiB", "1024 TiB"],
    ]);
    expect([-5, 900, 99_000, 120_000, 3 * 3_600_000 + 60_000, 29 * 86_400_000].map(span)).toEqual([
      ...["0 s", "1 s", "99 s", "2 min", "3 h 1 min", "29 days"],
    ]);
    expect([percent(0, 0), percent(999, 1000), percent(5, 3)]).toEqual([100, 99, 100]);
  });

  it("are read with a unit, or as the library takes them", () => {
    expect(["0", "1500", "500ms", "90s", "10m", "10min", "1.5h", "3d"].map(duration)).toEqual([
      ...[0, 1500, 500, 90_000, 600_000, 600_000, 5_400_000, 259_200_000],
    ]);
    expect(["0", "10", "500MiB", "2GiB", "1kB", "0.5KiB"].map(bytes)).toEqual([0, 10, 500 * MiB, 2 ** 31, 1000, 512]);
    expect(list("b,c", list("a"))).toEqual(["a", "b", "c"]);
  });

  it.each(["30", "-5s", "10 m", "soon", "1e3", "", "5w", "0x10"])("%j is no time", (text) => {
    expect(() => duration(text)).toThrow();
  });

  it.each(["-1", "5 MiB", "5mib", "many", ""])("%j is no size", (text) => {
    expect(() => bytes(text)).toThrow();
  });
});

describe("the command that goes on", () => {
  const words = ["send", "a b.bin", "it's", "$HOME", "`id`", "", "*", "x\ny", "\x1b[31m", "ü", "a\\b", "--", "-x=1"];
  words.push("\u009b31m", "a\u202eb");

  it("means the same to a shell", async () => {
    const echo = typed(words, {}).replace(
      /^waybill/,
      `"${process.execPath}" -e 'console.log(JSON.stringify(process.argv.slice(1)))' --`,
    );
    const { stdout } = await promisify(execFile)("bash", ["-c", echo]);
    expect(JSON.parse(stdout)).toEqual(words);
  });

  it("has no character that a terminal obeys or hides, and no key of an RPC node", () => {
    expect(typed(words, {})).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(typed(["receive", "--rpc", "https://node/key", "--rpc=https://node/key", "--from", "a"], {})).toBe(
      "waybill receive --rpc … --rpc=… --from a",
    );
  });

  it("is npx's where npx ran it", () => {
    expect(typed(["receive"], { npm_command: "exec" })).toBe("npx waybill receive");
  });
});

it("what a server says obeys no terminal when it is noted", () => {
  const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const screen = new Screen();
  screen.note("Nothing from bob: \x1b]0;x\x07\u009b2J\u202e (LATE)");
  screen.end();
  const said = write.mock.calls.map(([text]) => text).join("");
  write.mockRestore();
  expect(said).toBe("Nothing from bob: \\x1b]0;x\\x07\\x9b2J\\u{202e} (LATE)\n");
});

it("a bar fits into its line, at whatever width it is drawn", () => {
  const bar = new Bar("model.bin");
  expect([bar.lines(80), bar.line()]).toEqual([[], null]);
  bar.update({ movedBytes: 50 * MiB, totalBytes: 200 * MiB, heldBytes: 0 });
  const widths = Array.from({ length: 120 }, (_, i) => 60 + i);
  for (const width of widths) expect(bar.lines(width)[0]!.length).toBeLessThan(width);
  expect(bar.lines(120)).toEqual([`model.bin  [${"#".repeat(10)}${"-".repeat(30)}]  25 %  50.0 MiB of 200 MiB`]);
  expect(bar.lines(30)).toEqual(["model.bin  25 %  50.0 MiB of 200 MiB"]);
  expect(bar.line()).toBe("model.bin: 25 %  50.0 MiB of 200 MiB");
});

it("recipients are shown as they are", () => {
  const view = new Recipients(["bob", "carol", "dave"]);
  const told = { state: "downloading", bytes: 50, totalBytes: 200, age: 1_000, stalled: false } as const;
  view.update({ ...told, recipient: "bob" });
  view.update({ ...told, recipient: "carol", age: 60_000, stalled: true });
  expect(view.lines()).toEqual(["bob    downloading 25 %", "carol  stalled at 25 %, 60 s ago", "dave   waiting"]);
  view.answered({ recipient: "carol", outcome: "CORRUPT" });
  view.update({ ...told, recipient: "bob", state: "verified" });
  expect(view.lines()).toEqual([
    "bob    has it, and its receipt is on its way",
    "carol  rejected it: CORRUPT",
    "dave   waiting",
  ]);
  expect(view.line()).toBe("waiting for bob (has it, and its receipt is on its way), dave (waiting)");
});
