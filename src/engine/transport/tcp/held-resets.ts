/**
 * Resets that could not leave: the link was gone, down, or full. A guest that only listens would never hear that its
 * connection is over, so they are kept, as many as fit, and sent when the guest is there again: on another link, with a
 * frame of its own, or with room on a link that was full. Who finds no place here hears with the next segment it sends.
 */
import type { Egress } from "../../link/egress.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherType } from "../../wire/ethernet.ts";
import { destination, IPV4_HEADER_OCTETS, PROTOCOL_TCP, protocol, source } from "../../wire/ipv4.ts";
import {
  DESTINATION as IPV6_DESTINATION,
  IPV6_HEADER_OCTETS,
  SOURCE as IPV6_SOURCE,
  nextHeader,
  readAddress,
} from "../../wire/ipv6.ts";
import { ACK, acknowledgment, destinationPort, flags, RST, sequence, sourcePort } from "../../wire/tcp.ts";
import { type FlowTable, NO_FLOW } from "../flow-table.ts";
import { type Ends, PAIR_WORDS, Path } from "../path.ts";

/** More connections than most guests have; 60 KiB. */
export const HELD_RESETS_MAX = 1024;
/** Ends and numbers, and the addresses of IPv6 behind them. */
const PAIR = 7;
const INTS = PAIR + PAIR_WORDS;

export class HeldResets {
  private readonly ring = new Int32Array(HELD_RESETS_MAX * INTS);
  private first = 0;
  private readonly ends = new Path(new Int32Array(PAIR_WORDS));
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
  hold(ends: Ends, seq: number, ack: number): void {
    if (this.count === HELD_RESETS_MAX) this.drop();
    const at = ((this.first + this.count) % HELD_RESETS_MAX) * INTS;
    const { ring } = this;
    ring[at] = ends.guestAddress;
    ring[at + 1] = ends.guestPort;
    ring[at + 2] = ends.remoteAddress;
    ring[at + 3] = ends.remotePort;
    ring[at + 4] = seq;
    ring[at + 5] = ack;
    ring[at + 6] = ends.ipOctets;
    for (let word = 0; word < PAIR_WORDS; word++) ring[at + PAIR + word] = ends.pair[ends.pairAt + word];
    this.count++;
  }

  /** The link would not have the frame at `at`, which begins with its Ethernet header. */
  private frameLost(at: number): void {
    this.up = false;
    const { view, ends } = this;
    const ipAt = at + ETHERNET_HEADER_OCTETS;
    const type = etherType(view, at);
    if (type === ETHERTYPE_IPV4 && protocol(view, ipAt) === PROTOCOL_TCP) {
      ends.ipOctets = IPV4_HEADER_OCTETS;
      ends.guestAddress = destination(view, ipAt);
      ends.remoteAddress = source(view, ipAt);
    } else if (type === ETHERTYPE_IPV6 && nextHeader(view, ipAt) === PROTOCOL_TCP) {
      ends.ipOctets = IPV6_HEADER_OCTETS;
      readAddress(view, ipAt + IPV6_DESTINATION, ends.pair, 0);
      readAddress(view, ipAt + IPV6_SOURCE, ends.pair, 4);
    } else return;
    const tcpAt = ipAt + ends.ipOctets;
    if ((flags(view, tcpAt) & (RST | ACK)) !== (RST | ACK)) return;
    ends.guestPort = destinationPort(view, tcpAt);
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
      ends.ipOctets = ring[at + 6];
      for (let word = 0; word < PAIR_WORDS; word++) ends.pair[word] = ring[at + PAIR + word];
      const sequenceNumber = ring[at + 4];
      const acknowledged = ring[at + 5];
      this.drop();
      if (this.flows.findEnds(PROTOCOL_TCP, ends) === NO_FLOW) send(ends, sequenceNumber, acknowledged);
    }
  }

  private drop(): void {
    this.first = (this.first + 1) % HELD_RESETS_MAX;
    this.count--;
  }
}
