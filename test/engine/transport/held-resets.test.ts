/** The bound of the resets that wait, and the order in which they leave. */
import { expect, it } from "vitest";
import type { Egress } from "../../../src/engine/link/egress.ts";
import { FlowTable } from "../../../src/engine/transport/flow-table.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import { HELD_RESETS_MAX, HeldResets } from "../../../src/engine/transport/tcp/held-resets.ts";
import { sendAck, sendReset } from "../../../src/engine/transport/tcp/output.ts";
import { TcpLayer } from "./tcp-layer.ts";

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

const PAIR = [0xfd711ae0 | 0, 1, 2, 0x15, 0x20010db8, 5, 6, 7];

/** A connection between such ends whose frame was queued, and that has ended since; the link then says that it is lost. */
function lost(
  pair: readonly number[] | undefined,
  send: typeof sendReset,
  spoil?: (frame: Uint8Array) => void,
) {
  const layer = new TcpLayer();
  const { ctx, egress } = layer;
  layer.link.room = 0;
  const c = layer.connection(1234, pair);
  send(ctx, c);
  ctx.flows.remove(c.id);
  const at = egress.queue.headerAt[egress.queue.first];
  spoil?.(layer.arena.octets.subarray(at));
  egress.queue.lose(0);
  const held: { ends: Path; seq: number; ack: number }[] = [];
  expect(ctx.heldResets.due).toBe(false);
  ctx.heldResets.guestHeard();
  const { due } = ctx.heldResets;
  ctx.heldResets.release((ends, seq, ack) => {
    const path = new Path(new Int32Array(8));
    path.copyEnds(ends);
    held.push({ ends: path, seq, ack });
  });
  expect(due).toBe(held.length > 0);
  return { held, c };
}

it.each([[undefined], [PAIR]])("are those that the link loses, over either family (%j)", (pair) => {
  const { held, c } = lost(pair, sendReset);
  expect(held.length).toBe(1);
  const [{ ends, seq, ack }] = held;
  expect([seq, ack]).toEqual([c.sndNxt, c.rcvTaken]);
  expect(ends).toMatchObject({ guestPort: 1234, remotePort: 80, ipOctets: pair === undefined ? 20 : 40 });
  if (pair === undefined)
    expect(ends).toMatchObject({ guestAddress: c.guestAddress, remoteAddress: c.remoteAddress });
  else expect([...ends.pair]).toEqual(pair);
});

it.each<[string, typeof sendReset, (frame: Uint8Array) => void]>([
  ["acknowledge and do not reset", sendAck, () => {}],
  ["reset and do not acknowledge", sendReset, (frame) => (frame[47] = 4)],
  ["are no TCP", sendReset, (frame) => (frame[23] = 17)],
  ["are no IP", sendReset, (frame) => (frame[13] = 6)],
])("are no frames that %s", (_, send, spoil) => {
  expect(lost(undefined, send, spoil).held).toEqual([]);
});

it("are no frames of IPv6 that carry something else", () => {
  expect(lost(PAIR, sendReset, (frame) => (frame[20] = 17)).held).toEqual([]);
  expect(lost(PAIR, sendReset, (frame) => (frame[13] = 0xde)).held).toEqual([]);
});

it("are for nobody where a connection has begun between the same ends", () => {
  for (const pair of [undefined, PAIR]) {
    const layer = new TcpLayer();
    const ends = layer.ends(5, pair);
    layer.ctx.heldResets.hold(ends, 1, 2);
    layer.connection(5, pair);
    expect(layer.ctx.heldResets.due).toBe(true);
    layer.ctx.heldResets.release(() => expect.unreachable());
    expect(layer.ctx.heldResets.due).toBe(false);
  }
});
