import { randomBytes } from "node:crypto";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Store } from "../functions/store.ts";
import { partsOf } from "../lib/protocol/plan.ts";
import { NodeTransport } from "../lib/transfer/node-http.ts";
import { sourceOf } from "../lib/transfer/source.ts";
import { upload } from "../lib/transfer/upload.ts";
import { type Store as LocalStore, startStore } from "../local/store/store.ts";

// Faults of the wire itself, put into the bytes between the engine and a real store that checks every digest.

const PART = 200_000;
const PARTS = 5;
const bytes = randomBytes(PARTS * PART - 7);

/** What is done to the bytes of one connection on their way to the store; null: they go no further. */
type Harm = (chunk: Buffer, near: Socket) => Buffer | null;

let local: LocalStore;
let store: Store;
let relay: Server;
let origin: string;
/** The store's answers to parts of an upload, by its key: what was cut is logged late, maybe in the midst of the next one. */
const answered = new Map<string, number[]>();
/** Done to the next connection that carries part 3, in that part's midst. */
let harm: Harm | null = null;

/** Bytes go through as they are until part 3's have begun. */
function carry(near: Socket): void {
  const far = connect(Number(new URL(local.endpoint).port), "127.0.0.1");
  let own: Harm | null = null;
  near.on("data", (chunk: Buffer) => {
    const whole = own ? own(chunk, near) : chunk;
    if (harm && chunk.toString("latin1").includes("partNumber=3&")) [own, harm] = [harm, null];
    if (whole) far.write(whole);
  });
  far.on("data", (chunk: Buffer) => near.write(chunk));
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroy());
  }
}

beforeAll(async () => {
  local = await startStore({
    minPartSize: 1,
    onRequest: ({ operation, key, status }) => {
      if (operation === "UploadPart" && key) answered.set(key, [...(answered.get(key) ?? []), status]);
    },
  });
  relay = createServer(carry);
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  origin = `http://store.test:${(relay.address() as AddressInfo).port}`;
  const { bucket, region, credentials } = local;
  store = new Store({ bucket, region, s3Endpoint: local.endpoint, s3Credentials: credentials });
});
afterAll(async () => {
  store?.close();
  await new Promise((resolve) => relay.close(resolve));
  await local?.stop();
});
beforeEach(() => {
  harm = null;
});

let uploads = 0;

/** Sends the payload by way of the relay, under a name that only `resolve` knows. @returns what the store answered. */
async function send(resolve = async (): Promise<string[]> => ["127.0.0.1"]): Promise<number[]> {
  const key = `payload/${++uploads}`;
  const id = await store.createUpload(key, "a/b");
  const { bucket, region, credentials } = local;
  const far = new Store({ bucket, region, s3Endpoint: origin, s3Credentials: credentials });
  const transport = new NodeTransport({ resolve, stallTimeout: 30_000 });
  try {
    const reader = await (await sourceOf(bytes)).open();
    const sign = (parts: Parameters<Store["presignParts"]>[2]) => far.presignParts(key, id, parts);
    const plan = { size: bytes.length, partSize: PART };
    const { parts } = await upload({ reader, plan, stored: new Map(), sign, transport, storeOrigin: origin });
    const held = (await store.listParts(key, id))!;
    expect(held.map(({ sha256 }) => sha256)).toEqual(parts);
    expect(parts).toHaveLength(partsOf(plan).length);
    return answered.get(key)!;
  } finally {
    transport.close();
    far.close();
  }
}

/** Every part once; one may have seemed to straggle on a busy machine. */
function expectOnce(answers: readonly number[]): void {
  const taken = answers.filter((status) => status === 200).length;
  expect(taken).toBeGreaterThanOrEqual(PARTS);
  expect(taken).toBeLessThanOrEqual(PARTS + 1);
}

describe("an upload", () => {
  it("of which a bit is flipped on its way is refused that part by the store, and sends it alone again", async () => {
    let isFlipped = false;
    harm = (chunk) => {
      if (isFlipped || chunk.length < 10_000) return chunk; // what is shorter is a head, also of the connection's next request
      isFlipped = true;
      const other = Buffer.from(chunk);
      other[other.length >> 1]! ^= 1;
      return other;
    };
    const answers = await send();
    expect(answers).toContain(400);
    expectOnce(answers);
  });

  it("that is reset in a part's midst sends that part alone again", async () => {
    harm = (_, near) => {
      near.resetAndDestroy();
      return null;
    };
    expectOnce(await send());
    expect(harm).toBeNull();
  });

  it("to a name that nobody knows at first goes on when it is known", async () => {
    let asked = 0;
    const unknown = Object.assign(new Error("getaddrinfo ENOTFOUND store.test"), { code: "ENOTFOUND" });
    expectOnce(await send(() => (++asked <= 2 ? Promise.reject(unknown) : Promise.resolve(["127.0.0.1"]))));
    expect(asked).toBeGreaterThan(2);
  });
});
