// What Node's TLS says of certificates, by its codes.

const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);
const OTHERS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "is over its time: tell its operator, or set this machine's clock",
  CERT_NOT_YET_VALID: "is before its time: set this machine's clock",
  ERR_TLS_CERT_ALTNAME_INVALID: "is for another name: check the address",
};

/** What is wrong with a certificate and what to do about it, as the rest of a sentence about it; null for any other error. */
export function certificateFault(error: unknown): string | null {
  const code = codeOf(error) ?? codeOf((error as { cause?: unknown } | null)?.cause);
  if (code === null) return null;
  if (UNKNOWN_AUTHORITY.has(code))
    return `is of an authority that is unknown here (${code}): if it is your own network's, name the file of its certificate in NODE_EXTRA_CA_CERTS and start again`;
  const words = Object.hasOwn(OTHERS, code) ? OTHERS[code] : undefined;
  return words === undefined ? null : `${words} (${code})`;
}

function codeOf(error: unknown): string | null {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : null;
}
