/**
 * Connections about which somebody has yet to decide: CONNECTING without a host socket, each under the ticket by which the
 * decision comes, which several may share. One that ends meanwhile (the guest gave up, or it was half open for too long) is not there any more when
 * it does.
 */
import { WAITING_SYNS_MAX } from "../../limits.ts";
import { CONNECTING, type TcpConnection } from "./connection.ts";

const NO_TICKET = -1;

export class Waiting {
  private readonly tickets = new Int32Array(WAITING_SYNS_MAX).fill(NO_TICKET);
  private readonly ids = new Int32Array(WAITING_SYNS_MAX);
  /** Each one's initial sequence number: its id is another's later. */
  private readonly begun = new Int32Array(WAITING_SYNS_MAX);

  /** A connection waits. False when too many do. */
  hold(ticket: number, c: TcpConnection): boolean {
    const place = this.tickets.indexOf(NO_TICKET);
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

  /** Takes a connection under a ticket off the list; null when it has ended. */
  take(ticket: number, connections: readonly (TcpConnection | null)[]): TcpConnection | null {
    const place = this.tickets.indexOf(ticket);
    if (place < 0) return null;
    this.tickets[place] = NO_TICKET;
    const c = connections[this.ids[place]];
    const waits = c !== null && c.state === CONNECTING && c.handle === -1 && c.iss === this.begun[place];
    return waits ? c : null;
  }
}
