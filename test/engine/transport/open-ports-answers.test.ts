/** Which answers of the guest open which sockets, and when the next question is due: without frames. */
import { describe, expect, it } from "vitest";
import type { ServedPort } from "../../../src/engine/api.ts";
import type { HostNetwork } from "../../../src/engine/boundary.ts";
import { OpenPorts } from "../../../src/engine/transport/open-ports.ts";
import type { Ends } from "../../../src/engine/transport/path.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import { ip } from "../../support/frames.ts";

const GUEST = ip("10.0.2.15");
const OTHER_GUEST = ip("10.0.2.16");
const GATEWAY = ip("10.0.2.2");
/** What acknowledges the first walk's questions. */
const FIRST = 2;

class Rig {
  /** Sockets that were told to listen or not to. */
  readonly told: [handle: number, on: boolean][] = [];
  /** What the host says to that. */
  result = 0;
  readonly ctx = { gateway: GATEWAY, openPorts: null } as unknown as TcpContext;
  /** While it is 0 nobody can be asked: a walk through the ports sends nothing. */
  guest = GUEST;
  readonly open: OpenPorts;

  constructor() {
    const tcpListen = (handle: number, on: boolean): number => {
      this.told.push([handle, on]);
      return this.result;
    };
    this.open = new OpenPorts(this.ctx, { tcpListen } as unknown as HostNetwork, ({ forward }) =>
      forward.guestAddress === 0 ? this.guest : forward.guestAddress,
    );
  }

  /** Slot and handle of a port that leads to the guest's. */
  add(slot: number, guestPort: number, { id = 41, guestAddress = 0, nowMs = 0 } = {}): void {
    this.open.add(
      slot,
      500 + slot,
      { id, guestPort, forward: { guestAddress } } as unknown as ServedPort,
      nowMs,
    );
  }

  answer(guestPort: number, isOpen: boolean, acknowledgment = FIRST, over: Partial<Ends> = {}): boolean {
    return this.open.answered(
      {
        ...{ ipOctets: 20, guestAddress: GUEST, guestPort, remoteAddress: GATEWAY, remotePort: 1 },
        ...{ pair: new Int32Array(8), pairAt: 0, ...over },
      },
      isOpen,
      acknowledgment,
    );
  }

  isOpen(...slots: number[]): boolean[] {
    return slots.map((slot) => this.open.isOpen(slot, 80));
  }

  /** Walks through the ports, every second from 0 on. */
  rounds(count: number, fromMs = 0): void {
    this.guest = 0;
    for (let round = 0; round < count; round++) this.open.work(fromMs + 1000 * round);
    this.guest = GUEST;
  }
}

describe("an answer of the guest's port", () => {
  it("opens the sockets that lead there, once, and closes them", () => {
    const rig = new Rig();
    rig.add(0, 80);
    rig.add(1, 81);
    rig.add(2, 80);
    expect(rig.ctx.openPorts).toBe(rig.open);
    expect(rig.isOpen(0, 1, 2)).toEqual([false, false, false]);
    expect([rig.answer(80, true), rig.answer(80, true)]).toEqual([true, true]);
    expect(rig.told).toEqual([
      [502, true],
      [500, true],
    ]);
    expect([rig.isOpen(0, 2, 3), rig.open.isOpen(1, 81), rig.open.isOpen(0, 81)]).toEqual([
      ...[[true, true, false], false, false],
    ]);
    rig.answer(80, false);
    expect([rig.told.slice(2), rig.isOpen(0, 2)]).toEqual([
      [
        [502, false],
        [500, false],
      ],
      [false, false],
    ]);
  });

  it.each<[string, number, Partial<Ends>]>([
    ["from a port that was not asked", 81, {}],
    ["from another guest", 80, { guestAddress: OTHER_GUEST }],
    ["to another port", 80, { remotePort: 2 }],
    ["to another address", 80, { remoteAddress: ip("10.0.2.3") }],
    ["over IPv6", 80, { ipOctets: 40 }],
  ])("%s is none", (_what, guestPort, over) => {
    const rig = new Rig();
    rig.add(0, 80);
    expect([rig.answer(guestPort, true, FIRST, over), rig.told]).toEqual([false, []]);
  });

  it("to an older question is none", () => {
    const rig = new Rig();
    rig.add(0, 80);
    rig.rounds(1);
    expect([
      rig.answer(80, true, FIRST),
      rig.answer(80, true, FIRST + 1),
      rig.answer(80, true, FIRST + 2),
    ]).toEqual([...[false, true, false]]);
  });

  it("counts wherever in a walk its port was asked", () => {
    const rig = new Rig();
    rig.add(0, 80);
    rig.add(1, 81);
    rig.rounds(1);
    expect([rig.answer(80, true, FIRST + 1), rig.answer(81, true, FIRST + 1)]).toEqual([true, true]);
  });

  it("opens those of its own guest where forwards name others", () => {
    const rig = new Rig();
    rig.add(0, 80, { guestAddress: OTHER_GUEST });
    rig.add(1, 80);
    expect(rig.answer(80, true)).toBe(true);
    expect(rig.told).toEqual([[501, true]]);
    expect(rig.answer(80, true, FIRST, { guestAddress: OTHER_GUEST })).toBe(true);
    expect(rig.told).toEqual([
      [501, true],
      [500, true],
    ]);
  });

  it("opens a socket that could not listen by the next one", () => {
    const rig = new Rig();
    rig.add(0, 80);
    rig.result = -98;
    rig.answer(80, true);
    expect(rig.isOpen(0)).toEqual([false]);
    rig.result = 0;
    rig.answer(80, true);
    expect([rig.isOpen(0), rig.told.length]).toEqual([[true], 2]);
  });

  it("opens sockets of a host that knows no listening apart from being bound", () => {
    const open = new OpenPorts({ gateway: 0 } as TcpContext, {} as HostNetwork, () => GUEST);
    open.add(0, 500, { id: 1, guestPort: 80, forward: {} } as unknown as ServedPort, 0);
    const ends = { ipOctets: 20, guestAddress: GUEST, guestPort: 80, remoteAddress: 0, remotePort: 1 };
    open.answered({ ...ends, pair: new Int32Array(8), pairAt: 0 }, true, FIRST);
    expect(open.isOpen(0, 80)).toBe(true);
  });
});

