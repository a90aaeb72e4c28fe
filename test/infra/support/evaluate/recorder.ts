import { createRequire } from "node:module";
import { join } from "node:path";
import { type Cloud, lookedUp, made } from "../engine/provider.ts";
import { MARK, type Properties, plain, type Value } from "../engine/values.ts";
import type { Json, JsonObject, Order, Resource } from "./order.ts";

/** The little of Pulumi's SDK that is used here. It is the platform's own, and its types are not at hand. */
interface Pulumi {
  readonly Output: { isInstance(value: unknown): value is { promise(): Promise<unknown> } };
  readonly runtime: {
    setMocks(mocks: Mocks, project: string, stack: string, preview: boolean): Promise<void>;
    runInPulumiStack(program: () => Promise<unknown>): Promise<unknown>;
    disconnect(): Promise<void>;
  };
}
interface Mocks {
  newResource(args: { type: string; name: string; inputs: Properties; id?: string }): { id: string; state: Properties };
  call(args: { token: string; inputs: Properties }): Properties;
}
interface RegisterRequest {
  getType(): string;
  getName(): string;
  getCustom(): boolean;
  getProtect(): boolean;
  getRetainondelete(): boolean;
}
interface MockMonitor {
  prototype: {
    registerResource(request: RegisterRequest, callback: unknown): unknown;
    newUrn(parent: string, type: string, name: string): string;
  };
}

/** Pulumi's SDK with nothing behind it: it says what it would make, and is told that it was made. */
export class Recorder {
  readonly resources: Resource[] = [];
  readonly #pulumi: Pulumi;
  readonly #options = new Map<string, Pick<Resource, "protect" | "retainOnDelete">>();
  /** Grows with everything that is asked for. */
  asked = 0;

  private constructor(pulumi: Pulumi) {
    this.#pulumi = pulumi;
  }

  static async start({ platform, stage, region }: Order, project: string): Promise<Recorder> {
    const require = createRequire(join(platform, "package.json"));
    const recorder = new Recorder(require("@pulumi/pulumi") as Pulumi);
    recorder.#tap(
      (require("@pulumi/pulumi/runtime/mocks") as { MockMonitor: MockMonitor }).MockMonitor,
      project,
      stage,
    );
    const cloud = { region, account: "123456789012", endpoint: "https://sqs.invalid", api: "https://api.invalid" };
    await recorder.#pulumi.runtime.setMocks(recorder.#mocks(cloud), project, stage, false);
    return recorder;
  }

  /** Runs a program until everything that follows from it has been asked for; answers its outputs. */
  async run(program: () => Promise<unknown>, alsoAsked: () => number): Promise<JsonObject> {
    const outputs = await this.#pulumi.runtime.runInPulumiStack(program);
    for (let before = -1; before !== this.asked + alsoAsked(); ) {
      before = this.asked + alsoAsked();
      await this.#pulumi.runtime.disconnect();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return (await this.#settled(outputs)) as JsonObject;
  }

  /** The mocks' own arguments lack a resource's options, and real URNs don't name the stack's type. */
  #tap({ prototype }: MockMonitor, project: string, stage: string): void {
    const register = prototype.registerResource;
    const options = this.#options;
    prototype.registerResource = function (request, callback) {
      const key = `${request.getType()} ${request.getName()}`;
      options.set(key, { protect: request.getProtect(), retainOnDelete: request.getRetainondelete() });
      return register.call(this, request, callback);
    };
    prototype.newUrn = (parent, type, name) => {
      const above = parent?.split("::")[2];
      const whole = above && above !== "pulumi:pulumi:Stack" ? `${above}$${type}` : type;
      return [`urn:pulumi:${stage}`, project, whole, name].join("::");
    };
  }

  #mocks(cloud: Cloud): Mocks {
    return {
      newResource: ({ type, name, inputs, id: given }) => {
        this.asked += 1;
        const options = this.#options.get(`${type} ${name}`) ?? { protect: false, retainOnDelete: false };
        this.resources.push({
          type,
          name,
          inputs: plain(inputs) as JsonObject,
          secrets: secretsIn(inputs),
          ...options,
        });
        const { id, ...computed } = made(type, name, inputs, cloud);
        return { id: given || id, state: { ...inputs, ...computed, id } };
      },
      call: ({ token, inputs }) => {
        this.asked += 1;
        return lookedUp(token, inputs, cloud);
      },
    };
  }

  async #settled(value: unknown): Promise<Json> {
    if (value instanceof Promise) return this.#settled(await value);
    if (this.#pulumi.Output.isInstance(value)) return this.#settled(await value.promise());
    if (Array.isArray(value)) return Promise.all(value.map((one) => this.#settled(one)));
    if (value === null || typeof value !== "object") return (value ?? null) as Json;
    const entries = Object.entries(value).map(async ([name, one]) => [name, await this.#settled(one)] as const);
    return Object.fromEntries(await Promise.all(entries));
  }
}

/** Where secrets are among a resource's inputs. */
function secretsIn(value: Value, path = ""): string[] {
  if (value === null || typeof value !== "object") return [];
  if (!Array.isArray(value) && MARK in value && "value" in value) return [path];
  return Object.entries(value).flatMap(([name, one]) => secretsIn(one as Value, path ? `${path}.${name}` : name));
}
