/** The TCP half of HostNetwork as resolvers are asked by it: what was sent on each socket, and what is read of it, by hand. */
import { strict as assert } from "node:assert";
import { type AddressWords, EAGAIN, type HostNetwork } from "../../src/engine/boundary.ts";

export interface ResolverConnection {
  readonly token: number;
  /** The last word of its address, and the port. */
  readonly to: readonly number[];
  readonly sent: number[];
  /** What is to be read: octets, 0 for the end, or -errno. */
  readonly toRead: (readonly number[] | number)[];
  isOpen: boolean;
}

type Tcp = Pick<HostNetwork, "tcpConnect" | "connectResult" | "tcpSend" | "tcpReceive" | "tcpClose">;

/** Asserts that what is used is open, that nothing empty is sent, and that all that is read has room. */
export class ResolverConnections implements Tcp {
  readonly sockets: ResolverConnection[] = [];
  /** What the kernel says to connects, and to sends once it has taken `room` octets. */
  readonly kernel = { connectError: 0, connected: 0, room: Number.POSITIVE_INFINITY, sendError: EAGAIN };

  /** `endOf`: where the room ends for what is read of the socket with this token. */
  constructor(
    private readonly octets: Uint8Array,
    private readonly endOf: (token: number) => number,
  ) {}

  get open(): ResolverConnection[] {
    return this.sockets.filter(({ isOpen }) => isOpen);
  }

  tcpConnect(token: number, to: AddressWords): number {
    if (this.kernel.connectError !== 0) return this.kernel.connectError;
    this.sockets.push({ token, to: [...to.slice(3, 5)], sent: [], toRead: [], isOpen: true });
    return this.sockets.length - 1;
  }

  connectResult(handle: number): number {
    assert(this.sockets[handle].isOpen);
    return this.kernel.connected;
  }

  tcpSend(handle: number, gather: Int32Array, count: number): number {
    const { kernel } = this;
    assert.deepEqual([count, this.sockets[handle].isOpen, gather[1] > 0], [1, true, true]);
    const taken = Math.min(gather[1], kernel.room);
    if (taken === 0) return kernel.sendError;
    kernel.room -= taken;
    this.sockets[handle].sent.push(...this.octets.slice(gather[0], gather[0] + taken));
    return taken;
  }

  tcpReceive(handle: number, scatter: Int32Array, count: number): number {
    const { isOpen, token, toRead } = this.sockets[handle];
    assert.deepEqual([count, isOpen, scatter[1] > 0], [1, true, true]);
    assert(scatter[0] + scatter[1] <= this.endOf(token));
    const next = toRead.shift();
    if (next === undefined) return EAGAIN;
    if (typeof next === "number") return next;
    assert(next.length <= scatter[1]);
    this.octets.set(next, scatter[0]);
    return next.length;
  }

  tcpClose(handle: number, isReset: boolean): void {
    assert.deepEqual([this.sockets[handle].isOpen, isReset], [true, false]);
    this.sockets[handle].isOpen = false;
  }
}

/** A message of so many octets with its length in front; `octet` is the 13th. */
export function framed(length: number, octet: number): number[] {
  const message = new Array<number>(length).fill(5);
  message[12] = octet;
  return [length >> 8, length & 255, ...message];
}
