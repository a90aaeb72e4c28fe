import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Properties, sealed, unsealed } from "./values.ts";

/** A resource as the engine remembers it from one deploy to the next. */
export interface Resource {
  readonly urn: string;
  readonly type: string;
  readonly custom: boolean;
  readonly id?: string;
  readonly parent?: string;
  readonly provider?: string;
  readonly dependencies?: readonly string[];
  readonly protect?: boolean;
  readonly retainOnDelete?: boolean;
  readonly inputs: Properties;
  readonly outputs: Properties;
}

/** Project and stage, of "organization/project/stage". */
export interface Stack {
  readonly project: string;
  readonly stage: string;
}

const MAGIC = { manifest: { time: "2026-01-01T00:00:00Z", magic: "", version: "v3.0.0" }, metadata: {} };

export function stackOf(reference: string | undefined): Stack {
  const [organization, project, stage, ...more] = (reference ?? "").split("/");
  if (organization !== "organization" || !project || !stage || more.length > 0)
    throw new Error(`no stack's name: ${reference}`);
  return { project, stage };
}

/** The resources of a state file, in the order in which they were made. */
export function resourcesIn(text: string): Resource[] {
  const { checkpoint } = JSON.parse(text) as { checkpoint: { latest?: { resources?: Resource[] } } };
  return (checkpoint.latest?.resources ?? []).map((one) => changed(one, unsealed));
}

/** The state file of one stack, where sst looks for it and puts it: below the engine's working folder. */
export class StateFile {
  readonly #path: string;
  readonly #stack: string;

  constructor(folder: string, { project, stage }: Stack) {
    this.#path = join(folder, ".pulumi/stacks", project, `${stage}.json`);
    this.#stack = `organization/${project}/${stage}`;
  }

  read(): Resource[] {
    return resourcesIn(readFileSync(this.#path, "utf8"));
  }

  write(resources: readonly Resource[]): void {
    const latest = { ...MAGIC, resources: resources.map((one) => changed(one, sealed)) };
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(this.#path, JSON.stringify({ version: 3, checkpoint: { stack: this.#stack, latest } }));
  }
}

function changed(resource: Resource, change: typeof sealed): Resource {
  const [inputs, outputs] = [change(resource.inputs ?? {}), change(resource.outputs ?? {})] as [Properties, Properties];
  return { ...resource, inputs, outputs };
}
