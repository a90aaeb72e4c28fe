import type { Signer } from "ethers";
import { randomBytes } from "ethers/crypto";
import { hexlify } from "ethers/utils";
import type { Member, NoticeRecord } from "./chain/ledger.ts";
import { type BodyOf, encodeBody, encodeKind, type MessageKinds, readNews, type TaskNews } from "./messages.ts";
import { accountsOf, checkCount, checkNames, checkNotice, checkSigner, checkTask, totalOf, usage } from "./options.ts";
import { pagesOf } from "./pages.ts";
import { type Deployment, deploymentSchema } from "./protocol/deployment.ts";
import { WaybillError } from "./protocol/errors.ts";
import { type Address, type Hex, toHex } from "./protocol/hex.ts";
import { MAX_MEMBERS } from "./protocol/limits.ts";
import { EVERYONE, type Message, type Open, type RosterChange, statementId, taskId } from "./protocol/statements.ts";
import { type Posted, refused } from "./relay.ts";
import { Session, type SessionOptions } from "./session.ts";
import { limit, pause } from "./waiting.ts";
import { progressOf, type RecipientProgress } from "./watch.ts";

/** Where and as whom to take part in a task. */
export interface ContractorOptions {
  /** The task's id, 32 bytes in hex. */
  readonly task: string;
  /** The member's account; it signs every request, notice and receipt. Any ethers Signer that holds a key. */
  readonly signer: Signer;
  /** What the operator handed out as deployment.json. Pinned: no server can talk the client out of it. */
  readonly deployment: Deployment;
  /** Used for requests to the functions instead of the global `fetch`. */
  readonly fetch?: typeof fetch;
  /**
   * A folder that keeps the reading position, a file for each chain, contract, task and account; made if it isn't there.
   * A process that is started again goes on where the last one was done: it gets every event at least once. For Node only,
   * and for one process of an account at a time. Without it the position is the newest event when the contractor is made.
   */
  readonly stateDir?: string;
  /**
   * Milliseconds without a byte moving to or from the store after which a connection is given up and tried anew. Default
   * 10,000; 0 is 29 days; less than 1,000 is USAGE.
   */
  readonly stallTimeout?: number;
  /**
   * Called when the task's events can't be read although a call waits for some, again with each try that fails, and with null
   * when they can be read again: the calls themselves go on trying. Must not throw.
   */
  readonly onTrouble?: (error: WaybillError | null) => void;
  /** Where to begin reading instead: after the event with this `seq`; 0 is the task's whole history. */
  readonly from?: number;
  /**
   * Who brings this member's own statements onto the chain: "api" (default), the functions' relayer, at its expense; or
   * "self", the member by transactions of its own, so that nobody can withhold them. What stands on the chain is the same,
   * and nobody sees a difference. "self" needs `deployment.rpc` (else NEEDS_RPC), gas money in the account, and a signer
   * that can sign transactions (one without a provider will do) or send them, as a browser's wallet does: then its owner
   * is asked for each. The payload still goes through the functions, and they publish the notice over it too: whoever is
   * faster, it stands once. So member and operator may both pay for a notice, the second for a duplicate, which costs
   * little. A statement that is out is carried on until it stands, even when no call waits for it.
   */
  readonly relay?: "api" | "self";
  /**
   * With relay "self": the most that a transaction may pay, in wei per unit of gas. Default 500 gwei; while the chain wants
   * more, statements wait. A wallet in a browser chooses for itself. Where gas is free nothing is paid.
   */
  readonly maxFeePerGas?: bigint;
}

/** A task to be opened. */
export interface OpenOptions extends Omit<ContractorOptions, "task" | "from"> {
  /** The accounts to enrol, 1 to 256. The owner is a member only if it is among them. */
  readonly members: readonly string[];
  /** 32 bytes in hex; random by default. The same owner and salt are the same task. */
  readonly salt?: string;
}

