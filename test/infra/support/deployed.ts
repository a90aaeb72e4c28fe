import * as z from "zod/mini";
import { type Resource, resourcesIn } from "./engine/state.ts";
import { plain } from "./engine/values.ts";

/** A resource as it was deployed, with its secrets opened. */
export interface DeployedResource {
  readonly name: string;
  readonly type: string;
  readonly urn: string;
  readonly id: string;
  readonly retained: boolean;
  readonly protected: boolean;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, unknown>>;
}

/** All that a deploy made, read from the state that sst keeps of it. */
export class Deployed {
  readonly resources: readonly DeployedResource[];

  constructor(state: string) {
    this.resources = resourcesIn(state).map(deployed);
  }

  of(type: string): DeployedResource[] {
    return this.resources.filter((one) => one.type === type);
  }

  /** What resources of a type became, with their names, in the shape that they must have. */
  read<T>(type: string, shape: z.ZodMiniType<T, unknown>): T[] {
    return this.of(type).map(({ name, id, outputs }) => {
      const found = shape.safeParse({ ...outputs, id, resource: name });
      if (found.success) return found.data;
      throw new Error(`${type} ${name}: ${z.prettifyError(found.error)}`);
    });
  }
}

function deployed({ urn, type, id = "", inputs, outputs, ...flags }: Resource): DeployedResource {
  return {
    name: urn.split("::").at(-1)!,
    type,
    urn,
    id,
    retained: flags.retainOnDelete ?? false,
    protected: flags.protect ?? false,
    inputs: plain(inputs) as Record<string, unknown>,
    outputs: plain(outputs) as Record<string, unknown>,
  };
}
