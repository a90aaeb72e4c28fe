// A thread that signs requests, and the statements in them: it is most of what asking costs, and must not hold up who asks.
import { randomBytes } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import { getBytes, Wallet } from "ethers";
import {
  contentDigest,
  coveredComponents,
  keyIdOf,
  signatureBase,
  signatureInput,
} from "../../dist/lib/protocol/httpsig.js";
import { SIGNATURE_WINDOW } from "../../dist/lib/protocol/limits.js";
import { wireText } from "../../dist/lib/protocol/requests.js";
import { signStatement } from "../../dist/lib/protocol/statements.js";

const { keys, authority, domain } = workerData;
const wallets = keys.map((key) => new Wallet(key));

parentPort.on("message", async ({ id, who, method, path, body, statement }) => {
  const signer = wallets[who];
  const text = body === undefined ? "" : wireText(body);
  const signature = statement && (await signStatement(signer, domain, statement)).signature;
  const bytes = Buffer.from(signature ? text.replace("$signature", signature) : text);
  const created = Math.floor(Date.now() / 1000);
  const nonce = method === "GET" ? {} : { nonce: randomBytes(16).toString("base64url") };
  const keyid = keyIdOf(domain.chainId, signer.address.toLowerCase());
  const request = { method, authority, path, query: "", body: bytes };
  const components = coveredComponents(request);
  const input = signatureInput(components, { created, expires: created + SIGNATURE_WINDOW, ...nonce, keyid });
  const proof = Buffer.from(getBytes(await signer.signMessage(signatureBase(request, components, input))));
  const headers = {
    "signature-input": `eth=${input}`,
    signature: `eth=:${proof.toString("base64")}:`,
    ...(bytes.length > 0 && { "content-type": "application/json", "content-digest": contentDigest(bytes) }),
  };
  parentPort.postMessage({ id, headers, body: bytes.toString() });
});
