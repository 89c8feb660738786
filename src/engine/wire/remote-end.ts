/** Where a connection is to go, as it is said to others: by name where there is one, else by address. */
export class RemoteEnd {
  /** Four words, IPv4 as v4-mapped. */
  readonly words = new Int32Array(4);
  port = 0;
  /** Its name, as octets; none where `nameOctets` is 0. */
  name = new Uint8Array(253);
  nameOctets = 0;
}
