/** Which IPv4 source addresses the guest may use: its declared one, and those it has a lease for. */
export class Sources {
  private readonly leased: Int32Array;
  private count = 0;

  /** At most `leasesMax` addresses are leased at once. */
  constructor(
    private readonly declared: number,
    leasesMax: number,
  ) {
    this.leased = new Int32Array(leasesMax);
  }

  isGuest(address: number): boolean {
    return address === this.declared || this.indexOf(address) >= 0;
  }

  lease(address: number): void {
    if (this.indexOf(address) < 0) this.leased[this.count++] = address;
  }

  release(address: number): void {
    const i = this.indexOf(address);
    if (i >= 0) this.leased[i] = this.leased[--this.count];
  }

  private indexOf(address: number): number {
    for (let i = 0; i < this.count; i++) if (this.leased[i] === address) return i;
    return -1;
  }
}
