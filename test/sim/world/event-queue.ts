/** Events in the order of their time; equal times in the order they were scheduled. A binary heap. */
export interface Scheduled {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | null;
}

function before(a: Scheduled, b: Scheduled): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

export class EventQueue {
  private readonly heap: Scheduled[] = [];
  private nextOrder = 0;

  /** Entries that are not cancelled are not told from those that are until they come up. */
  get length(): number {
    return this.heap.length;
  }

  push(atMs: number, run: () => void): Scheduled {
    const event: Scheduled = { atMs, order: this.nextOrder++, run };
    const heap = this.heap;
    let i = heap.length;
    heap.push(event);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(event, heap[parent])) break;
      heap[i] = heap[parent];
      i = parent;
    }
    heap[i] = event;
    return event;
  }

  /** The earliest event that was not cancelled, left in place. */
  peek(): Scheduled | undefined {
    while (this.heap.length > 0 && this.heap[0].run === null) this.removeFirst();
    return this.heap[0];
  }

  pop(): Scheduled | undefined {
    const event = this.peek();
    if (event !== undefined) this.removeFirst();
    return event;
  }

  private removeFirst(): void {
    const heap = this.heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], last)) break;
      heap[i] = heap[child];
      i = child;
    }
    heap[i] = last;
  }
}
