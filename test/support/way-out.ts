/** The way out to a link that keeps what it is given: for tests of one layer. */
import type { FrameLink } from "../../src/engine/boundary.ts";
import { Egress } from "../../src/engine/link/egress.ts";
import { Neighbours } from "../../src/engine/link/neighbours.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { Scratch } from "../../src/engine/memory/scratch.ts";
import type { TransmitQueue } from "../../src/engine/memory/transmit-queue.ts";
import { Counters } from "../../src/engine/metrics/counters.ts";
import { JavaScriptChecksum } from "../../src/engine/wire/checksum.ts";

export const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2);
const arena = new Arena();

class KeepingLink implements FrameLink {
  readonly name = "kept";
  readonly mtu = 1500;
  readonly tcpOffload = false;
  readonly udpOffload = false;
  readonly queueFrames = 0;
  readonly frames: Uint8Array[] = [];
  /** Takes nothing while it is full. */
  full = false;

  receive(): number {
    return 0;
  }

  transmit(queue: TransmitQueue): number {
    if (this.full) return 0;
    const count = queue.length;
    for (let n = 0; n < count; n++) {
      const i = (queue.first + n) & (queue.capacity - 1);
      const [header, payload] = [queue.headerAt[i], queue.payloadAt[i]];
      this.frames.push(
        Uint8Array.of(
          ...arena.octets.slice(header, header + queue.headerLength[i]),
          ...arena.octets.slice(payload, payload + queue.payloadLength[i]),
        ),
      );
    }
    queue.taken(count);
    return count;
  }

  close(): void {}
}

export function wayOut() {
  const counters = new Counters();
  const egress = new Egress(arena, new Neighbours(), GATEWAY_MAC, counters);
  const link = new KeepingLink();
  egress.attach(link);
  const scratch = new Scratch(arena.scratchAt, egress.queue);
  const checksum = new JavaScriptChecksum(arena.view);
  /** Frames sent since the last call. */
  const sent = (): Uint8Array[] => {
    egress.flush();
    return link.frames.splice(0);
  };
  return { arena, counters, egress, link, scratch, checksum, sent };
}
