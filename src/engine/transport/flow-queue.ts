/**
 * Flows in the order in which they joined: half-open connections, connections in TIME-WAIT, UDP mappings by their last
 * use. What is full gives up its oldest, found without a search and removed from the middle without one.
 *
 * A flow stands in one queue at most, so that all queues share the links, which are the flow table's.
 */
import { type FlowTable, NO_FLOW } from "./flow-table.ts";

export class FlowQueue {
  length = 0;
  /** Flow id + 1; 0 is none. */
  private head = 0;
  private tail = 0;

  constructor(private readonly flows: FlowTable) {}

  /** The flow that has been here longest, or NO_FLOW. */
  get oldest(): number {
    return this.head === 0 ? NO_FLOW : this.head - 1;
  }

  /** A flow that stands in no queue joins this one. */
  append(id: number): void {
    const { queueNext, queuePrevious } = this.flows;
    queueNext[id] = 0;
    queuePrevious[id] = this.tail;
    if (this.tail === 0) this.head = id + 1;
    else queueNext[this.tail - 1] = id + 1;
    this.tail = id + 1;
    this.length++;
  }

  /** A flow of this queue leaves it. */
  remove(id: number): void {
    const { queueNext, queuePrevious } = this.flows;
    const next = queueNext[id];
    const previous = queuePrevious[id];
    if (previous === 0) this.head = next;
    else queueNext[previous - 1] = next;
    if (next === 0) this.tail = previous;
    else queuePrevious[next - 1] = previous;
    this.length--;
  }

  /** A flow of this queue becomes its newest. */
  renew(id: number): void {
    if (this.tail === id + 1) return;
    this.remove(id);
    this.append(id);
  }
}