/** A message to be posted. */
export interface PostOptions<Kind extends string = string> {
  /** A short name, at most 31 bytes of UTF-8, such as "start_round". */
  readonly kind: Kind;
  /** A JSON value; at most 4 KiB as UTF-8. What `MessageKinds` says of its kind, if that is registered there. */
  readonly body: BodyOf<Kind>;
  /** The members that it is for; everyone when left out. */
  readonly targets?: readonly string[];
  /** Ends the waiting, not the message. */
  readonly signal?: AbortSignal;
}

/** How a notice stands on the chain. */
export interface NoticeStatus {
  readonly notice: Hex;
  readonly sender: Address;
  readonly transfer: Hex;
  /** Seconds of chain time. */
  readonly deadline: number;
  readonly withdrawn: boolean;
  readonly transaction: Hex;
  readonly recipients: readonly {
    readonly account: Address;
    readonly state: "outstanding" | "verified" | "cleared";
    /** What it answered, or null. */
    readonly outcome: string | null;
    /** The transaction of its answer, or null. */
    readonly transaction: Hex | null;
    /**
     * What it last said of its download; null when it said nothing, isn't outstanding, or it isn't for you to know: the sender
     * and the owner see everybody's, and a recipient its own. Nothing depends on it.
     */
    readonly progress: RecipientProgress | null;
  }[];
}

/** A message is of use for as long as somebody may wait for it to stand. In seconds of chain time. */
const MESSAGE_LIFE = 600;
/** How long a roster change, which has no deadline, is waited for. In milliseconds. */
const ROSTER_WAIT_MS = 300_000;
/** The `seq` of a task's first event. */
const OPENING = 1;
/** How often an opening is looked for. */
const OPENING_LOOK_MS = { least: 200, most: 2_000 };

/** Far above what gas costs on any quiet chain, and still far from ruinous: a notice takes about 70,000 units. */
const MAX_FEE_PER_GAS = 500_000_000_000n;
const OPTIONS = [
  ...["task", "signer", "deployment", "fetch", "stateDir", "from", "stallTimeout"],
  ...["relay", "maxFeePerGas", "onTrouble"],
];

const sessions = new WeakMap<TaskContractor, () => Promise<Session>>();

/** What a contractor's calls share. Not part of the public face. */
export function sessionOf(contractor: TaskContractor): Promise<Session> {
  const start = sessions.get(contractor);
  if (!start) throw usage("A channel needs a TaskContractor.");
  return start();
}

/**
 * One member's part in one task: its roster and messages. Transfers go over a SharedFileDataChannel on it.
 *
 * It reads the chain only while one of its calls waits, and keeps no process alive by itself, but for statements that it relays itself. Every statement that
 * it believes was verified against its author's signature. All its methods throw WaybillError: USAGE for what the caller
 * got wrong; UNKNOWN_TASK, NOT_MEMBER, EXPELLED, NOT_OWNER; UNREACHABLE, UNAVAILABLE and CHAIN_STALLED (retryable);
 * BAD_SERVER when a server's answer can't be true; WRONG_CHAIN; NEEDS_RPC when only a node of one's own could tell. With
 * relay "self" all that say something may throw NOT_PUBLISHED with `details.reason`: INSUFFICIENT_FUNDS (also `balance`
 * and `needed`, in wei), NOT_RELAYED (gas stayed above `maxFeePerGas`), WALLET_REFUSED, NOT_SIGNED, TOO_MUCH_GAS.
 */
export class TaskContractor {
  /** The task's id, lower-case. */
  readonly task: Hex;
  readonly #options: SessionOptions;
  #session: Promise<Session> | null = null;
  #closed = false;

