import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encryptKeystoreJsonSync, Wallet } from "ethers";
import type { SstProject } from "./project.ts";
import { root } from "./tools.ts";

/** What the page can't know of an operator's own case. */
export interface Case {
  readonly stage: string;
  readonly chainId: number;
  /** The chain's nodes. */
  readonly rpc: string;
  readonly confirmations: number;
  /** Milliseconds between blocks: a chain that has just begun can't be measured. */
  readonly blockTime: number;
  /** Settings beside those that the page sets. */
  readonly settings: Readonly<Record<string, string>>;
}

/** The page that an operator follows. */
export async function handbook(): Promise<string> {
  return readFile(join(root, "docs/operate.md"), "utf8");
}

/** Its blocks in a language, without their indentation. */
export function blocksOf(page: string, language: "sh" | "js" | "json"): string[] {
  const blocks = page.matchAll(new RegExp(`^( *)\`\`\`${language}\\n(.*?)^ *\`\`\``, "gms"));
  return [...blocks].map(([, indent, text]) => text!.replaceAll(`\n${indent}`, "\n").trimStart());
}

/** npm's own runner would take a second each time to find what is here. */
const NPX = 'npx() { if [ "$1" = sst ]; then shift; "$SST" "$@"; else shift; node dist/cli/waybill.js "$@"; fi; }';

/** Somebody who does what docs/operate.md says, command by command, and has nothing to go by but that page. */
export class Operator {
  readonly owner: Wallet = new Wallet(Wallet.createRandom().privateKey);
  readonly deployer: Wallet = new Wallet(Wallet.createRandom().privateKey);
  readonly #project: SstProject;
  readonly #case: Case;
  readonly #page: string;

  private constructor(project: SstProject, own: Case, page: string) {
    this.#project = project;
    this.#case = own;
    this.#page = page;
  }

  /** With the keystores that the page has them make. (Real ones take seconds each to open.) */
  static async hire(project: SstProject, own: Case): Promise<Operator> {
    const operator = new Operator(project, own, await handbook());
    for (const name of ["deployer", "owner"] as const) {
      const { address, privateKey } = operator[name];
      const keystore = encryptKeystoreJsonSync({ address, privateKey }, name, { scrypt: { N: 1024, r: 8, p: 1 } });
      await writeFile(project.path(`${name}.json`), keystore, { mode: 0o600 });
      await writeFile(project.path(`${name}.password`), `${name}\n`, { mode: 0o600 });
    }
    return operator;
  }

  /** Does what one block of commands says; answers what it said. `edited`: what the page has the reader change in it. */
  async does(begins: string, edited: (script: string) => string = (script) => script): Promise<string> {
    const { stage, chainId, confirmations, rpc } = this.#case;
    const found = blocksOf(this.#page, "sh").filter((block) => block.startsWith(begins));
    if (found.length !== 1) throw new Error(`${found.length} blocks of the page begin with "${begins}"`);
    const own = found[0]!
      .replaceAll("production", stage)
      .replaceAll("84532", String(chainId))
      .replaceAll("--confirmations 3", `--confirmations ${confirmations}`);
    const { code, output } = await this.#project.shell(`${NPX}\n${edited(own)}`, { WAYBILL_RPC: rpc });
    if (code !== 0) throw new Error(`"${begins}" ended with ${code}:\n${output}`);
    return output;
  }

  /** Puts the contract on the chain; answers the settings that follow from it. */
  async deploysContract(): Promise<Record<string, string>> {
    const young = (script: string): string => `${script.trim()} --block-time ${this.#case.blockTime}`;
    const planned = await this.does("npx waybill contract deploy", young);
    if (!planned.includes("Nothing was sent.")) throw new Error(`a dry run said:\n${planned}`);
    const said = await this.does("npx waybill contract deploy", (script) => young(script).replace(" --dry-run", ""));
    const settings = [...said.matchAll(/^(WAYBILL_\w+)=(.*)$/gm)].map(([, name, value]) => [name!, value!] as const);
    if (settings.length !== 5) throw new Error(`there are five settings to be copied, and these were said:\n${said}`);
    return Object.fromEntries(settings);
  }

  /** Writes the stage's settings: those of the page, with what is to be replaced there, and our own. */
  async configures(ofChain: Readonly<Record<string, string>>): Promise<void> {
    const replaced: Readonly<Record<string, string>> = { ...ofChain, WAYBILL_OWNERS: this.owner.address };
    await this.does("cat > .env.production", (script) =>
      script.replaceAll(/^(WAYBILL_\w+)=.*$/gm, (line, name: string) =>
        name in replaced ? `${name}=${replaced[name]}` : line,
      ),
    );
    const more = Object.entries(this.#case.settings).map(([name, value]) => `${name}=${value}\n`);
    await appendFile(this.#project.path(`.env.${this.#case.stage}`), more.join(""));
  }

  /** Puts a program of the page where it says. */
  async writes(name: string): Promise<void> {
    const found = blocksOf(this.#page, "js").find((block) => block.startsWith(`// ${name}`));
    if (!found) throw new Error(`the page has no ${name}`);
    await writeFile(this.#project.path(name), found);
  }

  /** A file of the operator's, as JSON. */
  async reads(name: string): Promise<Record<string, unknown>> {
    return JSON.parse(await readFile(this.#project.path(name), "utf8")) as Record<string, unknown>;
  }

  async changes(name: string, facts: Readonly<Record<string, unknown>>): Promise<void> {
    await writeFile(this.#project.path(name), JSON.stringify({ ...(await this.reads(name)), ...facts }));
  }
}
