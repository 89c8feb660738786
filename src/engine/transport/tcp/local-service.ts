/**
 * Connections of the guest that end in the engine, as the rest of the TCP layer sees them: who is told of what happens to
 * one. What can be done with one is in local.ts.
 */
import { SYN_RECEIVED, type TcpConnection } from "./connection.ts";

/** Handles of local connections are this and below: LOCAL - n for number n. -1 is a host socket that is closed. */
export const LOCAL = -2;

/** Who serves local connections. Told in the middle of a batch: it notes, and works later. */
export interface LocalService {
  /** A connection is open. Returns the number it shall have, 0 or more; another one has to give way if need be. */
  opened(c: TcpConnection): number;
  /** Octets of the guest wait, or its FIN was taken. */
  arrived(n: number): void;
  /** The connection is gone: reset, timed out, or closed by both. */
  gone(n: number): void;
}

/** Who looks at what a guest says before the host hears it. Exists only with a policy. */
export interface NameChecks {
  /** A connection begins about which the policy was asked; `isChecked`: it is to be looked at. */
  begin(c: TcpConnection, isChecked: boolean): void;
  /** The host has answered it: its socket is kept, and the connection ends here for the time being. */
  hold(c: TcpConnection): void;
  /** One begins that is refused, and has no socket: it is told why once it has shown a name. */
  explain(c: TcpConnection): void;
}

/** The guest has acknowledged our SYN. */
export function localEstablished(local: LocalService | null, c: TcpConnection): void {
  c.handle = LOCAL - (local?.opened(c) ?? 0);
}

/** The guest sent something, or its FIN: for the service to look at. */
export function localArrived(local: LocalService | null, c: TcpConnection): void {
  local?.arrived(LOCAL - c.handle);
}

/** The connection is being forgotten. One that is still half open, and has no number, the service never heard of. */
export function localGone(local: LocalService | null, c: TcpConnection): void {
  const n = LOCAL - c.handle;
  c.handle = -1;
  if (c.state !== SYN_RECEIVED || n > 0) local?.gone(n);
}
