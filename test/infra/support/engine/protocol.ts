import { createRequire } from "node:module";
import { join } from "node:path";
import type { Properties } from "./values.ts";

// The part of Pulumi's gRPC protocol that a program and this engine speak, as its own package declares it.

interface Struct {
  toJavaScript(): Properties;
}

export interface RegisterRequest {
  getType(): string;
  getName(): string;
  getParent(): string;
  getCustom(): boolean;
  getObject(): Struct | undefined;
  getProvider(): string;
  getProtect(): boolean;
  getRetainondelete(): boolean;
  getImportid(): string;
  getDependenciesList(): string[];
  getIgnorechangesList(): string[];
  getAdditionalsecretoutputsList(): string[];
}

export interface OutputsRequest {
  getUrn(): string;
  getOutputs(): Struct | undefined;
}

export interface InvokeRequest {
  getTok(): string;
  getArgs(): Struct | undefined;
}

export interface FeatureRequest {
  getId(): string;
}

export interface LogRequest {
  getSeverity(): number;
  getMessage(): string;
  getUrn(): string;
}

export interface RootRequest {
  getUrn(): string;
}

interface Registered {
  setUrn(urn: string): void;
  setId(id: string): void;
  setObject(outputs: Struct): void;
}

type Service = Readonly<Record<string, unknown>>;
/** A method of a gRPC service, which answers a request or fails. */
export type Method = (
  call: { readonly request: unknown },
  answer: (error: { code: number; message: string } | null, reply?: unknown) => void,
) => void;

interface GrpcServer {
  addService(service: Service, methods: Readonly<Record<string, Method>>): void;
  bindAsync(address: string, credentials: unknown, bound: (error: Error | null, port: number) => void): void;
  forceShutdown(): void;
}

/** Pulumi's generated messages and services. */
export interface Protocol {
  readonly grpc: {
    readonly Server: new (options: Readonly<Record<string, number>>) => GrpcServer;
    readonly ServerCredentials: { createInsecure(): unknown };
  };
  readonly resource: {
    readonly RegisterResourceResponse: new () => Registered;
    readonly SupportsFeatureResponse: new () => { setHassupport(has: boolean): void };
    readonly RegisterPackageResponse: new () => { setRef(ref: string): void };
  };
  readonly provider: { readonly InvokeResponse: new () => { setReturn(answer: Struct): void } };
  readonly engine: {
    readonly GetRootResourceResponse: new () => { setUrn(urn: string): void };
    readonly SetRootResourceResponse: new () => object;
  };
  readonly services: { readonly monitor: Service; readonly engine: Service };
  readonly Empty: new () => object;
  readonly Struct: { fromJavaScript(values: object): Struct };
}

/** Loads the protocol from the packages that a program under this platform runs with. */
export function loadProtocol(platform: string): Protocol {
  const load = createRequire(join(platform, "package.json"));
  return {
    grpc: load("@grpc/grpc-js"),
    resource: load("@pulumi/pulumi/proto/resource_pb"),
    provider: load("@pulumi/pulumi/proto/provider_pb"),
    engine: load("@pulumi/pulumi/proto/engine_pb"),
    services: {
      monitor: load("@pulumi/pulumi/proto/resource_grpc_pb").ResourceMonitorService,
      engine: load("@pulumi/pulumi/proto/engine_grpc_pb").EngineService,
    },
    Empty: load("google-protobuf/google/protobuf/empty_pb").Empty,
    Struct: load("google-protobuf/google/protobuf/struct_pb").Struct,
  };
}

const FAILED = 2; // gRPC's UNKNOWN

/** A method that answers with what `work` returns. */
export function answering<Q>(work: (request: Q) => unknown): Method {
  return ({ request }, answer) => {
    try {
      answer(null, work(request as Q));
    } catch (error) {
      answer({ code: FAILED, message: error instanceof Error ? error.message : String(error) });
    }
  };
}
