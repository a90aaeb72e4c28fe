import { brotliDecompressSync } from "node:zlib";
import { openapiText } from "./openapi-text.ts";

/**
 * What /openapi.json answers. It was written beforehand (`npm run openapi`): what makes JSON schemas would be a tenth of the
 * function that serves it.
 */
export function openapiDocument(config: { readonly apiOrigin?: string } = {}): Record<string, unknown> {
  const text = brotliDecompressSync(Buffer.from(openapiText, "base64")).toString();
  const document = JSON.parse(text) as Record<string, unknown>;
  return { ...document, ...(config.apiOrigin !== undefined && { servers: [{ url: config.apiOrigin }] }) };
}
