import { randomBytes, randomUUID } from "node:crypto";
import { type Properties, plain, type Value } from "./values.ts";

/** What the cloud that is played here looks like. */
export interface Cloud {
  readonly region: string;
  readonly account: string;
  /** The origin that answers for AWS's own services. */
  readonly endpoint: string;
  /** The origin at which HTTP APIs are reached. */
  readonly api: string;
}

interface Made {
  readonly name: string;
  readonly inputs: Properties;
  readonly cloud: Cloud;
}

/** What AWS says of a resource that it has just made. `id` is its id; random, where AWS takes a random one. */
const makers: Readonly<Record<string, (made: Made) => Properties>> = {
  "aws:acm/certificate:Certificate": ({ inputs, cloud }) => {
    const arn = `arn:aws:acm:${cloud.region}:${cloud.account}:certificate/${randomUUID()}`;
    const record = { resourceRecordName: "_a.", resourceRecordType: "CNAME", resourceRecordValue: "_b." };
    return { id: arn, arn, domainValidationOptions: [{ domainName: plain(inputs.domainName ?? ""), ...record }] };
  },
  "aws:apigatewayv2/domainName:DomainName": ({ inputs }) => {
    const target = { targetDomainName: "d-1.execute-api.amazonaws.com", hostedZoneId: "Z1" };
    const configuration = plain(inputs.domainNameConfiguration ?? {}) as Properties;
    return { id: plain(inputs.domainName ?? ""), domainNameConfiguration: { ...configuration, ...target } };
  },
  "aws:apigatewayv2/api:Api": ({ cloud }) => {
    const id = randomBytes(5).toString("hex");
    const arn = `arn:aws:apigateway:${cloud.region}::/apis/${id}`;
    return {
      id,
      arn,
      apiEndpoint: cloud.api,
      executionArn: `arn:aws:execute-api:${cloud.region}:${cloud.account}:${id}`,
    };
  },
  "aws:cloudwatch/logGroup:LogGroup": (made) => named(made, "logs", "log-group:"),
  "aws:cloudwatch/metricAlarm:MetricAlarm": (made) => named(made, "cloudwatch", "alarm:"),
  "aws:iam/role:Role": ({ name, inputs, cloud }) => {
    const role = textOf(inputs.name) ?? `${name}-${randomBytes(4).toString("hex")}`;
    return { id: role, name: role, arn: `arn:aws:iam::${cloud.account}:role/${role}` };
  },
  "aws:kms/key:Key": ({ name, cloud }) => {
    const keyId = `${name}-${randomUUID()}`; // told apart by its name, which AWS's own ids do not show
    return { id: keyId, keyId, arn: `arn:aws:kms:${cloud.region}:${cloud.account}:key/${keyId}` };
  },
  "aws:kms/alias:Alias": ({ name, inputs, cloud }) => {
    const alias = textOf(inputs.name) ?? `alias/${name}`;
    return { id: alias, name: alias, arn: `arn:aws:kms:${cloud.region}:${cloud.account}:${alias}` };
  },
  "aws:lambda/function:Function": (made) => {
    const { id, name, arn } = named(made, "lambda", "function:") as { id: string; name: string; arn: string };
    const path = `arn:aws:apigateway:${made.cloud.region}:lambda:path/2015-03-31/functions/${arn}/invocations`;
    return { id, name, arn, version: "$LATEST", qualifiedArn: `${arn}:$LATEST`, invokeArn: path, lastModified: "" };
  },
  "aws:s3/bucket:Bucket": (made) => bucket(made),
  "aws:s3/bucketV2:BucketV2": (made) => bucket(made),
  "aws:s3/bucketObjectv2:BucketObjectv2": ({ inputs }) => ({ id: plain(inputs.key ?? "") }),
  "aws:scheduler/schedule:Schedule": (made) => named(made, "scheduler", "schedule/default/"),
  "aws:sns/topic:Topic": (made) => {
    const { name, arn } = named(made, "sns", "") as { name: string; arn: string };
    return { id: arn, name, arn };
  },
  "aws:sqs/queue:Queue": (made) => {
    const { name, arn } = named(made, "sqs", "") as { name: string; arn: string };
    const url = `${made.cloud.endpoint}/${made.cloud.account}/${name}`;
    return { id: url, url, name, arn };
  },
  "random:index/randomBytes:RandomBytes": ({ inputs }) => {
    const bytes = randomBytes(Number(plain(inputs.length ?? 0)));
    return { id: bytes.toString("base64"), base64: bytes.toString("base64"), hex: bytes.toString("hex") };
  },
};

