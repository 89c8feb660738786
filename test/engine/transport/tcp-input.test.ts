/** A segment of the guest, step by step (RFC 9293 3.10.7): what is acceptable, what is done with it, what is answered. */
import { describe, expect, it } from "vitest";
import type { DropReasonName } from "../../../src/engine/metrics/drop-reasons.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  CLOSING,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  LAST_ACK,
  type TcpConnection,
  TIME_WAIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import { ACK, FIN, PSH, RST, SYN } from "../../sim/guest-stack/codec.ts";
import { bare, type Fields, Input } from "./tcp-segments.ts";

describe("what lies in the window of 1000 octets", () => {
  it.each<[string, Fields, number, boolean]>([
    ["an empty segment", {}, 0, false],
    ["all of it", { length: 1000 }, 1000, false],
    ["an octet more: that is cut off", { length: 1001 }, 1000, true],
    ["octets and a FIN", { length: 999, flags: ACK | FIN }, 1000, false],
    ["a FIN behind a full window: it is cut off", { length: 1000, flags: ACK | FIN }, 1000, true],
    ["a FIN behind more than that", { length: 1001, flags: ACK | FIN }, 1000, true],
    ["an empty segment at its right edge", { seq: 1000 }, 0, false],
    ["old octets and new ones", { seq: -5, length: 6 }, 1, false],
    ["old octets and a new FIN", { seq: -5, length: 5, flags: ACK | FIN }, 1, false],
    ["an old octet, a full window, and one more", { seq: -1, length: 1002 }, 1000, true],
    ["old octets, a full window, and a FIN", { seq: -5, length: 1005, flags: ACK | FIN }, 1000, true],
  ])("is taken: %s", (_, fields, taken, told) => {
    const input = new Input();
    expect(input.arrives(fields)).toBe("handled");
    expect((input.c.rcvNxt - input.next) | 0).toBe(taken);
    expect(input.c.ackPending).toBe(told);
    expect(input.c.lastHeardMs).toBe(10_000);
    const isFin = taken > 0 && !told && ((fields.flags ?? 0) & FIN) !== 0;
    expect(input.c.guestFin).toBe(isFin);
    const octets = Math.max(0, isFin ? taken - 1 : taken);
    expect(input.flush()).toEqual(Array.from({ length: octets }, (_, i) => i & 0xff));
    expect(input.c.packetsFromGuest).toBe(1);
  });

  it.each<[string, Fields]>([
    ["an octet at its right edge", { seq: 1000, length: 1 }],
    ["a FIN at its right edge", { seq: 1000, flags: ACK | FIN }],
    ["an empty segment beyond", { seq: 1001 }],
    ["octets that are all old", { seq: -5, length: 5 }],
    ["octets and a FIN that are all old", { seq: -6, length: 5, flags: ACK | FIN }],
    ["an old FIN", { seq: -1, flags: ACK | FIN }],
    ["an old empty segment", { seq: -2 }],
  ])("is not: %s. The guest hears where we stand", (_, fields) => {
    const input = new Input();
    input.arrives(fields);
    expect(input.c.rcvNxt).toBe(input.next);
    expect(input.counters.value("tcp-duplicates")).toBe(1);
    expect(input.c.lastHeardMs).toBe(10_000);
    expect(input.flush()).toEqual([]);
    expect(input.answers()).toEqual([bare()]);
  });

  it("is nothing while it is closed, but its acknowledgments are", () => {
    for (const fields of [{}, { length: 5 }, { flags: ACK | FIN }, { length: 1, flags: ACK | FIN }]) {
      const input = new Input({}, 0);
      input.flight(100);
      expect(input.arrives({ ...fields, ack: 60 })).toBe("handled");
      expect((input.c.sndUna - input.una) | 0).toBe(60);
      expect(input.c.rcvNxt).toBe(input.next);
      expect(input.c.ackPending).toBe(Object.keys(fields).length > 0);
      expect(input.c.guestFin).toBe(false);
      expect(input.counters.value("tcp-duplicates")).toBe(0);
    }
    expect(new Input({}, 0).arrives({ seq: 1, flags: RST })).toBe("tcp-unacceptable");
  });

  it("is told from what came twice (RFC 2883): old octets, and no more than there are", () => {
    for (const [fields, left, right] of [
      [{ seq: -5, length: 5 }, -5, 0],
      [{ seq: -5, length: 3 }, -5, -2],
      [{ seq: -5, length: 50 }, -5, 0],
    ] as const) {
      const input = new Input();
      input.arrives(fields);
      expect([(input.c.dsackLeft - input.next) | 0, (input.c.dsackRight - input.next) | 0]).toEqual([
        left,
        right,
      ]);
    }
  });

  it("counts a SYN as an octet: one before the window is old, one at its edge is beyond", () => {
    for (const seq of [-2, -1, 1000]) {
      const input = new Input();
      expect(input.arrives({ seq, flags: SYN })).toBe("tcp-unacceptable");
      expect(input.counters.value("tcp-duplicates")).toBe(1);
    }
    for (const seq of [0, 999]) {
      const input = new Input();
      expect(input.arrives({ seq, flags: SYN })).toBe("tcp-unacceptable");
      expect(input.counters.value("tcp-challenge-acks")).toBe(1);
    }
  });
});

