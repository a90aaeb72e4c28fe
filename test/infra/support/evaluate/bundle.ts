import { existsSync, readFileSync, rmSync } from "node:fs";
import { join, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import type { Order } from "./order.ts";

/** What `sst` leaves to the platform's own packages. */
const EXTERNAL = [
  "@pulumi/*",
  "undici",
  "@pulumiverse/*",
  "@sst-provider/*",
  "@aws-sdk/*",
  "esbuild",
  "archiver",
  "glob",
  "vite",
];

/** ESM has no `require` and none of CommonJS's names, and the platform's sources use them. */
const COMMONJS = `import { createRequire as createRequireHere } from "node:module";
import { fileURLToPath as pathHere } from "node:url";
const require = createRequireHere(import.meta.url);
const __filename = pathHere(import.meta.url);
const __dirname = pathHere(new URL(".", import.meta.url));
`;

export interface Program {
  readonly code: string;
  /** Identifiers that stand for values. */
  readonly define: Readonly<Record<string, string>>;
  readonly banner?: string;
  /** The globals of a config: $util, sst, aws and so on. */
  readonly globals?: boolean;
}

/** Runs a program as `sst` does: bundled with the project's config, with SST's globals in each of its files. */
export async function runBundled<T>({ root, platform }: Order, program: Program): Promise<T> {
  const outfile = join(platform, `evaluation-${process.pid}-${Object.keys(program.define).length}.mjs`);
  const prelude = program.globals ? globalsOf(platform) : "";
  await build({
    stdin: { contents: program.code, resolveDir: root, sourcefile: "evaluation.ts", loader: "ts" },
    banner: { js: COMMONJS + (program.banner ?? "") },
    inject: program.globals ? [join(platform, "src/shim/run.js")] : [],
    define: { ...program.define },
    mainFields: ["module", "main"],
    nodePaths: [join(platform, "node_modules")],
    external: EXTERNAL,
    bundle: true,
    format: "esm",
    platform: "node",
    logLevel: "silent",
    outfile,
    plugins: [
      {
        name: "globals",
        setup: ({ onLoad }) =>
          onLoad({ filter: /\.(js|ts|jsx|tsx)$/ }, ({ path }) => ({
            contents: (path.includes(`${sep}.sst${sep}`) ? "" : prelude) + readFileSync(path, "utf8"),
            loader: "default",
          })),
      },
    ],
  });
  try {
    const { default: result } = (await import(pathToFileURL(outfile).href)) as { default: T };
    return result;
  } finally {
    rmSync(outfile, { force: true });
  }
}

/** One import for each provider, under the name that configs use. */
function globalsOf(platform: string): string {
  const lock = join(platform, "../provider-lock.json");
  if (!existsSync(lock)) throw new Error("The platform is not installed.");
  const providers = JSON.parse(readFileSync(lock, "utf8")) as { alias: string; package: string }[];
  const lines = providers.map((provider) => `import * as ${provider.alias} from "${provider.package}";`);
  return `${[...lines, `import * as sst from "${platform}/src/components";`].join("\n")}\n`;
}
