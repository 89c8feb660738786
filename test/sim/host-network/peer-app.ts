/** The program at the far end of a host socket, which uses the connection as its plan says. */
import type { SidePlan } from "../side-plan.ts";
import type { World } from "../world/world.ts";
import type { PeerEnd, TcpSocket } from "./tcp-socket.ts";

export class PeerApp implements PeerEnd {
  socket: TcpSocket | null = null;
  isConnected = false;
  sent = 0;
  received = 0;
  finSent = false;
  /** The engine's FIN came, and every octet before it was read. */
  sawEnd = false;
  sawReset = false;
  aborted = false;
  private writing = false;
  private reading = false;
  private connectedAtMs = 0;

  constructor(
    private readonly world: World,
    readonly name: string,
    readonly plan: SidePlan,
    private readonly changed: () => void,
  ) {}

  get over(): boolean {
    return this.sawReset || this.aborted;
  }

  /** The end of the engine's octets has come, read or not. */
  get told(): boolean {
    return this.over || this.sawEnd || (this.socket?.finReached ?? false);
  }

  /** Nothing more will happen at this end. */
  get done(): boolean {
    return this.over || (this.sawEnd && this.finSent);
  }

  established(socket: TcpSocket): void {
    this.socket = socket;
    this.isConnected = true;
    this.connectedAtMs = this.world.nowMs;
    this.world.note("peer", [], () => `${this.name} connected`);
    this.write();
    this.read();
  }

  incoming(): void {
    this.read();
  }

  writable(): void {
    if (!this.writing) this.write();
  }

  resetByEngine(): void {
    if (this.over) return;
    this.sawReset = true;
    this.world.note("peer", [], () => `${this.name} sees a reset`);
    this.changed();
  }

  /** The peer's program dies, or its plan says so. */
  abort(): void {
    if (this.done || this.socket === null) return;
    this.aborted = true;
    this.world.note("peer", [], () => `${this.name} resets`);
    this.socket.peerResets();
    this.changed();
  }

  private abortDue(): boolean {
    const { abortAt } = this.plan;
    if (abortAt < 0 || this.sent + this.received < abortAt) return false;
    this.abort();
    return true;
  }

  private write(): void {
    this.writing = false;
    const { socket, plan } = this;
    if (socket === null || this.over || this.finSent || this.abortDue()) return;
    while (this.sent < plan.octets) {
      const octets = Math.min(plan.chunk, plan.octets - this.sent, socket.peerRoom);
      if (octets === 0) return;
      this.sent += octets;
      socket.peerWrites(octets, plan.urgent && this.world.random.chance(0.2));
      if (this.abortDue()) return;
      if (plan.pauseMs > 0) {
        this.writing = true;
        this.world.after(plan.pauseMs, () => this.write());
        return;
      }
    }
    if (plan.closing === "after-send" || this.sawEnd) this.shutdown();
  }

  private shutdown(): void {
    if (this.finSent || this.socket === null) return;
    this.finSent = true;
    this.world.note("peer", [this.sent], () => `${this.name} sends FIN after ${this.sent} octets`);
    this.socket.peerShutsDown();
    this.changed();
  }

  private read(): void {
    const { socket, plan } = this;
    if (socket === null || this.reading || this.over || this.sawEnd) return;
    const wait = this.connectedAtMs + plan.readDelayMs - this.world.nowMs;
    if (wait > 0) {
      this.readLater(wait);
      return;
    }
    const available = socket.reached - this.received;
    const octets = plan.readPauseMs > 0 ? Math.min(available, plan.readSize) : available;
    if (octets > 0) {
      this.received += octets;
      socket.peerReads(octets);
      if (this.abortDue()) return;
    }
    if (socket.reached > this.received) {
      this.readLater(plan.readPauseMs);
    } else if (socket.finReached && this.received === socket.sent) {
      this.sawEnd = true;
      this.world.note(
        "peer",
        [this.received],
        () => `${this.name} sees the end after ${this.received} octets`,
      );
      if (plan.closing === "after-eof" && this.sent === plan.octets) this.shutdown();
      this.changed();
    }
  }

  private readLater(delayMs: number): void {
    this.reading = true;
    this.world.after(delayMs, () => {
      this.reading = false;
      this.read();
    });
  }
}
