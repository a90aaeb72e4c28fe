// The whole public face of Waybill for the participants of a task. Every name is listed here once.

export type { Member } from "./chain/ledger.ts";
export {
  type BatchReceiveOptions,
  type BatchSendOptions,
  type ReceiveOptions,
  type RecipientEvent,
  type SendOptions,
  SharedFileDataChannel,
} from "./channel.ts";
export {
  type ContractorOptions,
  type NoticeStatus,
  type OpenOptions,
  type PostOptions,
  TaskContractor,
} from "./contractor.ts";
export type { SourceFailure } from "./gather.ts";
export type { ComplementaryHandler } from "./handler.ts";
export {
  type BodyOf,
  isMessage,
  type MessageKinds,
  type RosterNews,
  type RoundBody,
  type TaskMessage,
  type TaskNews,
} from "./messages.ts";
export type { Failure, NoticeEvent, ReceiptEvent } from "./order.ts";
export type { Deployment } from "./protocol/deployment.ts";
export { type ErrorCode, type ErrorOptions, WaybillError } from "./protocol/errors.ts";
export type { Address, Hex } from "./protocol/hex.ts";
export type { Manifest } from "./protocol/manifest.ts";
export type { Outcome } from "./protocol/reasons.ts";
export type { Progress } from "./transfer/parts.ts";
export type { Payload } from "./transfer/source.ts";
export type { Destination } from "./transfer/target.ts";
export type { Moved } from "./transfer/ticker.ts";
export type { RecipientProgress } from "./watch.ts";
