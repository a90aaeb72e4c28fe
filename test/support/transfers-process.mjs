// Pairs of members, each of which has a transfer under way at all times until it is told to end. From what is built. Its first
// message: { deployment, task, pairs: [[sender's key, recipient's key], ...], size, partSize, tag }.
import { randomBytes } from "node:crypto";
import { Wallet } from "ethers";
import { SharedFileDataChannel, TaskContractor } from "../../dist/lib/index.js";

let ending = false;

process.once("message", async ({ deployment, task, pairs, size, partSize, tag }) => {
  process.on("message", () => {
    ending = true;
  });
  const member = (key) => {
    const contractor = new TaskContractor({ task, signer: new Wallet(key), deployment });
    return { contractor, account: new Wallet(key).address, channel: new SharedFileDataChannel(contractor) };
  };
  const transfer = async (sender, recipient, own) => {
    const dataStream = randomBytes(size);
    process.send({ began: 1 });
    const [verified, [, received]] = await Promise.all([
      sender.channel.sendStream({
        ...{ source: sender.account, target: recipient.account, dataStream, tag: own, partSize },
      }),
      recipient.channel.receiveStream({ receiver: recipient.account, source: sender.account, tag: own }),
    ]);
    if (verified !== recipient.account) throw new Error("the recipient has not verified it");
    if (!dataStream.equals(received)) throw new Error("other bytes came than were sent");
    process.send({ ended: 1 });
  };
  const pair = async (keys, nth) => {
    const [sender, recipient] = keys.map(member);
    for (let round = 0; !ending; round++) await transfer(sender, recipient, `${tag}/${nth}/${round}`);
    await Promise.all([sender.contractor.close(), recipient.contractor.close()]);
  };
  try {
    await Promise.all(pairs.map(pair));
    process.send({ over: true });
  } catch (error) {
    process.send({ fault: `${error.code ?? ""} ${error.message}` });
  }
  process.disconnect();
});
