import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { createApi } from "../../functions/api.ts";
import { openapi } from "../../functions/openapi.ts";
import { ORIGIN } from "../support/api.ts";
import { roles, routeNames, Stage } from "../support/roles.ts";
import { columns, issuesUrls, matrix } from "../support/roles-columns.ts";
import { Trial } from "../support/roles-trial.ts";

// Every role, and every way of bending a good request, on every route. The oracle besides the answer: no URL to who isn't its
// party, and nothing in the bucket by what is refused.

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
let stage: Stage;
let trial: Trial;
beforeAll(async () => {
  stage = await Stage.start();
  trial = new Trial(stage);
});
afterAll(() => stage?.stop());

/** What anybody may ask. */
const open = ["/health", "/openapi.json", "/docs"];

it("every route that is served stands in the matrix, and in the document", () => {
  const served = createApi(stage.api.deps).routes.filter(({ method }) => method !== "ALL");
  const paths = served.map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
  const { paths: documented } = openapi() as { paths: Record<string, Record<string, unknown>> };
  const told = Object.entries(documented).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const judged = routeNames.map((name) => stage.patternOf(name));
  expect(paths.toSorted()).toEqual([...judged, ...open.map((path) => `GET ${path}`)].toSorted());
  expect(told.toSorted()).toEqual(paths.toSorted());
  expect(Object.keys(matrix).sort()).toEqual([...routeNames].sort());
  for (const row of Object.values(matrix)) expect(Object.keys(row).sort()).toEqual([...roles].sort());
});

it.each(open)("%s is for everybody, asks nobody, and holds no URL of the store", async (path) => {
  await stage.log.take();
  const response = await stage.api.drive(new Request(`${ORIGIN}${path}`));
  expect(response.status).toBe(200);
  expect(await response.text()).not.toContain(stage.api.s3.endpoint);
  expect(await stage.log.take()).toEqual([]);
});

describe.each(columns)("$name", (column) => {
  const asked = routeNames.filter((route) => column.expects(route) !== null);
  it.each(asked)(`%s`, async (route) => {
    const outcome = await trial.of(column, route);
    expect(outcome.answered, JSON.stringify(outcome.said)).toBe(column.expects(route));
    expect(outcome.urls > 0).toBe(issuesUrls(column, route));
    expect(outcome.strangeUrls).toEqual([]);
    if (typeof outcome.answered === "number") return;
    expect(outcome.written).toEqual([]);
    expect(outcome.appeared).toEqual([]);
    if (outcome.beforeTheGuard) expect(outcome.requests).toEqual([]);
  });
});

it("nothing came into the bucket that its log doesn't tell of", async () => {
  expect(await trial.unexplained()).toEqual([]);
});
