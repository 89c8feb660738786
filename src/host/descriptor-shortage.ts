/** Whether a process may have the descriptors that its bounds promise. */
import { socketsOf } from "../config/forward-rule.ts";
import type { Logger } from "../engine/boundary.ts";
import type { EngineConfig } from "../engine/config.ts";
import { FLOWS_MAX } from "../engine/limits.ts";

/** Descriptors beside those of flows and forwards: Node's and the link's. */
const OTHER_DESCRIPTORS = 32;

/** With fewer than this a guest may come to feel it. */
const FEW_DESCRIPTORS = 16_384;

/**
 * Says when the process may have fewer descriptors than its bounds promise: as a warning where they are few, or where the
 * bound is one that somebody asked for.
 */
export function tellShortage(limit: number, config: EngineConfig, log: Logger): void {
  const others = OTHER_DESCRIPTORS + socketsOf(config.forwards);
  if (limit >= config.maxFlows + others) return;
  const flows = Math.max(0, limit - others);
  const message =
    `RLIMIT_NOFILE allows ${limit} descriptors, room for about ${flows} flows of the ${config.maxFlows} of --max-flows; ` +
    "raise its hard limit (ulimit -Hn, LimitNOFILE=), or ask for fewer";
  if (limit < FEW_DESCRIPTORS || config.maxFlows !== FLOWS_MAX) log.warn(message);
  else log.info(message);
}
