import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { connect as secured } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Config } from "../functions/config.ts";
import { Log } from "../functions/log.ts";
import { type ListedObject, type ListOptions, Objects } from "../functions/objects.ts";
import { type Condition, Store } from "../functions/store.ts";
import { linesTo } from "../local/lines.ts";
import { checkBucket } from "../local/serve/bucket.ts";
import { Readiness } from "../local/serve/readiness.ts";
import { tidy } from "../local/serve/tidy.ts";
import { startServer } from "../local/server.ts";
import { type Store as LocalStore, startStore } from "../local/store/store.ts";
import { CA, CERTIFICATE, KEY } from "./support/certificate.ts";

// Pieces of `waybill serve` that a whole server shows too seldom.

const HOUR = 3_600_000;
let server: LocalStore;
let place: Pick<Config, "bucket" | "region" | "s3Endpoint" | "s3Credentials">;
beforeAll(async () => {
  server = await startStore();
  const { bucket, region, endpoint: s3Endpoint, credentials: s3Credentials } = server;
  place = { bucket, region, s3Endpoint, s3Credentials } as typeof place;
});
afterAll(() => server?.stop());

/** Forgets every condition, as a careless S3 server does. */
class Forgetful extends Store {
  override putJson(key: string, value: unknown, _condition?: Condition): Promise<{ etag: string } | null> {
    return super.putJson(key, value);
  }
}

/** A bucket whose objects are as many hours old as their names say. */
class Aged extends Objects {
  /** What the store's clock shows more than ours, in ms. */
  ahead = 0;

  override async list(prefix: string, options?: ListOptions): Promise<ListedObject[]> {
    const hoursOf = (key: string): number => Number(/(\d+)h$/.exec(key)![1]);
    const listed = await super.list(prefix, options);
    return listed.map((entry) => ({ ...entry, modified: new Date(Date.now() - hoursOf(entry.key) * HOUR) }));
  }

  override now(): number {
    return super.now() + this.ahead;
  }
}

describe("short-lived objects", () => {
  it("are deleted when their time is over, and nothing else ever is", async () => {
    const store = new Aged(place);
    const kept = [
      "nonce/a/3/0h",
      "outbox/1/c/25h",
      "progress/t/n/2h",
      "refused/1/c/2h",
      "settled/1/c/25h",
      "transfer/t/25h",
    ];
    const over = ["nonce/a/1/25h", "nonce/a/2/2h", "progress/t/n/25h", "refused/1/c/25h"];
    await Promise.all([...kept, ...over].map((key) => store.putJson(key, {})));
    store.ahead = -48 * HOUR; // by a clock that is behind, nothing is old
    expect(await tidy(store)).toBe(0);
    store.ahead = 48 * HOUR; // one that is ahead is not believed
    expect(await tidy(store)).toBe(4);
    expect((await store.list("")).map(({ key }) => key)).toEqual(kept);
    await store.delete(kept);
    store.close();
  });
});

describe("the look at the bucket", () => {
  it("finds out a server that forgets conditions, and leaves nothing behind", async () => {
    const [good, bad] = [new Store(place), new Forgetful(place)];
    const config = place as Config;
    expect(await checkBucket(good, config)).toBe(null);
    const before = await good.list("");
    expect(await checkBucket(bad, config)).toMatchObject({
      code: "BAD_SERVER",
      message: expect.stringMatching(/^The store overwrites an object in spite of if-none-match: .+/),
    });
    expect(await good.list("")).toEqual(before);
    expect((await good.listUploads("", null)).entries).toEqual([]);
    good.close();
    bad.close();
  });

  it("is asked once in a while, however many want to know", async () => {
    let asked = 0;
    const getBytes = async (): Promise<null> => {
      asked++;
      return null;
    };
    const chain = { tip: () => Promise.reject(new Error("no answer")) };
    const { ask } = new Readiness({ getBytes }, chain);
    const answers = await Promise.all(Array.from({ length: 20 }, ask));
    expect(new Set(answers)).toEqual(new Set(["No node of the chain answers."]));
    expect(asked).toBe(1);
  });
});

describe("log lines", () => {
  it("are JSON for programs, words for people, and none that nobody wants", () => {
    const [programs, people] = [new PassThrough(), new PassThrough()];
    const [one, other] = [linesTo(programs, { json: true }), linesTo(people, { json: false, least: "WARN" })];
    const log = new Log("serve", (line, level) => {
      one(line, level);
      other(line, level);
    });
    log.info("serving", { detail: "on port 8080" });
    log.warn("left before all was done", { count: 2 });
    expect(
      String(programs.read())
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).message),
    ).toHaveLength(2);
    expect(String(people.read())).toMatch(/^\d\d:\d\d:\d\d WARN serve: left before all was done \(count 2\)\n$/);
  });
});

describe("a certificate", () => {
  it("that is replaced by nonsense is not used: the old one is, and the error names no file's content", async () => {
    const dir = await mkdtemp(join(tmpdir(), "waybill-test-tls-"));
    const tls = { cert: join(dir, "cert.pem"), key: join(dir, "key.pem") };
    await Promise.all([writeFile(tls.cert, CERTIFICATE), writeFile(tls.key, KEY)]);
    const listening = await startServer({ tls });
    const status = (): Promise<number> =>
      new Promise((resolve, reject) => {
        request(`${listening.origin}/health`, { ca: CA, agent: false }, (response) => {
          response.resume().on("end", () => resolve(response.statusCode!));
        })
          .on("error", reject)
          .end();
      });
    expect(await status()).toBe(503); // nothing is mounted
    await writeFile(tls.cert, "sekrit nonsense");
    await expect(listening.renew()).rejects.toMatchObject({
      code: "USAGE",
      message: "The TLS files are no PEM certificate and its key.",
    });
    expect(await status()).toBe(503);
    await writeFile(tls.cert, CERTIFICATE);
    await listening.renew();
    expect(await status()).toBe(503);
    await listening.stop();
    await rm(dir, { recursive: true });
  });

  it("that is shown to somebody while the server leaves lets nobody keep it: that connection ends, too", async () => {
    const dir = await mkdtemp(join(tmpdir(), "waybill-test-tls-"));
    const tls = { cert: join(dir, "cert.pem"), key: join(dir, "key.pem") };
    await Promise.all([writeFile(tls.cert, CERTIFICATE), writeFile(tls.key, KEY)]);
    const listening = await startServer({ tls });
    const port = Number(new URL(listening.origin).port);
    const early = connect(port, "127.0.0.1");
    await once(early, "connect");
    // Who comes later is answered, so this one is let in.
    await new Promise((resolve) => request(listening.origin, { ca: CA }, resolve).on("error", resolve).end());
    const drained = listening.drain(120_000);
    const secure = secured({ socket: early, ca: CA, host: "127.0.0.1" });
    secure.on("error", () => {});
    await Promise.all([once(secure, "close"), drained]);
    expect(await drained).toBe(0);
    await rm(dir, { recursive: true });
  });
});
