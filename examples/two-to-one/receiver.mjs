// Usage: node receiver.mjs SENDER SENDER
import { openChannel, others } from "../member.mjs";
import { describe } from "../weights.mjs";

const channel = await openChannel();

// A Map from sender to payload. With ensureAllSucc a missing one is an error that names it and carries what did arrive.
const updates = await channel.batchReceiveStream({ sourceList: others, tag: "round-1/update", ensureAllSucc: true });

for (const [sender, update] of updates) console.log(`${sender} sent ${describe(update)}`);
