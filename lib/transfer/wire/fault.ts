/**
 * Why a request got no answer that can be read. `code` says which way: BAD_HTTP (what came is no HTTP, or more than it
 * announced), CUT_SHORT, STALLED, PROXY_REFUSED, or the system's own, such as ECONNRESET. Never a URL in it.
 */
export class WireFault extends Error {
  readonly code: "BAD_HTTP" | "CUT_SHORT" | "STALLED" | "PROXY_REFUSED";

  constructor(code: WireFault["code"], message: string) {
    super(message);
    this.name = "WireFault";
    this.code = code;
  }
}

/** What came is not to be read as HTTP. */
export function garbage(what: string): WireFault {
  return new WireFault("BAD_HTTP", `The answer is no proper HTTP: ${what}.`);
}

export function stalled(ms: number): WireFault {
  return new WireFault("STALLED", `No byte moved for ${ms} ms.`);
}
