// Prints the closing line from the results of vitest and forge and the number of steps that failed, and exits accordingly.
import { readFileSync } from "node:fs";

/** A runner that left no results has failed. */
const readCounts = (file, countsOf) => {
  try {
    return countsOf(JSON.parse(readFileSync(file, "utf8")));
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  }
};

const vitest = ({ numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults }) => {
  // A file that could not even be loaded has no test to count.
  const unloaded = testResults.filter((suite) => suite.status === "failed" && suite.assertionResults.length === 0);
  return {
    passed: numPassedTests,
    failed: numFailedTests + unloaded.length,
    skipped: numPendingTests + numTodoTests,
  };
};

/** What was skipped is said with its name, which says why. */
const skippedOf = (file) => {
  try {
    const { testResults } = JSON.parse(readFileSync(file, "utf8"));
    const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
    return tests.filter(({ status }) => status === "skipped" || status === "pending").map(({ fullName }) => fullName);
  } catch {
    return [];
  }
};

/** What .ci/again.mjs ran once more. */
const againOf = (file) => {
  try {
    return JSON.parse(readFileSync(file, "utf8")).again ?? [];
  } catch {
    return [];
  }
};

const counts = [
  readCounts("node_modules/.vitest/results.json", vitest),
  readCounts("node_modules/.forge/results.json", (written) => written),
  readCounts("node_modules/.infra/results.json", vitest),
  readCounts("node_modules/.s3/results.json", (written) =>
    written.skipped ? { passed: 0, failed: 0, skipped: 1, excused: true } : vitest(written),
  ),
  readCounts("node_modules/.supply/results.json", (written) => written),
];
for (const name of skippedOf("node_modules/.vitest/results.json")) console.log(`skipped: ${name}`);
for (const name of againOf("node_modules/.vitest/results.json")) console.log(`passed only alone, a finding: ${name}`);
const total = (key) => counts.reduce((sum, count) => sum + count[key], 0);
const failed = total("failed") + Number(process.argv[2]);
console.log(`\n${total("passed")} passed, ${failed} failed, ${total("skipped")} skipped`);
const isEmpty = ({ passed, excused = false }) => passed === 0 && !excused;
process.exit(failed > 0 || counts.some(isEmpty) ? 1 : 0);
