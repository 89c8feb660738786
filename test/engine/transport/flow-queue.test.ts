import { describe, expect, it } from "vitest";
import { FlowQueue } from "../../../src/engine/transport/flow-queue.ts";
import { FlowTable, NO_FLOW } from "../../../src/engine/transport/flow-table.ts";

describe("FlowQueue", () => {
  it("gives its flows in the order they joined, whoever left in between", () => {
    const flows = new FlowTable({ int32: () => 1 });
    const queue = new FlowQueue(flows);
    const other = new FlowQueue(flows);
    const order: number[] = [];
    let state = 7;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
      return (state >>> 8) % below;
    };
    let inOther = -1;
    for (let step = 0; step < 20_000; step++) {
      const id = random(50);
      const at = order.indexOf(id);
      if (id === inOther) {
        other.remove(id);
        inOther = -1;
      } else if (at < 0 && inOther < 0 && random(4) === 0) {
        other.append(id);
        inOther = id;
      } else if (at < 0) {
        queue.append(id);
        order.push(id);
      } else {
        order.splice(at, 1);
        if (random(2) === 0) {
          queue.renew(id);
          order.push(id);
        } else queue.remove(id);
      }
      expect([queue.oldest, queue.length]).toEqual([order[0] ?? NO_FLOW, order.length]);
      expect([other.oldest, other.length]).toEqual([inOther, inOther < 0 ? 0 : 1]);
    }
    while (order.length > 0) {
      expect(queue.oldest).toBe(order.shift());
      queue.remove(queue.oldest);
    }
    expect(queue.oldest).toBe(NO_FLOW);
  });
});
