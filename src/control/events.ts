/** Records as events: times as text, samples in hexadecimal. */
import type { EngineRecord } from "./records.ts";
import type { ControlEvent } from "./schema.ts";

const instant = (ms: number): string => new Date(ms).toISOString();

export function eventOf(record: EngineRecord): ControlEvent {
  const { atMs, ...rest } = record;
  const at = instant(atMs);
  switch (rest.type) {
    case "flow-ended": {
      const { startMs, ...ended } = rest;
      return { ...ended, at, start: instant(startMs) };
    }
    case "drop":
      return { ...rest, at, sample: Buffer.from(rest.sample).toString("hex") };
    case "dns":
      return { ...rest, at, addresses: [...rest.addresses] };
    case "policy":
      return { ...rest, at, added: [...rest.added], removed: [...rest.removed] };
    default:
      return { ...rest, at };
  }
}
