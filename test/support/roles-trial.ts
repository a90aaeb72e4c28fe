import type { ErrorCode } from "../../lib/protocol/errors.ts";
import type { RequestLog } from "../../local/store/store.ts";
import type { RouteName, Stage } from "./roles.ts";
import type { Column } from "./roles-columns.ts";

/** What came of one request. */
export interface Outcome {
  /** The status if it was taken, else the code. */
  readonly answered: number | ErrorCode;
  readonly said: unknown;
  /** Presigned URLs in the answer, headers and all; and those that are not for the caller's own matter. */
  readonly urls: number;
  readonly strangeUrls: readonly string[];
  /** What the bucket was asked for. */
  readonly requests: readonly string[];
  /** What changed in it, besides the caller's own nonce. */
  readonly written: readonly string[];
  /** New names on the store's disk. */
  readonly appeared: readonly string[];
  /** Refused by signature, time or role, so the bucket can't have been asked. */
  readonly beforeTheGuard: boolean;
}

/** Refusals that come before the replay guard, which is the first that asks the bucket. */
const EARLY: readonly string[] = [
  ...["UNAUTHENTICATED", "CLOCK_SKEW", "WRONG_CHAIN", "PAYLOAD_TOO_LARGE"],
  ...["NOT_OWNER", "NOT_MEMBER", "EXPELLED", "UNKNOWN_TASK"],
];
const READS: readonly string[] = [
  ...["GetObject", "HeadObject", "ListObjectsV2", "ListParts", "ListMultipartUploads", "GetObjectAttributes"],
];

/** Makes requests one after the other, and looks at the bucket before and after each. */
export class Trial {
  readonly #stage: Stage;
  /** What lay in the bucket when it was last asked for anything. */
  #known: ReadonlySet<string> | null = null;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** What appeared or went since, though the store's log knows nothing of it. */
  async unexplained(): Promise<string[]> {
    const now = new Set(await this.#stage.stored());
    const before = await this.#bucket();
    return [...new Set([...now, ...before])].filter((name) => !(now.has(name) && before.has(name)));
  }

  async #bucket(): Promise<ReadonlySet<string>> {
    const asked = await this.#stage.log.take();
    return this.#listed(asked);
  }

  async #listed(asked: readonly RequestLog[]): Promise<ReadonlySet<string>> {
    if (this.#known !== null && asked.length === 0) return this.#known;
    this.#known = new Set(await this.#stage.stored());
    return this.#known;
  }

  async of(column: Column, route: RouteName): Promise<Outcome> {
    const { api } = this.#stage;
    const by = this.#stage.accountOf(column.by(route));
    const request = await column.ask(this.#stage, route);
    const before = await this.#bucket();
    const response = await api.drive(request);
    const text = await response.text();
    const seen = await this.#stage.log.take();
    const guarded = seen.filter((entry) => isOwnNonce(entry, by) && entry.status === 200);
    const appeared = [...(await this.#listed(seen))].filter((name) => !before.has(name));
    const said = text === "" ? null : (JSON.parse(text) as { code?: ErrorCode });
    const answered = response.ok ? response.status : (said?.code ?? response.status);
    const all = `${text}\n${[...response.headers].flat().join("\n")}`;
    return {
      answered,
      said,
      ...urlsIn(all, api.s3.endpoint, ownKeys(this.#stage, column, route)),
      requests: seen.map(({ operation, key, status }) => `${operation} ${key} ${status}`),
      written: seen
        .filter((one) => changed(one) && !isOwnNonce(one, by))
        .map(({ operation, key }) => `${operation} ${key}`),
      // A nonce is an object's record and its bytes.
      appeared: appeared.length === 2 * guarded.length ? [] : appeared,
      beforeTheGuard: EARLY.includes(String(answered)),
    };
  }
}

function changed({ operation, status }: RequestLog): boolean {
  return !READS.includes(operation) && status < 300;
}

function isOwnNonce({ operation, key }: RequestLog, account: string): boolean {
  return operation === "PutObject" && key.startsWith(`nonce/${account}/`);
}

/** The only key whose URLs the answer may hold: the sender's own, or the one that the notice is about. */
function ownKeys({ task, callers, open, published }: Stage, column: Column, route: RouteName): readonly string[] {
  if (column.expects(route) !== 200) return [];
  const key = (transfer: string) => `/payload/${task.id}/${callers.sender.account}/${transfer}`;
  if (route === "signParts") return [key(open.transfer)];
  return route === "download" ? [key(published.transfer)] : [];
}

/** Anything that could be followed to the store counts, signed or not. */
function urlsIn(text: string, endpoint: string, own: readonly string[]): Pick<Outcome, "urls" | "strangeUrls"> {
  const host = new URL(endpoint).host;
  const urls = text.match(/[a-z]+:\/\/[^\s"\\]+/gi) ?? [];
  const signed = urls.filter((url) => url.includes(host) || /x-amz-/i.test(url));
  const strange = signed.filter((url) => !own.some((key) => new URL(url).pathname.endsWith(key)));
  const loose = /x-amz-(signature|credential|security-token)/i.test(text.replaceAll(/[a-z]+:\/\/[^\s"\\]+/gi, ""));
  return { urls: signed.length, strangeUrls: [...strange, ...(loose ? ["a signature without its URL"] : [])] };
}
