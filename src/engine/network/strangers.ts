/**
 * Packets from an address that is not the guest's are dropped. A guest that was set up by hand with another address than
 * the engine was told would meet silence, so the first such address is told of, with the option that would admit it: once,
 * because the guest can send from whatever it likes.
 */
import { formatIpv4 } from "../wire/address-text.ts";
import type { GuestSubnet } from "./sources.ts";

export class Strangers {
  /** Whether one of either kind has been told of. */
  private toldInside = false;
  private toldOutside = false;

  constructor(
    private readonly warn: ((message: string) => void) | undefined,
    private readonly subnet: GuestSubnet,
    private readonly guestAddress: number,
  ) {}

  /** A packet from this address was dropped. */
  note(address: number): void {
    if (this.warn === undefined) return;
    if (this.subnet.contains(address)) {
      if (!this.toldInside && this.subnet.mayHold(address)) this.tellInside(address);
    } else if (!this.toldOutside && isOrdinary(address)) {
      this.tellOutside(address);
    }
  }

  private tellInside(address: number): void {
    this.toldInside = true;
    const [from, guest] = [formatIpv4(address), formatIpv4(this.guestAddress)];
    this.warn?.(
      `packets from ${from} are dropped: the guest's address is ${guest}, and ${from} is not leased to it; ` +
        `--guest-addr ${from} would admit it, and --guest-addr any all of the subnet's`,
    );
  }

  private tellOutside(address: number): void {
    this.toldOutside = true;
    const { network, prefixLength } = this.subnet;
    this.warn?.(
      `packets from ${formatIpv4(address)} are dropped: it is outside of the guest's subnet ` +
        `${formatIpv4(network)}/${prefixLength}, which --net would change`,
    );
  }
}

/** A unicast address that somebody may have chosen: not what a host without one uses (0/8, 169.254/16). */
function isOrdinary(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224 && address >>> 16 !== 0xa9fe;
}