describe("a segment without an ACK", () => {
  it("is dropped in silence", () => {
    const input = new Input();
    expect(input.arrives({ flags: 0, length: 10 })).toBe("tcp-unacceptable");
    expect(input.flush()).toEqual([]);
    expect(input.answers()).toEqual([]);
  });

  it("that is old gives no acknowledgment", () => {
    const input = new Input().flight(100);
    for (const flags of [0, SYN | ACK, SYN]) {
      expect(input.arrives({ seq: -5, ack: 50, flags })).toBe("tcp-unacceptable");
      expect(input.c.sndUna).toBe(input.una);
    }
    expect(input.arrives({ seq: -5, ack: 50 })).toBe("handled");
    expect((input.c.sndUna - input.una) | 0).toBe(50);
  });
});

describe("timestamps (RFC 7323)", () => {
  const STAMP = 0x7ffffff0;
  const DAYS_24 = 24 * 24 * 3_600_000;
  const stamped = (over: Partial<TcpConnection> = {}): Input =>
    new Input({ timestamps: true, tsRecent: STAMP, tsRecentAtMs: 10_000, ...over });

  it.each<[string, Fields, DropReasonName, number, number]>([
    ["the same", { stamp: [STAMP, 0] }, "handled", STAMP, 0],
    ["a later one, over the wrap", { stamp: [STAMP + 100, 0] }, "handled", STAMP + 100, 0],
    ["an older one", { stamp: [STAMP - 1, 0] }, "tcp-paws", STAMP, 1],
    ["none", {}, "tcp-unacceptable", STAMP, 0],
    [
      "an older one with a RST, which has none that counts",
      { seq: 5, stamp: [STAMP - 1, 0], flags: RST },
      "tcp-unacceptable",
      STAMP,
      1,
    ],
    ["an older one with a SYN", { stamp: [STAMP - 1, 0], flags: SYN }, "tcp-unacceptable", STAMP, 1],
    ["a later one ahead of a hole", { seq: 10, length: 5, stamp: [STAMP + 9, 0] }, "handled", STAMP, 1],
    ["a later one on old octets", { seq: -5, length: 5, stamp: [STAMP + 9, 0] }, "handled", STAMP + 9, 0],
  ])("%s", (_, fields, result, recent, answers) => {
    const input = stamped();
    expect(input.arrives(fields)).toBe(result);
    expect(input.c.tsRecent).toBe(recent | 0);
    expect(input.answers().length).toBe(answers);
  });

  it("that were not agreed on say nothing", () => {
    const input = new Input({ tsRecent: STAMP });
    expect(input.arrives({ stamp: [STAMP - 1, 0] })).toBe("handled");
    expect(input.arrives({ stamp: [STAMP + 1, 0] })).toBe("handled");
    expect(input.c.tsRecent).toBe(STAMP);
  });

  it("of more than 24 days ago refuse nothing", () => {
    for (const [age, result] of [
      [DAYS_24, "tcp-paws"],
      [DAYS_24 + 1, "handled"],
    ] as const) {
      const input = stamped({ tsRecentAtMs: (10_000 - age) | 0 });
      expect(input.arrives({ stamp: [STAMP - 1, 0] })).toBe(result);
    }
  });

  it("are noted with the time at which they came", () => {
    const input = stamped({ tsRecentAtMs: 1 });
    input.arrives({ seq: 10, length: 5, stamp: [STAMP + 9, 0] });
    expect(input.c.tsRecentAtMs).toBe(1);
    input.arrives({ stamp: [STAMP + 9, 0] });
    expect(input.c.tsRecentAtMs).toBe(10_000);
  });
});

