/**
 * Whether the host has a way out, by family: a route to the Internet, which is 2000::/3 of IPv6 (RFC 4291 section 2.4). The
 * kernel tells of changes (rtnetlink(7), which needs no privilege), and some time after the last of them a UDP socket that
 * connects to an address there says how things stand. Connecting a UDP socket sends nothing.
 */
import { ADDRESS_PORT, ADDRESS_WORDS, READABLE, V4_MAPPED } from "../engine/boundary.ts";
import { SO_BINDTOIFINDEX, SOL_SOCKET } from "./native/linux.ts";
import { native } from "./native/native.ts";

/** Routes and addresses change in groups; wait for the last, but not for ever. */
const SETTLE_MS = 100;
/** Nobody's: 192.88.99.0, of a service that is no more (RFC 7526), and 2000::1. */
const OUTSIDE = { 4: [0, 0, V4_MAPPED, 0xc0586300], 6: [0x20000000, 0, 0, 1] } as const;
const DISCARD_PORT = 9;

/** What the uplink needs of the event loop. */
export interface Watcher {
  watch(fd: number, events: number, handler: () => void): number;
  unwatch(fd: number, token: number): void;
}

/** The interface that outbound sockets are bound to, or 0, and whether it has an IPv4 address. */
export interface OutboundDevice {
  readonly index: number;
  readonly hasIpv4: boolean;
}

/** Whether there is a way out over IPv4, and over IPv6. */
export interface WaysOut {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

export class Uplink {
  private found: WaysOut;
  private readonly fd: number;
  private readonly token: number;
  private settling: NodeJS.Timeout | null = null;

  /**
   * Calls `changed` after each change. Where the kernel tells of no changes (a filter, no netlink) the answer of the start
   * stays.
   */
  constructor(
    private readonly watcher: Watcher,
    private readonly device: OutboundDevice,
    private readonly changed: (ways: WaysOut) => void,
  ) {
    this.fd = native.routeSocket();
    this.token = this.fd < 0 ? -1 : watcher.watch(this.fd, READABLE, this.drain);
    this.found = waysOut(device);
  }

  /** How things stood when last looked at. */
  get ways(): WaysOut {
    return this.found;
  }

  close(): void {
    if (this.settling !== null) clearTimeout(this.settling);
    this.settling = null;
    if (this.fd < 0) return;
    this.watcher.unwatch(this.fd, this.token);
    native.close(this.fd);
  }

  private readonly drain = (): void => {
    while (native.routeChanges(this.fd) > 0);
    if (this.settling !== null) return;
    this.settling = setTimeout(this.look, SETTLE_MS);
    this.settling.unref();
  };

  private readonly look = (): void => {
    this.settling = null;
    const ways = waysOut(this.device);
    if (ways.ipv4 === this.found.ipv4 && ways.ipv6 === this.found.ipv6) return;
    this.found = ways;
    this.changed(ways);
  };
}

/**
 * How things stand now. IPv4 of a socket bound to a device is on its link where no route says otherwise, so that all of it
 * would be within reach there: what counts is whether the device has an address.
 */
export function waysOut({ index, hasIpv4 }: OutboundDevice): WaysOut {
  return { ipv4: index === 0 ? hasUplink(4, 0) : hasIpv4, ipv6: hasUplink(6, index) };
}

/** Whether the kernel finds a route and a source address for a datagram to the Internet. */
function hasUplink(family: 4 | 6, deviceIndex: number): boolean {
  const fd = native.udpSocket(family);
  if (fd < 0) return false;
  const words = new Int32Array(ADDRESS_WORDS);
  words.set(OUTSIDE[family]);
  words[ADDRESS_PORT] = DISCARD_PORT;
  const bound = deviceIndex === 0 || native.setOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, deviceIndex) === 0;
  const up = bound && native.connect(fd, words) === 0;
  native.close(fd);
  return up;
}
