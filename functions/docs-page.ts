import { createHash } from "node:crypto";

// The API for people's eyes, made of the document that programs read: one page, without scripts and without anything from elsewhere.

/** As much of an OpenAPI document as the page shows. */
interface Document {
  readonly info: { readonly title: string; readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: {
    readonly schemas: { readonly Problem: Schema };
    readonly securitySchemes: { readonly erc8128: { readonly description: string } };
  };
}

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly { name: string; in: string; description?: string; schema: Schema }[];
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content: Content }>>;
}

type Content = Readonly<Record<string, { readonly schema: Schema }>>;

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxItems?: number;
  readonly maxLength?: number;
  readonly description?: string;
}

const STYLE =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}" +
  "h2{margin:3rem 0 0;font-size:1.1rem}code,pre{font:14px/1.45 ui-monospace,monospace}" +
  "pre{overflow-x:auto;padding:.7rem;background:#f4f4f2;border-radius:4px}summary{cursor:pointer}" +
  "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#242424}a{color:#8ab4f8}}";

/** What a browser may load for the page: its own style, and nothing else. */
export const DOCS_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "public, max-age=300",
  "content-security-policy": `default-src 'none'; style-src 'sha256-${createHash("sha256").update(STYLE).digest("base64")}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** The page of an OpenAPI document of ours. */
export function docsPage(document: Record<string, unknown>): string {
  const { info, paths, components } = document as unknown as Document;
  const all = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
  );
  const index = all.map(
    ({ name, operation }) => `<li><a href="#${escaped(operation.operationId)}">${code(name)}</a></li>`,
  );
  return [
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">`,
    `<title>${escaped(info.title)}: the API</title><style>${STYLE}</style>`,
    `<h1>${escaped(info.title)}: the API</h1><p>${escaped(info.description)}`,
    `<p>For programs: <a href="/openapi.json">openapi.json</a>.`,
    `<h2>Signing</h2><p>${escaped(components.securitySchemes.erc8128.description)}`,
    `<h2>Calls</h2><ul>${index.join("")}</ul>`,
    ...all.map(({ name, operation }) => section(name, operation)),
    `<h2 id="Problem">Problem</h2><p>What is answered instead, with a status from 400.${shown("Fields", components.schemas.Problem, true)}`,
    "</html>",
  ].join("\n");
}

function section(name: string, operation: Operation): string {
  const { operationId, summary, description, parameters = [], requestBody, responses } = operation;
  const told = parameters.map((one) => {
    const about = one.description === undefined ? "" : `: ${escaped(one.description)}`;
    return `<li>${code(one.name)} (${escaped(one.in)}), ${code(shapeOf(one.schema, ""))}${about}</li>`;
  });
  const answers = Object.entries(responses)
    .filter(([status]) => status !== "default")
    .map(([status, { content }]) => contentOf(`Answer ${status}`, content));
  return [
    `<h2 id="${escaped(operationId)}">${code(name)}</h2>`,
    `<p>${escaped(summary)}${description === undefined ? "" : ` <em>${escaped(description)}</em>`}`,
    ...(told.length === 0 ? [] : [`<ul>${told.join("")}</ul>`]),
    ...(requestBody ? [contentOf("Body", requestBody.content)] : []),
    ...answers,
  ].join("\n");
}

function contentOf(what: string, content: Content): string {
  return Object.entries(content)
    .map(([type, { schema }]) => shown(`${what}: ${type}`, schema, false))
    .join("\n");
}

function shown(what: string, schema: Schema, open: boolean): string {
  const text = escaped(shapeOf(schema, ""));
  return `<details${open ? " open" : ""}><summary>${escaped(what)}</summary><pre>${text}</pre></details>`;
}

/** A schema as a person would write it down. */
function shapeOf(schema: Schema, indent: string): string {
  const { $ref, const: only, enum: some, anyOf, oneOf, type, items } = schema;
  if ($ref !== undefined) return $ref.split("/").at(-1)!;
  if (only !== undefined) return JSON.stringify(only);
  if (some) return some.map((one) => JSON.stringify(one)).join(" | ");
  const choices = anyOf ?? oneOf;
  if (choices) return choices.map((one) => shapeOf(one, indent)).join(" | ");
  if (type === "array") return `[${items ? shapeOf(items, indent) : "any"}, …]${limit("up to ", schema.maxItems)}`;
  if (type === "object") return objectOf(schema, indent);
  if (type === "string")
    return schema.pattern ? `string ${schema.pattern}` : `string${limit("up to ", schema.maxLength)}`;
  if (type === "integer") return `integer${limit("at least ", schema.minimum)}${limit("at most ", schema.maximum)}`;
  return type ?? "any";
}

function objectOf({ properties, required = [], additionalProperties: others }: Schema, indent: string): string {
  if (!properties) return typeof others === "object" ? `{ <name>: ${shapeOf(others, indent)} }` : "{ … }";
  const inner = `${indent}  `;
  const lines = Object.entries(properties).map(([name, schema]) => {
    const about = schema.description === undefined ? "" : `  // ${schema.description}`;
    return `${inner}${name}${required.includes(name) ? "" : "?"}: ${shapeOf(schema, inner)}${about}`;
  });
  return `{\n${lines.join("\n")}\n${indent}}`;
}

/** The bounds of a double say nothing to anybody. */
function limit(word: string, value: number | undefined): string {
  return value === undefined || Math.abs(value) === Number.MAX_SAFE_INTEGER ? "" : ` ${word}${value}`;
}

function code(text: string): string {
  return `<code>${escaped(text)}</code>`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
}