describe("a RST (RFC 5961 3)", () => {
  it("at the number expected ends the connection, one elsewhere in the window is challenged", () => {
    const exact = new Input();
    expect(exact.arrives({ flags: RST })).toBe("handled");
    expect(exact.state).toBe("CLOSED");
    expect(exact.told.ended).toEqual([[40_000, "guest-reset by guest", 0]]);
    expect(exact.counters.value("tcp-resets-from-guest")).toBe(1);
    expect(exact.answers()).toEqual([]);
    for (const seq of [1, 1000]) {
      const near = new Input();
      expect(near.arrives({ seq, flags: RST })).toBe("tcp-unacceptable");
      expect(near.state).toBe("ESTABLISHED");
      expect(near.counters.value("tcp-resets-from-guest")).toBe(0);
      expect(near.answers()).toEqual([bare()]);
    }
    for (const seq of [-1, 1001]) {
      const far = new Input({ lastHeardMs: 5 });
      expect(far.arrives({ seq, flags: RST | ACK })).toBe("tcp-unacceptable");
      expect([far.state, far.c.lastHeardMs]).toEqual(["ESTABLISHED", 5]);
      expect(far.c.ackPending).toBe(false);
      expect(far.answers()).toEqual([]);
    }
  });

  it("with a SYN at the number expected is a RST", () => {
    const input = new Input();
    expect(input.arrives({ flags: RST | SYN })).toBe("handled");
    expect(input.state).toBe("CLOSED");
    // With all there is, one before it: the octet that is new is not the RST's.
    const before = new Input();
    expect(before.arrives({ seq: -1, flags: RST | SYN | FIN })).toBe("tcp-unacceptable");
    expect(before.state).toBe("ESTABLISHED");
  });

  it("in TIME-WAIT ends that, unless octets wait for the host", () => {
    for (const [backlogOctets, state] of [
      [0, "CLOSED"],
      [1, "TIME-WAIT"],
    ] as const) {
      const input = new Input({ state: TIME_WAIT, backlogOctets });
      input.ctx.timeWaits.append(input.c.id);
      expect(input.arrives({ flags: RST })).toBe("handled");
      expect(input.state).toBe(state);
    }
    const open = new Input({ backlogOctets: 1 });
    open.arrives({ flags: RST });
    expect(open.state).toBe("CLOSED");
  });

  it("without an ACK, from a guest that was asked, leaves what is on its way to the kernel", () => {
    for (const [halfClosedProbes, flags, isReset] of [
      [1, RST, false],
      [1, RST | ACK, true],
      [0, RST, true],
    ] as const) {
      const input = new Input({ state: CLOSE_WAIT, halfClosedProbes });
      input.network.tcpStatus = (_, status) => status.fill(1) && 0;
      expect(input.arrives({ flags })).toBe("handled");
      expect(input.state).toBe("CLOSED");
      expect(input.network.sockets[0].state).toBe(isReset ? "reset" : "closed");
    }
    const closed = new Input({ state: CLOSE_WAIT, halfClosedProbes: 1, handle: -1 });
    expect(closed.arrives({ flags: RST })).toBe("handled");
    expect(closed.state).toBe("CLOSED");
  });
});

describe("challenges (RFC 5961 7)", () => {
  it("are ten in a second, and begin anew with the next", () => {
    const input = new Input();
    const challenges = (count: number): number => {
      const before = input.counters.value("tcp-challenge-acks");
      for (let i = 0; i < count; i++) input.arrives({ seq: 5, flags: RST });
      expect(input.answers().length).toBe(input.counters.value("tcp-challenge-acks") - before);
      return input.counters.value("tcp-challenge-acks") - before;
    };
    // Less than a second after the clock's start.
    input.ctx.now = 500;
    expect(challenges(4)).toBe(4);
    input.ctx.now = 1499;
    expect(challenges(8)).toBe(6);
    input.ctx.now = 1500;
    expect(challenges(20)).toBe(10);
    // The clock has come round since.
    input.ctx.now = (1500 + 0x9000_0000) | 0;
    expect(challenges(20)).toBe(10);
  });
});

