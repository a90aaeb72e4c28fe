// Runs the contract's Solidity tests with npm's forge, offline: `node contracts/forge.mjs [test|snapshot] [forge's options]`.
// `test` runs them on both builds, each on its own kind of chain; `snapshot` writes the gas numbers of contracts/test/gas
// again, which `test` compares. What it makes lies in node_modules/.forge, the counts for CI in results.json there.
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { compileFile, targets } from "./build.mjs";
import { writeStatements } from "./test/statements.mjs";

const require = createRequire(import.meta.url);
const contracts = fileURLToPath(new URL(".", import.meta.url));
const made = fileURLToPath(new URL("../node_modules/.forge/", import.meta.url));

/** The platform's binary itself: npm's wrapper would be one more process to end, and runs what TARGET_TOOL says. */
const binary = () => {
  const arch = process.arch === "arm64" ? "arm64" : "amd64";
  const name = process.platform === "win32" ? "forge.exe" : "forge";
  return require.resolve(`@foundry-rs/forge-${process.platform}-${arch}/bin/${name}`);
};

/** Runs forge, shows what it says, and answers its exit code and its words. */
const forge = (args, settings = {}) =>
  new Promise((resolve, reject) => {
    // It keeps caches at home; here that is among what it makes.
    const env = { ...settings, ...process.env, HOME: made, USERPROFILE: made };
    const child = spawn(binary(), args, { cwd: contracts, env, stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (chunk) => {
      said += chunk;
      process.stdout.write(chunk);
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? 1, said }));
  });

/** The suites' counts. A run that failed in no test (it did not compile, gas differs) has failed all the same. */
const countsOf = ({ code, said }) => {
  const suites = [...said.matchAll(/^Suite result: \w+\. (\d+) passed; (\d+) failed; (\d+) skipped/gm)];
  const [passed, failed, skipped] = [1, 2, 3].map((group) =>
    suites.reduce((sum, suite) => sum + Number(suite[group]), 0),
  );
  return { passed, failed: code === 0 ? failed : Math.max(failed, 1), skipped };
};

/** Puts a build where the tests deploy it from. */
const provide = (evm) => {
  const { bytecode } = compileFile("Waybill.sol", evm).Waybill;
  writeFileSync(`${made}Waybill.json`, JSON.stringify({ bytecode }));
};

/**
 * The build for older chains, on such a chain. Its source is the same, so a tenth of the random statements tells enough; its
 * gas is in `npm run gas`.
 */
const testParis = (given) => {
  provide(targets.paris);
  const fewer = { FOUNDRY_FUZZ_RUNS: "1000", FOUNDRY_INVARIANT_RUNS: "4" };
  return forge(["test", `--evm-version=${targets.paris}`, "--no-match-contract=^GasTest$", ...given], fewer);
};

/** What each mode tells forge: gas is compared, or written. */
const modes = {
  test: ["--gas-snapshot-check=true", "--gas-snapshot-emit=false"],
  snapshot: ["--gas-snapshot-check=false", "--gas-snapshot-emit=true", "--match-contract=^GasTest$"],
};

const given = process.argv.slice(2);
const mode = given[0] in modes ? given.shift() : "test";
mkdirSync(made, { recursive: true });
rmSync(`${made}results.json`, { force: true });
const seed = Number(process.env.WAYBILL_SEED ?? randomInt(2 ** 31));
console.log(`Random statements of WAYBILL_SEED=${seed}`);
await writeStatements(made, seed);
provide(targets.current);
const runs = [await forge(["test", ...modes[mode], ...given])];
if (mode === "snapshot")
  appendFileSync(`${contracts}test/gas/Waybill.json`, "\n"); // as every text file here ends
else runs.push(await testParis(given));
const counts = runs.map(countsOf);
const total = (key) => counts.reduce((sum, count) => sum + count[key], 0);
const [passed, failed, skipped] = ["passed", "failed", "skipped"].map(total);
writeFileSync(`${made}results.json`, `${JSON.stringify({ passed, failed, skipped })}\n`);
process.exitCode = Math.max(...runs.map(({ code }) => code));
