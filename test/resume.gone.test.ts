import { randomBytes } from "node:crypto";
import { type BaseWallet, getBytes } from "ethers";
import { expect, it } from "vitest";
import { toBase64 } from "../lib/protocol/hex.ts";
import { coveredComponents, keyIdOf, signatureBase, signatureInput } from "../lib/protocol/httpsig.ts";
import { transferId } from "../lib/protocol/manifest.ts";
import { type Cast, Scene } from "./support/members.ts";

/** Another process of the same sender gives the transfer up. */
async function abandon({ scene, task, wallets }: Cast, tag: string): Promise<void> {
  const { api, chainId } = scene.stack.deployment;
  const url = new URL(`/v1/tasks/${task}/transfers/${transferId(tag)}`, api);
  const wallet = wallets[0] as BaseWallet;
  const request = { method: "DELETE", authority: url.host, path: url.pathname, query: "", body: new Uint8Array() };
  const components = coveredComponents(request);
  const created = Math.floor(Date.now() / 1000);
  const input = signatureInput(components, {
    ...{ created, expires: created + 60, nonce: randomBytes(16).toString("base64url") },
    keyid: keyIdOf(chainId, wallet.address.toLowerCase() as `0x${string}`),
  });
  const signed = getBytes(await wallet.signMessage(signatureBase(request, components, input)));
  const headers = { "signature-input": `eth=${input}`, signature: `eth=:${toBase64(signed)}:` };
  const answer = await fetch(url, { method: "DELETE", headers });
  expect([answer.status, await answer.json()]).toEqual([200, { state: "aborted" }]);
}

it("a send whose upload is given up when its parts are signed begins anew, and ends in one notice", async () => {
  const scene = await Scene.start();
  try {
    const cast = await scene.cast(2);
    const [source, target] = [cast.accounts[0]!, cast.accounts[1]!];
    let given = false;
    const meanwhile: typeof fetch = async (input, init) => {
      const answer = await fetch(input, init);
      if (!given && new URL(String(input)).pathname.endsWith("/parts")) {
        given = true;
        await abandon(cast, "gone");
      }
      return answer;
    };
    const dataStream = randomBytes(3_000);
    const [sent, [, data]] = await Promise.all([
      cast.process(0, { fetch: meanwhile }).channel.sendStream({ target, dataStream, tag: "gone" }),
      cast.process(1).channel.receiveStream({ source, tag: "gone" }),
    ]);
    expect(sent).toBe(target);
    expect(Buffer.compare(data, dataStream)).toBe(0);
    expect(
      scene.requests.filter(({ operation, code }) => operation === "UploadPart" && code === "NoSuchUpload"),
    ).toHaveLength(1);
  } finally {
    await scene.stop();
  }
});