  /**
   * Begins to read its position in the task's events. That this fails ends nothing: the next call tries again.
   * @throws WaybillError USAGE when the task's id, the signer or the deployment is none, or an option is unknown;
   * NEEDS_RPC when relay is "self" and the deployment names no node.
   */
  constructor(options: ContractorOptions) {
    checkNames(options, OPTIONS);
    const { signer, fetch, stateDir, from } = options;
    checkSigner(signer);
    this.task = checkTask(options.task);
    checkCount("from", from, 0);
    const deployment = readDeployment(options.deployment);
    const stallTimeout = totalOf({ stallTimeout: options.stallTimeout }) ?? undefined;
    const maxFeePerGas = checkRelay(options, deployment);
    const { onTrouble } = options;
    this.#options = {
      task: this.task,
      signer,
      deployment,
      fetch,
      stateDir,
      from,
      stallTimeout,
      maxFeePerGas,
      onTrouble,
    };
    sessions.set(this, () => this.#start());
    this.#start().then(
      (session) => session.begin(),
      () => {},
    );
  }

  /**
   * Opens a task and resolves when it stands on the chain, at the deployment's confirmations.
   * @throws WaybillError NOT_OWNER when the operator does not serve this owner; REFUSED_STATEMENT when the owner has
   * opened another task with this salt; TIMEOUT (repeat with the same salt).
   */
  static async open(options: OpenOptions): Promise<TaskContractor> {
    const { signer, members: list, salt: _salt, ...more } = options;
    checkSigner(signer);
    const members = accountsOf(list, "members");
    if (members.length > MAX_MEMBERS)
      throw usage(`A task opens with at most ${MAX_MEMBERS} members. Admit the others.`);
    const salt = checkSalt(options.salt ?? hexlify(randomBytes(32)));
    const owner = toHex((await signer.getAddress()).toLowerCase());
    const contractor = new TaskContractor({ ...more, task: taskId(owner, salt), signer });
    const session = await contractor.#start();
    // Of a task that isn't there yet everything after the opening is news.
    if (!(await session.sync().catch(unlessUnknown))) session.news.begin(OPENING);
    const open: Open = { kind: "open", owner, salt, members };
    await untilOpened(session, await session.say(open));
    const standing = session.ledger.members().slice(0, members.length);
    if (members.some((account, i) => standing[i]?.account !== account))
      throw new WaybillError(
        "REFUSED_STATEMENT",
        "This salt stands for a task with other members. Take another salt.",
        {
          details: { reason: "TASK_EXISTS" },
        },
      );
    return contractor;
  }

  /** The account that takes part, lower-case. */
  async account(): Promise<Address> {
    return (await this.#start()).account;
  }

  /** Everybody who was ever enrolled, by index; an account that was admitted again has several. */
  async members(): Promise<Member[]> {
    const session = await this.#start();
    await session.sync();
    return session.ledger.members();
  }

  /**
   * Enrols accounts; those that are active already are passed over. Owner only. Resolves when it stands on the chain.
   * @throws WaybillError REFUSED_STATEMENT (reason STALE_ROSTER) when another change came first: look, then repeat.
   */
  admit(members: readonly string[]): Promise<void> {
    return this.#changeRoster("admit", members);
  }

  /** Ends the membership of accounts, as `admit` begins it. */
  expel(members: readonly string[]): Promise<void> {
    return this.#changeRoster("expel", members);
  }

  /**
   * Posts a message and resolves when it stands on the chain, with its statement ids: one, or one per page of recipients
   * in tasks of more than 104 members.
   * @throws WaybillError REFUSED_STATEMENT with its reason; EXPIRED (retryable) when it did not get there in 10 minutes.
   */
  post<Kind extends keyof MessageKinds>(
    options: Omit<PostOptions, "body"> & { readonly kind: Kind; readonly body: MessageKinds[Kind] },
  ): Promise<Hex[]>;
  post<Kind extends string>(options: PostOptions<Kind>): Promise<Hex[]>;
  async post(options: PostOptions): Promise<Hex[]> {
    checkNames(options, ["kind", "body", "targets", "signal"]);
    const payload = encodeBody(options.body);
    const name = encodeKind(options.kind);
    const targets = options.targets && accountsOf(options.targets, "targets");
    const session = await this.#start();
    await session.sync(options.signal);
    session.me();
    const deadline = await session.deadlineIn(MESSAGE_LIFE, options.signal);
    const common = { kind: "message", task: this.task, sender: session.account, name, payload, deadline } as const;
    const messages = audiences(session, targets).map((audience): Message => {
      return { ...common, ...audience, salt: toHex(randomBytes(32)) };
    });
    return Promise.all(messages.map((message) => this.#postOne(session, message, options.signal)));
  }

  /**
   * Messages to this member or to everyone (its own among them), and roster changes, each once, in the chain's order, beginning
   * after this contractor's position. Several readers share them; while a call with a `complementaryHandler` runs, that one gets them.
   * An event is done with when its reader asks for the next one or leaves.
   * @param options.timeout Milliseconds without an event after which it ends; by default it goes on, with 0 for 29 days. Less
   * than 1,000 is USAGE.
   * @throws the signal's reason.
   */
  async *events(options: { timeout?: number; signal?: AbortSignal } = {}): AsyncGenerator<TaskNews, void, void> {
    checkNames(options, ["timeout", "signal"]);
    const timeout = totalOf({ timeout: options.timeout }) ?? Number.POSITIVE_INFINITY;
    const session = await this.#start();
    await session.sync(options.signal);
    const over = {};
    for (;;) {
      const wait = limit(timeout, options.signal, () => over);
      const found = await session.follower
        .until(() => session.news.take(), { signal: wait.signal })
        .catch((error: unknown) => {
          if (error === over) return null;
          throw error;
        })
        .finally(wait.clear);
      if (found === null) return;
      try {
        yield readNews(found.news);
      } finally {
        found.done(); // the reader is back for more, or leaves
      }
    }
  }

  /**
   * How a notice of this task stands on the chain, and how far its recipients say that they are.
   * @throws WaybillError UNKNOWN_NOTICE when it does not, or not yet.
   */
  async status(notice: string): Promise<NoticeStatus> {
    const id = checkNotice(notice);
    const session = await this.#start();
    await session.sync();
    const record = session.ledger.notice(id);
    if (!record?.proved) throw new WaybillError("UNKNOWN_NOTICE", "There is no such notice on the chain, or not yet.");
    const status = statusOf(record);
    const told = await progressOf(session, status);
    return {
      ...status,
      recipients: status.recipients.map((one) => ({ ...one, progress: told.get(one.account) ?? null })),
    };
  }

  /** Ends all waiting calls with ABORTED and all connections. Nothing on the chain changes. */
  async close(): Promise<void> {
    this.#closed = true;
    const session = await this.#session?.catch(() => null);
    await session?.close();
  }

  #start(): Promise<Session> {
    if (this.#closed) return Promise.reject(new WaybillError("ABORTED", "The contractor was closed."));
    this.#session ??= Session.start(this.#options).catch((error: unknown) => {
      this.#session = null; // a signer that failed to name its account may do so later
      throw error;
    });
    return this.#session;
  }

  async #changeRoster(kind: "admit" | "expel", list: readonly string[]): Promise<void> {
    const members = accountsOf(list, "members");
    if (members.length > MAX_MEMBERS) throw usage(`One change names at most ${MAX_MEMBERS} members.`);
    const session = await this.#start();
    await session.sync();
    const { ledger, account } = session;
    if (ledger.owner !== account) throw new WaybillError("NOT_OWNER", "Only the task's owner changes its roster.");
    const change: RosterChange = { kind, task: this.task, members, roster: ledger.roster };
    const posted = await session.say(change);
    const id = statementId(change, account);
    const probe = (): true | undefined => {
      const standing = ledger.rosterChange(change.roster);
      if (standing !== null && standing !== id) throw refused("STALE_ROSTER"); // another one came first
      return standing === id ? true : undefined;
    };
    await session.stands(posted, probe, { ms: ROSTER_WAIT_MS });
  }

  async #postOne(session: Session, message: Message, signal: AbortSignal | undefined): Promise<Hex> {
    const id = statementId(message, session.account);
    const posted = await session.say(message, { at: message.deadline, signal });
    const { follower, ledger } = session;
    const probe = (): true | undefined => {
      if (ledger.hasMessage(id)) return true;
      if (!follower.head || follower.head.timestamp <= message.deadline) return undefined;
      // What the contract says from here on, whoever relays it.
      throw refused(ledger.member(message.sender)?.active ? "EXPIRED" : "EXPELLED");
    };
    await session.stands(posted, probe, { signal, at: message.deadline });
    return id;
  }
}

