// Usage: node sender.mjs RECEIVER
import { openChannel, others } from "../member.mjs";
import { describe, randomWeights } from "../weights.mjs";

const [receiver] = others;
const channel = await openChannel();
const weights = randomWeights(1_000_000);

const verified = await channel.sendStream({ target: receiver, dataStream: weights, tag: "round-1/model" });

if (verified === null) throw new Error(`${receiver} did not verify the weights in time.`);
console.log(`${verified} has verified ${describe(weights)}`);
