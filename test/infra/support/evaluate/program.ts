import { createCipheriv } from "node:crypto";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import type { Order } from "./order.ts";

interface BuildInput {
  readonly functionID: string;
  readonly handler: string;
  readonly encryptionKey: string;
  readonly links: unknown;
}

/** What the `sst` program answers to its config while it runs. Functions are not bundled; their files must be there. */
export class SstProgram {
  readonly #order: Order;
  readonly #server: Server;
  /** Grows with every question. */
  asked = 0;

  private constructor(order: Order) {
    this.#order = order;
    this.#server = createServer((request, response) => {
      this.#answer(request).then(
        (result) => response.end(JSON.stringify({ result, error: null })),
        (error: Error) => response.end(JSON.stringify({ error: error.message })),
      );
    });
  }

  static async start(order: Order): Promise<SstProgram> {
    const program = new SstProgram(order);
    await new Promise<void>((resolve) => program.#server.listen(0, "127.0.0.1", resolve));
    return program;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request: IncomingMessage): Promise<unknown> {
    this.asked += 1;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method, params } = JSON.parse(Buffer.concat(chunks).toString()) as { method: string; params: unknown[] };
    switch (method) {
      case "Provider.Aws.Bootstrap":
        return { asset: "assets", state: "state", assetEcrRegistryId: "1", assetEcrUrl: "registry.invalid/assets" };
      case "Provider.Aws.Appsync":
        return { http: "events.invalid", realtime: "events.invalid" };
      case "Runtime.AddTarget":
        return true;
      case "Runtime.Build":
        return this.#build(params[0] as BuildInput);
      default:
        throw new Error(`The stand-in for sst does not know ${method}.`);
    }
  }

  #build({ functionID, handler, encryptionKey, links }: BuildInput): unknown {
    const [, file, name] = /^(.+)\.(\w+)$/.exec(handler) ?? [];
    const out = join(this.#order.platform, `../artifacts/${process.pid}/${functionID}-src`);
    if (!existsSync(join(this.#order.root, `${file}.ts`)))
      return { handler, out, errors: [`Handler not found: ${handler}`], sourcemaps: [] };
    rmSync(out, { recursive: true, force: true });
    mkdirSync(dirname(join(out, `${file}`)), { recursive: true });
    writeFileSync(join(out, `${file}.mjs`), "");
    const cipher = createCipheriv("aes-256-gcm", Buffer.from(encryptionKey, "base64"), Buffer.alloc(12));
    const sealed = [cipher.update(JSON.stringify(links)), cipher.final(), cipher.getAuthTag()];
    writeFileSync(join(out, "resource.enc"), Buffer.concat(sealed));
    return { handler: `${file}.${name}`, out, errors: [], sourcemaps: [] };
  }
}
