import { API_CORS } from "../functions/cors.ts";
import { type ApiFunction, routes } from "./routes.ts";
import type { Stage } from "./stages.ts";

/** What is written of each request: no query, no header, so no signature and nothing secret. A status is a number, for filters. */
const ACCESS_LOG = JSON.stringify({
  time: "$context.requestTime",
  request: "$context.requestId",
  method: "$context.httpMethod",
  route: "$context.routeKey",
  path: "$context.path",
  status: "$context.status",
  bytes: "$context.responseLength",
  milliseconds: "$context.responseLatency",
  functionMilliseconds: "$context.integrationLatency",
  error: "$context.error.message",
  functionError: "$context.integrationErrorMessage",
  address: "$context.identity.sourceIp",
  agent: "$context.identity.userAgent",
}).replace('"$context.status"', "$context.status");

/** The HTTP API. Who may do what is for the functions to tell; here is only how much of it. */
export function createApi(stage: Stage): sst.aws.ApiGatewayV2 {
  return new sst.aws.ApiGatewayV2("Api", {
    cors: corsOf(stage),
    ...(stage.domain !== undefined && { domain: stage.domain }),
    transform: {
      api: (args) => {
        // With a name of its own the API has one door: signatures are for that name.
        args.disableExecuteApiEndpoint = stage.domain !== undefined;
      },
      logGroup: (args) => {
        args.retentionInDays = stage.logDays;
      },
      stage: (args) => {
        args.defaultRouteSettings = {
          throttlingRateLimit: stage.throttle.rate,
          throttlingBurstLimit: stage.throttle.burst,
        };
        args.accessLogSettings = $output(args.accessLogSettings).apply((log) => ({
          destinationArn: log?.destinationArn ?? "",
          format: ACCESS_LOG,
        }));
      },
    },
  });
}

/** Puts a function behind its routes. */
export function mount(api: sst.aws.ApiGatewayV2, name: ApiFunction, fn: sst.aws.Function): void {
  const { id: apiId, executionArn } = api.nodes.api;
  const permission = new aws.lambda.Permission(`Invoke-${name}`, {
    action: "lambda:InvokeFunction",
    function: fn.arn,
    principal: "apigateway.amazonaws.com",
    sourceArn: $interpolate`${executionArn}/*`,
  });
  const integration = new aws.apigatewayv2.Integration(
    `Integration-${name}`,
    { apiId, integrationType: "AWS_PROXY", integrationUri: fn.arn, payloadFormatVersion: "2.0" },
    { dependsOn: [permission] },
  );
  for (const [operation, routeKey] of Object.entries(routes[name]))
    new aws.apigatewayv2.Route(`Route-${operation}`, {
      apiId,
      routeKey,
      target: $interpolate`integrations/${integration.id}`,
    });
}

function corsOf({ origins }: Stage): sst.aws.ApiGatewayV2Args["cors"] {
  if (origins.length === 0) return false;
  return {
    allowOrigins: [...origins],
    allowMethods: [...API_CORS.methods],
    allowHeaders: [...API_CORS.headers],
    exposeHeaders: [...API_CORS.exposed],
    maxAge: "1 day",
  };
}
