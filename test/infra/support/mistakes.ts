import type { Mutation } from "./mutants.ts";

const mutation = (file: string, breaks: string, mistake: string, from: string, to: string): Mutation => ({
  ...{ file, breaks, mistake, from, to },
});
const inBucket = mutation.bind(null, "infra/bucket.ts");
const inRights = mutation.bind(null, "infra/rights.ts");
const inFunctions = mutation.bind(null, "infra/functions.ts");
const inApi = mutation.bind(null, "infra/api.ts");
const inRoutes = mutation.bind(null, "infra/routes.ts");
const inQueue = mutation.bind(null, "infra/queue.ts");
const inRelayer = mutation.bind(null, "infra/relayer.ts");
const inAlarms = mutation.bind(null, "infra/alarms.ts");
const inAlarm = mutation.bind(null, "infra/alarm.ts");
const inTopic = mutation.bind(null, "infra/topic.ts");
const inStages = mutation.bind(null, "infra/stages.ts");
const inApp = mutation.bind(null, "sst.config.ts");
const inDeploy = mutation.bind(null, "infra/deploy.ts");

/** What somebody could get wrong in the deployment, and which promise is there to find it. */
export const mutations: readonly Mutation[] = [
  inApp("production is protected", "production can be removed", "protect: kept", "protect: false"),
  inApp("production is protected", "production's data goes with it", 'kept ? "retain"', 'kept ? "remove"'),
  inApp(
    "so is any other stage whose",
    "a pilot's data goes",
    'process.env.WAYBILL_PROTECTED === "1"',
    'process.env.WAYBILL_PROTECTED === "2"',
  ),
  inApp("any other stage can be removed", "stages leave buckets behind", ': "remove"', ': "retain"'),
  inApp("everything carries the names", "costs can't be told apart", "tags: { app", "tags: { name"),

  inBucket(
    "production's bucket outlives",
    "a removed bucket is emptied first",
    "!$app.protect;\n        opts",
    "true;\n        opts",
  ),
  inBucket(
    "production's bucket outlives",
    "a bucket can be replaced",
    "opts.protect = $app.protect",
    "opts.protect = false",
  ),
  inBucket("nobody uses the bucket without TLS", "no TLS", "enforceHttps: true", "enforceHttps: false"),
  inBucket("public access", "a public bucket", "enforceHttps: true,", 'enforceHttps: true,\n    access: "public",'),
  inBucket("every object is encrypted", "another encryption", '"AES256"', '"aws:kms"'),
  inBucket("the bucket's owner owns", "writers own their objects", '"BucketOwnerEnforced"', '"ObjectWriter"'),
  inBucket("a signature of more than", "URLs live for an hour", "= 15 * 60_000", "= 60 * 60_000"),
  inBucket("a signature of more than", "only downloads grow old", 'Action: "s3:*"', 'Action: "s3:GetObject"'),
  inBucket(
    "beginning an upload",
    "no exemption of parts",
    '"s3:ObjectCreationOperation": "true"',
    '"aws:SecureTransport": "true"',
  ),
  inBucket("what is written once", "records can't change", '"s3:if-none-match", "s3:if-match")', '"s3:if-none-match")'),
  inBucket(
    "only outbox, progress and refused",
    "records are overwritten",
    '["outbox", "progress"',
    '["transfer", "outbox", "progress"',
  ),
  inBucket("only outbox, progress and refused", "no refusal can be marked", ', "refused"];', "];"),
  inBucket("what is written once", "payloads by if-match", '["payload", "notice"', '["notice"'),
  inBucket("what is written once", "records never change", '"relay", "nonce"]', '"relay", "nonce", "transfer"]'),
  inBucket("a manifest is written once", "manifests change", "manifest.json", "manifest"),
  inBucket("lifecycles are backstops", "the outbox expires", "refused: 1 }", "refused: 1, outbox: 30 }"),
  inBucket("lifecycles are backstops", "settlements expire", "refused: 1 }", "refused: 1, settled: 365 }"),
  inBucket("lifecycles are backstops", "payloads go too early", "payload: 120", "payload: 30"),
  inBucket("lifecycles are backstops", "long uploads are aborted", "MULTIPART_DAYS = 30", "MULTIPART_DAYS = 1"),
  inBucket("lifecycles are backstops", "no abort rule", "[...(given ?? []), abort]", "[...(given ?? [])]"),
  inBucket("parts may be put", "any page", "allowOrigins: [...origins]", 'allowOrigins: ["*"]'),
  inBucket(
    "without configured origins no page may use",
    "SST's own CORS",
    "if (origins.length === 0) return false;",
    "",
  ),

  inRights(
    "uploads has exactly",
    "uploads deletes payloads",
    '"s3:AbortMultipartUpload": ["payload"],\n    "s3:ListMultipartUploadParts": ["payload"],\n    "s3:ListBucket": ["payload", "transfer", "notice", "settled"',
    '"s3:DeleteObject": ["payload"],\n    "s3:AbortMultipartUpload": ["payload"],\n    "s3:ListMultipartUploadParts": ["payload"],\n    "s3:ListBucket": ["payload", "transfer", "notice", "settled"',
  ),
  inRights(
    "uploads has exactly",
    "nobody looks for settlements",
    '"s3:GetObject": ["payload", "transfer", "notice", "settled", "nonce"]',
    '"s3:GetObject": ["payload", "transfer", "notice", "nonce"]',
  ),
  inRights(
    "downloads has exactly",
    "downloads writes payloads",
    '["nonce", "progress"]',
    '["nonce", "progress", "payload"]',
  ),
  inRights(
    "tasks has exactly",
    "tasks reads payloads",
    '"s3:GetObject": ["transfer", "notice", "settled", "nonce", "progress"]',
    '"s3:GetObject": ["payload", "transfer", "notice", "settled", "nonce", "progress"]',
  ),
  inRights(
    "publisher has exactly",
    "refusals can't be marked",
    '["relay", "settled", "refused"]',
    '["relay", "settled"]',
  ),
  inRights(
    "sweeper has exactly",
    "the sweeper writes settlements",
    '"s3:PutObject": ["transfer"],',
    '"s3:PutObject": ["transfer", "settled"],',
  ),
  inRights("publisher has exactly", "the key can be disabled", '["kms:Sign"', '["kms:DisableKey", "kms:Sign"'),
  inRights("downloads has exactly", "downloads rings", '["uploads", "tasks"]', '["uploads", "downloads", "tasks"]'),
  inRights("no right names every", "all of S3", '"s3:GetObject": ["outbox", "relay"]', '"s3:*": ["outbox", "relay"]'),
  inFunctions(
    "tasks has exactly",
    "any prefix is listed",
    "resources: [bucket.arn], conditions }",
    "resources: [bucket.arn] }",
  ),
  inFunctions(
    "uploads has exactly",
    "a link grants all of S3",
    "transform: { role: onlyLambda }",
    "link: [around.bucket], transform: { role: onlyLambda }",
  ),
  inFunctions("no right names every", "keys of any bucket", "arn}/$", "arn.apply(() => `*`)}$"),
  inFunctions(
    "each role is one function's",
    "the account's root takes roles",
    "if (!$dev) args.assumeRolePolicy",
    "if ($dev) args.assumeRolePolicy",
  ),
  inFunctions("each role is one function's", "a policy from elsewhere", "args.managedPolicyArns = [];", ""),
  inFunctions(
    "each function writes its own log",
    "all logs",
    "logs.arn}:*`",
    "logs.arn.apply(() => `arn:aws:logs:*:*:*`)}`",
  ),
  inFunctions("each function writes its own log", "text among JSON", 'format: "json"', 'format: "text"'),
  inFunctions("logs are kept for thirty days", "logs for ever", "    retentionInDays: stage.logDays,\n", ""),
  inFunctions("there are five functions", "another processor", '"arm64"', '"x86_64"'),
  inFunctions("there are five functions", "another Node", '"nodejs24.x"', '"nodejs22.x"'),
  inFunctions("there are five functions", "no such handler's name", "name}.handler", "name}.handle"),
  inFunctions("there are five functions", "a door past the API", "handler: `", "url: true,\n    handler: `"),
  inFunctions(
    "each function has memory",
    "slower than the API waits",
    'uploads: { memory: "512 MB", timeout: "29 seconds" }',
    'uploads: { memory: "512 MB", timeout: "60 seconds" }',
  ),
  inFunctions(
    "the functions are told",
    "everybody knows the key",
    '...(name === "publisher" && { ...stage',
    '...(name !== "sweeper" && { ...stage',
  ),
  inFunctions(
    "the nodes' URLs are secret",
    "the secret in a tag",
    "stage.name})`,",
    "stage.name})`,\n    tags: { rpc: around.rpc },",
  ),
  inFunctions(
    "the metrics of two stages",
    "stages count as one",
    "POWERTOOLS_METRICS_NAMESPACE: stage.metrics,",
    'POWERTOOLS_METRICS_NAMESPACE: "Waybill",',
  ),
  inFunctions(
    "no concurrency is reserved",
    "reserved for everybody",
    "stage.publisherConcurrency !== undefined && { concurrency: { reserved: stage.publisherConcurrency } }",
    "{ concurrency: { reserved: 1 } }",
  ),

  inDeploy(
    "the API has these routes",
    "nobody downloads",
    "Object.keys(routes) as",
    'Object.keys(routes).filter((name) => name !== "downloads") as',
  ),
  inRoutes(
    "the API has these routes",
    "another path",
    '"POST /v1/tasks/{task}/receipts"',
    '"POST /v1/tasks/{task}/receipt"',
  ),
  inRoutes(
    "the API has these routes",
    "a route too many",
    'health: "GET /health",',
    'health: "GET /health",\n    debug: "GET /debug",',
  ),
  inApi("functions are called in payload", "another format", '"2.0"', '"1.0"'),
  inApi(
    "functions are called in payload",
    "any API may call",
    "sourceArn: $interpolate",
    "sourceAccount: $interpolate",
  ),
  inApi("the API takes a hundred", "no limit", "throttlingRateLimit: stage.throttle.rate,", ""),
  inApi(
    "every request leaves a line",
    "queries are logged",
    "$context.routeKey",
    "$context.routeKey?$context.queryString",
  ),
  inApi("pages of exactly the configured", "any page", "allowOrigins: [...origins]", 'allowOrigins: ["*"]'),
  inApi(
    "with a domain",
    "a second door",
    "disableExecuteApiEndpoint = stage.domain !== undefined",
    "disableExecuteApiEndpoint = false",
  ),

  inQueue("a ring is out of sight", "two at one ring", "VISIBILITY_TIMEOUTS = 6", "VISIBILITY_TIMEOUTS = 1"),
  inQueue("a ring that nobody takes", "lost at the first crash", "RECEIVES = 5", "RECEIVES = 1"),
  inQueue(
    "a ring that nobody takes",
    "rings expire unheard",
    "messageRetentionSeconds: DAY_S",
    "messageRetentionSeconds: 3600",
  ),
  inQueue(
    "the door bell",
    "the dead queue has no order",
    '"BellDead", {\n    fifo: true',
    '"BellDead", {\n    fifo: false',
  ),
  inQueue("rings wake the publisher", "Lambda refuses one", "maximumConcurrency: 2", "maximumConcurrency: 1"),
  inQueue("rings wake the publisher", "the wrong queue", "eventSourceArn: queue.arn", "eventSourceArn: queue.url"),
  inQueue("the clock wakes the publisher", "a slow clock", "rate(1 minute)", "rate(1 hour)"),
  inQueue(
    "the clock wakes the sweeper",
    "the wrong one",
    "function: sweeper.arn",
    'function: "arn:aws:lambda:eu-central-1:123456789012:function:other"',
  ),
  inRelayer("the relayer's key is", "another curve", "ECC_SECG_P256K1", "ECC_NIST_P256"),
  inRelayer(
    "the relayer's key is",
    "the key goes with the stage",
    "retainOnDelete: $app.removal !==",
    "retainOnDelete: $app.removal ===",
  ),
  inRelayer("the key has an alias", "the old key for ever", "keys.pop()!", "keys.shift()!"),
  inRelayer(
    "only the publisher's role signs",
    "everybody signs",
    "ADMINISTRATION), allowed",
    '["kms:Sign", ...ADMINISTRATION]), allowed',
  ),
  inRelayer("only the publisher's role signs", "any role publishes", "[...relayerUse], publishing", "[...relayerUse]"),
  inRelayer("a former key is", "money stuck on it", 'allowed("Own", "kms:*")', 'allowed("Own", ADMINISTRATION)'),

  inAlarms("the alarm BellDead", "the wrong queue", "bell.dead.nodes", "bell.queue.nodes"),
  inAlarms(
    "the alarm PublisherLags",
    "silence is fine",
    'minutes: PATIENCE_MINUTES, silence: "breaching"',
    "minutes: PATIENCE_MINUTES",
  ),
  inAlarms(
    "the alarm RelayerBalance",
    "the best balance counts",
    '"RelayerBalance", "Minimum"',
    '"RelayerBalance", "Maximum"',
  ),
  inAlarms(
    "the alarm FunctionErrors",
    "the sweeper is forgotten",
    "= Object.values(functions).map",
    "= Object.values(functions).slice(0, 4).map",
  ),
  inAlarms(
    "the alarm SweeperLags",
    "no sweep is fine",
    'minutes: 60, times: 6, silence: "breaching"',
    "minutes: 60, times: 6",
  ),
  inAlarms("what the API turns away", "a member's own cap alarms", ' && ($.functionMilliseconds = "-")', ""),
  inAlarms("the alarm FunctionErrors", "an hourly failure is never twice in a row", ", within: 24", ""),
  inAlarms("what the API turns away", "another field", "{ $.alarm = * }", "{ $.alarms = * }"),
  inAlarms(
    "these alarms there are",
    "no eye on 5xx",
    'alarms.raise(\n    "Api5xx"',
    'new Set().has("never") && alarms.raise(\n    "Api5xx"',
  ),
  inAlarm("every alarm tells", "nobody is told", "alarmActions: [this.#topic.arn],", ""),
  inTopic(
    "only alarms and budgets",
    "any account speaks",
    'Condition: { StringEquals: { "aws:SourceAccount": account } },',
    "",
  ),
  inTopic("a budget warns", "no look ahead", ', notice("FORECASTED", 100)', ""),
  inStages(
    "the budget is what is configured",
    "a fixed budget",
    "monthlyBudget: set.WAYBILL_MONTHLY_BUDGET",
    "monthlyBudget: 50",
  ),
];
