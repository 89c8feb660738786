/** The query in hand: who asks, and where it lies. One per forwarder, written anew for each query; nobody keeps it. */

/** `stream` of a query that came over UDP. */
export const NO_STREAM = -1;

export class Query {
  /** Four words, IPv4 as v4-mapped. */
  readonly guest = new Int32Array(4);
  guestPort = 0;
  /** The address that was asked over UDP, and answers: as the guest's. */
  readonly server = new Int32Array(4);
  /** Number of the guest's TCP connection it came on, or NO_STREAM; then address and port are zeros. */
  stream = NO_STREAM;
  /** Offset and octets of the message, and how many of them header and question are. */
  at = 0;
  length = 0;
  end = 0;
  /** See `queryHash`. */
  hash = 0;
  nowMs = 0;

  get overTcp(): boolean {
    return this.stream !== NO_STREAM;
  }
}