describe("a port that does not answer", () => {
  it("counts as closed after two walks in vain, and an answer counts anew", () => {
    const rig = new Rig();
    rig.add(0, 80);
    rig.answer(80, true);
    rig.rounds(2);
    expect(rig.isOpen(0)).toEqual([true]);
    rig.answer(80, true, FIRST + 2);
    rig.rounds(2, 2000);
    expect(rig.isOpen(0)).toEqual([true]);
    rig.rounds(1, 4000);
    expect([rig.isOpen(0), rig.told]).toEqual([
      [false],
      [
        [500, true],
        [500, false],
      ],
    ]);
  });

  it("closes for a client that it refuses, whatever was asked", () => {
    const rig = new Rig();
    rig.add(0, 80);
    rig.add(1, 81);
    rig.answer(80, true);
    rig.answer(81, true);
    rig.open.refused(80);
    rig.open.refused(9);
    expect([rig.isOpen(0), rig.open.isOpen(1, 81)]).toEqual([[false], true]);
  });
});

describe("questions", () => {
  it("are due at once, then every second, over the clock's end as well", () => {
    const rig = new Rig();
    expect([rig.open.nextDeadlineMs(5), rig.open.work(5)]).toEqual([-1, undefined]);
    rig.add(0, 80, { nowMs: 0x7ffffff0 });
    rig.add(1, 81, { nowMs: 0 });
    expect([rig.open.nextDeadlineMs(0x7fffffe0), rig.open.nextDeadlineMs(0x7ffffff5)]).toEqual([16, 0]);
    rig.guest = 0;
    rig.open.work(0x7ffffff0);
    const later = (ms: number): number => (0x7ffffff0 + ms) | 0;
    expect([rig.open.nextDeadlineMs(later(0)), rig.open.nextDeadlineMs(later(999))]).toEqual([1000, 1]);
    rig.open.work(later(999));
    expect(rig.open.nextDeadlineMs(later(999))).toBe(1);
    rig.open.work(later(1000));
    expect(rig.open.nextDeadlineMs(later(1000))).toBe(1000);
  });

  it.each([
    [32, 1000, 1],
    [33, 50, 17],
    [40, 50, 20],
    [200, 50, 20],
  ])("about %i ports are due every %i ms, and all were asked after %i times", (ports, ms, times) => {
    const rig = new Rig();
    for (let i = 0; i < ports; i++) rig.add(i, 1000 + i);
    for (let i = 0; i < ports; i++) rig.answer(1000 + i, true);
    rig.guest = 0;
    /** Walks until the last port has been asked so often in vain that it closes. */
    let steps = 0;
    let now = 0;
    while (rig.open.isOpen(ports - 1, 1000 + ports - 1) && steps < 1000) {
      rig.open.work(now);
      expect(rig.open.nextDeadlineMs(now)).toBe(ms);
      now += ms;
      steps++;
    }
    expect(steps).toBe(Math.ceil((3 * ports) / Math.ceil(ports / (ms === 1000 ? 1 : 20))));
    expect(Math.ceil(steps / 3)).toBe(times);
  });

  it("go on with those that are left when a forward goes", () => {
    const rig = new Rig();
    for (let i = 0; i < 60; i++) rig.add(i, 80, { id: i < 30 ? 41 : 42 });
    rig.answer(80, true);
    rig.guest = 0;
    for (let step = 0; step < 20; step++) rig.open.work(step * 50);
    // Behind the last of those that are left: the next walk begins with the first.
    for (let step = 20; step < 35; step++) rig.open.work(step * 50);
    rig.open.remove(41);
    expect([rig.isOpen(0, 29, 30, 59), rig.open.nextDeadlineMs(1700)]).toEqual([
      [false, false, true, true],
      50,
    ]);
    rig.open.work(1750);
    rig.open.work(2750);
    expect(rig.isOpen(30, 59)).toEqual([false, false]);
    rig.open.remove(42);
    expect(rig.open.nextDeadlineMs(3000)).toBe(-1);
    rig.open.work(9999);
    rig.add(0, 80, { nowMs: 9999 });
    expect([rig.isOpen(0), rig.open.nextDeadlineMs(9999)]).toEqual([[false], 0]);
  });
});
