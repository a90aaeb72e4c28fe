// Prints the closing line from vitest's JSON results and the number of other steps that failed, and exits accordingly.
import { readFileSync } from "node:fs";

const [file, steps] = process.argv.slice(2);
let failed = Number(steps);
let passed = 0;
let skipped = 0;
try {
  const results = JSON.parse(readFileSync(file, "utf8"));
  passed = results.numPassedTests;
  skipped = results.numPendingTests + results.numTodoTests;
  failed += results.numFailedTests;
  // A file that could not even be loaded has no test to count.
  failed += results.testResults.filter(
    (suite) => suite.status === "failed" && suite.assertionResults.length === 0,
  ).length;
} catch {
  failed += 1;
}
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
