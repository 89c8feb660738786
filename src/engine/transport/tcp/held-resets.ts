/**
 * Resets that could not leave: the link was gone, down, or full. A guest that only listens would never hear that its
 * connection is over, so they are kept, as many as fit, and sent when the guest is there again: on another link, with a
 * frame of its own, or with room on a link that was full. Who finds no place here hears with the next segment it sends.
 */
import type { Egress } from "../../link/egress.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV4, etherType } from "../../wire/ethernet.ts";
import { destination, IPV4_HEADER_OCTETS, PROTOCOL_TCP, protocol, source } from "../../wire/ipv4.ts";
import { ACK, acknowledgment, destinationPort, flags, RST, sequence, sourcePort } from "../../wire/tcp.ts";
import { type FlowTable, NO_FLOW, packPorts } from "../flow-table.ts";
import type { Ends } from "../path.ts";

/** More connections than most guests have; 24 KiB. */
export const HELD_RESETS_MAX = 1024;
const INTS = 6;

class HeldEnds implements Ends {
  guestAddress = 0;
  guestPort = 0;
  remoteAddress = 0;
  remotePort = 0;
}

export class HeldResets {
  private readonly ring = new Int32Array(HELD_RESETS_MAX * INTS);
  private first = 0;
  private readonly ends = new HeldEnds();
  private count = 0;
  /** Nothing was lost since the guest was last there. */
  private up = true;

  constructor(
    private readonly view: DataView,
    private readonly egress: Egress,
    private readonly flows: FlowTable,
  ) {
    egress.queue.lost = (at) => this.frameLost(at);
  }

  /** Keeps a reset; the oldest gives way when there is no room. */
  hold({ guestAddress, guestPort, remoteAddress, remotePort }: Ends, seq: number, ack: number): void {
    if (this.count === HELD_RESETS_MAX) this.drop();
    const at = ((this.first + this.count) % HELD_RESETS_MAX) * INTS;
    this.ring[at] = guestAddress;
    this.ring[at + 1] = guestPort;
    this.ring[at + 2] = remoteAddress;
    this.ring[at + 3] = remotePort;
    this.ring[at + 4] = seq;
    this.ring[at + 5] = ack;
    this.count++;
  }

  /** The link would not have the frame at `at`, which begins with its Ethernet header. */
  private frameLost(at: number): void {
    this.up = false;
    const { view, ends } = this;
    const ipAt = at + ETHERNET_HEADER_OCTETS;
    const tcpAt = ipAt + IPV4_HEADER_OCTETS;
    if (etherType(view, at) !== ETHERTYPE_IPV4 || protocol(view, ipAt) !== PROTOCOL_TCP) return;
    if ((flags(view, tcpAt) & (RST | ACK)) !== (RST | ACK)) return;
    ends.guestAddress = destination(view, ipAt);
    ends.guestPort = destinationPort(view, tcpAt);
    ends.remoteAddress = source(view, ipAt);
    ends.remotePort = sourcePort(view, tcpAt);
    this.hold(ends, sequence(view, tcpAt), acknowledgment(view, tcpAt));
  }

  /** The guest is there: it sent a frame, or is at the end of a new link. */
  guestHeard(): void {
    this.up = true;
  }

  /** Whether some could leave now. */
  get due(): boolean {
    return this.count > 0 && this.up && !this.egress.blocked;
  }

  /**
   * Hands those that fit to `send`, oldest first. A connection that has begun since between the same ends is none of theirs.
   */
  release(send: (ends: Ends, seq: number, ack: number) => void): void {
    const { ends, ring } = this;
    // Those that are lost again on the way come behind.
    for (let left = this.count; left > 0 && this.egress.hasRoom(); left--) {
      const at = this.first * INTS;
      ends.guestAddress = ring[at];
      ends.guestPort = ring[at + 1];
      ends.remoteAddress = ring[at + 2];
      ends.remotePort = ring[at + 3];
      const ports = packPorts(ends.guestPort, ends.remotePort);
      const sequenceNumber = ring[at + 4];
      const acknowledged = ring[at + 5];
      this.drop();
      const { guestAddress, remoteAddress } = ends;
      if (this.flows.find(PROTOCOL_TCP, guestAddress, remoteAddress, ports) === NO_FLOW) {
        send(ends, sequenceNumber, acknowledged);
      }
    }
  }

  private drop(): void {
    this.first = (this.first + 1) % HELD_RESETS_MAX;
    this.count--;
  }
}
