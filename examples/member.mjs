// What each of these scripts begins with: who am I, in which task, and where is everything?
import { readFile } from "node:fs/promises";
import { Wallet } from "ethers";
import { SharedFileDataChannel, TaskContractor } from "waybill";

/**
 * The channel of this process's member, by three variables: WAYBILL_DEPLOYMENT (the operator's deployment.json),
 * WAYBILL_TASK (the task's id) and WAYBILL_KEY_FILE (a file with the private key; other users of a machine see the
 * arguments of a process, so a key is never one of them).
 */
export async function openChannel() {
  const { WAYBILL_DEPLOYMENT, WAYBILL_TASK, WAYBILL_KEY_FILE } = process.env;
  const deployment = JSON.parse(await readFile(WAYBILL_DEPLOYMENT, "utf8"));
  const signer = new Wallet((await readFile(WAYBILL_KEY_FILE, "utf8")).trim());
  return new SharedFileDataChannel(new TaskContractor({ task: WAYBILL_TASK, signer, deployment }));
}

/** The other members, whose accounts this script was given as its arguments. */
export const others = process.argv.slice(2);
