import { expect, it } from "vitest";
import { Inbox } from "../lib/inbox.ts";

it("gives back what lies behind the streams that nobody took, when its contractor is closed", async () => {
  const inbox = new Inbox();
  const cancelled: string[] = [];
  const streamOf = (name: string): ReadableStream<Uint8Array> =>
    new ReadableStream({ cancel: () => void cancelled.push(name) });
  const common = { sender: "0x01", transfer: "0x02", place: "stream", notices: [] } as const;
  inbox.keep({ ...common, payload: streamOf("taken") });
  inbox.keep({ ...common, payload: streamOf("kept") });
  inbox.keep({ ...common, payload: new Uint8Array(1) });
  const taken = inbox.take(() => true)!;
  inbox.close();
  expect(cancelled).toEqual(["kept"]);
  inbox.keep({ ...common, payload: streamOf("late") }); // its call ended with the contractor
  await (taken.payload as ReadableStream).cancel();
  expect(cancelled).toEqual(["kept", "late", "taken"]);
});
