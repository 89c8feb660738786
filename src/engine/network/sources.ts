/** Which IPv4 source addresses the guest may use: its declared ones, those it has a lease for, or any of its subnet. */
export class Sources {
  /** The declared ones but the first, then the leased ones. */
  private readonly known: Int32Array;
  private readonly declaredCount: number;
  private count: number;

  /**
   * At most `leasesMax` addresses are leased at once. `subnet` is there where every address that may be a guest's in it
   * is good.
   */
  constructor(
    private readonly declared: number,
    leasesMax: number,
    others: readonly number[] = [],
    private readonly subnet: GuestSubnet | null = null,
  ) {
    this.known = new Int32Array(others.length + leasesMax);
    this.known.set(others);
    this.count = this.declaredCount = others.length;
  }

  isGuest(address: number): boolean {
    if (address === this.declared || this.indexOf(address) >= 0) return true;
    return this.subnet?.mayHold(address) === true;
  }

  lease(address: number): void {
    if (this.indexOf(address) < 0) this.known[this.count++] = address;
  }

  release(address: number): void {
    const i = this.indexOf(address);
    if (i >= this.declaredCount) this.known[i] = this.known[--this.count];
  }

  private indexOf(address: number): number {
    for (let i = 0; i < this.count; i++) if (this.known[i] === address) return i;
    return -1;
  }
}

/** The guest's subnet, and which of its addresses a guest can have. */
export class GuestSubnet {
  private readonly netmask: number;
  private readonly own: Int32Array;

  /** `own`: the addresses in it that are the gateway's. */
  constructor(
    readonly network: number,
    readonly prefixLength: number,
    own: readonly number[],
  ) {
    this.netmask = prefixLength === 0 ? 0 : (-1 << (32 - prefixLength)) | 0;
    this.own = Int32Array.from(own);
  }

  contains(address: number): boolean {
    return (address & this.netmask) === (this.network & this.netmask);
  }

  isOwn(address: number): boolean {
    for (let i = 0; i < this.own.length; i++) if (this.own[i] === address) return true;
    return false;
  }

  /** Inside, neither the network's address nor its broadcast address, and none of ours. */
  mayHold(address: number): boolean {
    const host = address & ~this.netmask;
    return this.contains(address) && host !== 0 && host !== ~this.netmask && !this.isOwn(address);
  }
}
