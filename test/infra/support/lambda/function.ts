import { Instance, type InstanceOptions, LambdaError } from "./instance.ts";

export interface FunctionOptions extends InstanceOptions {
  /** Sandboxes at the same time; more invocations are throttled. */
  readonly concurrency: number;
}

/** A deployed function: as many sandboxes as it is called at the same time, each kept for the next call. */
export class DeployedFunction {
  readonly arn: string;
  readonly #options: FunctionOptions;
  readonly #sandboxes = new Set<Instance>();
  readonly #idle: Instance[] = [];
  /** Those that have answered and not yet asked for more. */
  readonly #settling = new Set<Promise<void>>();
  #starting = 0;
  #doom: { readonly path: string | undefined; readonly done: () => void } | undefined;

  constructor(options: FunctionOptions) {
    this.#options = options;
    this.arn = options.arn;
  }

  /** @throws LambdaError with AWS's name for what went wrong. */
  async invoke(event: unknown): Promise<unknown> {
    const instance = await this.#take();
    this.#strike(instance, event);
    const answer = instance.invoke(event);
    try {
      return await answer;
    } finally {
      const settling = this.#giveBack(instance).finally(() => this.#settling.delete(settling));
      this.#settling.add(settling);
    }
  }

  /**
   * The sandbox of the next invocation dies under it: of any, or of the next request to a path that ends so. Resolves when
   * that has happened.
   */
  breakNext(path?: string): Promise<void> {
    return new Promise((done) => {
      this.#doom = { path, done };
    });
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#sandboxes].map((instance) => instance.stop()));
  }

  async #take(): Promise<Instance> {
    while (this.#idle.length === 0 && this.#settling.size > 0) await Promise.race(this.#settling);
    const idle = this.#idle.pop();
    if (idle) return idle;
    if (this.#sandboxes.size + this.#starting >= this.#options.concurrency)
      throw new LambdaError("TooManyRequestsException", "Rate Exceeded.");
    this.#starting += 1;
    try {
      const instance = await Instance.start(this.#options);
      this.#sandboxes.add(instance);
      return instance;
    } finally {
      this.#starting -= 1;
    }
  }

  async #giveBack(instance: Instance): Promise<void> {
    if (await instance.settled()) {
      this.#idle.push(instance);
      return;
    }
    this.#sandboxes.delete(instance);
    await instance.stop();
  }

  /** Before the event is on its way: afterwards the answer might be quicker. */
  #strike(instance: Instance, event: unknown): void {
    const { rawPath = "" } = event as { rawPath?: string };
    if (!this.#doom || !rawPath.endsWith(this.#doom.path ?? "")) return;
    instance.kill();
    this.#doom.done();
    this.#doom = undefined;
  }
}
