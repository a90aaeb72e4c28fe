/** One statement of an IAM policy, its lists as lists. */
export interface Statement {
  readonly Sid?: string;
  readonly Effect: "Allow" | "Deny";
  readonly Principal?: unknown;
  readonly Action: readonly string[];
  readonly Resource?: readonly string[];
  readonly NotResource?: readonly string[];
  readonly Condition: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
}

/** What somebody asks for, with the keys that conditions look at. */
export interface Request {
  readonly action: string;
  readonly resource: string;
  readonly context?: Readonly<Record<string, string | undefined>>;
}

/** The statements of a policy document. Fails at what IAM would refuse and at what isn't understood here. */
export function statementsOf(document: string): Statement[] {
  const { Version, Statement: given } = JSON.parse(document) as {
    Version: string;
    Statement: Record<string, unknown>[];
  };
  if (Version !== "2012-10-17") throw new Error(`a policy of version ${Version}`);
  return given.map(readStatement);
}

const KNOWN = new Set(["Sid", "Effect", "Principal", "Action", "Resource", "NotResource", "Condition"]);

function readStatement(given: Record<string, unknown>): Statement {
  for (const key of Object.keys(given)) if (!KNOWN.has(key)) throw new Error(`a statement with ${key}`);
  const { Action, Resource, NotResource, Condition = {}, ...rest } = given;
  if ((Resource === undefined) === (NotResource === undefined)) throw new Error("a statement of no one resource");
  const conditions = Object.entries(Condition as Record<string, Record<string, unknown>>).map(
    ([test, keys]) =>
      [test, Object.fromEntries(Object.entries(keys).map(([key, values]) => [key, list(values)]))] as const,
  );
  return {
    ...(rest as Pick<Statement, "Sid" | "Effect" | "Principal">),
    Action: list(Action),
    ...(Resource !== undefined && { Resource: list(Resource) }),
    ...(NotResource !== undefined && { NotResource: list(NotResource) }),
    Condition: Object.fromEntries(conditions),
  };
}

/** As IAM decides: a Deny that matches wins, else an Allow is needed. */
export function decide(statements: readonly Statement[], request: Request): "allowed" | "denied" | "not allowed" {
  const matching = statements.filter((statement) => matches(statement, request));
  if (matching.some(({ Effect }) => Effect === "Deny")) return "denied";
  return matching.some(({ Effect }) => Effect === "Allow") ? "allowed" : "not allowed";
}

function matches(statement: Statement, { action, resource, context = {} }: Request): boolean {
  const { Action, Resource, NotResource, Condition } = statement;
  if (!Action.some((pattern) => like(pattern.toLowerCase(), action.toLowerCase()))) return false;
  if (Resource && !Resource.some((pattern) => like(pattern, resource))) return false;
  if (NotResource?.some((pattern) => like(pattern, resource))) return false;
  return Object.entries(Condition).every(([test, keys]) =>
    Object.entries(keys).every(([key, values]) => holds(test, context[key], values)),
  );
}

/** A condition on a key that the request lacks does not hold, but for Null. */
function holds(test: string, value: string | undefined, values: readonly string[]): boolean {
  if (test === "Null") return values.includes(String(value === undefined));
  if (value === undefined) return false;
  switch (test) {
    case "Bool":
    case "StringEquals":
      return values.includes(value);
    case "StringLike":
    case "ArnEquals": // takes patterns, too
      return values.some((pattern) => like(pattern, value));
    case "NumericGreaterThan":
      return values.some((limit) => Number(value) > Number(limit));
    default:
      throw new Error(`a condition by ${test}`);
  }
}

/** IAM's patterns: `*` for anything, `?` for one character. */
function like(pattern: string, text: string): boolean {
  const escaped = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${escaped}$`, "s").test(text);
}

function list(values: unknown): string[] {
  return (Array.isArray(values) ? values : [values]).map(String);
}
