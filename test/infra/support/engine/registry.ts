import { isDeepStrictEqual } from "node:util";
import type { EventLog, Step } from "./events.ts";
import type { RegisterRequest } from "./protocol.ts";
import { type Cloud, made } from "./provider.ts";
import type { Resource, Stack } from "./state.ts";
import { type Properties, secret, UNKNOWN } from "./values.ts";

export const ROOT = "pulumi:pulumi:Stack";

export interface RegistryOptions {
  readonly stack: Stack;
  readonly cloud: Cloud;
  readonly log: EventLog;
  /** A preview: nothing is made, and what is new is not known yet. */
  readonly planning: boolean;
  /** What the last deploy left. */
  readonly before: readonly Resource[];
}

/** The resources of one run, compared with those of the last one. */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #before: ReadonlyMap<string, Resource>;
  readonly #now = new Map<string, Resource>();

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#before = new Map(options.before.map((one) => [one.urn, one]));
  }

  get resources(): Resource[] {
    return [...this.#now.values()];
  }

  get root(): string {
    return this.resources.find(({ type }) => type === ROOT)?.urn ?? "";
  }

  register(request: RegisterRequest): Resource {
    const urn = this.#urn(request);
    if (this.#now.has(urn)) throw new Error(`Two resources have the name ${urn}.`);
    if (request.getImportid() !== "") throw new Error(`Nothing can be imported here: ${urn}.`);
    const before = this.#before.get(urn);
    const inputs = inputsOf(request, before);
    const changes = changesOf(before, inputs);
    const after = { ...factsOf(request, urn), ...this.#state(request, before, inputs, changes) };
    this.#now.set(urn, after);
    const operation = before === undefined ? "create" : Object.keys(changes).length > 0 ? "update" : "same";
    this.#options.log.step({ operation, ...(before && { before }), after, changes }, this.#options.planning);
    return after;
  }

  /** What a component says of itself once its children are there. */
  complete(urn: string, outputs: Properties): void {
    const found = this.#now.get(urn);
    if (!found) throw new Error(`There is no ${urn}.`);
    this.#now.set(urn, { ...found, outputs: { ...found.outputs, ...outputs } });
  }

  /** Removes what the program no longer names. */
  sweep(): void {
    for (const before of [...this.#before.values()].reverse())
      if (!this.#now.has(before.urn)) removed(before, this.#options.log, this.#options.planning);
  }

  #urn(request: RegisterRequest): string {
    const { project, stage } = this.#options.stack;
    const above = request.getParent().split("::")[2];
    const type = above === undefined || above === ROOT ? request.getType() : `${above}$${request.getType()}`;
    return `urn:pulumi:${stage}::${project}::${type}::${request.getName()}`;
  }

  #state(
    request: RegisterRequest,
    before: Resource | undefined,
    inputs: Properties,
    changes: Step["changes"],
  ): Pick<Resource, "id" | "inputs" | "outputs"> {
    if (!request.getCustom()) return { inputs, outputs: inputs };
    if (before?.id !== undefined) {
      const same = Object.keys(changes).length === 0;
      return { id: before.id, inputs, outputs: same ? before.outputs : { ...before.outputs, ...inputs } };
    }
    const { id, ...outputs } = made(request.getType(), request.getName(), inputs, this.#options.cloud);
    const hidden = new Set(request.getAdditionalsecretoutputsList());
    const known = Object.entries(outputs).map(([name, value]) => {
      const told = this.#options.planning && !(name in inputs) ? UNKNOWN : value;
      return [name, hidden.has(name) ? secret(told) : told] as const;
    });
    // Inputs win: what was asked for as a secret stays one.
    const all = { ...Object.fromEntries(known), ...inputs };
    return { ...(!this.#options.planning && { id }), inputs, outputs: all };
  }
}

/** Tells that a resource goes. @throws for one that is protected. */
export function removed(before: Resource, log: EventLog, planning: boolean): void {
  if (before.protect) throw new Error(`${before.urn} is protected: it can't be deleted.`);
  log.step({ operation: "delete", before, changes: {} }, planning);
}

function factsOf(request: RegisterRequest, urn: string): Omit<Resource, "id" | "inputs" | "outputs"> {
  const [parent, provider] = [request.getParent(), request.getProvider()];
  return {
    urn,
    type: request.getType(),
    custom: request.getCustom(),
    ...(parent !== "" && { parent }),
    ...(provider !== "" && { provider }),
    dependencies: request.getDependenciesList(),
    ...(request.getProtect() && { protect: true }),
    ...(request.getRetainondelete() && { retainOnDelete: true }),
  };
}

/** The inputs that count: those whose changes are to be ignored stay as they were. */
function inputsOf(request: RegisterRequest, before: Resource | undefined): Properties {
  const inputs = request.getObject()?.toJavaScript() ?? {};
  if (!before) return inputs;
  const kept = request.getIgnorechangesList().filter((name) => name in before.inputs);
  return { ...inputs, ...Object.fromEntries(kept.map((name) => [name, before.inputs[name]!])) };
}

function changesOf(before: Resource | undefined, inputs: Properties): Step["changes"] {
  const old = before?.inputs ?? {};
  const names = [...new Set([...Object.keys(old), ...Object.keys(inputs)])];
  const changed = names.filter((name) => !isDeepStrictEqual(old[name], inputs[name]));
  const kind = (name: string) => (!(name in old) ? "add" : name in inputs ? "update" : "delete");
  return Object.fromEntries(changed.map((name) => [name, kind(name)]));
}
