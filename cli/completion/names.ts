import { readConfig } from "../settings.ts";

/** The names that the config file knows, one a line: for a shell's completion, which must not complain. */
export async function printNames(config: string | undefined): Promise<void> {
  const names = await readConfig(config || undefined).then(
    (read) => [...read.names.keys()],
    () => [],
  );
  process.stdout.write(names.map((name) => `${name}\n`).join(""));
}
