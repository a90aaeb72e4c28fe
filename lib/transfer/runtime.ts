/** Whether Node's own modules are there. */
export const isNode: boolean = typeof globalThis.process?.getBuiltinModule === "function";
