import { join } from "node:path";
import { build } from "esbuild";

export const functionNames = ["uploads", "downloads", "tasks", "publisher", "sweeper"] as const;
export type FunctionName = (typeof functionNames)[number];

/** The sources: these files are run from dist. */
const FUNCTIONS: string = join(import.meta.dirname, "../../../functions");

/** What SST puts before a module, so that CommonJS inside finds what it expects. */
const BANNER = [
  `import { createRequire as topLevelCreateRequire } from 'module';`,
  `const require = topLevelCreateRequire(import.meta.url);`,
  `import { fileURLToPath as topLevelFileUrlToPath, URL as topLevelURL } from "url"`,
  `const __filename = topLevelFileUrlToPath(import.meta.url)`,
  `const __dirname = topLevelFileUrlToPath(new topLevelURL(".", import.meta.url))`,
].join("\n");

export interface Bundle {
  readonly path: string;
  readonly bytes: number;
  /** What it holds, as npm packages and folders of ours, with their bytes. */
  readonly holds: ReadonlyMap<string, number>;
}

/** A function's bundle as SST 4.17 makes it for `{ format: "esm", minify: true, sourcemap: false }`. */
export async function bundle(name: FunctionName, dir: string): Promise<Bundle> {
  const path = join(dir, `${name}.mjs`);
  const { metafile } = await build({
    entryPoints: [join(FUNCTIONS, `${name}.ts`)],
    outfile: path,
    bundle: true,
    metafile: true,
    minify: true,
    keepNames: true,
    platform: "node",
    format: "esm",
    target: "esnext",
    mainFields: ["module", "main"],
    external: ["sharp", "pg-native"],
    banner: { js: BANNER },
    logLevel: "error",
  });
  const [output] = Object.values(metafile.outputs);
  if (!output) throw new Error(`There is no bundle of ${name}.`);
  const holds = new Map<string, number>();
  for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
    const owner = packageOf(input);
    holds.set(owner, (holds.get(owner) ?? 0) + bytesInOutput);
  }
  return { path, bytes: output.bytes, holds };
}

/** "node_modules/a/b.js" is a's; "lib/chain/node.ts" is lib's. */
function packageOf(input: string): string {
  const [, name] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input) ?? [];
  return name ?? /(lib|functions)\//.exec(input)?.[1] ?? input;
}
