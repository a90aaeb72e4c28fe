// After a run of the tests that failed in a few files: runs those alone, once, and says what each had failed with. A test that passes now
// was upset by the machine's other work, or is a rare fault of ours: it is no silence, it stands in the closing lines until it is mended.
// Many failures are no accident, and are not tried again; nor is what failed outside of a test, such as a secret in the logs.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { relative } from "node:path";

const RESULTS = "node_modules/.vitest/results.json";
const AGAIN = "node_modules/.vitest/again.json";
/** Written by test/support/fatal.ts. */
const FATAL = "node_modules/.vitest/fatal";
const MOST_FILES = 3;
const MESSAGE = 600;

const failuresOf = ({ testResults }) =>
  testResults
    .filter(({ status }) => status === "failed")
    .map(({ name, message, assertionResults }) => ({
      file: relative(process.cwd(), name),
      tests: assertionResults
        .filter(({ status }) => status === "failed")
        .map(({ fullName, failureMessages }) => ({
          name: fullName,
          why: failureMessages.join("\n").slice(0, MESSAGE),
        })),
      message: message.slice(0, MESSAGE),
    }));

const say = ({ file, tests, message }) => {
  console.log(`failed at first: ${file}${tests.length === 0 ? `: ${message}` : ""}`);
  for (const { name, why } of tests) console.log(`  ${name}: ${why}`);
};

const results = JSON.parse(readFileSync(RESULTS, "utf8"));
const failures = failuresOf(results);
for (const failure of failures) say(failure);
if (existsSync(FATAL) || failures.length === 0 || failures.length > MOST_FILES) {
  console.log("not tried again");
  process.exit(1);
}
const files = failures.map(({ file }) => file);
console.log(`once more, alone: ${files.join(", ")}`);
const run = ["node_modules/vitest/vitest.mjs", "run", ...files, `--outputFile.json=${AGAIN}`];
const { status } = spawnSync(process.execPath, run, { stdio: "inherit" });
if (status !== 0) process.exit(1);
const failed = results.numFailedTests;
const again = failures.flatMap(({ file, tests }) =>
  tests.length > 0 ? tests.map(({ name }) => `${file}: ${name}`) : [file],
);
const counts = { numFailedTests: 0, numPassedTests: results.numPassedTests + failed };
const testResults = results.testResults.map((suite) => ({ ...suite, status: "passed" }));
writeFileSync(RESULTS, JSON.stringify({ ...results, ...counts, testResults, again }));
