/** How Pulumi marks, in a plain object, what is no plain value: its own constants, the same in every version. */
export const MARK = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";
/** Stands for what a preview can't know yet. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

export type Value = null | boolean | number | string | Value[] | Properties;
export interface Properties {
  readonly [name: string]: Value;
}

/** On the wire a secret carries its value. */
export function secret(value: Value): Properties {
  return { [MARK]: SECRET, value };
}

/** Values as they are, secret or not. */
export function plain(value: Value): Value {
  return withSecrets(value, (found) => plain(opened(found)));
}

/** Values as a person may see them. */
export function masked(value: Value): Value {
  return withSecrets(value, () => "[secret]");
}

/** As a state file has them: a secret's value is text. (Pulumi's own engine encrypts that text.) */
export function sealed(value: Value): Value {
  return withSecrets(value, (found) => ({ [MARK]: SECRET, plaintext: JSON.stringify(opened(found)) }));
}

/** What `sealed` sealed, as on the wire. */
export function unsealed(value: Value): Value {
  return withSecrets(value, (found) => secret(opened(found)));
}

function opened(found: Properties): Value {
  if (typeof found.plaintext === "string") return JSON.parse(found.plaintext) as Value;
  return found.value ?? null;
}

function withSecrets(value: Value, change: (found: Properties) => Value): Value {
  if (Array.isArray(value)) return value.map((one) => withSecrets(one, change));
  if (value === null || typeof value !== "object") return value;
  if (value[MARK] === SECRET) return change(value);
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, withSecrets(one, change)]));
}
