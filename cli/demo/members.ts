import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Wallet } from "ethers";
import { type Deployment, type Hex, WaybillError } from "../../lib/index.ts";
import { isErrorCode } from "../../lib/protocol/errors.ts";
import type { Order, Word } from "./words.ts";

const PROGRAM = fileURLToPath(new URL("./member.js", import.meta.url));

export type OnBytes = (member: Member, bytes: number, total: number) => void;

/** A member of the demo's task: a key, and a process that holds it. */
export class Member {
  readonly name: string;
  readonly #wallet = Wallet.createRandom();
  readonly #process: ChildProcess;
  readonly #onBytes: OnBytes;

  constructor(name: string, onBytes: OnBytes) {
    this.name = name;
    this.#onBytes = onBytes;
    this.#process = fork(PROGRAM, [], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  }

  get account(): string {
    return this.#wallet.address;
  }

  join(deployment: Deployment, task: Hex): Promise<Extract<Word, { is: "ready" }>> {
    return this.#ask({ do: "join", key: this.#wallet.privateKey as Hex, deployment, task }, "ready");
  }

  send(path: string, targets: string[], tag: string): Promise<Extract<Word, { is: "sent" }>> {
    return this.#ask({ do: "send", path, targets, tag }, "sent");
  }

  receive(source: string, tag: string, path: string): Promise<Extract<Word, { is: "received" }>> {
    return this.#ask({ do: "receive", source, tag, path }, "received");
  }

  /** Ends the process; resolves when it is gone. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await gone;
  }

  #ask<Is extends Word["is"]>(order: Order, answer: Is): Promise<Extract<Word, { is: Is }>> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#process.off("message", hear).off("exit", die);
        act();
      };
      const hear = (word: Word): void => {
        if (word.is === "progress") this.#onBytes(this, word.bytes, word.total);
        else if (word.is === answer) settle(() => resolve(word as Extract<Word, { is: Is }>));
        else settle(() => reject(this.#failure(word)));
      };
      const die = (): void => settle(() => reject(new WaybillError("ABORTED", `The process of ${this.name} ended.`)));
      this.#process.on("message", hear).once("exit", die);
      this.#process.send(order, (error) => error && die());
    });
  }

  #failure(word: Word): WaybillError {
    if (word.is !== "failed") return new WaybillError("INTERNAL", `${this.name} answered "${word.is}" out of turn.`);
    return new WaybillError(isErrorCode(word.code) ? word.code : "INTERNAL", `${this.name}: ${word.message}`);
  }
}
