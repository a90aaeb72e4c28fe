import type { Hono } from "hono";
import { handle } from "hono/aws-lambda";
import type { Config } from "./config.ts";
import { depsFromEnv, type PostingDeps } from "./deps.ts";
import { Log, toStdout } from "./log.ts";
import type { Service } from "./metric-names.ts";
import type { Objects } from "./objects.ts";

/** A function as AWS Lambda calls it, with events of API Gateway's HTTP API (payload version 2.0). */
export type LambdaHandler = ReturnType<typeof handle>;

interface Served {
  readonly handler: LambdaHandler;
  /** Writes what was counted. */
  readonly flush: () => void;
}

/**
 * The handler of an app that is built from the environment at the first event, so that an import never fails. `open`: as much
 * of the bucket as the app needs.
 */
export function lambdaOf<S extends Objects>(
  service: Service,
  create: (deps: PostingDeps<S>) => Hono,
  open: (config: Config) => S,
): LambdaHandler {
  let served: Promise<Served> | undefined;
  const serve = async (): Promise<Served> => {
    // Here and not above: who runs an app elsewhere has no use for the library.
    const { EmfMetrics } = await import("./metrics-emf.ts");
    const metrics = new EmfMetrics(service);
    const deps = { ...depsFromEnv(process.env, open), log: toStdout, metricsOf: () => metrics };
    return { handler: handle(create(deps)), flush: () => metrics.flush() };
  };
  return async (event, context) => {
    served ??= serve();
    const { handler, flush } = await served.catch((error: unknown) => {
      served = undefined;
      new Log(service, toStdout).failure("the function can't start", error);
      throw error;
    });
    try {
      return await handler(event, context);
    } finally {
      flush();
    }
  };
}
