import type { Item, Notice } from "../../lib/protocol/statements.ts";
import type { Evm } from "../../local/contract.ts";
import { GasChain, TRANSACTION_GAS } from "./chain.ts";
import { addressOf, newWallet, Party, random } from "./party.ts";

/** One figure: gas per statement of a transaction, its 21,000 and its calldata included. */
export interface Row {
  readonly name: string;
  readonly artifact: Evm;
  readonly gas: number;
  /** What the design allows; null where it says nothing. */
  readonly budget: number | null;
  readonly statements: number;
  readonly transaction: number;
}

interface Scene {
  readonly name: string;
  readonly budget?: number;
  /** What to relay, when everything that it needs is on the chain. */
  readonly items: (chain: GasChain) => Promise<Item[]>;
  /** 1 unless said otherwise. */
  readonly statements?: number;
  readonly skipped?: number;
}

const TEN = Array.from({ length: 10 }, (_, index) => index + 1);
const FIFTY = Array.from({ length: 50 }, (_, index) => index + 1);

const scenes: readonly Scene[] = [
  ...[10, 104, 256].map((members) => ({
    name: `open of ${members} members`,
    budget: TRANSACTION_GAS,
    items: async (chain: GasChain) => [await Party.draft(chain, members).open()],
  })),
  {
    name: "admit of 10",
    items: async (chain) => [
      await (await Party.opened(chain, 1)).change(
        "admit",
        TEN.map(() => random(20)),
      ),
    ],
  },
  {
    name: "expel of 10",
    items: async (chain) => {
      const party = await Party.opened(chain, 11);
      return [await party.change("expel", party.members.slice(1).map(addressOf))];
    },
  },
  { name: "notice to 10, alone", budget: 66_000, items: async (chain) => notices(await Party.opened(chain, 11), 1) },
  {
    name: "notice to 10, in ten",
    budget: 42_000,
    statements: 10,
    items: async (chain) => notices(await Party.opened(chain, 11), 10),
  },
  {
    name: "receipt, 50 = 5 notices x 10",
    budget: 9_000,
    statements: 50,
    items: async (chain) => {
      const party = await Party.opened(chain, 11);
      const found = await noticed(
        party,
        chain,
        TEN.slice(0, 5).map(() => TEN),
      );
      return Promise.all(found.map((notice) => party.receipts(notice, party.members.slice(1))));
    },
  },
  {
    name: "receipt, 50 notices, one author",
    budget: 18_000,
    statements: 50,
    items: async (chain) => {
      const party = await Party.opened(chain, 2);
      const found = await noticed(
        party,
        chain,
        FIFTY.map(() => [1]),
      );
      return Promise.all(found.map((notice) => party.receipts(notice, party.members.slice(1))));
    },
  },
  {
    name: "receipt, 50 notices, 50 authors",
    budget: 18_000,
    statements: 50,
    items: async (chain) => {
      const party = await Party.opened(chain, 51);
      const found = await noticed(
        party,
        chain,
        FIFTY.map((index) => [index]),
      );
      return Promise.all(found.map((notice, i) => party.receipts(notice, [party.members[i + 1]!])));
    },
  },
  {
    name: "receipt alone",
    items: async (chain) => {
      const party = await Party.opened(chain, 2);
      return [await party.receipts((await noticed(party, chain, [[1]]))[0]!, party.members.slice(1))];
    },
  },
  {
    name: "receipt of a wallet, alone",
    items: async (chain) => {
      const wallet = await newWallet(chain);
      const party = await Party.opened(chain, 1, [wallet]);
      return [party.walletReceipt((await noticed(party, chain, [[1]]))[0]!, wallet)];
    },
  },
  { name: "message of 100 bytes to all", items: async (chain) => [await (await Party.opened(chain, 2)).message(100)] },
  {
    name: "withdrawal",
    items: async (chain) => {
      const party = await Party.opened(chain, 11);
      return [await party.noticeItem((await noticed(party, chain, [TEN]))[0]!, "withdraw")];
    },
  },
  {
    name: "skip of a repeated notice, in ten",
    statements: 10,
    skipped: 10,
    items: async (chain) => {
      const party = await Party.opened(chain, 11);
      const found = await noticed(
        party,
        chain,
        TEN.map(() => TEN),
      );
      return Promise.all(found.map((notice) => party.noticeItem(notice)));
    },
  },
  {
    name: "skip of a repeated receipt, in ten",
    statements: 10,
    skipped: 10,
    items: async (chain) => {
      const party = await Party.opened(chain, 11);
      const [notice] = await noticed(party, chain, [TEN]);
      const items = party.members.slice(1).map((author) => party.receipts(notice!, [author]));
      await chain.relay(await Promise.all(items));
      return Promise.all(items);
    },
  },
];

/** Every figure of one artifact. Each task has a history, so that nothing is paid that only its first event pays. */
export async function measure(artifact: Evm): Promise<Row[]> {
  const chain = await GasChain.start(artifact);
  try {
    const rows: Row[] = [];
    for (const { name, budget = null, items, statements = 1, skipped = 0 } of scenes) {
      const transaction = await chain.relay(await items(chain), skipped);
      rows.push({ name, artifact, gas: Math.round(transaction / statements), budget, statements, transaction });
    }
    return rows;
  } finally {
    await chain.stop();
  }
}

async function notices(party: Party, count: number): Promise<Item[]> {
  const items = TEN.slice(0, count).map(async () => party.noticeItem(await party.notice(TEN)));
  return Promise.all(items);
}

/** Notices to these recipients each, on the chain. */
async function noticed(party: Party, chain: GasChain, recipients: readonly number[][]): Promise<Notice[]> {
  const found = await Promise.all(recipients.map((indices) => party.notice(indices)));
  await chain.relay(await Promise.all(found.map((notice) => party.noticeItem(notice))));
  return found;
}
