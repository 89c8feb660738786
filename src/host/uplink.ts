/**
 * Whether the host has a way out over IPv6: a route to 2000::/3, where the Internet is (RFC 4291 section 2.4). The kernel
 * tells of changes (rtnetlink(7), which needs no privilege), and some time after the last of them a UDP socket that
 * connects to an address there says how things stand. Connecting a UDP socket sends nothing.
 */
import { ADDRESS_PORT, ADDRESS_WORDS, READABLE } from "../engine/boundary.ts";
import { SO_BINDTOIFINDEX, SOL_SOCKET } from "./native/linux.ts";
import { native } from "./native/native.ts";

/** Routes and addresses change in groups; wait for the last, but not for ever. */
const SETTLE_MS = 100;
/** 2000::1, which is nobody's. */
const OUTSIDE = [0x20000000, 0, 0, 1] as const;
const DISCARD_PORT = 9;

/** What the uplink needs of the event loop. */
export interface Watcher {
  watch(fd: number, events: number, handler: () => void): number;
  unwatch(fd: number, token: number): void;
}

export class Uplink {
  private up: boolean;
  private readonly fd: number;
  private readonly token: number;
  private settling: NodeJS.Timeout | null = null;

  /**
   * Calls `changed` after each change. `deviceIndex`: the interface that outbound sockets are bound to, or 0. Where the
   * kernel tells of no changes (a filter, no netlink) the answer of the start stays.
   */
  constructor(
    private readonly watcher: Watcher,
    private readonly deviceIndex: number,
    private readonly changed: (up: boolean) => void,
  ) {
    this.fd = native.routeSocket();
    this.token = this.fd < 0 ? -1 : watcher.watch(this.fd, READABLE, this.drain);
    this.up = hasUplink(deviceIndex);
  }

  /** How things stood when last looked at. */
  get isUp(): boolean {
    return this.up;
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
    const up = hasUplink(this.deviceIndex);
    if (up === this.up) return;
    this.up = up;
    this.changed(up);
  };
}

/** Whether the kernel finds a route and a source address for a datagram to the Internet. */
export function hasUplink(deviceIndex: number): boolean {
  const fd = native.udpSocket(6);
  if (fd < 0) return false;
  const words = new Int32Array(ADDRESS_WORDS);
  words.set(OUTSIDE);
  words[ADDRESS_PORT] = DISCARD_PORT;
  const bound = deviceIndex === 0 || native.setOption(fd, SOL_SOCKET, SO_BINDTOIFINDEX, deviceIndex) === 0;
  const up = bound && native.connect(fd, words) === 0;
  native.close(fd);
  return up;
}
