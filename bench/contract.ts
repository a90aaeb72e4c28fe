import { Interface } from "ethers";
import { waybillAbi } from "../lib/protocol/abi.ts";

/** The contract's functions and events. */
export const waybill: Interface = new Interface(waybillAbi);
