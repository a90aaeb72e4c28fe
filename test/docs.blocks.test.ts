import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eachOf } from "../functions/crew.ts";
import { SERVICES } from "../functions/metric-names.ts";
import { startServer } from "../local/server.ts";
import { CERTIFICATE, KEY } from "./support/certificate.ts";
import { ROOT, type Run, run } from "./support/packed.ts";

// Every fenced block of the README and of docs/ is tried by a test: this table knows by which, and an example that is in no row fails.

interface Block {
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly code: string;
}

const WAYBILL = join(ROOT, "dist/cli/waybill.js");
/** Tried below, in this file: as far as one can without an account of AWS, somebody's server, or root. */
const HERE = "test/docs.blocks.test.ts";
/** Shows something, and is nothing to run. */
const SHOWN = "";
const API = "test/docs.test.ts";
const PREMISES = "test/on-premises.test.ts";
const OPERATE = "test/operate.test.ts";
const PARTICIPANT = "test/participant.test.ts";

/** Of each page's blocks in their order: the language, how it begins, and who tries it. */
const KNOWN: Readonly<Record<string, readonly (readonly [string, string, string])[]>> = {
  "README.md": [
    ["sh", "npm install && npm run demo", HERE],
    ["js", "import { Wallet }", "test/readme.test.ts"],
    ["sh", "npx waybill local", "test/readme.test.ts"],
    ["sh", "export WAYBILL_CONFIG=waybill-local/bob", "test/readme.test.ts"],
    ["sh", "export WAYBILL_CONFIG=waybill-local/alice", "test/readme.test.ts"],
    ["sh", 'echo "a password of Dave', "test/readme.test.ts"],
    ["ts", "const contractor = new TaskContractor", HERE],
  ],
  "docs/api.md": [
    ["text", '"@authority"', API],
    ["http", "POST /v1/tasks/", API],
    ["text", '"@authority"', API],
    ["http", "GET /v1/tasks/", API],
    ["solidity", "Open(address owner", HERE],
    ...Array.from({ length: 3 }, () => ["http", "", API] as const),
    ["text", '{"checksum"', API],
    ...Array.from({ length: 9 }, () => ["http", "", API] as const),
  ],
  "docs/auditor.md": [
    ["sh", "cast call CONTRACT", "test/auditor.test.ts"],
    ["js", "// audit.mjs", "test/auditor.test.ts"],
    ["js", "// same.mjs", "test/auditor.test.ts"],
  ],
  "docs/design.md": [
    ["", "sendStream ─ begin", SHOWN],
    ["", "package.json tsconfig.json", SHOWN],
    ["", "Content-Digest:", SHOWN],
    ["", "payload/{task}", SHOWN],
    ["ts", "const contractor", SHOWN], // a list of the calls, with [...] for what is left out
  ],
  "docs/developer.md": [
    ["sh", "npm install ethers ./waybill-", HERE],
    ["js", "// two parties", API],
    ["js", "// a call that is refused", API],
    ["js", "// a party that is started again", API],
  ],
  "docs/on-premises.md": [
    ["console", "# git clone", HERE],
    ["sh", "umask 077", PREMISES],
    ["console", "# mkdir -p /srv/s3/waybill", ".ci/s3.mjs"],
    ["console", "# MINIO_ROOT_USER", HERE],
    ["sh", "waybill contract deploy", PREMISES],
    ["sh", "cat > serve.env", PREMISES],
    ["sh", "waybill serve 2> serve.log", PREMISES],
    ["ini", "[Unit]", HERE],
    ["console", "# kill %1; systemctl", HERE],
    ["nginx", "upstream waybill", HERE],
    ["sh", "TASK=$(waybill task open", PREMISES],
    ["sh", "curl -s http://127.0.0.1:9464/metrics", PREMISES],
    ["yaml", "scrape_configs:", HERE],
    ["sh", "waybill serve --listen 127.0.0.1:8081", PREMISES],
    ["sh", "head -c 24 /dev/urandom", PREMISES],
  ],
  "docs/operate.md": [
    ["sh", "git clone", HERE],
    ["sh", "npx waybill --version", HERE],
    ["json", "{", "test/infra/support/operator.ts"],
    ["sh", "for name in deployer owner", OPERATE],
    ["sh", "npx waybill contract deploy", "test/infra/support/operator.ts"],
    ["sh", "cat > .env.production", "test/infra/support/operator.ts"],
    ["sh", "grep -n 0x0000000000 .env.production", HERE],
    ["sh", "npx sst secret set Rpc", "test/infra/support/operator.ts"],
    ["sh", "npx sst deploy", "test/infra/support/operator.ts"],
    ["sh", "aws sns list-subscriptions", HERE],
    ["sh", 'curl -s "$(node -p', HERE],
    ["sh", "aws logs tail /aws/lambda/waybill-production-publisher --since 10m", HERE],
    ["sh", "npx waybill relayer address", "test/infra/zips.test.ts"],
    ["sh", "npx waybill deployment complete", "test/infra/zips.test.ts"],
    ["js", "// first.mjs", OPERATE],
    ["sh", "node first.mjs", "test/infra/zips.test.ts"],
    ["sh", "aws sqs purge-queue", HERE],
    ["sh", "aws logs tail", HERE],
    ["sh", "for f in uploads", HERE],
    ["js", "// frame.mjs", "test/infra/zips.test.ts"],
    ["sh", "SST_NO_CLEANUP=1 npx sst diff", "test/infra/zips.test.ts"],
    ["sh", "git checkout COMMIT", HERE],
    ["sh", "aws kms describe-key", HERE],
  ],
  "docs/participant.md": [
    ["sh", "npm install --global waybill", PARTICIPANT],
    ["", "clock    ok", PARTICIPANT],
    ["json", "{", PARTICIPANT],
    ["sh", "waybill receive --from alice --out", PARTICIPANT],
    ["sh", "waybill send model.bin", PARTICIPANT],
    ["sh", "waybill receive --from alice --tag", PARTICIPANT],
    ["sh", "task=$(waybill task open", PARTICIPANT],
  ],
  "docs/stores.md": [["sh", "WAYBILL_S3_ENDPOINT=", ".ci/s3.mjs"]],
};

