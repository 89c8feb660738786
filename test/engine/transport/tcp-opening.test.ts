/** Segments of the guest before a connection is open (RFC 9293 3.10.7.3 and .4). */
import { describe, expect, it } from "vitest";
import { type DropReasonName, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import {
  CONNECTING,
  ESTABLISHED,
  SYN_RECEIVED,
  SYN_SENT,
  type TcpConnection,
  TIMER_RETRANSMIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import { segmentArrives } from "../../../src/engine/transport/tcp/input.ts";
import { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { ACK, FIN, RST, SYN } from "../../sim/guest-stack/codec.ts";
import { GUEST_IP, REMOTE_IP, TcpLayer } from "./tcp-layer.ts";
import { bare, type Fields, Input } from "./tcp-segments.ts";

describe("in SYN-SENT (RFC 9293 3.10.7.3)", () => {
  /** The engine's SYN is out; fields count its SYN as octet -1, so that an acknowledgment of it is 0. */
  const opening = (over: Partial<TcpConnection> = {}): Input => {
    const input = new Input({
      state: SYN_SENT,
      outbound: false,
      timestamps: true,
      sack: true,
      rcvShift: 7,
      ...over,
    });
    input.c.sndNxt = (input.c.iss + 1) | 0;
    return input;
  };
  const SYN_ACK = SYN | ACK;

  it("a SYN-ACK opens, and is acknowledged with the next flush", () => {
    const input = opening({ rttTiming: true, rttStartMs: 9900 });
    expect(input.arrives({ seq: 100, ack: 0, flags: SYN_ACK, win: 777, stamp: [5, 0] })).toBe("handled");
    expect(input.c).toMatchObject({ state: ESTABLISHED, sndWnd: 777, sndWl2: input.una, rttTiming: false });
    expect(input.c).toMatchObject({ timestamps: true, sack: false, srtt8: 800, lastHeardMs: 10_000 });
    expect((input.c.irs - input.next) | 0).toBe(100);
    input.flush();
    expect(input.answers()).toEqual([bare(101)]);
  });

  it("one that was sent again says nothing of round trips", () => {
    const input = opening({ rttTiming: false, rttStartMs: 9900 });
    input.arrives({ flags: SYN_ACK });
    expect(input.c.srtt8).toBe(0);
  });

  it("a SYN opens from both sides: it is answered with a SYN-ACK", () => {
    const input = opening();
    expect(input.arrives({ seq: 100, flags: SYN })).toBe("handled");
    expect(input.state).toBe("SYN-RECEIVED");
    expect(input.answers()).toEqual([{ seq: -1, ack: 101, flags: SYN_ACK }]);
    expect(input.c.timerKind).toBe(TIMER_RETRANSMIT);
    expect(input.c.timerAt).toBe(11_000);
  });

  it.each<[string, Fields, boolean]>([
    ["a SYN-ACK of something else", { ack: 5, flags: SYN_ACK }, true],
    ["an ACK of something else", { ack: -1, flags: ACK }, true],
    ["a RST of something else", { ack: 5, flags: RST | ACK }, false],
    ["a RST of nothing", { flags: RST }, false],
    ["a segment without a SYN", { flags: ACK }, false],
    ["a FIN", { flags: FIN }, false],
  ])("%s is refused", (_, fields, isReset) => {
    const input = opening({ lastHeardMs: 3 });
    expect(input.arrives(fields)).toBe("tcp-unacceptable");
    expect([input.state, input.c.lastHeardMs]).toEqual(["SYN-SENT", 3]);
    expect(input.answers()).toEqual(isReset ? [{ seq: fields.ack, ack: 0, flags: RST }] : []);
    expect(input.counters.value("tcp-resets-from-guest")).toBe(0);
  });

  it("a RST of our SYN ends it, and the port counts as closed", () => {
    const input = opening();
    const refused: number[] = [];
    input.ctx.openPorts = { answered: () => false, refused: (port) => refused.push(port) };
    expect(input.arrives({ flags: RST | ACK })).toBe("handled");
    expect(input.state).toBe("CLOSED");
    expect(refused).toEqual([40_000]);
    expect(input.told.ended).toEqual([[40_000, "guest-reset by guest", 0]]);
    expect(input.counters.value("tcp-resets-from-guest")).toBe(1);
    expect(input.network.sockets[0].state).toBe("reset");
  });
});

describe("a guest that refuses over IPv6", () => {
  it("is asked over IPv4, and that connection stays", () => {
    const layer = new TcpLayer();
    const c = layer.connection(40_000, [1, 2, 3, 4, 5, 6, 7, 8]);
    const handle = layer.network.tcpConnect(0, Int32Array.of(0, 0, 0xffff, REMOTE_IP, 81));
    Object.assign(c, {
      state: SYN_SENT,
      handle,
      guestAddress: GUEST_IP,
      remoteAddress: REMOTE_IP,
      targetPort: 81,
    });
    let refused = 0;
    layer.ctx.openPorts = { answered: () => false, refused: () => refused++ };
    const s = new Segment();
    Object.assign(s, { flags: RST | ACK, acknowledgment: (c.iss + 1) | 0 });
    expect(segmentArrives(layer.ctx, c, s)).toBe(HANDLED);
    expect([refused, layer.ctx.open, layer.network.sockets[0].state]).toEqual([0, 1, "open"]);
    expect(layer.sent()).toMatchObject([{ flags: SYN, sourcePort: 81 }]);
  });
});

describe("while the host connects", () => {
  const connecting = (over: Partial<TcpConnection> = {}): Input => {
    const input = new Input({ state: CONNECTING, ...over });
    input.ctx.halfOpen.append(input.c.id);
    return input;
  };

  it.each<[string, Fields, DropReasonName, string]>([
    ["a RST at the number expected ends it", { flags: RST }, "handled", "CLOSED"],
    ["a RST elsewhere does not", { seq: 1, flags: RST }, "tcp-unacceptable", "CONNECTING"],
    ["an ACK at that number does not", { flags: ACK }, "tcp-unacceptable", "CONNECTING"],
    ["the SYN again is a duplicate", { seq: -1, flags: SYN }, "handled", "CONNECTING"],
    ["a SYN-ACK is none", { seq: -1, flags: SYN | ACK }, "tcp-unacceptable", "CONNECTING"],
  ])("%s", (_, fields, result, state) => {
    const input = connecting();
    expect(input.arrives(fields)).toBe(result);
    expect(input.state).toBe(state);
    expect(input.counters.value("tcp-resets-from-guest")).toBe(state === "CLOSED" ? 1 : 0);
    expect(input.counters.value("tcp-duplicates")).toBe(fields.seq === -1 && fields.flags === SYN ? 1 : 0);
    expect(input.told.ended.map(([, end]) => end)).toEqual(
      state === "CLOSED" ? ["guest-reset by guest"] : [],
    );
    expect(input.answers()).toEqual([]);
  });

  it("another SYN is a new attempt, and counts", () => {
    const input = connecting({ tsRecent: 3 });
    expect(input.arrives({ seq: 500, flags: SYN, win: 777, stamp: [9, 0] })).toBe("handled");
    expect((input.c.irs - input.next) | 0).toBe(500);
    expect(input.c).toMatchObject({ sndWnd: 777, timestamps: true, tsRecent: 9 });
    expect(input.counters.value("tcp-duplicates")).toBe(0);
  });

  it("the SYN again has a later timestamp, which counts where they are agreed on", () => {
    for (const [timestamps, stamp, tsRecent] of [
      [true, [9, 0], 9],
      [true, undefined, 3],
      [false, [9, 0], 3],
    ] as const) {
      const input = connecting({ timestamps, tsRecent: 3 });
      input.arrives({ seq: -1, flags: SYN, ...(stamp === undefined ? {} : { stamp }) });
      expect(input.c.tsRecent).toBe(tsRecent);
    }
  });
});

describe("in SYN-RECEIVED", () => {
  const received = (over: Partial<TcpConnection> = {}): Input => {
    const input = new Input({ state: SYN_RECEIVED, ...over });
    input.c.sndNxt = (input.c.iss + 1) | 0;
    input.c.sndEnd = input.c.sndNxt;
    return input;
  };

  it("the ACK of our SYN opens, and its window counts", () => {
    const input = received({ rttTiming: true, rttStartMs: 9900, sndWnd: 5 });
    expect(input.arrives({ win: 777 })).toBe("handled");
    expect(input.c).toMatchObject({
      state: ESTABLISHED,
      sndUna: input.una,
      sndWnd: 777,
      srtt8: 800,
      rttTiming: false,
    });
    expect(input.answers()).toEqual([]);
    const again = received({ rttStartMs: 9900 });
    again.arrives({});
    expect(again.c.srtt8).toBe(0);
  });

  it("another ACK is reset", () => {
    for (const ack of [-1, 1]) {
      const input = received();
      expect(input.arrives({ ack })).toBe("tcp-unacceptable");
      expect(input.state).toBe("SYN-RECEIVED");
      expect(input.answers()).toEqual([{ seq: ack, ack: 0, flags: RST }]);
    }
  });

  it("the guest's SYN again is answered with our SYN-ACK, and is no duplicate", () => {
    const input = received();
    expect(input.arrives({ seq: -1, flags: SYN })).toBe("handled");
    expect(input.answers()).toEqual([{ seq: -1, ack: 0, flags: SYN | ACK }]);
    expect(input.counters.value("tcp-duplicates")).toBe(0);
  });

  it("a SYN with another number is told where we stand", () => {
    const input = received();
    expect(input.arrives({ seq: -2, flags: SYN })).toBe("tcp-unacceptable");
    expect(input.counters.value("tcp-duplicates")).toBe(1);
    input.flush();
    expect(input.answers()).toEqual([bare()]);
  });

  it("an old segment that is no SYN is one, too, and its ACK does not open", () => {
    const input = received();
    expect(input.arrives({ seq: -1 })).toBe("tcp-unacceptable");
    expect(input.state).toBe("SYN-RECEIVED");
    expect(input.counters.value("tcp-duplicates")).toBe(1);
  });

  it("the SYN-ACK of a guest that opened at the same time completes it; its window is not scaled", () => {
    const input = received({ sndWnd: 1600, sndShift: 4 });
    expect(input.arrives({ seq: -1, flags: SYN | ACK, win: 7 })).toBe("handled");
    expect(input.c).toMatchObject({ state: ESTABLISHED, sndWnd: 1600, ackPending: true, touched: true });
    const wrong = received();
    expect(wrong.arrives({ seq: -1, ack: 9, flags: SYN | ACK })).toBe("tcp-unacceptable");
    expect(wrong.state).toBe("SYN-RECEIVED");
  });
});
