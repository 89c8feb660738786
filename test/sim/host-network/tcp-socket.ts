/**
 * A TCP socket as the engine sees it through Linux: buffers with ends, sk_err that is reported once, readiness that
 * is only announced on a transition, and a peer at some distance. Octets are not stored: what the engine sends is
 * compared with the pattern at once, what it reads is made from the pattern.
 *
 *   engine -> peer   0 ... peerRead ... reached ... sent        sent - peerRead <= sendBuffer
 *   peer -> engine   0 ... taken ... arrived ... peerSent       peerSent - taken <= receiveBuffer
 */
import {
  EAGAIN,
  ECONNRESET,
  EINPROGRESS,
  EPIPE,
  FAILED,
  HANGUP,
  PEER_CLOSED,
  READABLE,
  URGENT,
  WRITABLE,
} from "../../../src/engine/boundary.ts";
import type { Pattern } from "../world/pattern.ts";
import type { Random } from "../world/random.ts";
import type { World } from "../world/world.ts";

export interface SocketSettings {
  readonly sendBuffer: number;
  readonly receiveBuffer: number;
  /** One way between host and peer. */
  readonly delayMs: number;
  /** Probability that a call does less than it could (short, EAGAIN); an event follows, as the kernel promises. */
  readonly hiccups: number;
}

/** What happens at the peer's end of the connection. */
export interface PeerEnd {
  established(socket: TcpSocket): void;
  /** Octets or the FIN reached the peer's receive buffer. */
  incoming(): void;
  /** The engine took octets: there is room to write. */
  writable(): void;
  resetByEngine(): void;
}

export class TcpSocket {
  state: "connecting" | "connected" | "dead" = "connecting";
  /** sk_err: reported by the next call, then gone. */
  private error = 0;
  sent = 0;
  reached = 0;
  peerRead = 0;
  taken = 0;
  private arrived = 0;
  peerSent = 0;
  private peerFinArrived = false;
  shutdownDone = false;
  /** The engine's FIN reached the peer. */
  finReached = false;
  /** The engine closed its descriptor; the kernel may still be delivering. */
  closed = false;
  private noSpace = false;
  /** When the peer was last heard, and what it has acknowledged. A peer that has vanished says nothing any more. */
  private heardAtMs: number;
  private acknowledged = 0;
  private finAcknowledged = false;
  private vanished = false;
  /** How often the kernel was asked to probe. */
  probes = 0;
  /** Segments the peer has sent. */
  segments = 0;
  /** Position of an urgent octet that a recv(2) stops in front of, or -1. */
  private urgentAt = -1;

  constructor(
    private readonly world: World,
    private readonly random: Random,
    readonly handle: number,
    readonly token: number,
    readonly name: string,
    private readonly settings: SocketSettings,
    private readonly fromEngine: Pattern,
    private readonly fromPeer: Pattern,
    private readonly peer: PeerEnd,
    private readonly wake: (socket: TcpSocket) => void,
  ) {
    this.heardAtMs = world.nowMs;
  }

  // --- the connection's beginning ----------------------------------------------------------------------------------

  connected(): void {
    if (this.state !== "connecting" || this.closed) return;
    this.state = "connected";
    this.heardAtMs = this.world.nowMs;
    this.wake(this);
    this.world.after(this.settings.delayMs, () => {
      if (this.state === "connected") this.peer.established(this);
    });
  }

  failed(errno: number): void {
    if (this.state !== "connecting") return;
    this.state = "dead";
    this.error = errno;
    this.wake(this);
  }

  // --- the engine's calls ------------------------------------------------------------------------------------------

  /** What poll(2) would say. */
  get readiness(): number {
    if (this.state === "connecting") return 0;
    if (this.state === "dead") {
      return READABLE | WRITABLE | PEER_CLOSED | HANGUP | (this.error !== 0 ? FAILED : 0);
    }
    let events = 0;
    if (this.arrived > this.taken || this.peerFinArrived) events |= READABLE;
    if (this.urgentAt >= this.taken) events |= URGENT;
    if (this.peerFinArrived) events |= PEER_CLOSED;
    if (this.peerFinArrived && this.shutdownDone) events |= HANGUP;
    if (this.shutdownDone || this.writable) events |= WRITABLE;
    return events;
  }

  private get buffered(): number {
    return this.sent - this.peerRead;
  }

  /** sk_stream_is_writeable: a third of the buffer is free. */
  private get writable(): boolean {
    return this.settings.sendBuffer - this.buffered >= this.buffered / 2;
  }

  private takeError(): number {
    const error = this.error;
    this.error = 0;
    return error;
  }

  connectResult(): number {
    if (this.error !== 0) return this.takeError();
    return this.state === "connected" ? 0 : EINPROGRESS;
  }

  receive(into: Uint8Array): number {
    if (this.state === "connecting") return EAGAIN;
    let octets = Math.min(into.length, this.arrived - this.taken);
    if (octets === 0) {
      if (this.error !== 0) return this.takeError();
      if (this.state === "dead" || this.peerFinArrived) return 0;
      return EAGAIN;
    }
    if (this.random.chance(this.settings.hiccups)) {
      octets = this.random.between(0, octets);
      this.wakeSoon();
      if (octets === 0) return EAGAIN;
    }
    // A recv(2) ends in front of the urgent octet, also with SO_OOBINLINE (tcp_recvmsg_locked).
    if (this.urgentAt > this.taken && this.urgentAt < this.taken + octets)
      octets = this.urgentAt - this.taken;
    for (let done = 0; done < octets; done += 65_536) {
      const length = Math.min(65_536, octets - done);
      into.set(this.fromPeer.slice(this.taken + done, length), done);
    }
    this.taken += octets;
    this.world.after(this.settings.delayMs, () => this.peer.writable());
    return octets;
  }