/** @throws WaybillError USAGE */
function readDeployment(value: unknown): Deployment {
  const parsed = deploymentSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues.map((issue) => issue.path.join(".") || "itself").join(", ");
  throw usage(`The deployment is malformed (${where}). Use the deployment.json of the operator.`);
}

function checkSalt(salt: unknown): Hex {
  if (typeof salt === "string" && /^0x[0-9a-fA-F]{64}$/.test(salt)) return toHex(salt);
  throw usage("A salt is 0x and 64 hex digits.");
}

/** Until the opening has its confirmations, the task is unknown to everybody. */
async function untilOpened(session: Session, posted: Posted): Promise<void> {
  const done = new AbortController();
  const failure = posted.failure(done.signal).then((error) => {
    throw error;
  });
  try {
    await Promise.race([untilKnown(session, done.signal), failure]);
  } finally {
    done.abort();
    failure.catch(() => {});
  }
}

async function untilKnown(session: Session, signal: AbortSignal): Promise<void> {
  const { blockTime } = session.deployment;
  const late = (): WaybillError =>
    new WaybillError("TIMEOUT", "The task's opening is not on the chain yet. Open it again with the same salt.");
  const wait = limit(ROSTER_WAIT_MS, signal, late);
  try {
    for (;;) {
      if (await session.sync(wait.signal).catch(unlessUnknown)) return;
      await pause(Math.min(OPENING_LOOK_MS.most, Math.max(OPENING_LOOK_MS.least, blockTime / 4)), wait.signal);
    }
  } finally {
    wait.clear();
  }
}

