import type { Part } from "../protocol/plan.ts";
import { isExpired, type StoreResponse, type StoreUrl, type Transport } from "./http.ts";
import { noAnswer, refusalOf, StoreFault, wrongAnswer } from "./retry.ts";

/** What is to be asked for. */
export interface Range {
  readonly start: number;
  /** The last byte is included. */
  readonly end: number;
  /** Of the whole object. */
  readonly size: number;
}

export function rangeOf(first: Part, last: Part, size: number): Range {
  return { start: first.start, end: last.start + last.length - 1, size };
}

/**
 * One ranged GET, whose body is read part by part as there is memory for them. What it has given stays right when it ends early.
 */
export class Stretch {
  readonly #transport: Transport;
  readonly #fresh: boolean;
  readonly #stop = new AbortController();
  #response: StoreResponse | null = null;
  #left = 0;
  #moved: (bytes: number) => void = () => {};

  /** @param fresh Over a new connection. */
  constructor(transport: Transport, fresh: boolean) {
    this.#transport = transport;
    this.#fresh = fresh;
  }

  get isOpen(): boolean {
    return this.#response !== null;
  }

  /** Asks for it. @throws StoreFault, or WaybillError USAGE for a proxy that can't be used. */
  async open(url: StoreUrl, range: Range, how: Reading): Promise<void> {
    await this.#while(how, async () => {
      const response = await this.#ask(url, range);
      this.#left = range.end - range.start + 1;
      this.#response = response;
    });
  }

  /** Fills `into` with the next bytes. @throws StoreFault */
  async read(into: Uint8Array, how: Reading): Promise<void> {
    await this.#while(how, async () => {
      const response = this.#response!;
      this.#left -= into.length;
      if ((await response.read(into)) < into.length) throw wrongAnswer("it sent less than the range");
      if (this.#left === 0 && (await response.read(new Uint8Array(1))) > 0)
        throw wrongAnswer("it sent more than the range");
    });
  }

  /** Nobody wants what has not come yet. A read that is under way fails. */
  end(): void {
    if (!this.#stop.signal.aborted) this.#stop.abort(new Error("Nobody wants the rest of this answer."));
    this.#response?.discard();
  }

  /** A failure, or the signal, ends it. */
  async #while({ signal, moved }: Reading, act: () => Promise<void>): Promise<void> {
    const stop = (): void => this.end();
    this.#moved = moved;
    signal.addEventListener("abort", stop, { once: true });
    try {
      signal.throwIfAborted();
      await act();
    } catch (error) {
      this.end();
      throw error instanceof StoreFault ? error : noAnswer(error);
    } finally {
      signal.removeEventListener("abort", stop);
      this.#moved = () => {};
    }
  }

  async #ask(url: StoreUrl, range: Range): Promise<StoreResponse> {
    const response = await this.#transport.request({
      method: "GET",
      url: url.url,
      headers: { ...url.headers, range: `bytes=${range.start}-${range.end}` },
      fresh: this.#fresh,
      signal: this.#stop.signal,
      moved: (bytes) => this.#moved(bytes),
    });
    if (response.status !== 200 && response.status !== 206) throw await refusalOf(response, isExpired(url));
    try {
      checkAnswer(response, range);
      return response;
    } catch (error) {
      response.discard();
      throw error;
    }
  }
}

/** Who reads, and is told. */
interface Reading {
  readonly signal: AbortSignal;
  readonly moved: (bytes: number) => void;
}

/** Status, range, length and encoding must be what was asked for, or the bytes are somebody else's. */
function checkAnswer(response: StoreResponse, { start, end, size }: Range): void {
  if (response.status !== 206) throw wrongAnswer("it answered a range with the whole");
  const range = response.header("content-range");
  if (range !== `bytes ${start}-${end}/${size}`) throw wrongAnswer("it answered with another range");
  const length = response.header("content-length");
  if (length !== null && length !== String(end - start + 1)) throw wrongAnswer("it announced another length");
  const encoding = response.header("content-encoding");
  if (encoding !== null && !/^(identity)?$/i.test(encoding)) throw wrongAnswer("it encoded the bytes");
}
