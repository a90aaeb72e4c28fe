import { AbiCoder, concat, dataLength, id, ParamType, Result } from "ethers";
import { waybillAbi } from "../protocol/abi.ts";
import type { Hex } from "../protocol/hex.ts";

// ethers' coder without its Interface, which would be a tenth of a function's bundle.

interface Call {
  readonly selector: Hex;
  readonly inputs: readonly ParamType[];
  readonly outputs: readonly ParamType[];
}

interface Event {
  readonly name: string;
  readonly topic: Hex;
  /** The first one is indexed, the others are in the data. */
  readonly fields: readonly ParamType[];
}

/** A function or event as ethers formats it. */
const LINE = /^(function|event) (\w+)\((.*?)\)(?: view)?(?: returns \((.*)\))?$/;
const coder: AbiCoder = AbiCoder.defaultAbiCoder();
const calls = new Map<string, Call>();
const events = new Map<string, Event>();

for (const line of waybillAbi) {
  const [, type, name = "", inside = "", returned = ""] = LINE.exec(line) ?? [];
  const inputs = paramsOf(inside.replaceAll(" indexed ", " "));
  const hash = id(`${name}(${inputs.map((param) => param.format("sighash"))})`) as Hex;
  if (type === "function") calls.set(name, { selector: hash.slice(0, 10) as Hex, inputs, outputs: paramsOf(returned) });
  if (type === "event") events.set(hash, { name, topic: hash, fields: inputs });
}

function paramsOf(text: string): readonly ParamType[] {
  return text === "" ? [] : ParamType.from(`(${text})`).components!;
}

/** A call of the contract's function. */
export function encodeCall(name: string, values: readonly unknown[]): Hex {
  const { selector, inputs } = calls.get(name)!;
  return concat([selector, coder.encode(inputs, values)]) as Hex;
}

/** What the function answered, by position and name. Throws if it can't have answered that. */
export function decodeAnswer(name: string, data: string): Result {
  if (dataLength(data) % 32 !== 0) throw new Error("no answer has this length");
  return coder.decode(calls.get(name)!.outputs, data);
}

/** The name of the contract's event with this first topic; null if it has none such. */
export function eventName(topic: unknown): string | null {
  return events.get(String(topic).toLowerCase())?.name ?? null;
}

/** An event's arguments by position and name. Throws if they are malformed. */
export function decodeEvent(topics: readonly string[], data: string): Result {
  const { fields } = events.get(String(topics[0]).toLowerCase())!;
  const [indexed, ...others] = fields as [ParamType, ...ParamType[]];
  const values = [...coder.decode([indexed], topics[1] ?? "0x"), ...coder.decode(others, data)];
  return Result.fromItems(
    values,
    fields.map(({ name }) => name),
  );
}