  /** `parts` is what the gather list names, in order. */
  send(parts: readonly Uint8Array[]): number {
    if (this.error !== 0) return this.takeError();
    if (this.state === "dead" || this.shutdownDone) return EPIPE;
    if (this.state === "connecting") return EAGAIN;
    const total = parts.reduce((sum, part) => sum + part.length, 0);
    let octets = Math.min(total, this.settings.sendBuffer - this.buffered);
    if (this.random.chance(this.settings.hiccups)) {
      octets = this.random.between(0, octets);
      this.wakeSoon();
    }
    if (octets < total) this.noSpace = true;
    if (octets <= 0) return total === 0 ? 0 : EAGAIN;
    let left = octets;
    for (const part of parts) {
      const taken = part.subarray(0, left);
      const wrong = this.fromEngine.mismatch(this.sent, taken);
      if (wrong >= 0) this.world.violation(`${this.name}: wrong octet at position ${this.sent + wrong} sent`);
      this.sent += taken.length;
      left -= taken.length;
      if (left === 0) break;
    }
    const reached = this.sent;
    this.world.after(this.settings.delayMs, () => {
      if (this.vanished) return;
      this.reached = reached;
      this.acknowledged = reached;
      this.segments++;
      this.heardAtMs = this.world.nowMs;
      this.peer.incoming();
    });
    return octets;
  }

  shutdown(): void {
    if (this.shutdownDone || this.state !== "connected") return;
    this.shutdownDone = true;
    if (this.peerFinArrived) this.wake(this);
    this.sendFin();
  }

  private sendFin(): void {
    this.world.after(this.settings.delayMs, () => {
      if (this.vanished) return;
      this.finReached = true;
      this.finAcknowledged = true;
      this.heardAtMs = this.world.nowMs;
      this.peer.incoming();
    });
  }

  close(reset: boolean): void {
    const wasConnected = this.state === "connected";
    this.closed = true;
    if (!wasConnected) {
      if (this.state === "connecting") this.state = "dead";
      return;
    }
    // Closing over unread octets tells the peer that they are lost (RFC 2525 2.17).
    if (reset || this.arrived > this.taken) {
      this.state = "dead";
      this.world.after(this.settings.delayMs, () => this.peer.resetByEngine());
    } else if (!this.shutdownDone) {
      this.shutdownDone = true;
      this.sendFin();
    }
  }

  /** tcp_info's tcpi_last_data_recv and tcpi_last_ack_recv, the smaller. */
  get quietMs(): number {
    return this.world.nowMs - this.heardAtMs;
  }

  /** SIOCOUTQ: octets and FIN. */
  get unacknowledged(): number {
    return this.sent - this.acknowledged + (this.shutdownDone && !this.finAcknowledged ? 1 : 0);
  }

  /** The kernel asks the peer for a sign of life. */
  probe(): void {
    this.probes++;
    this.world.after(2 * this.settings.delayMs, () => {
      if (!this.vanished) this.heardAtMs = this.world.nowMs;
    });
  }

  private wakeSoon(): void {
    this.world.after(this.random.fraction() * 5, () => this.wake(this));
  }

  // --- the peer's side ---------------------------------------------------------------------------------------------

  /** Room the peer may write into. */
  get peerRoom(): number {
    return Math.max(0, this.settings.receiveBuffer - (this.peerSent - this.taken));
  }

  peerWrites(octets: number, urgent: boolean): void {
    const end = this.peerSent + octets;
    this.peerSent = end;
    this.world.after(this.settings.delayMs, () => {
      if (this.state !== "connected") return;
      if (this.closed) {
        this.state = "dead";
        this.world.after(this.settings.delayMs, () => this.peer.resetByEngine());
        return;
      }
      this.arrived = end;
      this.segments++;
      this.heardAtMs = this.world.nowMs;
      if (urgent) this.urgentAt = end - 1;
      this.wake(this);
    });
  }

  /** The peer's program read octets; the kernel of the host hears of the room later. */
  peerReads(octets: number): void {
    this.world.after(this.settings.delayMs, () => {
      this.peerRead += octets;
      if (this.noSpace && this.writable && this.state === "connected") {
        this.noSpace = false;
        this.wake(this);
      }
    });
  }

  peerShutsDown(): void {
    this.world.after(this.settings.delayMs, () => {
      if (this.state !== "connected") return;
      this.peerFinArrived = true;
      this.wake(this);
    });
  }

  peerResets(): void {
    this.world.after(this.settings.delayMs, () => {
      this.breaks(ECONNRESET);
    });
  }

  /** The connection fails under the engine, as after a keepalive or a route that went away. */
  breaks(errno: number): void {
    if (this.state !== "connected") return;
    this.state = "dead";
    this.error = errno;
    this.wake(this);
  }

  /** The peer's keepalive: the kernel answers it, and says nothing. */
  peerAsks(): void {
    this.segments++;
    this.heardAtMs = this.world.nowMs;
  }

  /** The peer's machine is gone, or the way to it: nothing comes from there any more. */
  vanishes(): void {
    this.vanished = true;
  }

  /** It is back, and knows the connection. */
  returns(): void {
    this.vanished = false;
  }

  spuriousEvent(): void {
    this.wake(this);
  }
}
