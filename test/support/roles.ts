import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import type { Wallet } from "ethers";
import type { Config } from "../../functions/config.ts";
import { type Route, routes } from "../../functions/routes.ts";
import { type Address, type Hex, wordHex } from "../../lib/protocol/hex.ts";
import { EVERYONE, type Message, type Statement, signStatement } from "../../lib/protocol/statements.ts";
import { ApiWorld, type Caller, type Payload, type Published } from "./api.ts";
import { newKey, random32, type Task } from "./contract.ts";
import { StoreLog } from "./roles-log.ts";

// The people around one task, and what each of them could ask of every route.

export type RouteName = keyof typeof routes & string;
export const routeNames: readonly RouteName[] = Object.keys(routes);

export const roles = [
  "owner",
  "sender",
  "recipient",
  "bystander",
  "readmitted",
  "expelled",
  "wallet",
  "otherOwner",
  "outsider",
  "elsewhere",
  "stranger",
] as const;
/**
 * bystander: a member whom the notice isn't for. readmitted: expelled after it got the notice, and admitted under a new index.
 * wallet: a contract that is a member and takes every signature for its own. outsider: a member of another task;
 * elsewhere: the same, through its own task's path.
 */
export type Role = (typeof roles)[number];

/** Who is let through, so that only what is bent about its request can be the reason of a refusal. */
export function partyOf(name: RouteName): Role {
  if (name === "openTask" || name === "changeRoster") return "owner";
  return ["postReceipt", "download", "reportProgress"].includes(name) ? "recipient" : "sender";
}

/** How a request's statement is signed; by the caller for this chain and contract unless a test wants otherwise. */
export type Sign = (caller: Caller, statement: Statement) => Promise<Hex>;

export interface Target {
  readonly method: Route["method"];
  readonly path: string;
}

/** Returns the magic value of ERC-1271 whatever it is asked. */
const CREDULOUS_WALLET = "0x600e600a5f39600e5ff3631626ba7e60e01b5f5260205ff3";

type Parts = Pick<Stage, "api" | "log" | "task" | "other" | "callers" | "wallet" | "published" | "open">;

/** A task with a published transfer of `sender` to recipient, readmitted and expelled, and one that takes parts. */
export class Stage {
  readonly api: ApiWorld;
  readonly log: StoreLog;
  readonly task: Task;
  readonly other: Task;
  readonly callers: Readonly<Record<Role, Caller>>;
  readonly wallet: Address;
  readonly published: Published;
  readonly open: Payload;

  private constructor(all: Parts) {
    this.api = all.api;
    this.log = all.log;
    this.task = all.task;
    this.other = all.other;
    this.callers = all.callers;
    this.wallet = all.wallet;
    this.published = all.published;
    this.open = all.open;
  }

  static async start(over: Partial<Config> = {}): Promise<Stage> {
    const [log, { api }] = await StoreLog.of(async () => {
      const api = await ApiWorld.start(over);
      return { api, endpoint: api.s3.endpoint, seen: api.seen };
    });
    try {
      return await Stage.#on(api, log);
    } catch (error) {
      await api.stop();
      throw error;
    }
  }

