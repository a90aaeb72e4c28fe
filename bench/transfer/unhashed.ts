import { register } from "node:module";

// node --import unhashed.js client.js: the engine as it is, with another lib/transfer/hash.js, that takes every part for
// the right one. Nothing in Waybill can be told to do this.

const HOOK = `
  export async function resolve(specifier, context, next) {
    const found = await next(specifier, context);
    const own = found.url.endsWith("/lib/transfer/hash.js") && !context.parentURL.endsWith("/unhashed-sha256.js");
    return own ? { ...found, url: new URL("../../bench/transfer/unhashed-sha256.js", found.url).href } : found;
  }
`;

register(`data:text/javascript,${encodeURIComponent(HOOK)}`);
