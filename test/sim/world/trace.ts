/**
 * What happened, as a running hash (two runs of a seed must agree on it) and, when asked for, as lines to read.
 * The hash takes ints and octets; a line is only built when somebody listens.
 */
export class Trace {
  private low = 0x811c9dc5 | 0;
  private high = 0x12345678 | 0;
  /** Events hashed so far. */
  count = 0;
  /** Set to receive readable lines. */
  listener: ((line: string) => void) | null = null;

  int(value: number): void {
    this.low = Math.imul(this.low ^ (value | 0), 0x01000193);
    this.low ^= this.low >>> 15;
    this.high = (Math.imul(this.high, 0x85ebca6b) + this.low) | 0;
  }

  octets(octets: Uint8Array, limit: number): void {
    const end = Math.min(octets.length, limit);
    this.int(octets.length);
    for (let i = 0; i < end; i++) this.int(octets[i]);
  }

  text(text: string): void {
    for (let i = 0; i < text.length; i++) this.int(text.charCodeAt(i));
  }

  /** Records one event: a kind, some ints, and the line a reader sees. */
  note(atMs: number, kind: string, values: readonly number[], line: () => string): void {
    this.count++;
    this.int(Math.round(atMs * 1000));
    this.text(kind);
    for (const value of values) this.int(value);
    if (this.listener !== null) {
      this.listener(`${(atMs / 1000).toFixed(6).padStart(13)} ${kind.padEnd(8)} ${line()}`);
    }
  }

  get digest(): string {
    return [this.high, this.low].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }
}