  static async #on(api: ApiWorld, log: StoreLog): Promise<Stage> {
    const [task, other] = [await api.task(5), await api.task(1)];
    const wallet = await api.world.deploy(CREDULOUS_WALLET);
    const [sender, recipient, bystander, expelled, readmitted] = task.members.map((key) => api.caller(key));
    const outsider = api.caller(other.members[0]!);
    const callers = {
      ...{ owner: api.caller(task.owner), otherOwner: api.caller(other.owner), outsider, elsewhere: outsider },
      ...{
        sender: sender!,
        recipient: recipient!,
        bystander: bystander!,
        expelled: expelled!,
        readmitted: readmitted!,
      },
      ...{ wallet: api.caller(newKey()), stranger: api.caller(newKey()) },
    };
    const published = await sender!.published(task, "round-1", randomBytes(40), [1, 3, 4]);
    const open = await sender!.upload(task, "round-2", randomBytes(40));
    const gone = [expelled!.account, readmitted!.account];
    await api.relay(await task.change("expel", gone, 1));
    await api.relay(await task.change("admit", [readmitted!.account, wallet], 2));
    return new Stage({ api, log, task, other, callers, wallet, published, open });
  }

  stop(): Promise<void> {
    this.log.close();
    return this.api.stop();
  }

  /** The account that a role acts for. */
  accountOf(role: Role): Address {
    return role === "wallet" ? this.wallet : this.callers[role].account;
  }

  /** As the API's document writes it. */
  patternOf(name: RouteName): string {
    const { method, path } = routes[name]!;
    return `${method} ${path}`;
  }

  targetOf(name: RouteName, role: Role): Target {
    const { method, path } = routes[name]!;
    const open = name === "signParts" || name === "listParts" || name === "abort";
    const ids: Record<string, string> = {
      task: role === "elsewhere" ? this.other.id : this.task.id,
      transfer: open ? this.open.transfer : this.published.transfer,
      notice: this.published.id,
      statement: this.published.id,
    };
    return { method, path: path.replaceAll(/\{(\w+)\}/g, (_, id: string) => ids[id]!) };
  }

  /** A well-formed body for a route, about this task and transfer; undefined where none belongs. */
  async bodyFor(name: RouteName, caller: Caller, sign: Sign = this.sign): Promise<unknown> {
    const { published, task } = this;
    const { notice } = published.signed;
    const signed = (statement: Statement): Promise<Hex> => sign(caller, statement);
    switch (name) {
      case "openTask": {
        const open = { owner: caller.account, salt: random32(), members: [caller.account] };
        return { ...open, signature: await signed({ kind: "open", ...open }) };
      }
      case "changeRoster": {
        const change = { kind: "admit" as const, members: [caller.account], roster: 3 };
        return { ...change, signature: await signed({ ...change, task: task.id }) };
      }
      case "postMessage": {
        const message = await this.messageOf(caller);
        return { message: message, signature: await signed(message) };
      }
      case "postReceipt":
        return { notice: published.id, outcome: "VERIFIED", signature: await signed(task.receipt(notice)) };
      case "postWithdrawal":
        return { notice: published.id, signature: await signed({ kind: "withdraw", of: notice }) };
      case "begin":
        return { transfer: random32(), size: 3 };
      case "signParts":
        return { parts: this.open.parts };
      case "finish":
        return this.#finishOf(caller, sign);
      case "reportProgress":
        return { bytes: 3, state: "downloading" };
      default:
        return undefined;
    }
  }

  readonly sign: Sign = async (caller, statement) => (await this.task.sign(caller.wallet, statement)).signature;

  /** A statement signed by that key for another place. */
  async signFor(domain: { chainId?: number; contract?: Address }, key: Wallet, statement: Statement): Promise<Hex> {
    return (await signStatement(key, { ...this.api.world.domain, ...domain }, statement)).signature;
  }

  async messageOf(caller: Caller, over: Partial<Message> = {}): Promise<Message> {
    return {
      ...{ kind: "message", task: this.task.id, sender: caller.account, page: 0, recipients: EVERYONE },
      ...{ name: wordHex(1n), payload: "0x", salt: random32(), deadline: (await this.api.world.now()) + 600 },
      ...over,
    };
  }

  /** A finish of the published transfer with a new notice to the recipient. */
  async #finishOf(caller: Caller, sign: Sign): Promise<unknown> {
    const { notice } = await caller.notice(this.task, this.published, [1], {
      deadline: (await this.api.world.now()) + 1_000 + Math.floor(Math.random() * 100_000),
    });
    const recipients = [this.callers.recipient.account];
    const signature = await sign(caller, notice);
    return { manifest: this.published.text, notices: [{ notice, signature, recipients }] };
  }

  /** What lies in the bucket, by the names on the store's disk: an unfinished upload and its parts have names there, too. */
  async stored(): Promise<string[]> {
    return (await readdir(this.api.s3.dir, { recursive: true })).sort();
  }
}
