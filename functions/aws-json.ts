import { AwsFault } from "./aws.ts";
import type { CredentialSource } from "./credentials.ts";
import { type Answer, type Exchange, Signed } from "./signed.ts";

export interface AwsJsonOptions {
  readonly endpoint: URL;
  readonly region: string;
  readonly credentials: CredentialSource;
  /** Milliseconds for one call, retries included. */
  readonly timeout?: number | undefined;
  readonly exchange?: Exchange | undefined;
}

/** A service with AWS's JSON protocol. Each has an SDK client of 300 KiB, and we make one or two calls. */
export class AwsJson {
  readonly #signed: Signed;
  readonly #headers: (operation: string) => Record<string, string>;

  /** `service`: as signatures name it; `target`: as the protocol does, with its version. */
  constructor(service: string, target: { name: string; version: "1.0" | "1.1" }, options: AwsJsonOptions) {
    this.#signed = new Signed({ ...options, service, codeOf });
    this.#headers = (operation) => ({
      "content-type": `application/x-amz-json-${target.version}`,
      "x-amz-target": `${target.name}.${operation}`,
    });
  }

  /** May be carried out twice when an answer gets lost. @throws AwsFault with the service's word for what was wrong. */
  async call(operation: string, input: unknown): Promise<unknown> {
    const body = new TextEncoder().encode(JSON.stringify(input));
    const answer = await this.#signed.send({ method: "POST", path: "/", headers: this.#headers(operation), body });
    const { status, code, bytes } = answer;
    if (status !== 200) throw new AwsFault(code || "Unknown", status);
    return readJson(bytes) ?? {};
  }

  close(): void {
    this.#signed.close();
  }
}

/** "com.amazonaws.sqs#QueueDoesNotExist" or "NotFoundException". */
function codeOf({ headers, bytes }: Omit<Answer, "code">): string {
  const { __type, code } = (readJson(bytes) ?? {}) as { __type?: unknown; code?: unknown };
  const said = String(headers["x-amzn-errortype"] ?? __type ?? code ?? "");
  return /(\w{1,80})(:.*)?$/.exec(said)?.[1] ?? "";
}

function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
