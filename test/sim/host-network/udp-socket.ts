/** A UDP socket of the simulated host: a port, a bounded queue of datagrams that came in, readiness by transition. */
export interface Datagram {
  readonly fromIp: number;
  readonly fromPort: number;
  readonly payload: Buffer;
}

/** Datagrams that wait to be read; more are dropped, as with SO_RCVBUF. */
const QUEUE_MAX = 256;

export class UdpSocket {
  readonly queue: Datagram[] = [];
  dropped = 0;
  /** The remote of a connected socket. */
  connectedIp = 0;
  connectedPort = 0;
  /** sk_err of a connected socket. */
  error = 0;

  constructor(
    readonly handle: number,
    readonly token: number,
    readonly port: number,
    private readonly wake: (socket: UdpSocket) => void,
  ) {}

  arrives(datagram: Datagram): void {
    const { connectedIp, connectedPort } = this;
    if (connectedPort !== 0 && (datagram.fromIp !== connectedIp || datagram.fromPort !== connectedPort))
      return;
    if (this.queue.length >= QUEUE_MAX) {
      this.dropped++;
      return;
    }
    this.queue.push(datagram);
    this.wake(this);
  }
}
