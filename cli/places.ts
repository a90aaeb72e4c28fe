import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

// Where a person's files are, by the XDG base directory specification: variables that hold no absolute path are ignored.

function under(variable: string, fallback: string): string {
  const set = process.env[variable];
  return join(set && isAbsolute(set) ? set : join(homedir(), fallback), "waybill");
}

/** The config file, and what `participant init` makes beside it. */
export function configDir(): string {
  return under("XDG_CONFIG_HOME", ".config");
}

export function configPath(): string {
  return join(configDir(), "config.json");
}

export function keystorePath(): string {
  return join(configDir(), "key.json");
}

/** What may be deleted at any time. */
export function cacheHome(): string {
  return under("XDG_CACHE_HOME", ".cache");
}

/** Reading positions. */
export function stateHome(): string {
  return under("XDG_STATE_HOME", join(".local", "state"));
}
