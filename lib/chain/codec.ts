import { AbiCoder, ParamType, Result } from "ethers/abi";
import { id } from "ethers/hash";
import { concat, dataLength } from "ethers/utils";
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
  /** The first one is indexed, the others are in the data. */
  readonly fields: readonly ParamType[];
}

/** A function or event as ethers formats it. */
const LINE = /^(function|event) (\w+)\((.*?)\)(?: view)?(?: returns \((.*)\))?$/;
const coder: AbiCoder = AbiCoder.defaultAbiCoder();
// Lines are read when they are first asked for: a request needs three functions, and reading all is a tenth of a cold start.
const calls = new Map<string, Call>();
let events: ReadonlyMap<string, Event> | undefined;

function callOf(name: string): Call {
  const known = calls.get(name) ?? readCall(name);
  calls.set(name, known);
  return known;
}

function readCall(name: string): Call {
  const [line] = linesOf("function", name);
  if (!line) throw new Error(`the contract has no function ${name}`);
  return { selector: line.hash.slice(0, 10) as Hex, inputs: line.inputs, outputs: paramsOf(line.returned) };
}

function eventOf(topic: unknown): Event | undefined {
  events ??= new Map(linesOf("event").map(({ name, hash, inputs }) => [hash, { name, fields: inputs }]));
  return events.get(String(topic).toLowerCase());
}

function linesOf(wanted: "function" | "event", only?: string) {
  return waybillAbi.flatMap((line) => {
    const [, type, name = "", inside = "", returned = ""] = LINE.exec(line) ?? [];
    if (type !== wanted || (only !== undefined && name !== only)) return [];
    const inputs = paramsOf(inside.replaceAll(" indexed ", " "));
    const hash = id(`${name}(${inputs.map((param) => param.format("sighash"))})`) as Hex;
    return [{ name, inputs, returned, hash }];
  });
}

function paramsOf(text: string): readonly ParamType[] {
  return text === "" ? [] : ParamType.from(`(${text})`).components!;
}

/** A call of the contract's function. */
export function encodeCall(name: string, values: readonly unknown[]): Hex {
  const { selector, inputs } = callOf(name);
  return concat([selector, coder.encode(inputs, values)]) as Hex;
}

/** What the function answered, by position and name. Throws if it can't have answered that. */
export function decodeAnswer(name: string, data: string): Result {
  if (dataLength(data) % 32 !== 0) throw new Error("no answer has this length");
  return coder.decode(callOf(name).outputs, data);
}

/** The name of the contract's event with this first topic; null if it has none such. */
export function eventName(topic: unknown): string | null {
  return eventOf(topic)?.name ?? null;
}

/** An event's arguments by position and name. Throws if they are malformed. */
export function decodeEvent(topics: readonly string[], data: string): Result {
  const { fields } = eventOf(topics[0])!;
  const [indexed, ...others] = fields as [ParamType, ...ParamType[]];
  const values = [...coder.decode([indexed], topics[1] ?? "0x"), ...coder.decode(others, data)];
  return Result.fromItems(
    values,
    fields.map(({ name }) => name),
  );
}
