/**
 * One TCP connection under test: what was planned for it, both programs, and the verdict. Every octet is delivered
 * once and in order or the connection ended with a reset the other side saw; a FIN means that all of it arrived; and
 * nothing ends otherwise than planned without a cause that was noted.
 */
import type { GuestApp } from "./guest-stack/app.ts";
import type { PeerApp } from "./host-network/peer-app.ts";
import type { TcpSocket } from "./host-network/tcp-socket.ts";
import type { SidePlan } from "./side-plan.ts";

/** What the network does with a connection attempt from the guest. */
export type Fate =
  | { readonly kind: "accepted"; readonly afterMs: number }
  | { readonly kind: "failed"; readonly errno: number; readonly afterMs: number }
  | { readonly kind: "refused-at-once"; readonly errno: number };

/** A guest's SYN is given up after so many seconds at the earliest (`randomTcpSettings`: 30 tries, 2 s apart). */
const SLOW_CONNECT_MS = 15_000;

export class Trial {
  guest: GuestApp | null = null;
  socket: TcpSocket | null = null;
  /** The caller of an inbound connection saw it refused before anything else. */
  callRefused = false;
  /** Reasons for which this connection may end early, such as an exhausted host. */
  readonly causes = new Set<string>();

  constructor(
    readonly name: string,
    readonly direction: "out" | "in",
    readonly fate: Fate,
    readonly guestPlan: SidePlan,
    readonly peerPlan: SidePlan,
    readonly peer: PeerApp,
    /** Inbound: nobody in the guest listens. */
    readonly guestRefuses: boolean,
  ) {
    // The guest may have given up before the host is through.
    if (fate.kind === "accepted" && fate.afterMs > SLOW_CONNECT_MS) this.causes.add("slow connect");
  }

  private get guestOver(): boolean {
    const { guest } = this;
    if (guest !== null) return guest.done;
    return this.direction === "in" && (this.callRefused || this.peer.done || this.guestRefuses);
  }

  private get peerOver(): boolean {
    const { peer, socket } = this;
    if (peer.done || this.callRefused) return true;
    if (peer.isConnected) return false;
    // Never established: the engine must have let go of the socket.
    return this.guest?.done === true && (socket === null || socket.closed);
  }

  /** Both ends know that it is over. */
  get done(): boolean {
    return this.guestOver && this.peerOver;
  }

  /** Changes whenever something happens that brings the connection nearer its end. */
  get progress(): number {
    const { guest, peer } = this;
    const steps = [
      peer.isConnected,
      peer.finSent,
      peer.sawEnd,
      guest !== null,
      guest?.isConnected,
      guest?.finSent,
      guest?.sawEnd,
    ];
    return (
      steps.filter((step) => step === true).length +
      peer.received +
      peer.sent +
      (guest === null ? 0 : guest.received + guest.sent + guest.connection.acknowledgedOctets)
    );
  }

  /** Both sides are willing and nothing was noted that would keep them from each other. */
  get mustProgress(): boolean {
    const willing =
      !this.done && this.causes.size === 0 && this.fate.kind === "accepted" && !this.guestRefuses;
    return willing && this.guest?.aborted !== true && !this.peer.aborted;
  }

  describe(): string {
    const { guest, peer } = this;
    const g =
      guest === null
        ? "no connection"
        : `${guest.connection.state} ending=${guest.ending} sent=${guest.sent}/${guest.plan.octets} acked=${guest.connection.acknowledgedOctets} ` +
          `received=${guest.received} fin=${guest.finSent} end=${guest.sawEnd} aborted=${guest.aborted}`;
    const p =
      `connected=${peer.isConnected} sent=${peer.sent}/${peer.plan.octets} received=${peer.received} ` +
      `fin=${peer.finSent} end=${peer.sawEnd} reset=${peer.sawReset} aborted=${peer.aborted}`;
    return `${this.name} (${this.direction}, ${this.fate.kind}) guest: ${g}; peer: ${p}; causes: ${[...this.causes].join(",") || "none"}`;
  }

  /** The first rule this connection breaks, or null. Called once it is done or time is up. */
  verdict(): string | null {
    if (!this.done) return "did not end";
    const { guest, peer, causes } = this;
    if (guest?.sawEnd && (!peer.finSent || guest.received !== peer.sent))
      return "guest saw a FIN before all octets";
    if (peer.sawEnd && (!guest?.finSent || peer.received !== guest.sent))
      return "peer saw a FIN before all octets";
    if (this.fate.kind !== "accepted") {
      return guest?.ending === "refused" || guest?.ending === "timeout" || guest?.ending === "aborted"
        ? null
        : "a connection that failed ended otherwise for the guest";
    }
    if (this.guestRefuses)
      return peer.sawReset || this.callRefused || peer.aborted ? null : "caller not told of the refusal";
    // All arrived both ways and both sides know it, whatever became of the last acknowledgment.
    if (guest?.sawEnd && guest.finSent && peer.sawEnd && peer.finSent) return null;
    if (guest?.aborted) causes.add("guest aborts");
    if (peer.aborted) causes.add("peer aborts");
    if (causes.size === 0 && !(guest?.ending === "closed" && guest.sawEnd && peer.sawEnd && peer.finSent)) {
      return "ended early without a cause";
    }
    if (guest?.ending === "timeout" && !causes.has("slow connect") && !causes.has("peer aborts")) {
      return "the guest gave up waiting";
    }
    return null;
  }
}
