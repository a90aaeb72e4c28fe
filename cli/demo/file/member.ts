import { Wallet } from "ethers";
import { type Progress, SharedFileDataChannel, TaskContractor, WaybillError } from "../../../lib/index.ts";
import { say, serve } from "../program.ts";
import type { CommonWord } from "../words.ts";
import type { Order, Word } from "./words.ts";

// One member of the task, as its own process with its own key: what a hospital or a bank would run.

/** Seconds from the first byte to the last one, as the transfer itself reports them. */
class Stopwatch {
  #start = 0;
  #end = 0;

  readonly onProgress = ({ transferredBytes, totalBytes }: Progress): void => {
    this.#start ||= performance.now();
    this.#end = performance.now();
    say<CommonWord>({ is: "progress", bytes: transferredBytes, total: totalBytes ?? transferredBytes });
  };

  get seconds(): number {
    return (this.#end - this.#start) / 1000;
  }
}

let contractor: TaskContractor | undefined;

async function obey(order: Order): Promise<Word> {
  if (order.do === "join") {
    const { key, deployment, task } = order;
    contractor = new TaskContractor({ task, signer: new Wallet(key), deployment });
    return { is: "ready" };
  }
  if (!contractor) throw new WaybillError("USAGE", "A member joins before it sends or receives.");
  const channel = new SharedFileDataChannel(contractor);
  const watch = new Stopwatch();
  const { onProgress } = watch;
  if (order.do === "send") {
    const { path, targets: target, tag } = order;
    const received = await channel.batchSendStream({ target, dataStream: { path }, tag, onProgress });
    return { is: "sent", received, seconds: watch.seconds };
  }
  const { source, tag, path } = order;
  await channel.receiveStream({ source, tag, to: { path }, onProgress });
  return { is: "received", seconds: watch.seconds };
}

serve(obey);
