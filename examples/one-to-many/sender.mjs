// Usage: node sender.mjs RECEIVER RECEIVER ...
import { openChannel, others } from "../member.mjs";
import { describe, randomWeights } from "../weights.mjs";

const channel = await openChannel();
const weights = randomWeights(1_000_000);

// One upload and one notice, however many receive it. With ensureAllSucc a missing one is an error that names it.
const verified = await channel.batchSendStream({
  target: others,
  dataStream: weights,
  tag: "round-1/model",
  ensureAllSucc: true,
});

for (const receiver of verified) console.log(`${receiver} has verified ${describe(weights)}`);