function unlessUnknown(error: unknown): null {
  if (error instanceof WaybillError && error.code === "UNKNOWN_TASK") return null;
  throw error;
}

/** For whom a message is: one bitmap per page, or the one for everyone. */
function audiences(session: Session, targets: readonly Address[] | undefined): { page: number; recipients: bigint }[] {
  if (targets === undefined) return [{ page: 0, recipients: EVERYONE }];
  const members = targets.map((account) => {
    const member = session.ledger.member(account);
    if (!member?.active) throw new WaybillError("NOT_MEMBER", `${account} is no active member of this task.`);
    return member;
  });
  return pagesOf(members).map(({ page, recipients }) => ({ page, recipients }));
}

/** The most that this member's own transactions may pay; null when others relay for it. */
function checkRelay(
  { relay = "api", maxFeePerGas, signer }: Partial<ContractorOptions>,
  { rpc }: Deployment,
): bigint | null {
  if (relay !== "api" && relay !== "self") throw usage('relay must be "api" or "self".');
  if (relay === "api" && maxFeePerGas !== undefined) throw usage('maxFeePerGas goes with relay: "self".');
  if (relay === "api") return null;
  if (maxFeePerGas !== undefined && (typeof maxFeePerGas !== "bigint" || maxFeePerGas <= 0n))
    throw usage("maxFeePerGas must be a bigint of wei above 0, such as 100_000_000_000n.");
  if (rpc === undefined)
    throw new WaybillError("NEEDS_RPC", "To relay for oneself takes a node. Put `rpc` into the deployment.");
  if (typeof signer?.signTransaction !== "function" && typeof signer?.sendTransaction !== "function")
    throw usage('With relay: "self" the signer must be able to sign or send transactions.');
  return maxFeePerGas ?? MAX_FEE_PER_GAS;
}

/** A notice as callers see it. */
export function statusOf({ id, notice, withdrawn, place, recipients }: NoticeRecord): NoticeStatus {
  const { sender, transfer, deadline } = notice;
  const each = [...recipients.values()].map(({ account, state, outcome, transaction }) => {
    return { account, state, outcome, transaction, progress: null };
  });
  return { notice: id, sender, transfer, deadline, withdrawn, transaction: place.transaction, recipients: each };
}
