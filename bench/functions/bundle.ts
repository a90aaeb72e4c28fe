import { join } from "node:path";
import { build, type Metafile } from "esbuild";

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
  /** Of the file with the handler. */
  readonly path: string;
  /** Of all files that a usual call has in memory. */
  readonly bytes: number;
  /** Of all files of the zip. */
  readonly allBytes: number;
  /** The files that no usual call has in memory. */
  readonly spare: readonly string[];
  /** What the files of a usual call hold, as npm packages and folders of ours, with their bytes. */
  readonly holds: ReadonlyMap<string, number>;
}

/**
 * What no usual call imports: the API's description, ways to credentials that are not Lambda's, and three parts of the SDK
 * that it imports for other operations than ours. `bench:functions` takes their files away, so a call that needed one would fail.
 */
const ON_DEMAND =
  /^functions\/(document|docs-page)\.ts$|\/(credential-provider-\w[\w-]*|nested-clients|bowser)\/|\/submodules\/event-streams\//;

type Output = Metafile["outputs"][string];

/** A function's bundle as SST 4.17 makes it for the `nodejs` of infra/functions.ts. */
export async function bundle(name: FunctionName, dir: string): Promise<Bundle> {
  const outdir = join(dir, name);
  const { metafile } = await build({
    entryPoints: [join(FUNCTIONS, `${name}.ts`)],
    outdir,
    entryNames: "bundle",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    metafile: true,
    minify: true,
    splitting: true,
    keepNames: false,
    platform: "node",
    format: "esm",
    target: "es2024",
    mainFields: ["module", "main"],
    external: ["sharp", "pg-native"],
    banner: { js: BANNER },
    logLevel: "error",
  });
  const loaded = loadedOf(metafile);
  return {
    path: join(outdir, "bundle.mjs"),
    bytes: bytesOf(loaded),
    allBytes: bytesOf(Object.values(metafile.outputs)),
    spare: Object.keys(metafile.outputs).filter((path) => !loaded.includes(metafile.outputs[path]!)),
    holds: holdingsOf(loaded),
  };
}

/** The entry, and what it imports at once or during a usual call. */
function loadedOf({ outputs }: Metafile): Output[] {
  const loaded = new Set<Output>();
  const load = (path: string): void => {
    const output = outputs[path];
    if (!output || loaded.has(output)) return;
    loaded.add(output);
    for (const { path: imported, kind } of output.imports)
      if (kind === "import-statement" || !ON_DEMAND.test(sourceOf(outputs[imported]))) load(imported);
  };
  load(Object.keys(outputs).find((path) => path.endsWith("/bundle.mjs")) ?? "");
  return [...loaded];
}

/** The module for which a file was made, by its path in the checkout. */
function sourceOf(output: Output | undefined): string {
  return output?.entryPoint?.replace(/^.*(?=functions\/[^/]+$)/, "") ?? "";
}

function bytesOf(outputs: readonly Output[]): number {
  return outputs.reduce((sum, { bytes }) => sum + bytes, 0);
}

function holdingsOf(outputs: readonly Output[]): ReadonlyMap<string, number> {
  const holds = new Map<string, number>();
  for (const [input, { bytesInOutput }] of outputs.flatMap(({ inputs }) => Object.entries(inputs))) {
    const owner = packageOf(input);
    holds.set(owner, (holds.get(owner) ?? 0) + bytesInOutput);
  }
  return holds;
}

/** "node_modules/a/b.js" is a's; "lib/chain/node.ts" is lib's. */
function packageOf(input: string): string {
  const [, name] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input) ?? [];
  return name ?? /(lib|functions)\//.exec(input)?.[1] ?? input;
}
