import { AwsFault } from "../../functions/aws.ts";
import { type Exchange, MAX_BODY, targetOf } from "../../functions/signed.ts";
import { readWithin } from "../../lib/protocol/body.ts";
import { WaybillError } from "../../lib/protocol/errors.ts";

/** Requests to the store by a `fetch` that knows another way than straight on. Redirects are not followed. */
export function exchangeBy(send: typeof fetch): Exchange {
  return async ({ method, protocol, hostname, port, headers, body, ...place }, signal) => {
    const name = hostname.includes(":") ? `[${hostname}]` : hostname;
    const url = `${protocol}//${name}${port === undefined ? "" : `:${port}`}${targetOf(place)}`;
    const { host: _, "content-length": __, ...own } = headers; // of which `fetch` takes care
    const init = { method, headers: own, redirect: "manual" as const, signal, ...(body !== undefined && { body }) };
    const response = await send(url, init).catch(told);
    const bytes = await readWithin(response.body, MAX_BODY, () => new Error("that can't be an answer to us"));
    return { status: response.status, headers: Object.fromEntries(response.headers), bytes };
  };
}

/** What keeps us from the store is the operator's matter: it goes into the log, and members are told that it does not answer. */
function told(error: unknown): never {
  if (error instanceof WaybillError) throw new AwsFault(`NoAnswer: ${error.message}`, 0);
  throw error;
}
