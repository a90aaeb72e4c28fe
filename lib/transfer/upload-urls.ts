import { WaybillError } from "../protocol/errors.ts";
import { MAX_PART_URLS } from "../protocol/limits.ts";
import type { PartRequest } from "../protocol/requests.ts";
import type { PartUrl } from "../protocol/wire.ts";
import { type StoreUrl, takeUrl } from "./http.ts";
import { orAbort } from "./parts.ts";

type Sign = (parts: PartRequest[], signal: AbortSignal) => Promise<{ urls: PartUrl[]; expiresIn: number }>;

interface Asked {
  readonly part: PartRequest;
  readonly signal: AbortSignal;
  readonly resolve: (url: StoreUrl) => void;
  readonly reject: (error: unknown) => void;
}

/** Nobody waits longer for company. Parts wait for their turn anyway, unless some request could begin at once. */
const GATHER_MS = 250;

/**
 * Gets URLs for parts. Those that are asked for while a call is under way, or for a moment if nothing is hungry for them, share
 * the next one.
 */
export class UploadUrls {
  readonly #sign: Sign;
  readonly #storeOrigin: string;
  readonly #enough: number;
  readonly #hungry: () => boolean;
  #asked: Asked[] = [];
  #busy = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param enough Parts that are worth a call. @param hungry Whether a part could be sent now, if only it had a URL. */
  constructor(sign: Sign, storeOrigin: string, enough: number, hungry: () => boolean) {
    this.#sign = sign;
    this.#storeOrigin = storeOrigin;
    this.#enough = enough;
    this.#hungry = hungry;
  }

  /**
   * @param urgent The part has its turn already.
   * @throws what the signing call throws; BAD_SERVER when the URL isn't for this part or not to our store.
   */
  get(part: PartRequest, signal: AbortSignal, urgent = false): Promise<StoreUrl> {
    const url = new Promise<StoreUrl>((resolve, reject) => {
      this.#asked.push({ part, signal, resolve, reject });
    });
    if (urgent) this.#begin();
    else this.hurry();
    return orAbort(url, signal);
  }

  /** Somebody may have become hungry. */
  hurry(): void {
    if (this.#asked.length === 0) return;
    if (this.#asked.length >= this.#enough || this.#hungry()) this.#begin();
    else this.#timer ??= setTimeout(() => this.#begin(), GATHER_MS);
  }

  #begin(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#busy) void this.#work();
  }

  async #work(): Promise<void> {
    this.#busy = true;
    await Promise.resolve(); // whoever asks in this turn comes along
    const asked = this.#asked.splice(0, MAX_PART_URLS).filter(({ signal }) => !signal.aborted);
    if (asked.length > 0) await this.#batch(asked);
    this.#busy = false;
    this.hurry();
  }

  async #batch(asked: readonly Asked[]): Promise<void> {
    const issued = performance.now();
    try {
      const parts = asked.map(({ part }) => part);
      const { urls, expiresIn } = await this.#sign(parts, asked[0]!.signal);
      const byNumber = new Map(urls.map((url) => [url.number, url]));
      for (const { part, resolve } of asked) resolve(this.#take(part, byNumber.get(part.number), expiresIn, issued));
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  }

  #take(part: PartRequest, found: PartUrl | undefined, life: number, issued: number): StoreUrl {
    if (!found) throw new WaybillError("BAD_SERVER", `The API gave no upload URL for part ${part.number}.`);
    const url = takeUrl(found, life, issued, this.#storeOrigin);
    const { "content-length": length, "x-amz-checksum-sha256": sha256 } = url.headers;
    if (length !== undefined && length !== String(part.length)) throw otherPart(part);
    if (sha256 !== part.sha256) throw otherPart(part);
    return url;
  }
}

/** Without the checksum among the signed headers the store would take whatever arrives. */
function otherPart(part: PartRequest): WaybillError {
  return new WaybillError("BAD_SERVER", `The API's upload URL for part ${part.number} is not bound to its bytes.`);
}
