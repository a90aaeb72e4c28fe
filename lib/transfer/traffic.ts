import { RetryBudget } from "./budget.ts";
import { type Attempt, Meter, type Running, race, Stragglers } from "./hedge.ts";
import { Pace } from "./pace.ts";
import { MAX_IN_FLIGHT } from "./parts.ts";
import type { StoreFault } from "./retry.ts";
import { pause } from "./retry.ts";
import { Room } from "./room.ts";
