import { spawnSync } from "node:child_process";
import { channel } from "node:diagnostics_channel";
import { Wallet } from "ethers";
import { it } from "vitest";
import { Log } from "../../../functions/log.ts";
import { secret } from "../secrets.ts";

// Run by observability.capture.test.ts alone, with the name of one of these in LEAK.

const URL = "http://127.0.0.1:9000/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0a1b2c";
const leaks: Readonly<Record<string, () => unknown>> = {
  none: () => new Log("tasks").info(`asked for ${URL}`),
  "past the redactor": () => channel("waybill:log").publish(JSON.stringify({ message: URL })),
  "on stdout": () => process.stdout.write(`{"time":0,"url":"${URL}"}\n`),
  "of a child": () => spawnSync(process.execPath, ["-e", `console.error(${JSON.stringify(URL)})`]),
  "a key as an id": async () => {
    const wallet = Wallet.createRandom();
    await wallet.signMessage("noted");
    new Log("tasks").info("request", { task: wallet.privateKey });
  },
  "a password": () => {
    secret("horse staple");
    channel("waybill:log").publish(JSON.stringify({ message: "opened by horse staple" }));
  },
};

it("leaks", async () => {
  await leaks[process.env.LEAK ?? ""]!();
});
