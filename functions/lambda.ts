import type { Hono } from "hono";
import { handle } from "hono/aws-lambda";
import { depsFromEnv } from "./deps.ts";

/** A function as AWS Lambda calls it, with events of API Gateway's HTTP API (payload version 2.0). */
export type LambdaHandler = ReturnType<typeof handle>;

/** The handler of an app that is built from the environment at the first event, so that an import never fails. */
export function lambdaOf(create: (deps: ReturnType<typeof depsFromEnv>) => Hono): LambdaHandler {
  let handler: LambdaHandler | undefined;
  return (event, context) => {
    handler ??= handle(create(depsFromEnv(process.env)));
    return handler(event, context);
  };
}
