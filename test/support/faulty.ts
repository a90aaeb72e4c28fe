import { createServer, request as forward, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One request on its way, for a rule to look at. */
export interface Passing {
  readonly method: string;
  /** The path with its query. */
  readonly target: string;
}

/**
 * What happens to a request: a status and body instead of an answer, `lost` (it is carried out and its answer thrown
 * away), or `after` (carried out, then something is done before the answer goes back).
 */
export type Fault = { status: number; body: string } | "lost" | { after: () => Promise<void> };

/** A relay in front of a server, on which a test breaks single requests. */
export class Faulty {
  readonly #server: Server;
  readonly #target: URL;
  origin = "";
  /** Asked for every request; null lets it pass. */
  rule: (passing: Passing) => Fault | null = () => null;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((message, response) => void this.#relay(message, response));
  }

  static async start(target: string): Promise<Faulty> {
    const faulty = new Faulty(target);
    await new Promise<void>((resolve) => faulty.#server.listen(0, "127.0.0.1", resolve));
    faulty.origin = `http://127.0.0.1:${(faulty.#server.address() as AddressInfo).port}`;
    return faulty;
  }

  /** Breaks the first `count` requests that match. */
  break(method: string, match: RegExp, fault: Fault, count = 1): void {
    let left = count;
    this.rule = (passing) => (passing.method === method && match.test(passing.target) && left-- > 0 ? fault : null);
  }

  heal(): void {
    this.rule = () => null;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #relay(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const fault = this.rule({ method: message.method ?? "", target: message.url ?? "" });
    if (fault !== null && typeof fault === "object" && "status" in fault) {
      message
        .resume()
        .once("end", () => response.writeHead(fault.status, { "content-type": "application/xml" }).end(fault.body));
      return;
    }
    const { hostname, port } = this.#target;
    const onward = forward({ hostname, port, path: message.url, method: message.method, headers: message.headers });
    onward.on("error", () => response.destroy());
    onward.on("response", (answer) => {
      const pass = () => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(response);
      };
      if (fault === "lost") answer.resume().once("end", () => response.destroy());
      else if (fault === null) pass();
      else void fault.after().then(pass);
    });
    message.pipe(onward);
  }
}
