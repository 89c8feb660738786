/** Answers over UDP on their way to the guest. */
import type { Arena } from "../../memory/arena.ts";
import type { Scratch } from "../../memory/scratch.ts";
import type { Counters } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { Path } from "../../transport/path.ts";
import type { UdpOutput } from "../../transport/udp/output.ts";
import { DNS_PORT } from "../../wire/udp.ts";

const LINK_FULL = dropReason("link-full");

export class DnsReplies {
  private readonly path = new Path();

  constructor(
    private readonly arena: Arena,
    private readonly scratch: Scratch,
    private readonly output: UdpOutput,
    private readonly counters: Counters,
  ) {
    this.path.remotePort = DNS_PORT;
  }

  /** Sends `length` octets at `at` in the name of `server`; they may be overwritten once this returns. */
  readonly reply = (
    guestAddress: number,
    guestPort: number,
    server: number,
    at: number,
    length: number,
  ): void => {
    const kept = this.scratch.keep(length);
    if (kept === 0) {
      this.counters.drop(LINK_FULL);
      return;
    }
    this.arena.octets.copyWithin(kept, at, at + length);
    this.path.guestAddress = guestAddress;
    this.path.guestPort = guestPort;
    this.path.remoteAddress = server;
    const result = this.output.send(this.path, kept, length, 0);
    if (result !== HANDLED) this.counters.drop(result);
  };
}
