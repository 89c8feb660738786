/**
 * Denials of one target told together: the first at once, those of the next ten seconds as one line with their number. A
 * client that tries again and again would fill the log with one sentence.
 */
import { LRUCache } from "lru-cache";
import { type DropReasonName, isDenying } from "../../engine/metrics/drop-reasons.ts";
import type { Dropped, Endpoint } from "../records.ts";

/** What is no denial but says no to a flow all the same: no room. */
const NO_ROOM: readonly DropReasonName[] = ["flow-table-full", "udp-mappings-full"];

/** A drop that was a denial of a flow. */
export type DeniedFlow = Dropped & {
  readonly protocol: "tcp" | "udp";
  readonly guest: Endpoint;
  readonly remote: Endpoint;
};

export function isDeniedFlow(record: Dropped): record is DeniedFlow {
  const { reason, from, protocol, guest, remote } = record;
  return (
    from === "guest" &&
    (isDenying(reason) || NO_ROOM.includes(reason)) &&
    protocol !== null &&
    guest !== null &&
    remote !== null
  );
}

const TOGETHER_MS = 10_000;
const TARGETS_MAX = 1024;

interface Pending {
  last: DeniedFlow;
  untold: number;
  readonly timer: NodeJS.Timeout;
}

export class Denials {
  readonly #pending: LRUCache<string, Pending>;

  /** `tell` gets the last of `times` denials that no line has told of yet. */
  constructor(private readonly tell: (record: DeniedFlow, times: number) => void) {
    this.#pending = new LRUCache({
      max: TARGETS_MAX,
      // What gives way to other targets is told now.
      dispose: (pending) => this.#end(pending),
    });
  }

  add(record: DeniedFlow): void {
    const { reason, protocol, guest, remote, times } = record;
    const key = `${reason} ${protocol} ${guest.address} ${remote.address} ${remote.port}`;
    const pending = this.#pending.get(key);
    if (pending !== undefined) {
      pending.last = record;
      pending.untold += times;
      return;
    }
    this.tell(record, times);
    const timer = setInterval(() => this.#due(key), TOGETHER_MS);
    timer.unref();
    this.#pending.set(key, { last: record, untold: 0, timer });
  }

  #due(key: string): void {
    const pending = this.#pending.peek(key);
    if (pending === undefined) return;
    if (pending.untold === 0) this.#pending.delete(key);
    else this.#told(pending);
  }

  #told(pending: Pending): void {
    this.tell(pending.last, pending.untold);
    pending.untold = 0;
  }

  #end(pending: Pending): void {
    clearInterval(pending.timer);
    if (pending.untold > 0) this.#told(pending);
  }

  /** Tells what is left. */
  close(): void {
    this.#pending.clear();
  }
}