/** What a resource has beyond its inputs once it is made, with its id. */
export function made(type: string, name: string, inputs: Properties, cloud: Cloud): Properties & { id: string } {
  const outputs = makers[type]?.({ name, inputs, cloud });
  if (outputs) return { ...outputs, id: String(outputs.id) };
  const id = `${name}-${randomBytes(4).toString("hex")}`;
  return { id, arn: `arn:aws:stand-in:${cloud.region}:${cloud.account}:${id}` };
}

/** What a data source answers. */
export function lookedUp(token: string, inputs: Properties, cloud: Cloud): Properties {
  const { region, account } = cloud;
  switch (token) {
    case "aws:index/getRegion:getRegion":
      return { id: region, region, name: region, description: region, endpoint: `ec2.${region}.amazonaws.com` };
    case "aws:index/getPartition:getPartition":
      return { id: "aws", partition: "aws", dnsSuffix: "amazonaws.com", reverseDnsPrefix: "com.amazonaws" };
    case "aws:index/getCallerIdentity:getCallerIdentity":
      return { id: account, accountId: account, arn: `arn:aws:iam::${account}:user/operator`, userId: "operator" };
    case "aws:iam/getPolicyDocument:getPolicyDocument": {
      const json = policyDocument(plain(inputs) as unknown as PolicyInputs);
      return { ...inputs, id: "1", json, minifiedJson: json };
    }
    default:
      throw new Error(`nothing here answers the data source ${token}`);
  }
}

function named({ name, inputs, cloud }: Made, service: string, before: string): Properties {
  const own = textOf(inputs.name) ?? `${name}-${randomBytes(4).toString("hex")}`;
  return { id: own, name: own, arn: `arn:aws:${service}:${cloud.region}:${cloud.account}:${before}${own}` };
}

function bucket({ name, inputs, cloud }: Made): Properties {
  const own = textOf(inputs.bucket) ?? `${name.toLowerCase()}-${randomBytes(4).toString("hex")}`;
  const domain = `${own}.s3.${cloud.region}.amazonaws.com`;
  return {
    id: own,
    bucket: own,
    arn: `arn:aws:s3:::${own}`,
    bucketDomainName: domain,
    bucketRegionalDomainName: domain,
  };
}

function textOf(value: Value | undefined): string | undefined {
  const found = value === undefined ? undefined : plain(value);
  return typeof found === "string" ? found : undefined;
}

interface PolicyInputs {
  readonly version?: string;
  readonly statements?: readonly {
    readonly sid?: string;
    readonly effect?: string;
    readonly actions?: readonly string[];
    readonly notActions?: readonly string[];
    readonly resources?: readonly string[];
    readonly notResources?: readonly string[];
    readonly principals?: readonly { readonly type: string; readonly identifiers: readonly string[] }[];
    readonly conditions?: readonly {
      readonly test: string;
      readonly variable: string;
      readonly values: readonly string[];
    }[];
  }[];
}

/** A policy document as AWS's provider writes it. */
function policyDocument({ version = "2012-10-17", statements = [] }: PolicyInputs): string {
  const Statement = statements.map((one) => ({
    ...(one.sid && { Sid: one.sid }),
    Effect: one.effect ?? "Allow",
    ...(one.actions && { Action: one.actions }),
    ...(one.notActions && { NotAction: one.notActions }),
    ...(one.resources && { Resource: one.resources }),
    ...(one.notResources && { NotResource: one.notResources }),
    ...(one.principals && { Principal: principalsOf(one.principals) }),
    ...(one.conditions && { Condition: conditionsOf(one.conditions) }),
  }));
  return JSON.stringify({ Version: version, Statement });
}

function principalsOf(principals: readonly { type: string; identifiers: readonly string[] }[]): unknown {
  if (principals.some(({ type }) => type === "*")) return "*";
  return Object.fromEntries(principals.map(({ type, identifiers }) => [type, identifiers]));
}

function conditionsOf(conditions: readonly { test: string; variable: string; values: readonly string[] }[]): unknown {
  const byTest: Record<string, Record<string, readonly string[]>> = {};
  for (const { test, variable, values } of conditions) byTest[test] = { ...byTest[test], [variable]: values };
  return byTest;
}
