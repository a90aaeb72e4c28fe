// `npm run openapi`: writes the API's description for the function that serves it, from the schemas that it checks with.
import { writeFileSync } from "node:fs";
import { brotliCompressSync } from "node:zlib";
import { openapi } from "../dist/functions/openapi.js";

const text = brotliCompressSync(JSON.stringify(openapi())).toString("base64");
writeFileSync(
  new URL("../functions/openapi-text.ts", import.meta.url),
  `// Written by docs/openapi.mjs from functions/openapi.ts; \`npm run openapi\` writes it again.

/** The API's OpenAPI document: JSON, brotli, base64. */
export const openapiText =
  "${text}";
`,
);
