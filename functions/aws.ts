import { WaybillError } from "../lib/protocol/errors.ts";

/**
 * Keeps the AWS SDK's notice about Node 20 off our users' stderr; call it before the first client is made. The variable
 * is the SDK's own switch. An operator's own setting wins.
 */
export function quietSdk(): void {
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
}

/** What an AWS service said: its error's name and HTTP status (0: no answer at all). */
export interface Fault {
  readonly name: string;
  readonly status: number;
}

/** The same of a service that we ask without the SDK. `name` is its word for what was wrong. */
export class AwsFault extends Error {
  readonly $metadata: { readonly httpStatusCode: number };

  constructor(name: string, status: number) {
    super(`${name} (${status})`);
    this.name = name;
    this.$metadata = { httpStatusCode: status };
  }
}

export function faultOf(error: unknown): Fault {
  const { name, $metadata } = (error ?? {}) as { name?: unknown; $metadata?: { httpStatusCode?: unknown } };
  const status = $metadata?.httpStatusCode;
  return { name: typeof name === "string" ? name : "Error", status: typeof status === "number" ? status : 0 };
}

/** The error that callers see. The SDK's own carries URLs and keys, so only its name and status go along. */
export function unavailable(service: string, error: unknown): WaybillError {
  if (error instanceof WaybillError) return error;
  const { name, status } = faultOf(error);
  return new WaybillError("UNAVAILABLE", `The ${service} does not answer at the moment. Try again.`, {
    cause: new Error(`${name} (${status})`),
  });
}
