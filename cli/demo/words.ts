// What the demo and its members' processes say to each other over the IPC channel.

/** From any member: it got this far with a transfer, or it failed. */
export type CommonWord =
  | { is: "progress"; bytes: number; total: number }
  | { is: "failed"; code: string; message: string };
