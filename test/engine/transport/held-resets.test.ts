/** The bound of the resets that wait, and the order in which they leave. */
import { expect, it } from "vitest";
import type { Egress } from "../../../src/engine/link/egress.ts";
import { FlowTable } from "../../../src/engine/transport/flow-table.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import { HELD_RESETS_MAX, HeldResets } from "../../../src/engine/transport/tcp/held-resets.ts";

class Room {
  blocked = false;
  room = Number.POSITIVE_INFINITY;
  readonly queue = { lost: (_at: number): void => {} };
  hasRoom(): boolean {
    return this.room > 0;
  }
}

function held(count: number): { resets: HeldResets; egress: Room; sent: number[]; release: () => number[] } {
  const egress = new Room();
  const flows = new FlowTable({ int32: () => 7 });
  const resets = new HeldResets(new DataView(new ArrayBuffer(256)), egress as unknown as Egress, flows);
  for (let i = 0; i < count; i++) {
    const ends = Object.assign(new Path(), {
      guestAddress: 1,
      guestPort: i,
      remoteAddress: 2,
      remotePort: 80,
    });
    resets.hold(ends, i * 3, i * 5);
  }
  const sent: number[] = [];
  const release = (): number[] => {
    resets.release((ends, sequence, acknowledgment) => {
      expect([ends.guestAddress, ends.remoteAddress, ends.remotePort]).toEqual([1, 2, 80]);
      expect([sequence, acknowledgment]).toEqual([ends.guestPort * 3, ends.guestPort * 5]);
      egress.room--;
      sent.push(ends.guestPort);
    });
    return sent.splice(0);
  };
  return { resets, egress, sent, release };
}

it("leave oldest first, as many as there is room for", () => {
  const { resets, egress, release } = held(5);
  egress.room = 2;
  expect(resets.due).toBe(true);
  expect(release()).toEqual([0, 1]);
  expect(release()).toEqual([]);
  egress.room = 10;
  expect(release()).toEqual([2, 3, 4]);
  expect(resets.due).toBe(false);
});

it("are as many as there are places for: the oldest give way", () => {
  const { release } = held(HELD_RESETS_MAX + 3);
  expect(release()).toEqual(Array.from({ length: HELD_RESETS_MAX }, (_, i) => i + 3));
});

it("wait while the link is full", () => {
  const { resets, egress } = held(1);
  egress.blocked = true;
  expect(resets.due).toBe(false);
});

it("that are lost again on their way are not tried again at once", () => {
  const { resets, egress } = held(2);
  let tries = 0;
  resets.release((ends, sequence, acknowledgment) => {
    tries++;
    resets.hold(ends, sequence, acknowledgment);
    egress.queue.lost(0);
  });
  expect(tries).toBe(2);
  expect(resets.due).toBe(false);
  resets.guestHeard();
  expect(resets.due).toBe(true);
});
