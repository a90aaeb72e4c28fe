import { alarmPromises } from "./alarms.ts";
import { apiPromises } from "./api.ts";
import { appPromises } from "./app.ts";
import { bucketPromises } from "./bucket.ts";
import { functionPromises } from "./functions.ts";
import type { Promised } from "./promise.ts";
import { queuePromises } from "./queue.ts";

/** Everything that a deployment promises, by what it is about: no part looks at another's resources. */
export const parts: readonly (readonly Promised[])[] = [
  appPromises,
  bucketPromises,
  apiPromises,
  functionPromises,
  queuePromises,
  alarmPromises,
];

export const promises: readonly Promised[] = parts.flat();
