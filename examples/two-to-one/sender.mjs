// Usage: node sender.mjs RECEIVER
import { openChannel, others } from "../member.mjs";
import { describe, randomWeights } from "../weights.mjs";

const [receiver] = others;
const channel = await openChannel();
const update = randomWeights(1_000_000);

// Tags are each sender's own: both senders of this example use the same one.
const verified = await channel.sendStream({ target: receiver, dataStream: update, tag: "round-1/update" });

if (verified === null) throw new Error(`${receiver} did not verify the update in time.`);
console.log(`${verified} has verified ${describe(update)}`);
