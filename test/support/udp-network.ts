/**
 * The UDP half of HostNetwork as a test plays it: every socket is visible, answers are put into it by hand, and the
 * kernel's refusals are switched on by address.
 */
import { ADDRESS_PORT, EINVAL, type HostNetwork, type UdpBatch } from "../../src/engine/boundary.ts";

export interface FakeSocket {
  readonly token: number;
  readonly family: 4 | 6;
  /** Address words it is connected to. */
  remote: number[];
  open: boolean;
  readonly sent: Uint8Array[];
  /** Datagrams to be received, or errors. */
  readonly incoming: (Uint8Array | number)[];
}

type Udp = Pick<HostNetwork, "udpOpen" | "udpSend" | "udpFlush" | "udpReceive" | "udpConnect" | "udpClose">;

export class UdpNetwork implements Udp {
  readonly sockets: FakeSocket[] = [];
  /** What `udpOpen` and `udpConnect` return instead of a handle, and whether sends are refused. */
  openError = 0;
  connectError = 0;
  refuseSends = false;
  /** Datagrams one call of `udpReceive` joins into an entry of several segments. */
  segments = 1;
  private queued: { socket: FakeSocket; at: number; length: number }[] = [];

  constructor(
    private readonly octets: Uint8Array,
    private readonly receiveAt: number,
  ) {}

  get open(): FakeSocket[] {
    return this.sockets.filter((socket) => socket.open);
  }

  udpOpen(token: number, family: 4 | 6, port: number): number {
    if (this.openError !== 0) return this.openError;
    if (port !== 0) return EINVAL;
    this.sockets.push({ token, family, remote: [], open: true, sent: [], incoming: [] });
    return this.sockets.length - 1;
  }

  udpConnect(handle: number, to: Int32Array): number {
    if (this.connectError !== 0) return this.connectError;
    this.at(handle).remote = [...to];
    return 0;
  }

  udpSend(handle: number, to: Int32Array, at: number, length: number): void {
    if (to[ADDRESS_PORT] === 0) throw new Error("a datagram needs a port");
    this.queued.push({ socket: this.at(handle), at, length });
  }

  udpFlush(): number {
    const { queued } = this;
    this.queued = [];
    if (this.refuseSends) return queued.length;
    for (const { socket, at, length } of queued) socket.sent.push(this.octets.slice(at, at + length));
    return 0;
  }

  udpReceive(handle: number, batch: UdpBatch): number {
    const { incoming } = this.at(handle);
    if (typeof incoming[0] === "number") return incoming.shift() as number;
    let count = 0;
    let at = this.receiveAt;
    while (count < batch.capacity && incoming[0] instanceof Uint8Array) {
      batch.at[count] = at;
      batch.segment[count] = this.segments > 1 ? incoming[0].length : 0;
      batch.length[count] = 0;
      for (let i = 0; i < this.segments && incoming[0] instanceof Uint8Array; i++) {
        const datagram = incoming.shift() as Uint8Array;
        this.octets.set(datagram, at);
        at += datagram.length;
        batch.length[count] += datagram.length;
      }
      count++;
    }
    batch.drained = count < batch.capacity;
    return count;
  }

  udpClose(handle: number): void {
    const socket = this.at(handle);
    if (this.queued.some((entry) => entry.socket === socket))
      throw new Error("closed with a datagram in the queue");
    socket.open = false;
  }

  private at(handle: number): FakeSocket {
    const socket = this.sockets[handle];
    if (!socket?.open) throw new Error(`handle ${handle} is not open`);
    return socket;
  }
}

/** Everything of HostNetwork that a UDP service has no business with. */
export function udpOnly(network: UdpNetwork): HostNetwork {
  return new Proxy(network, {
    get(target, name): unknown {
      const value: unknown = Reflect.get(target, name);
      if (value === undefined) throw new Error(`a UDP service called ${String(name)}`);
      return typeof value === "function" ? value.bind(target) : value;
    },
  }) as unknown as HostNetwork;
}
