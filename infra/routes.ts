/**
 * Which function answers which route, by the operation's name in functions/routes.ts: it names the route's resource, so a
 * route that stays also keeps its resource. A test holds this against that table and against what each app serves.
 */
export const routes = {
  uploads: {
    begin: "POST /v1/tasks/{task}/transfers",
    signParts: "POST /v1/tasks/{task}/transfers/{transfer}/parts",
    listParts: "GET /v1/tasks/{task}/transfers/{transfer}/parts",
    finish: "POST /v1/tasks/{task}/transfers/{transfer}/finish",
    abort: "DELETE /v1/tasks/{task}/transfers/{transfer}",
  },
  downloads: {
    download: "POST /v1/tasks/{task}/notices/{notice}/download",
    reportProgress: "PUT /v1/tasks/{task}/notices/{notice}/progress",
  },
  tasks: {
    openTask: "POST /v1/tasks",
    changeRoster: "POST /v1/tasks/{task}/roster",
    readTask: "GET /v1/tasks/{task}",
    readEvents: "GET /v1/tasks/{task}/events",
    postMessage: "POST /v1/tasks/{task}/messages",
    postReceipt: "POST /v1/tasks/{task}/receipts",
    postWithdrawal: "POST /v1/tasks/{task}/withdrawals",
    readStatement: "GET /v1/tasks/{task}/statements/{statement}",
    readNotice: "GET /v1/tasks/{task}/notices/{notice}",
    health: "GET /health",
    openapi: "GET /openapi.json",
    docs: "GET /docs",
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, string>>>>;

/** A function that the API calls. */
export type ApiFunction = keyof typeof routes;
