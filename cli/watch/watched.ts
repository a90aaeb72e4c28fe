import { Api } from "../../lib/api.ts";
import { Follower } from "../../lib/chain/follower.ts";
import { Ledger, type LedgerOptions, type News } from "../../lib/chain/ledger.ts";
import { ChainReader } from "../../lib/chain/reader.ts";
import { outbound } from "../../lib/outbound.ts";
import type { Hex } from "../../lib/protocol/hex.ts";
import type { TaskEvent } from "../../lib/protocol/wire.ts";
import { apiSource, nodeSource } from "../../lib/sources.ts";
import type { Participant } from "../participant.ts";

/** An event that was checked and applied, or the news that a reorg undid those after `fork`. */
export type Told =
  | { readonly event: TaskEvent; readonly news: News | null; readonly fork?: undefined }
  | { readonly fork: number; readonly event?: undefined };

/** A ledger that keeps each event until it is taken. */
class WatchedLedger extends Ledger {
  readonly #options: LedgerOptions;
  #fresh: Told[] = [];

  constructor(options: LedgerOptions) {
    super(options);
    this.#options = options;
  }

  override draft(): WatchedLedger {
    return new WatchedLedger(this.#options);
  }

  override adopt(other: Ledger): number {
    const fork = super.adopt(other);
    this.#fresh.push({ fork });
    if (other instanceof WatchedLedger)
      this.#fresh.push(...other.take().filter(({ event }) => event !== undefined && event.seq > fork));
    return fork;
  }

  override apply(event: TaskEvent): News | null {
    const news = super.apply(event);
    this.#fresh.push({ event, news });
    return news;
  }

  /** What has come since the last call. */
  take(): Told[] {
    return this.#fresh.splice(0);
  }
}

/** A task that is only looked at. */
export interface Watched {
  readonly api: Api;
  readonly ledger: WatchedLedger;
  readonly follower: Follower;
  close(): void;
}

/** Follows a task over the participant's nodes, or over the API. Every event is checked as any client checks it. */
export async function watch({ deployment, signer, account }: Participant, task: Hex): Promise<Watched> {
  const way = await outbound();
  const api = new Api({ deployment, signer, account, fetch: way.fetch });
  const { rpc } = deployment;
  const ledger = new WatchedLedger({ domain: deployment, task, trusted: rpc !== undefined });
  const source =
    rpc === undefined
      ? apiSource(api, task)
      : nodeSource(new ChainReader({ ...deployment, rpc, fetch: way.fetch }), deployment, task);
  const follower = new Follower({ ...deployment, ledger, source });
  const close = (): void => {
    follower.close();
    way.close();
  };
  return { api, ledger, follower, close };
}
