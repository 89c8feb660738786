/**
 * Connections about which somebody has yet to decide: CONNECTING without a host socket, each under the ticket by which the
 * decision comes, which several may share. One that ends meanwhile (the guest gave up, or it was half open for too long) is
 * not there any more when it does, and gives its place to others when there is no other.
 */
import { WAITING_SYNS_MAX } from "../../limits.ts";
import { CONNECTING, type TcpConnection } from "./connection.ts";

const NO_TICKET = -1;

/** By id. */
type Connections = readonly (TcpConnection | null)[];

export class Waiting {
  private readonly tickets = new Int32Array(WAITING_SYNS_MAX).fill(NO_TICKET);
  private readonly ids = new Int32Array(WAITING_SYNS_MAX);
  /** Each one's initial sequence number: its id is another's later. */
  private readonly begun = new Int32Array(WAITING_SYNS_MAX);

  /** A connection waits. False when too many do. */
  hold(ticket: number, c: TcpConnection, connections: Connections): boolean {
    const place = this.place(connections);
    if (place < 0) return false;
    this.tickets[place] = ticket;
    this.ids[place] = c.id;
    this.begun[place] = c.iss;
    return true;
  }

  /** Whether one waits under this ticket. */
  holds(ticket: number): boolean {
    return this.tickets.includes(ticket);
  }

  /** Whether one that has not ended waits under this ticket. */
  isWaitedFor(ticket: number, connections: Connections): boolean {
    for (let place = 0; place < WAITING_SYNS_MAX; place++) {
      if (this.tickets[place] === ticket && this.waits(place, connections)) return true;
    }
    return false;
  }

  private place(connections: Connections): number {
    const free = this.tickets.indexOf(NO_TICKET);
    if (free >= 0) return free;
    for (let place = 0; place < WAITING_SYNS_MAX; place++) if (!this.waits(place, connections)) return place;
    return -1;
  }

  private waits(place: number, connections: Connections): boolean {
    const c = connections[this.ids[place]];
    return c !== null && c.state === CONNECTING && c.handle === -1 && c.iss === this.begun[place];
  }

  /** Takes a connection under a ticket off the list; null when it has ended. */
  take(ticket: number, connections: Connections): TcpConnection | null {
    const place = this.tickets.indexOf(ticket);
    if (place < 0) return null;
    this.tickets[place] = NO_TICKET;
    return this.waits(place, connections) ? connections[this.ids[place]] : null;
  }
}
