/** The servers that the suite has met. `other`: one of which nothing is known, so everything must be as on S3. */
export type ServerName = "waybill" | "versitygw" | "minio" | "seaweedfs" | "other";

/** One way in which a server is not S3. */
export interface Difference {
  /** What it answers, exactly. */
  readonly answer: unknown;
  /** Why Waybill works all the same, or that it doesn't. */
  readonly why: string;
}

export const differences: Record<ServerName, Readonly<Record<string, Difference>>> = {
  waybill: {},
  versitygw: {
    "an object and a folder of one name": {
      answer: ["ObjectParentIsFile", 409],
      why: "No key of ours is the folder of another.",
    },
    "256 bytes between slashes": {
      answer: ["KeyTooLongError", 400],
      why: "Keys are file names there. No piece of a key of ours is longer than 255 bytes.",
    },
    "Complete out of order": {
      answer: ["EntityTooSmall", 400],
      why: "It looks at sizes first. Both mean that the parts are listed again.",
    },
    "Complete of an aborted upload": {
      answer: "completed",
      why: "It says 200 to any Complete of an upload that is gone if an object is there, and while another Complete is at it. The functions believe a Complete only if it answers the composite checksum, and look at the object otherwise.",
    },
    "the functions' Complete of an aborted upload": {
      answer: "unknown",
      why: "What is there the object itself tells, as after a Complete that isn't answered in time.",
    },
    "open uploads behind an upload": {
      answer: ["InvalidArgument", 400],
      why: "It refuses the marker that it answered itself. The sweeper then goes on behind the key; other uploads of that same key wait for its next run.",
    },
    "an unknown access key": {
      answer: ["XAdminUserNotFound", 404],
      why: "An operator's mistake. Whatever is written or listed fails with that code in the log; single reads look as if nothing was there.",
    },
    "refusals that a page may read": {
      answer: false,
      why: "A page takes such a refusal for a broken connection and tries again, with a new URL as soon as its own is old.",
    },
    "100 Continue to who is refused": {
      answer: [403, true],
      why: "The bytes of a refused part travel in vain, and if it hangs up in their midst, the refusal is lost with them: the part is tried again until it is heard, six times at most.",
    },
  },
  minio: {
    "uploads counted under a folder": {
      answer: 0,
      why: "It lists open uploads by whole keys only. So the cap on a member's open uploads does not bite.",
    },
    "uploads met under a folder": {
      answer: [],
      why: "The sweeper finds no upload to abort. MinIO itself drops uploads that are a day old (`api stale_uploads_expiry`).",
    },
    "a stray upload is swept": {
      answer: false,
      why: "As above.",
    },
    "open uploads under a folder": {
      answer: [],
      why: "As above: by whole keys only.",
    },
    "open uploads behind an upload": {
      answer: [],
      why: "As above.",
    },
    "256 bytes between slashes": {
      answer: ["XMinioInvalidObjectName", 400],
      why: "Keys are file names there. No piece of a key of ours is longer than 255 bytes.",
    },
    "a part without its checksum": {
      answer: ["InvalidArgument", 400],
      why: "Refused all the same.",
    },
    "other bytes": {
      answer: ["XAmzContentChecksumMismatch", 400],
      why: "The client knows both words, and sends the part again.",
    },
    "Complete without a checksum": {
      answer: ["InvalidPart", 400],
      why: "The functions always send them.",
    },
    "parts in a page": {
      answer: 1_005,
      why: "Pages are of 10,000 there; the functions read what a page holds.",
    },
    "the functions' Complete of an aborted upload": {
      answer: "exists",
      why: "It looks at the object first, which tells as much.",
    },
    "a signed header left out": {
      answer: [400, "AccessDenied"],
      why: "Refused all the same.",
    },
    "a header that wasn't signed": {
      answer: [400, "AccessDenied"],
      why: "Refused all the same.",
    },
    "a part in chunks": {
      answer: [411, "MissingContentLength"],
      why: "Refused all the same.",
    },
  },
  seaweedfs: {},
  other: {},
};

/** By the Server header of its answers. */
export function serverOf(header: string): ServerName {
  if (/^versitygw/i.test(header)) return "versitygw";
  if (/^minio/i.test(header)) return "minio";
  if (/^seaweedfs/i.test(header)) return "seaweedfs";
  return "other";
}
