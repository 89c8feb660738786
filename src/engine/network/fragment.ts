/**
 * Cutting a payload into fragments for the link (RFC 791 section 3.2, RFC 8200 section 4.5). An iteration over plain fields, so that
 * sending a fragmented datagram allocates nothing:
 *
 *   for (cutter.start(payloadOctets, headerOctets, mtu); cutter.next(); ) send(cutter.offset, cutter.length, cutter.more)
 *
 * Every fragment but the last is a multiple of 8 octets, because the header counts offsets in units of 8.
 */
import { FRAGMENT_OFFSET_MASK, MORE_FRAGMENTS } from "../wire/ipv4.ts";
import { FRAGMENT6_MORE } from "../wire/ipv6.ts";

export class FragmentCutter {
  /** Where the current fragment starts in the payload, octets. */
  offset = 0;
  /** Octets of the current fragment. */
  length = 0;
  /** Whether another fragment follows. */
  more = false;
  private payload = 0;
  private step = 0;

  /**
   * Starts over with a payload behind a header of `headerOctets`, for packets of at most `mtu` octets. A payload that
   * fits comes out as one piece. `mtu` has room for the header and 8 octets (every legal MTU has).
   */
  start(payloadOctets: number, headerOctets: number, mtu: number): void {
    const room = mtu - headerOctets;
    this.payload = payloadOctets;
    this.step = payloadOctets <= room ? payloadOctets : room & ~7;
    this.offset = 0;
    this.length = 0;
    this.more = payloadOctets > 0;
  }

  /** Moves to the next fragment; false when there is none. */
  next(): boolean {
    if (!this.more) return false;
    this.offset += this.length;
    const left = this.payload - this.offset;
    this.length = Math.min(left, this.step);
    this.more = left > this.length;
    return true;
  }

  /** The IPv4 header's flags and fragment offset of the current fragment, ready to be written. */
  get bits(): number {
    return (this.more ? MORE_FRAGMENTS : 0) | ((this.offset >>> 3) & FRAGMENT_OFFSET_MASK);
  }

  /** The same of IPv6: offset in octets, and M. */
  get bits6(): number {
    return this.offset | (this.more ? FRAGMENT6_MORE : 0);
  }
}
