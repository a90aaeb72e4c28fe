import type { JsonFragment } from "ethers";

/** What NatSpec says of a contract's functions, events and errors, by signature. */
export interface Docs<Entry> {
  readonly methods?: Record<string, Entry>;
  readonly events?: Record<string, Entry>;
  readonly errors?: Record<string, readonly Entry[]>;
}

export interface Compiled {
  readonly abi: readonly JsonFragment[];
  readonly bytecode: string;
  readonly docs: {
    readonly user: Docs<{ readonly notice?: string }>;
    readonly dev: Docs<{ readonly params?: Record<string, string>; readonly returns?: Record<string, string> }>;
  };
}

/** The EVM version behind each bytecode of the artifact. */
export declare const targets: { readonly current: string; readonly paris: string };

/** Compiles one file of this folder, such as "Waybill.sol"; answers every contract in it by name. Throws what solc says. */
export declare function compileFile(file: string, evmVersion?: string): Record<string, Compiled>;

/** What `npm run contract` writes: the text of each committed file, by path from the project's root. */
export declare function build(): Record<string, string>;