describe("octets and FIN", () => {
  it.each<[number, DropReasonName, boolean]>([
    [ESTABLISHED, "handled", true],
    [FIN_WAIT_1, "handled", true],
    [FIN_WAIT_2, "handled", true],
    [CLOSE_WAIT, "tcp-unacceptable", false],
    [CLOSING, "tcp-unacceptable", false],
    [LAST_ACK, "tcp-unacceptable", false],
    [TIME_WAIT, "handled", false],
  ])("in state %i", (state, result, taken) => {
    for (const fields of [{ length: 10 }, { flags: ACK | FIN }]) {
      const input = new Input({ state, finSent: state !== ESTABLISHED && state !== CLOSE_WAIT });
      expect(input.arrives(fields)).toBe(result);
      expect(input.c.rcvNxt !== input.next).toBe(taken);
    }
  });

  it("take a place in the batch each, a FIN alone takes none", () => {
    const input = new Input();
    input.arrives({ flags: ACK | FIN });
    expect([input.c.guestFin, input.ctx.gatherCount]).toEqual([true, 0]);
  });

  it("a FIN alone ahead of a hole is not what came last", () => {
    const input = new Input({ sack: true });
    input.arrives({ seq: 20, length: 1 });
    input.arrives({ seq: 10, length: 1 });
    input.arrives({ seq: 21, flags: ACK | FIN });
    input.flush();
    const blocks = [10, 20].map((left) => [(input.next + left) >>> 0, (input.next + left + 1) >>> 0]);
    expect(input.sent()[0].options.sack).toEqual(blocks);
  });

  it("behind a FIN that has come are none", () => {
    const input = new Input();
    input.arrives({ length: 5, flags: ACK | FIN });
    const { rcvNxt } = input.c;
    expect(input.arrives({ seq: 6, length: 5 })).toBe("handled");
    expect(input.c.rcvNxt).toBe(rcvNxt);
  });

  it("ahead of a hole are kept, and each is answered where there is no SACK", () => {
    const input = new Input();
    for (let i = 0; i < 3; i++) {
      expect(input.arrives({ seq: 10 + i, length: 1 })).toBe("handled");
      expect(input.answers()).toEqual([bare()]);
    }
    expect(input.counters.value("tcp-out-of-order")).toBe(3);
    expect(input.c.outOfOrderOctets).toBe(3);
    expect(input.arrives({ length: 10 })).toBe("handled");
    expect((input.c.rcvNxt - input.next) | 0).toBe(13);
    expect(input.counters.value("tcp-out-of-order")).toBe(3);
  });

  it("ahead of a hole are answered together where there is SACK", () => {
    const input = new Input({ sack: true });
    for (let i = 0; i < 3; i++) input.arrives({ seq: 10 + i, length: 1 });
    expect(input.answers()).toEqual([]);
    expect([input.c.ackPending, input.c.touched]).toEqual([true, true]);
    input.flush();
    expect(input.answers()).toEqual([bare()]);
  });

  it("ahead of a hole are dropped where there is no room, and that is told", () => {
    const input = new Input();
    for (let i = 0; i < 128; i++) expect(input.arrives({ seq: 10 + 2 * i, length: 1 })).toBe("handled");
    expect(input.arrives({ seq: 300, length: 1 })).toBe("tcp-out-of-order-limit");
  });

  it("a FIN ahead of a hole is remembered, and counts when the hole is filled", () => {
    for (const length of [0, 5]) {
      const input = new Input();
      expect(input.arrives({ seq: 10, length, flags: ACK | FIN })).toBe("handled");
      expect([input.c.finKnown, (input.c.finAt - input.next) | 0]).toEqual([true, 10 + length]);
      expect(input.c.guestFin).toBe(false);
      expect(input.arrives({ length: 10, flags: ACK })).toBe("handled");
      if (length > 0) {
        expect(input.c.guestFin).toBe(true);
        expect((input.c.rcvNxt - input.next) | 0).toBe(10 + length + 1);
      }
    }
    const plain = new Input();
    plain.arrives({ seq: 10, length: 5 });
    expect(plain.c.finKnown).toBe(false);
  });

  it("a FIN in order whose octets close a hole is taken from where it is", () => {
    const input = new Input();
    // Behind the hole lie octets that the segment with the FIN holds, too.
    input.arrives({ seq: 4, length: 3 });
    input.arrives({ length: 5, flags: ACK | FIN });
    // What followed the FIN was there before it: no FIN.
    expect((input.c.rcvNxt - input.next) | 0).toBe(7);
    expect(input.c.guestFin).toBe(false);
  });
});

describe("what comes while the connection winds down", () => {
  it("a FIN again in TIME-WAIT begins the wait anew, nothing else does", () => {
    for (const [fields, idleAt] of [
      [{ seq: -1, flags: ACK | FIN }, 70_000],
      [{ seq: -1 }, 5000],
    ] as const) {
      const input = new Input({ state: TIME_WAIT, idleAt: 5000 });
      input.arrives(fields);
      expect(input.c.idleAt).toBe(idleAt);
      input.ctx.wheel.advance(70_010);
      expect(input.fired.includes(input.c.id)).toBe(idleAt === 70_000);
    }
    const open = new Input({ state: FIN_WAIT_2, idleAt: 5000 });
    open.arrives({ seq: -1, flags: ACK | FIN });
    expect(open.c.idleAt).toBe(5000);
  });
});

describe("a guest that was silent", () => {
  it("is asked from the start again once it is heard", () => {
    const input = new Input({ keepaliveProbes: 3 });
    input.arrives({ flags: ACK | PSH });
    expect(input.c.keepaliveProbes).toBe(0);
    expect(input.c.state).not.toBe(CLOSED);
  });
});
