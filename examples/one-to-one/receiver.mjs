// Usage: node receiver.mjs SENDER
import { openChannel, others } from "../member.mjs";
import { describe } from "../weights.mjs";

const [source] = others;
const channel = await openChannel();

const [sender, weights] = await channel.receiveStream({ source, tag: "round-1/model" });

console.log(`${sender} sent ${describe(weights)}`);
