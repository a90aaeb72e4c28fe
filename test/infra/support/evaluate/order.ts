/** What is to be evaluated. */
export interface Order {
  /** The project's folder, with sst.config.ts. */
  readonly root: string;
  /** SST's platform. */
  readonly platform: string;
  readonly stage: string;
  readonly region: string;
  /** The secrets that are set. */
  readonly secrets: Readonly<Record<string, string>>;
}

/** A value as AWS's provider would get it; secrets are shown. */
export type Json = null | boolean | number | string | Json[] | { readonly [name: string]: Json };
export type JsonObject = Readonly<Record<string, Json>>;

/** A resource that a deployment would make. */
export interface Resource {
  readonly type: string;
  readonly name: string;
  readonly inputs: JsonObject;
  /** Paths of the inputs that are secret. */
  readonly secrets: readonly string[];
  readonly protect: boolean;
  readonly retainOnDelete: boolean;
}

/** What `app()` of sst.config.ts answers, with its defaults. */
export type AppSettings = JsonObject & { readonly name: string };

/** All that a deployment would make of a stage. */
export interface Evaluation {
  readonly app: AppSettings;
  readonly resources: readonly Resource[];
  /** What the config answers. */
  readonly outputs: JsonObject;
  /** Why it could not be evaluated. Nothing else counts then. */
  readonly errors: readonly string[];
}
