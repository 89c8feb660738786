/** The program in the guest that uses a TCP connection as its plan says, and remembers how it went. */
import type { SidePlan } from "../side-plan.ts";
import type { World } from "../world/world.ts";
import type { TcpConnection } from "./tcp.ts";
import type { Ending, TcpUser } from "./tcp-settings.ts";

/** Octets written but not acknowledged that the program allows itself. */
const SEND_BUFFER = 262_144;

export class GuestApp implements TcpUser {
  isConnected = false;
  ending: Ending | null = null;
  /** The FIN came, with every octet before it. */
  sawEnd = false;
  finSent = false;
  received = 0;
  aborted = false;
  private writing = false;
  private reading = false;
  private connectedAtMs = 0;

  constructor(
    private readonly world: World,
    readonly connection: TcpConnection,
    readonly plan: SidePlan,
    private readonly changed: () => void,
  ) {
    connection.user = this;
  }

  get sent(): number {
    return this.connection.written;
  }

  connected(): void {
    this.isConnected = true;
    this.connectedAtMs = this.world.nowMs;
    this.write();
    this.read();
  }

  readable(): void {
    this.read();
  }

  acknowledged(): void {
    if (!this.writing) this.write();
  }

  ended(ending: Ending): void {
    this.ending = ending;
    if (ending === "closed") this.read();
    this.changed();
  }

  /** Ended, and nothing left to read. */
  get done(): boolean {
    if (this.ending === null) return false;
    return this.ending !== "closed" || this.sawEnd || this.aborted;
  }

  private abortDue(): boolean {
    const { abortAt } = this.plan;
    if (abortAt < 0 || this.ending !== null || this.sent + this.received < abortAt) return false;
    this.aborted = true;
    this.connection.abort();
    return true;
  }

  private write(): void {
    this.writing = false;
    if (this.ending !== null || this.finSent || !this.isConnected || this.abortDue()) return;
    const { plan, connection } = this;
    while (this.sent < plan.octets && this.sent - connection.acknowledgedOctets < SEND_BUFFER) {
      const octets = Math.min(plan.chunk, plan.octets - this.sent);
      if (plan.urgent && this.world.random.chance(0.2)) connection.markUrgent(this.sent + octets);
      connection.write(octets);
      if (this.ending !== null) return;
      if (plan.pauseMs > 0) {
        this.writing = true;
        this.world.after(plan.pauseMs, () => this.write());
        return;
      }
    }
    if (this.sent === plan.octets && (plan.closing === "after-send" || this.sawEnd)) this.shutdown();
  }

  private shutdown(): void {
    if (this.finSent) return;
    this.finSent = true;
    this.connection.shutdown();
  }

  private read(): void {
    if (this.reading || this.aborted) return;
    const { plan, connection } = this;
    const wait = this.connectedAtMs + plan.readDelayMs - this.world.nowMs;
    if (wait > 0) {
      this.readLater(wait);
      return;
    }
    this.received += connection.read(plan.readPauseMs > 0 ? plan.readSize : Number.POSITIVE_INFINITY);
    if (this.abortDue()) return;
    if (connection.atEnd) {
      if (this.sawEnd) return;
      this.sawEnd = true;
      if (plan.closing === "after-eof" && !this.finSent && this.sent === plan.octets) this.shutdown();
      this.changed();
    } else if (plan.readPauseMs > 0 && connection.readableOctets > 0) {
      this.readLater(plan.readPauseMs);
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
