/** Connections whose host side does not go straight where the guest wants to, as the rest of the TCP layer sees them. */
import type { TcpConnection } from "./connection.ts";

/** Results of `Ways.connect` that are no handle, and no errno of any host. */
export const STRAIGHT = -0x10000;
export const PENDING = -0x10001;

/** Exists only where a policy says by what way. */
export interface Ways {
  /** A connection of the guest begins: its way is noted. */
  begin(c: TcpConnection): void;
  /**
   * Connects its host side. Returns a handle, -errno, STRAIGHT where it goes by no other way, or PENDING: it is not known yet
   * where to, and `connectOutbound` is called again.
   */
  connect(token: number, c: TcpConnection): number;
  /** Its socket stands, or has news since: whether octets may flow. It may end here. */
  connected(c: TcpConnection): boolean;
  /** Its host side could not be connected, and the guest is told so. */
  failed(c: TcpConnection): void;
}
