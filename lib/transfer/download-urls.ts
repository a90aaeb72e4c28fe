import type { DownloadJob } from "./download.ts";
import { isUsable, type StoreUrl, takeUrl } from "./http.ts";

/** One URL for all parts, renewed by whoever first needs a new one. */
export class DownloadUrls {
  readonly #job: DownloadJob;
  #current: Promise<StoreUrl>;
  #renewing = false;

  constructor(job: DownloadJob) {
    this.#job = job;
    this.#current = this.#take(job.url, job.issued);
    this.#current.catch(() => {}); // whoever asks is told
  }

  /** `dead`: the URL that the store has just called expired; another may have been fetched since. */
  async get(dead: StoreUrl | null, signal: AbortSignal): Promise<StoreUrl> {
    const url = await this.#current;
    if (this.#renewing || (isUsable(url) && url !== dead)) return this.#current;
    this.#renewing = true;
    const issued = performance.now();
    this.#current = this.#job.refresh(signal).then((found) => this.#take(found, issued));
    return this.#current.finally(() => {
      this.#renewing = false;
    });
  }

  async #take(found: DownloadJob["url"], issued: number): Promise<StoreUrl> {
    return takeUrl(found, found.expiresIn, issued, this.#job.storeOrigin);
  }
}
