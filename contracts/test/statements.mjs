// Random statements as TypeScript (lib/protocol) hashes, encodes and signs them, for Digests.t.sol to compare.
import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { AbiCoder, SigningKey } from "ethers";
import fc from "fast-check";

const source = new URL("../../lib/protocol/statements.ts", import.meta.url).pathname;
/** Of each kind. */
const RUNS = 64;

const bytes = (length) => fc.uint8Array({ minLength: length, maxLength: length }).map(hex);
const hex = (list) => `0x${Buffer.from(list).toString("hex")}`;
const word = bytes(32);
const address = bytes(20);
const mask = fc.bigInt({ min: 0n, max: 2n ** 256n - 1n });
const outcome = fc.constantFrom("VERIFIED", "CORRUPT", "TOO_LARGE", "REFUSED");
const members = fc.array(address, { maxLength: 20 });
const uint = (bits) => fc.integer({ min: 0, max: 2 ** bits - 1 });
const key = fc.bigInt({ min: 1n, max: 2n ** 255n }).map((number) => `0x${number.toString(16).padStart(64, "0")}`);
const notice = fc.record({
  kind: fc.constant("notice"),
  task: word,
  sender: address,
  page: uint(16),
  recipients: mask,
  transfer: word,
  manifest: word,
  deadline: fc.maxSafeNat().map((n) => n % 2 ** 48),
});

const kinds = {
  open: fc.record({ owner: address, salt: word, members }),
  admit: fc.record({ task: word, members, roster: uint(32) }),
  expel: fc.record({ task: word, members, roster: uint(32) }),
  notice,
  receipt: fc.record({ task: word, notice: word, outcome }),
  walletReceipt: fc.record({ task: word, notice: word, outcome, account: address }),
  withdraw: fc.record({ of: notice }),
  message: fc.record({
    task: word,
    sender: address,
    page: uint(16),
    recipients: mask,
    name: word,
    payload: fc.uint8Array({ maxLength: 200 }).map(hex),
    salt: word,
    deadline: fc.maxSafeNat().map((n) => n % 2 ** 48),
  }),
};

/** lib/protocol/statements.ts as a module that this Node can load, beside what else is made for the tests. */
const loadProtocol = async (folder) => {
  const outfile = `${folder}statements.mjs`;
  await build({ entryPoints: [source], outfile, bundle: true, platform: "node", format: "esm", packages: "external" });
  return import(pathToFileURL(outfile).href);
};

/** One statement as a row of Digests.t.sol's Row. */
const row = (protocol, domain, statement, secret, author) => {
  const digest = protocol.digestOf(domain, statement);
  const signature = new SigningKey(secret).sign(digest).serialized;
  const { kind, data, signatures } = protocol.encodeItem(statement, [signature]);
  return [kind, data, signatures, digest, protocol.taskOf(statement), author, protocol.statementId(statement, author)];
};

/** Writes the rows, ABI-encoded, as {seed, statements}; a seed gives the same ones again. */
export const writeStatements = async (folder, seed) => {
  const protocol = await loadProtocol(folder);
  const domains = fc.record({ chainId: uint(53), contract: address });
  const rows = Object.entries(kinds).flatMap(([kind, arbitrary], index) =>
    fc
      .sample(fc.tuple(arbitrary, domains, key, address), { seed: seed + index, numRuns: RUNS })
      .map(([fields, domain, secret, author]) => [
        domain.chainId,
        domain.contract,
        ...row(protocol, domain, { ...fields, kind }, secret, protocol.namedAuthor({ ...fields, kind }) ?? author),
        secret,
      ]),
  );
  const type = "tuple(uint256,address,uint8,bytes,bytes,bytes32,bytes32,address,bytes32,uint256)[]";
  const statements = AbiCoder.defaultAbiCoder().encode([type], [rows]);
  writeFileSync(`${folder}statements.json`, JSON.stringify({ seed, statements }));
};
