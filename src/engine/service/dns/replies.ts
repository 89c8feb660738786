/** Answers over UDP on their way to the guest. */
import type { Arena } from "../../memory/arena.ts";
import type { Scratch } from "../../memory/scratch.ts";
import type { Counters } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import type { Path } from "../../transport/path.ts";
import type { UdpOutput } from "../../transport/udp/output.ts";

const LINK_FULL = dropReason("link-full");

export class DnsReplies {
  constructor(
    private readonly arena: Arena,
    private readonly scratch: Scratch,
    private readonly output: UdpOutput,
    private readonly counters: Counters,
  ) {}

  /** Sends `length` octets at `at` from the remote of `ends`; they may be overwritten once this returns. */
  readonly reply = (ends: Path, at: number, length: number): void => {
    const kept = this.scratch.keep(length);
    if (kept === 0) {
      this.counters.drop(LINK_FULL);
      return;
    }
    this.arena.octets.copyWithin(kept, at, at + length);
    const result = this.output.send(ends, kept, length, 0);
    if (result !== HANDLED) this.counters.drop(result);
  };
}
