import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { SigningKey } from "ethers";

// What no log of this test run may hold; log-setup.ts looks for it. Set up in every test file: each key that signs is noted.

const known = new Set<string>();

/** Notes a secret, so that the run fails if any log holds it. */
export function secret(text: string): void {
  const folder = process.env.WAYBILL_TEST_LOGS;
  if (known.has(text) || folder === undefined) return;
  known.add(text);
  appendFileSync(join(folder, `${process.pid}.secrets`), `${JSON.stringify(text)}\n`);
}

const { sign } = SigningKey.prototype;
SigningKey.prototype.sign = function (digest) {
  secret(this.privateKey);
  return sign.call(this, digest);
};
