import { brotliDecompressSync, gzipSync } from "node:zlib";
import { openapiText } from "./openapi-text.ts";

/** It changes with a deploy, and nobody needs it the moment after. */
const CACHED_S = 3600;

/**
 * What /openapi.json answers. It was written beforehand (`npm run openapi`): what makes JSON schemas would be a tenth of the
 * function that serves it.
 */
export function openapiDocument(config: { readonly apiOrigin?: string } = {}): Record<string, unknown> {
  const text = brotliDecompressSync(Buffer.from(openapiText, "base64")).toString();
  const document = JSON.parse(text) as Record<string, unknown>;
  return { ...document, ...(config.apiOrigin !== undefined && { servers: [{ url: config.apiOrigin }] }) };
}

/** Answers the document: anybody may ask, and what leaves AWS is paid for, so it is compressed wherever that is understood. */
export function documentServer(config: { readonly apiOrigin?: string }): (request: Request) => Response {
  let made: { readonly text: string; readonly zipped: Buffer<ArrayBuffer> } | undefined;
  return ({ headers }) => {
    if (!made) {
      const text = JSON.stringify(openapiDocument(config));
      made = { text, zipped: gzipSync(text) };
    }
    const zipped = /(^|[\s,])gzip\s*(?!;\s*q=0(\.0*)?\s*(,|$))(,|;|$)/.test(headers.get("accept-encoding") ?? "");
    return new Response(zipped ? made.zipped : made.text, {
      headers: {
        "content-type": "application/json",
        "cache-control": `public, max-age=${CACHED_S}`,
        vary: "accept-encoding",
        ...(zipped && { "content-encoding": "gzip" }),
      },
    });
  };
}
