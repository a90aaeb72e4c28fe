// Tries what Waybill relies on in an S3 on versitygw: builds it, starts it over a temporary folder, and runs `npm run test:s3` on it.
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** docs/stores.md says which versions were tried; a newer one is tried by this file first. */
const VERSION = "v1.8.0";
const FOLDER = resolve("node_modules/.s3");
const PATIENCE_MS = 20_000;

/** A run that can't be is counted as skipped, and says why. */
const skip = (why) => {
  console.log(`SKIPPED: versitygw is not tried: ${why}`);
  writeFileSync(join(FOLDER, "results.json"), JSON.stringify({ skipped: why }));
};

const install = () => {
  const started = Date.now();
  const target = `github.com/versity/versitygw/cmd/versitygw@${VERSION}`;
  const { status } = spawnSync("go", ["install", target], { stdio: "inherit", env: { ...process.env, GOBIN: FOLDER } });
  console.log(`versitygw ${VERSION}: built in ${Math.round((Date.now() - started) / 1000)} s`);
  return status === 0 && existsSync(join(FOLDER, "versitygw"));
};

/** What docs/on-premises.md has an operator type are options of this version. */
const isOnPage = () => {
  const [line] = /^# versitygw .*$/m.exec(readFileSync("docs/on-premises.md", "utf8"));
  const help = spawnSync(join(FOLDER, "versitygw"), ["--help"], { encoding: "utf8" }).stdout;
  const strange = [...line.match(/ --[a-z-]+/g), " posix"].filter((word) => !help.includes(`${word} `));
  if (strange.length > 0) console.log(`docs/on-premises.md: versitygw has no${strange.join(",")}`);
  return strange.length === 0;
};

const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

const answers = (port) =>
  new Promise((done) => {
    const socket = connect(port, "127.0.0.1", () => done(true)).once("error", () => done(false));
    socket.once("connect", () => socket.destroy());
  });

/** Its posix backend keeps what it knows of an object in the file's extended attributes, or, where there are none, in a folder aside. */
const start = async (home, credentials, aside) => {
  const port = await freePort();
  const folders = aside ? ["--sidecar", join(home, "aside"), join(home, "data")] : [join(home, "data")];
  for (const name of ["data", "aside"]) mkdirSync(join(home, name), { recursive: true });
  const server = spawn(
    join(FOLDER, "versitygw"),
    ["--port", `127.0.0.1:${port}`, "--quiet", "--health", "/health", "posix", ...folders],
    {
      env: { ...process.env, ROOT_ACCESS_KEY: credentials.id, ROOT_SECRET_KEY: credentials.secret },
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end && server.exitCode === null; ) {
    if (await answers(port)) return { server, endpoint: `http://127.0.0.1:${port}` };
    await new Promise((done) => setTimeout(done, 50));
  }
  server.kill("SIGKILL");
  return null;
};

const tryIt = async () => {
  const home = mkdtempSync(join(tmpdir(), "waybill-versitygw-"));
  const credentials = { id: randomBytes(8).toString("hex"), secret: randomBytes(16).toString("hex") };
  const run = (await start(home, credentials, false)) ?? (await start(home, credentials, true));
  try {
    if (!run) return false;
    const env = {
      ...process.env,
      WAYBILL_S3_ENDPOINT: run.endpoint,
      AWS_ACCESS_KEY_ID: credentials.id,
      AWS_SECRET_ACCESS_KEY: credentials.secret,
    };
    return spawnSync("npm", ["run", "-s", "test:s3"], { stdio: "inherit", env }).status === 0;
  } finally {
    run?.server.kill("SIGKILL");
    rmSync(home, { recursive: true, force: true });
  }
};

mkdirSync(FOLDER, { recursive: true });
if (spawnSync("go", ["version"]).status !== 0) skip("there is no Go to build it with.");
else process.exit(install() && isOnPage() && (await tryIt()) ? 0 : 1);
