/** A cable that is pulled: what comes is dropped, and a link that tells of it by an edge is not asked without an end. */
import { afterEach, describe, expect, it } from "vitest";
import type { EngineCore } from "../../../src/engine/api.ts";
import { READABLE } from "../../../src/engine/boundary.ts";
import { EventLoop } from "../../../src/host/event-loop.ts";
import { PulledLink } from "../../../src/host/link/pulled-link.ts";
import { sampleFrame, until } from "../../support/link-rig.ts";
import { calls } from "../../support/vhost-front-end.ts";
import { VhostRig } from "../../support/vhost-rig.ts";

const rigs: VhostRig[] = [];
const loops: EventLoop[] = [];
afterEach(() => {
  for (const loop of loops.splice(0)) loop.close();
  for (const rig of rigs.splice(0)) rig.close();
});

/** A card in shared memory whose cable is pulled, under the event loop; `turns` counts what the core is asked for. */
function pulled() {
  const rig = new VhostRig({ batch: 4 });
  rigs.push(rig);
  rig.front.start();
  const link = new PulledLink(rig.attachedLink, rig.counters);
  const seen = { turns: 0, readable: 0 };
  const core = {
    attach: () => {},
    handleEvent: (_token: number, events: number) => {
      if (events & READABLE) {
        seen.readable++;
        expect(link.receive(rig.batch)).toBe(0);
      }
    },
    turn: () => {
      seen.turns++;
      return false;
    },
    nextDeadlineMs: () => -1,
  } as unknown as EngineCore;
  const loop = new EventLoop(rig.arena, rig.descriptors, true, { linkFailed: () => {}, resumed: () => {} });
  loops.push(loop);
  loop.start(core);
  loop.attach(link);
  const post = (): void => {
    rig.front.transmit.post([
      { octets: new Uint8Array(Buffer.concat([new Uint8Array(12), sampleFrame(64, 1)])) },
    ]);
  };
  const kick = (): void => void calls.kick(rig.front.transmit.kick);
  return { rig, seen, post, kick };
}

describe("a pulled cable of a card in shared memory", () => {
  it("drops all that a kick tells of, though it be more than a batch", async () => {
    const { rig, post, kick } = pulled();
    for (let i = 0; i < 23; i++) post();
    kick();
    await until(() => rig.counters.dropped("link-down") === 23, "23 dropped frames");
    expect(rig.front.transmit.takeUsed()).toHaveLength(23);
    const before = rig.front.transmit.availableIndex;
    post();
    expect(rig.front.transmit.wantsKick(before)).toBe(true);
  });

  it("is asked once for each kick, and sleeps in between", async () => {
    const { rig, seen, post, kick } = pulled();
    post();
    kick();
    await until(() => rig.counters.dropped("link-down") === 1, "the dropped frame");
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    const { turns, readable } = seen;
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect({ turns: seen.turns - turns, readable: seen.readable - readable }).toEqual({
      turns: 0,
      readable: 0,
    });
  });
});
