import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { WaybillError } from "../../lib/index.ts";
import { isErrorCode } from "../../lib/protocol/errors.ts";
import type { CommonWord } from "./words.ts";

/** A member's process, as the demo sees it: orders go in, words come out. */
export class Party<Order extends object, Word extends { is: string }> {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #onWord: (word: Word | CommonWord) => void;

  /** `onWord` hears whatever is said while an order is carried out, except its answer. */
  constructor(program: URL, name: string, onWord: (word: Word | CommonWord) => void) {
    this.name = name;
    this.#onWord = onWord;
    this.#process = fork(fileURLToPath(program), [], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  }

  /**
   * Gives an order and waits for its answer.
   * @throws WaybillError the member's own; INTERNAL when its process ended.
   */
  ask<Is extends Word["is"]>(order: Order, answer: Is): Promise<Extract<Word, { is: Is }>> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#process.off("message", hear).off("exit", die);
        act();
      };
      const hear = (word: Word | CommonWord): void => {
        if (word.is === answer) settle(() => resolve(word as Extract<Word, { is: Is }>));
        else if (isFailure(word)) settle(() => reject(this.#failure(word)));
        else this.#onWord(word);
      };
      const die = (): void =>
        settle(() => reject(new WaybillError("INTERNAL", `The process of ${this.name} ended before its time.`)));
      this.#process.on("message", hear).once("exit", die);
      this.#process.send(order, (error) => error && die());
    });
  }

  /** Ends the process at once, as a power cut would; resolves when it is gone. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await gone;
  }

  #failure({ code, message }: Extract<CommonWord, { is: "failed" }>): WaybillError {
    return new WaybillError(isErrorCode(code) ? code : "INTERNAL", `${this.name}: ${message}`);
  }
}

function isFailure(word: { is: string }): word is Extract<CommonWord, { is: "failed" }> {
  return word.is === "failed";
}