let dir: string;
let blocks: Block[];
beforeAll(async () => {
  const docs = (await readdir(join(ROOT, "docs"))).filter((name) => name.endsWith(".md")).sort();
  const pages = ["README.md", ...docs.map((name) => `docs/${name}`)];
  blocks = (await Promise.all(pages.map(blocksOf))).flat();
  dir = await mkdtemp(join(ROOT, "try-blocks-")); // here, so that the package is found by its name
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** A fence may be within a list, and then so is what it holds. */
async function blocksOf(page: string): Promise<Block[]> {
  const text = await readFile(join(ROOT, page), "utf8");
  const fence = /^ *(?:\d+\. )?```(\w*)\n(.*?)^ *```$/gms;
  return [...text.matchAll(fence)].map(({ 1: language, 2: code, index }) => {
    const [indent] = /^ */.exec(code!)!;
    const line = text.slice(0, index).split("\n").length;
    return { page, language: language!, line, code: code!.replaceAll(new RegExp(`^${indent}`, "gm"), "") };
  });
}

const of = (page: string, language: string): string[] =>
  blocks.filter((block) => block.page === page && block.language === language).map(({ code }) => code);

/** What people type, on all pages: of a block whose lines begin with "#" or "$" those. */
function scripts(): Block[] {
  return blocks
    .filter(({ language }) => ["sh", "console"].includes(language))
    .map((block) => (block.language === "sh" ? block : { ...block, code: block.code.replaceAll(/^[#$] /gm, "") }));
}

function has(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe("every example in the README and in docs/", () => {
  it("is tried by a test", async () => {
    const rest = Object.fromEntries(Object.entries(KNOWN).map(([page, rows]) => [page, [...rows]]));
    for (const { page, line, language, code } of blocks) {
      const [wanted, begins] = rest[page]?.shift() ?? [];
      const fits = wanted === language && begins !== undefined && code.startsWith(begins);
      expect(fits, `${page}:${line} is in no row of this table`).toBe(true);
    }
    expect(Object.values(rest).flat()).toEqual([]);
  });

  it("whose test is another file is read by that file", async () => {
    for (const [page, rows] of Object.entries(KNOWN))
      for (const [, begins, test] of rows)
        if (test !== SHOWN)
          expect(await readFile(join(ROOT, test), "utf8"), `${page}, ${begins}: ${test}`).toContain(
            page === "docs/stores.md" ? "npm run test:s3" : page.replace(/^docs\//, ""),
          );
  });

  it("that is a script can be read by a shell, and names npm scripts that there are", async () => {
    const { scripts: own } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
    await eachOf(scripts(), 4, async ({ page, line, code }) => {
      expect(await run("bash", ["-n", "-c", code], dir), `${page}:${line}`).toMatchObject({ code: 0, stderr: "" });
      for (const [, name] of code.matchAll(/\bnpm run (?:-s )?([\w:]+)/g)) expect(Object.keys(own)).toContain(name);
    });
  });

  it("that is a `waybill` command names one that there is, and only options of its own", async () => {
    const known = new Map<string, Promise<Run>>();
    const helpOf = (words: string): Promise<Run> => {
      if (!known.has(words)) known.set(words, run(process.execPath, [WAYBILL, ...words.split(" "), "--help"], dir));
      return known.get(words)!;
    };
    const unit = of("docs/on-premises.md", "ini").map((code) => ({ page: "docs/on-premises.md", line: 0, code }));
    let count = 0;
    for (const { page, line, code } of [...scripts(), ...unit])
      for (const [typed, words] of code
        .replaceAll("\\\n", "")
        .matchAll(
          /(?<![\w./-])waybill ((?:[a-z]+)(?: (?:open|admit|expel|show|deploy|complete|address|new|init))?)\b[^\n|;&]*/g,
        )) {
        const { code: exit, stdout } = await helpOf(words!);
        expect(exit, `${page}:${line}: waybill ${words}`).toBe(0);
        for (const option of typed!.match(/(?<= )--[a-z-]+/g) ?? []) expect(stdout, typed).toContain(`${option} `);
        count += 1;
      }
    expect(count).toBeGreaterThan(25);
  });
});

describe("README.md", () => {
  it("shows the library's calls as they are typed", async () => {
    const known = `import { type Deployment, isMessage, SharedFileDataChannel, TaskContractor } from "waybill";
      import type { Signer } from "ethers";
      declare const task: string, target: string, tag: string, source: string, a: string, b: string, c: string;
      declare const signer: Signer, deployment: Deployment, dataStream: Uint8Array;\n`;
    const code = of("README.md", "ts").map((block) => `${known}${block}`);
    const strict = { module: "nodenext", target: "es2023", strict: true, noEmit: true, skipLibCheck: true };
    const config = { compilerOptions: { ...strict, types: ["node"] }, include: ["*.mts"] };
    await writeFile(join(dir, "tsconfig.json"), JSON.stringify(config));
    await Promise.all(code.map((text, i) => writeFile(join(dir, `${i}.mts`), text)));
    const checked = await run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", dir], dir);
    expect(checked, checked.stdout).toMatchObject({ code: 0, stdout: "" });
  });
});

describe("docs/api.md", () => {
  it("lists the fields of every statement in the order in which they are signed", async () => {
    const contract = (await readFile(join(ROOT, "contracts/Statements.sol"), "utf8")).replaceAll(/"\s*"/g, "");
    const listed = of("docs/api.md", "solidity")[0]!.trim().split("\n");
    expect(listed).toHaveLength(7);
    for (const line of listed) expect(contract).toContain(`"${line}"`);
  });
});

describe("docs/developer.md", () => {
  it("names the tarball that `npm pack` makes", async () => {
    const { name, version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
    expect(of("docs/developer.md", "sh")[0]).toContain(`./${name}-${version}.tgz`);
  });
});

describe("docs/operate.md", () => {
  it("asks AWS for log groups and names of functions that there are", async () => {
    const text = of("docs/operate.md", "sh").join("\n");
    const named = [...text.matchAll(/\/aws\/lambda\/waybill-production-(\w+)/g)].map(([, name]) => name!);
    const [, looped] = /^for f in ([a-z ]+); do aws logs/m.exec(text)!;
    expect(named.length).toBeGreaterThan(1);
    for (const name of [...named, ...looped!.split(" ")]) expect(SERVICES).toContain(name);
  });
});

describe("docs/on-premises.md", () => {
  let unit: string;
  beforeAll(async () => {
    unit = of("docs/on-premises.md", "ini")[0]!;
    await mkdir(join(dir, "bin"), { recursive: true });
  });

  /** The page's own line that makes the command, in places of ours. */
  async function install(): Promise<string> {
    const line = of("docs/on-premises.md", "console")[0]!
      .split("\n")
      .find((one) => one.startsWith("# printf"))!;
    const place = join(dir, "bin/waybill");
    const script = line.slice(2).replaceAll("/opt/waybill/", ROOT).replaceAll("/usr/local/bin/waybill", place);
    expect(await run("bash", ["-e", "-c", script], dir)).toMatchObject({ code: 0, stderr: "" });
    return place;
  }

  it("installs a command that runs", async () => {
    const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
    expect(await run(await install(), ["--version"], dir)).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("has a unit in which every line is a setting, and Prometheus asks where it tells its metrics", async () => {
    for (const line of unit.trim().split("\n").filter(Boolean)) expect(line).toMatch(/^(\[\w+\]|[A-Z]\w+=\S.*)$/);
    const [, metrics] = /--metrics (\S+)$/m.exec(unit)!;
    expect(of("docs/on-premises.md", "yaml")[0]).toContain(`- targets: ["${metrics!.replace("%i", "8080")}"]`);
  });

  it.skipIf(!has("systemd-analyze", "--version"))("has a unit that systemd takes", async () => {
    const text = unit.replaceAll("/usr/local/bin/waybill", await install()).replace("User=waybill", "User=root");
    await writeFile(join(dir, "waybill@.service"), text);
    await writeFile(join(dir, "waybill@8080.service"), text);
    const verified = await run("systemd-analyze", ["verify", "--man=no", join(dir, "waybill@8080.service")], dir);
    expect(verified.stderr.split("\n").filter((line) => line.includes("waybill@"))).toEqual([]);
  });

  it.skipIf(!has("nginx", "-v"))("has a configuration that nginx takes", async () => {
    const server = await startServer(); // for a port that is free
    await server.stop();
    const listen = `listen ${new URL(server.origin).host} ssl;`;
    await Promise.all([writeFile(join(dir, "c.pem"), CERTIFICATE), writeFile(join(dir, "c.key"), KEY)]);
    const own = of("docs/on-premises.md", "nginx")[0]!
      .replaceAll("listen 443 ssl;", listen)
      .replaceAll(/\/etc\/ssl\/\S+\.(pem|key);/g, (_, end) => `${join(dir, `c.${end}`)};`);
    const around = `pid ${dir}/nginx.pid; error_log stderr; events {} http { access_log off; ${own} }`;
    await writeFile(join(dir, "nginx.conf"), around);
    const tried = await run("nginx", ["-t", "-p", dir, "-c", join(dir, "nginx.conf")], dir);
    expect(tried.stderr).toMatch(/test is successful/);
    expect(tried.stderr).not.toMatch(/\[(warn|emerg|error)\]/);
  });
});
