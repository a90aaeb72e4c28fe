import { open, readFile, rename, rm } from "node:fs/promises";
import * as z from "zod/mini";
import { WaybillError } from "../../lib/protocol/errors.ts";
import type { Address, Hex } from "../../lib/protocol/hex.ts";

const hex = z.string().check(z.regex(/^0x[0-9a-f]+$/));
const address = z.string().check(z.regex(/^0x[0-9a-f]{40}$/));

const pendingJson = z.strictObject({
  chainId: z.int().check(z.gte(1)),
  from: address,
  nonce: z.int().check(z.gte(0)),
  contract: address,
  evm: z.enum(["current", "paris"]),
  /** Signed transactions. All have the same nonce, so at most one is ever mined, and each puts the contract at the same address. */
  attempts: z.array(hex).check(z.minLength(1)),
});

/** A deployment that may be on its way. Its signed transactions are no secret. */
export interface Pending {
  readonly chainId: number;
  readonly from: Address;
  readonly nonce: number;
  readonly contract: Address;
  readonly evm: "current" | "paris";
  readonly attempts: readonly Hex[];
}

/** The note of a deployment on its way, beside the file that it is to become: so that a second run goes on with it. */
export class PendingFile {
  readonly path: string;

  constructor(target: string) {
    this.path = `${target}.pending`;
  }

  /** @throws WaybillError USAGE when there is something else. */
  async read(): Promise<Pending | null> {
    const text = await readFile(this.path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw new WaybillError("USAGE", `${this.path} can't be read (${error.code}).`);
    });
    if (text === null) return null;
    const parsed = pendingJson.safeParse(jsonIn(text));
    if (parsed.success) return parsed.data as Pending;
    throw new WaybillError(
      "USAGE",
      `${this.path} is no note of a pending deployment. Look what it is, and move it away.`,
    );
  }

  /** Writes the first note; of two runs at once one gets there, and the other one is refused. */
  async create(pending: Pending): Promise<void> {
    await writeNew(this.path, textOf(pending));
  }

  async replace(pending: Pending): Promise<void> {
    const draft = `${this.path}.new`;
    await rm(draft, { force: true });
    await writeNew(draft, textOf(pending));
    await rename(draft, this.path);
  }

  async remove(): Promise<void> {
    await rm(this.path, { force: true });
  }
}

/**
 * Writes a file that must not be there, and brings it to the disk: what it tells of may cost money.
 * @throws WaybillError TARGET_EXISTS, TARGET_UNWRITABLE
 */
export async function writeNew(path: string, text: string): Promise<void> {
  try {
    const file = await open(path, "wx");
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") throw new WaybillError("TARGET_EXISTS", `${path} is there already, and is not overwritten.`);
    throw new WaybillError("TARGET_UNWRITABLE", `${path} can't be written (${code}).`);
  }
}

function textOf(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
