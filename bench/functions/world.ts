import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hexlify, JsonRpcProvider, Wallet } from "ethers";
import { Api } from "../../lib/api.ts";
import type { Deployment } from "../../lib/protocol/deployment.ts";
import type { Address, Hex } from "../../lib/protocol/hex.ts";
import { compositeChecksum, encodeManifest, manifestDigest, transferId } from "../../lib/protocol/manifest.ts";
import { bitmapOf, type Notice, noticeId, type Open, signStatement, taskId } from "../../lib/protocol/statements.ts";
import { startAnvil } from "../../local/anvil.ts";
import { deployContract } from "../../local/contract.ts";
import { startStore } from "../../local/store/store.ts";
import type { FunctionName } from "./bundle.ts";
import { fetchOf } from "./event.ts";
import type { Instance } from "./instance.ts";

const ORIGIN = "https://bench.waybill.test";
/** Each has a rate cap of its own. */
const MEMBERS = 8;
/** In seconds: far longer than a benchmark. */
const LATER = 24 * 3600;
/** Turns of the publisher until what was posted is mined and settled. */
const TURNS = 20;

export interface Member {
  readonly wallet: Wallet;
  readonly account: Address;
}

/** A bucket, a chain with the contract, and a task with a notice in it, all made by way of the functions themselves. */
export class World {
  readonly env: Readonly<Record<string, string>>;
  readonly members: readonly Member[];
  readonly task: Hex;
  notice: Hex = "0x";
  readonly #deployment: Deployment;
  readonly #undo: (() => unknown)[];

  private constructor(parts: {
    env: Record<string, string>;
    members: Member[];
    task: Hex;
    deployment: Deployment;
    undo: (() => unknown)[];
  }) {
    this.env = parts.env;
    this.members = parts.members;
    this.task = parts.task;
    this.#deployment = parts.deployment;
    this.#undo = parts.undo;
  }

  static async start(): Promise<World> {
    const undo: (() => unknown)[] = [];
    try {
      return await build(undo, (parts) => new World({ ...parts, undo }));
    } catch (error) {
      for (const step of undo) await step();
      throw error;
    }
  }

  async stop(): Promise<void> {
    for (const step of this.#undo.splice(0)) await step();
  }

  /** The API as a member has it, over `send`. */
  api({ wallet, account }: Member, send: typeof fetch): Api {
    return new Api({ deployment: this.#deployment, signer: wallet, account, fetch: send });
  }

  /** Opens the task, and sends one payload from the first member to all others. */
  async prepare(instances: Readonly<Record<FunctionName, Instance>>): Promise<void> {
    const [owner] = this.members as [Member];
    const api = this.api(owner, fetchOf(instances));
    const { chainId, contract } = this.#deployment;
    const open = openingOf(this.members);
    await api.openTask(await signStatement(owner.wallet, { chainId, contract }, open));
    await this.#publish(api, instances.publisher);
    const { manifest, tag } = await this.#upload(api);
    const finished = await api.finish(this.task, transferId(tag), { manifest, notices: [] });
    const notice = this.#noticeFor(tag, manifest, finished.head.timestamp + LATER);
    const signed = await signStatement(owner.wallet, { chainId, contract }, notice);
    const recipients = this.members.slice(1).map(({ account }) => account);
    await api.finish(this.task, transferId(tag), { notices: [{ notice, signature: signed.signature, recipients }] });
    await this.#publish(api, instances.publisher);
    this.notice = noticeId(notice);
  }

  async #publish(api: Api, publisher: Instance): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) {
      await publisher.run([{}]);
      const seen = await api.newest(this.task).catch(() => null);
      if (seen && seen.next.seq > this.#seq) {
        this.#seq = seen.next.seq;
        return;
      }
    }
    throw new Error("The publisher does not publish.");
  }
  #seq = 0;

  async #upload(api: Api): Promise<{ manifest: Uint8Array; tag: string }> {
    const tag = "bench/payload";
    const payload = randomBytes(100_000);
    const sha256 = createHash("sha256").update(payload).digest("base64");
    const { partSize, contentType } = await api.begin(this.task, { transfer: transferId(tag), size: payload.length });
    const wanted = [{ number: 1, length: payload.length, sha256 }];
    const { urls } = await api.signParts(this.task, transferId(tag), wanted);
    const { url, headers } = urls[0]!;
    const put = await fetch(url, { method: "PUT", headers, body: payload });
    if (put.status !== 200) throw new Error(`The store answered ${put.status}.`);
    const parts = [sha256];
    const checksum = compositeChecksum(parts);
    const size = payload.length;
    return { tag, manifest: encodeManifest({ version: 1, tag, size, partSize, parts, checksum, contentType }) };
  }

  #noticeFor(tag: string, manifest: Uint8Array, deadline: number): Notice {
    return {
      kind: "notice",
      task: this.task,
      sender: this.members[0]!.account,
      page: 0,
      recipients: bitmapOf(this.members.slice(1).map((_, i) => i + 1)),
      transfer: transferId(tag),
      manifest: manifestDigest(manifest),
      deadline,
    };
  }
}

type Parts = { env: Record<string, string>; members: Member[]; task: Hex; deployment: Deployment };

async function build(undo: (() => unknown)[], make: (parts: Parts) => World): Promise<World> {
  const dir = await mkdtemp(join(tmpdir(), "waybill-bench-"));
  undo.unshift(() => rm(dir, { recursive: true, force: true }));
  const store = await startStore({ dir });
  undo.unshift(() => store.stop());
  const anvil = await startAnvil({ scratch: [dir] });
  undo.unshift(() => anvil.stop());
  const provider = new JsonRpcProvider(anvil.url, anvil.chainId, { staticNetwork: true });
  undo.unshift(() => provider.destroy());
  const { contract } = await deployContract(new Wallet(anvil.accounts[0]!.privateKey, provider));
  const members = Array.from({ length: MEMBERS }, () => {
    const wallet = new Wallet(hexlify(randomBytes(32)));
    return { wallet, account: wallet.address.toLowerCase() as Address };
  });
  const { chainId } = anvil;
  const env = {
    WAYBILL_API_ORIGIN: ORIGIN,
    WAYBILL_CHAIN_ID: String(chainId),
    WAYBILL_CONTRACT: contract,
    WAYBILL_RPC: anvil.url,
    WAYBILL_CONFIRMATIONS: "0",
    WAYBILL_BLOCK_TIME: "1000",
    WAYBILL_OWNERS: members[0]!.account,
    WAYBILL_BUCKET: store.bucket,
    WAYBILL_S3_ENDPOINT: store.endpoint,
    WAYBILL_MAX_OPEN_UPLOADS: "999",
    WAYBILL_MAX_REQUESTS: "999",
    WAYBILL_RELAYER_KEY: anvil.accounts[1]!.privateKey,
    WAYBILL_MAX_FEE_PER_GAS: "1000000000000",
    AWS_REGION: store.region,
    AWS_ACCESS_KEY_ID: store.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: store.credentials.secretAccessKey,
  };
  const { owner, salt } = openingOf(members);
  const deployment: Deployment = {
    ...{ api: ORIGIN, chainId, contract, storeOrigin: store.endpoint },
    ...{ confirmations: 0, blockTime: 1_000, maxBlockAge: 30_000 },
  };
  return make({ env, members, task: taskId(owner, salt), deployment });
}

function openingOf(members: readonly Member[]): Open {
  const accounts = members.map(({ account }) => account);
  return { kind: "open", owner: accounts[0]!, salt: `0x${"5a".repeat(32)}`, members: accounts };
}
