import { faultIn, isMissing, Objects, pathOf, type StoreConfig } from "./objects.ts";
import { type PresignedUrl, Presigner } from "./presigner.ts";

/** How an object stands. `checksum`: the composite SHA-256 with its "-N", or "" when the object has none. */
export interface StoredObject {
  readonly size: number;
  readonly etag: string;
  readonly checksum: string;
}

/** The bucket for whoever hands out payloads: looks at them, and signs URLs. */
export class Payloads extends Objects {
  protected readonly presigner: Presigner;

  constructor(config: StoreConfig) {
    super(config);
    this.presigner = new Presigner(this.place, this.credentials, () => this.signed.now());
  }

  async head(key: string): Promise<StoredObject | null> {
    const answer = await this.ask({ method: "HEAD", path: pathOf(key), headers: { "x-amz-checksum-mode": "ENABLED" } });
    if (isMissing(answer)) return null;
    if (answer.status !== 200) throw faultIn(answer);
    const { "content-length": size = 0, etag = "", "x-amz-checksum-sha256": checksum = "" } = answer.headers;
    return { size: Number(size), etag, checksum: String(checksum) };
  }

  /** A download URL for exactly this version; `expiresIn` in milliseconds. */
  async presignGet(key: string, etag: string): Promise<PresignedUrl & { expiresIn: number }> {
    const lifetime = await this.presigner.lifetime();
    return { ...(await this.presigner.get(key, etag, lifetime)), expiresIn: lifetime * 1000 };
  }

  /** The origin of every presigned URL; a deployment pins it. */
  async origin(): Promise<string> {
    return this.presigner.origin;
  }
}
