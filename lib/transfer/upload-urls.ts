import { WaybillError } from "../protocol/errors.ts";
import { MAX_PART_URLS } from "../protocol/limits.ts";
import type { PartRequest, PartUrl } from "../protocol/wire.ts";
import { type StoreUrl, takeUrl } from "./http.ts";

type Sign = (parts: PartRequest[], signal: AbortSignal) => Promise<{ urls: PartUrl[]; expiresIn: number }>;

interface Asked {
  readonly part: PartRequest;
  readonly signal: AbortSignal;
  readonly resolve: (url: StoreUrl) => void;
  readonly reject: (error: unknown) => void;
}

/** Gets URLs for parts; those that are asked for while a request is under way share the next one. */
export class UploadUrls {
  readonly #sign: Sign;
  readonly #storeOrigin: string;
  #asked: Asked[] = [];
  #busy = false;

  constructor(sign: Sign, storeOrigin: string) {
    this.#sign = sign;
    this.#storeOrigin = storeOrigin;
  }

  /** @throws what the signing call throws; BAD_SERVER when the URL isn't for this part or not to our store. */
  get(part: PartRequest, signal: AbortSignal): Promise<StoreUrl> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ part, signal, resolve, reject });
      if (!this.#busy) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#busy = true;
    await Promise.resolve(); // whoever asks in this turn comes along
    while (this.#asked.length > 0) await this.#batch(this.#asked.splice(0, MAX_PART_URLS));
    this.#busy = false;
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
