/** A sorted set of disjoint half-open ranges of stream positions, merged as they touch. */
export class Ranges {
  readonly list: { start: number; end: number }[] = [];

  get octets(): number {
    return this.list.reduce((sum, range) => sum + range.end - range.start, 0);
  }

  add(start: number, end: number): void {
    if (end <= start) return;
    let i = 0;
    while (i < this.list.length && this.list[i].end < start) i++;
    let merged = 0;
    while (i + merged < this.list.length && this.list[i + merged].start <= end) {
      start = Math.min(start, this.list[i + merged].start);
      end = Math.max(end, this.list[i + merged].end);
      merged++;
    }
    this.list.splice(i, merged, { start, end });
  }

  /** Forgets everything below `position`. */
  dropBelow(position: number): void {
    while (this.list.length > 0 && this.list[0].end <= position) this.list.shift();
    if (this.list.length > 0 && this.list[0].start < position) this.list[0].start = position;
  }

  clear(): void {
    this.list.length = 0;
  }

  contains(position: number): boolean {
    return this.list.some((range) => range.start <= position && position < range.end);
  }

  /** Start of the first range above `position`, or `otherwise`. */
  nextStart(position: number, otherwise: number): number {
    return this.list.find((range) => range.start > position)?.start ?? otherwise;
  }

  /** End of the range that contains `position`, or `position` itself. */
  endAround(position: number): number {
    return this.list.find((range) => range.start <= position && position < range.end)?.end ?? position;
  }

  get highest(): number {
    return this.list.at(-1)?.end ?? 0;
  }
}
