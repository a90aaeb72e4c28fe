import { createHash, randomBytes } from "node:crypto";
import type { Credentials } from "../../../local/store/auth.ts";
import { decide, type Statement, statementsOf } from "./policy.ts";
import type { RoleShape } from "./shapes.ts";

/** A role, with the temporary credentials that whoever has it is given. */
export class Role {
  readonly name: string;
  readonly arn: string;
  readonly statements: readonly Statement[];
  readonly credentials: Credentials;
  readonly #trust: readonly { readonly Principal: Readonly<Record<string, string | readonly string[]>> }[];

  constructor({ name, arn, inlinePolicies, assumeRolePolicy }: RoleShape) {
    this.name = name;
    this.arn = arn;
    this.statements = inlinePolicies.flatMap(({ policy }) => statementsOf(policy));
    this.#trust = JSON.parse(assumeRolePolicy).Statement;
    const accessKeyId = `ASIA${createHash("sha256").update(arn).digest("hex").slice(0, 16).toUpperCase()}`;
    const secret = (): string => randomBytes(24).toString("hex");
    this.credentials = { accessKeyId, secretAccessKey: secret(), sessionToken: secret() };
  }

  may(action: string, resource: string): boolean {
    return decide(this.statements, { action, resource }) === "allowed";
  }

  /** Whether this service, and nobody else, is let into the role. */
  isFor(service: string): boolean {
    return this.#trust.every(({ Principal }) => {
      const { Service = [], ...others } = Principal;
      return Object.keys(others).length === 0 && [Service].flat().join() === service;
    });
  }
}

/** All roles of a deployment. */
export class Roles {
  readonly all: readonly Role[];

  constructor(shapes: readonly RoleShape[]) {
    this.all = shapes.map((shape) => new Role(shape));
  }

  /** The role behind an ARN, which `service` is let into. */
  for(arn: string, service: string): Role {
    const found = this.all.find((role) => role.arn === arn);
    if (!found?.isFor(service)) throw new Error(`${service} has no role of its own: ${found?.name ?? arn}`);
    return found;
  }

  ofAccessKey(accessKey: string): Role | undefined {
    return this.all.find(({ credentials }) => credentials.accessKeyId === accessKey);
  }
}
