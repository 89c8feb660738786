/** Who is still there: guests that closed and forgot, peers that vanished, keepalives of the guest and towards it. */
import { describe, expect, it } from "vitest";
import { ECONNRESET, ETIMEDOUT } from "../../../src/engine/boundary.ts";
import { type ScriptOptions, TcpScript } from "./tcp-script.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

describe("a guest that has closed its half", () => {
  const halfClosed = (options: ScriptOptions = {}): TcpScript => {
    const s = new TcpScript(options);
    s.open();
    s.inject("F.", { seq: 1, ack: 1 });
    s.expect(".", { seq: 1, ack: 2 }, 2);
    return s;
  };

  it("and forgot is asked after 65 s, and its RST ends the connection", () => {
    const s = halfClosed();
    s.expectNothing(64_000);
    s.expect(".", { seq: 0, ack: 2, length: 0 }, 1500);
    s.inject("R", { seq: 2 });
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
    s.advance(1);
    expect(s.peer.sawReset).toBe(true);
  });

  it("and waits is asked less and less, and gets its octets after an hour", () => {
    const s = halfClosed();
    const asked: number[] = [];
    for (let passed = 0; passed < 2.5 * HOUR_MS; passed += 1000) {
      s.advance(1000);
      for (const segment of s.drain()) {
        expect(segment).toMatchObject({ sequence: 0, acknowledgment: 2 });
        asked.push(Math.round(s.world.nowMs / 1000));
        s.inject(".", { seq: 2, ack: 1 });
      }
      if (passed === HOUR_MS) {
        s.peerWrites(500);
        s.expect(".", { seq: 1, ack: 2, length: 500 });
        s.inject(".", { seq: 2, ack: 501 });
        s.peerReads(0);
        break;
      }
    }
    // 65 s, and each as long again as the last: 65 + 130 + 260 + ...
    const gaps = asked.map((at, i) => at - (asked[i - 1] ?? 0));
    expect(gaps).toEqual([65, 130, 260, 520, 1040].map((gap) => expect.closeTo(gap, -1)));
    expect(s.state).toBe("CLOSE-WAIT");
  });

  it("is asked seven times in the first two and a half hours, then as any other", () => {
    const s = halfClosed();
    let asked = 0;
    const answer = (): void => {
      for (const _ of s.drain()) {
        asked++;
        s.inject(".", { seq: 2, ack: 1 });
      }
    };
    for (let passed = 0; passed < 2.5 * HOUR_MS; passed += 1000) {
      s.advance(1000);
      answer();
    }
    expect(asked).toBe(7);
    for (let passed = 0; passed < 4 * HOUR_MS; passed += 1000) {
      s.advance(1000);
      answer();
    }
    expect(asked).toBe(9);
  });

  it("and does not answer is kept as long as any other (RFC 5382 REQ-5)", () => {
    const s = halfClosed();
    s.advance(2 * HOUR_MS + 4 * MINUTE_MS);
    expect(s.flowCount).toBe(1);
    s.advance(15 * MINUTE_MS);
    s.drain();
    expect(s.flowCount).toBe(0);
  });

  it("is not asked while octets of it wait for the host: a RST would lose what was acknowledged", () => {
    const s = new TcpScript({ sendBuffer: 1000 });
    s.open();
    s.inject("F.", { seq: 1, ack: 1, length: 1400 });
    s.drain();
    s.expectNothing(10 * MINUTE_MS);
    s.peerReads(1000);
    s.advance(1);
    expect(s.peer.available).toBe(400);
    expect(s.peer.sawFin).toBe(true);
    s.expect(".", { seq: 0, ack: 1402 }, 2 * MINUTE_MS);
  });

  it("and forgot leaves what the kernel has yet to deliver to the kernel", () => {
    const s = new TcpScript();
    s.open();
    s.peerVanishes();
    s.inject("F.", { seq: 1, ack: 1, length: 700 });
    s.expect(".", { seq: 1, ack: 702 }, 2);
    s.expect(".", { seq: 0, ack: 702 }, 66_000);
    s.inject("R", { seq: 702 });
    s.advance(10);
    expect(s.host.openHandles).toBe(0);
    expect(s.peer.sawReset).toBe(false);
  });

  it("and resets by itself, with an ACK, resets the peer whatever is under way", () => {
    const s = halfClosed();
    s.expect(".", { seq: 0, ack: 2 }, 66_000);
    s.inject("R.", { seq: 2, ack: 1 });
    s.advance(1);
    expect(s.peer.sawReset).toBe(true);
    expect(s.flowCount).toBe(0);
  });
});

describe("the guest's keepalive", () => {
  const open = (options: ScriptOptions = {}): TcpScript => {
    const s = new TcpScript(options);
    s.open();
    return s;
  };

  it("is answered at once when the peer was heard a moment ago, with and without an octet", () => {
    const s = open();
    s.inject(".", { seq: 0, ack: 1 });
    s.expect(".", { seq: 1, ack: 1 });
    s.inject(".", { seq: 0, ack: 1, length: 1 });
    s.expect(".", { seq: 1, ack: 1 });
    expect(s.probes).toBe(0);
  });

  it("is passed on, and answered when the peer has answered", () => {
    const s = open({ peerDelayMs: 150 });
    s.advance(5000);
    s.drain();
    s.inject(".", { seq: 0, ack: 1 });
    s.expect(".", { seq: 1, ack: 1 }, 700, 300);
    expect(s.probes).toBe(1);
    s.expectNothing(HOUR_MS);
    expect(s.probes).toBe(1);
  });

  it("is not answered when the peer is gone: what the guest does then reaches the peer", () => {
    const s = open();
    s.advance(5000);
    s.inject(".", { seq: 0, ack: 1 });
    s.expect(".", { seq: 1, ack: 1 }, 100);
    s.peerVanishes();
    s.advance(5000);
    // Idle 5 s, then three probes 2 s apart: 11 s, as without anybody in between.
    for (let i = 0; i < 3; i++) {
      s.inject(".", { seq: 0, ack: 1 });
      s.expectNothing(2000);
    }
    expect(s.probes).toBe(4);
    s.inject("R.", { seq: 1, ack: 1 });
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
  });

  it("is answered again when the peer is back", () => {
    const s = open();
    s.advance(5000);
    s.peerVanishes();
    s.inject(".", { seq: 0, ack: 1 });
    s.expectNothing(2000);
    s.peerReturns();
    s.inject(".", { seq: 0, ack: 1 });
    s.expect(".", { seq: 1, ack: 1 }, 100);
  });

  it("that asks faster than once a second makes no more probes than that", () => {
    const s = open();
    s.advance(5000);
    s.peerVanishes();
    for (let i = 0; i < 300; i++) {
      s.inject(".", { seq: 0, ack: 1 });
      s.advance(10);
    }
    s.expectNothing();
    expect(s.probes).toBe(3);
  });

  it("hears of a peer that the kernel gave up, or that knows nothing of the connection, as a reset", () => {
    for (const errno of [ETIMEDOUT, ECONNRESET]) {
      const s = open();
      s.advance(5000);
      s.peerVanishes();
      s.inject(".", { seq: 0, ack: 1 });
      s.socketFails(errno);
      s.expect("R.", { seq: 1, ack: 1 });
      expect(s.flowCount).toBe(0);
    }
  });

  it("is answered at once while the kernel waits for an acknowledgment: that ends by itself", () => {
    const s = open();
    s.peerVanishes();
    s.inject("P.", { seq: 1, ack: 1, length: 100 });
    s.expect(".", { ack: 101 }, 2);
    s.advance(5000);
    s.inject(".", { seq: 100, ack: 1 });
    s.expect(".", { seq: 1, ack: 101 });
    expect(s.probes).toBe(0);
  });

  it("is told from a probe of a window that is closed, which is answered at once", () => {
    const s = open({ sendBuffer: 1000 });
    s.inject("P.", { seq: 1, ack: 1, length: 1400 });
    s.drain();
    s.advance(5000);
    s.inject(".", { seq: 1400, ack: 1 });
    s.expect(".", { ack: 1401 });
    expect(s.probes).toBe(0);
  });

  it("works in both halves of a connection that is half-closed", () => {
    const guest = open();
    guest.inject("F.", { seq: 1, ack: 1 });
    guest.expect(".", { ack: 2 }, 2);
    guest.advance(5000);
    guest.inject(".", { seq: 1, ack: 1 });
    guest.expect(".", { seq: 1, ack: 2 }, 100);
    expect(guest.probes).toBe(1);
    // And the question of the half-closed is still asked.
    guest.expect(".", { seq: 0, ack: 2 }, 70_000, 60_000);

    const host = open();
    host.peerCloses();
    host.expect("F.", { seq: 1, ack: 1 });
    host.inject(".", { seq: 1, ack: 2 });
    host.advance(5000);
    host.peerVanishes();
    host.inject(".", { seq: 0, ack: 2 });
    host.expectNothing(2000);
    expect(host.probes).toBe(1);
  });

  it("leaves the keepalive towards the guest where it was", () => {
    const s = open();
    s.advance(5000);
    s.inject(".", { seq: 0, ack: 1 });
    s.expect(".", { seq: 1, ack: 1 }, 100);
    s.expectNothing(2 * HOUR_MS - 10_000);
    s.expect(".", { seq: 0, length: 0 }, 20_000);
  });
});

describe("who never asks", () => {
  it("is not asked about: an hour of an idle connection makes no call to the host", () => {
    const s = new TcpScript();
    s.open();
    const calls = s.host.calls;
    s.expectNothing(HOUR_MS);
    expect(s.host.calls).toBe(calls);
    expect(s.probes).toBe(0);
  });
});

describe("a forward's client that asks after the guest", () => {
  const called = (): TcpScript => {
    const s = new TcpScript();
    s.peerCalls();
    s.expect("S");
    s.inject("S.", { seq: 0, ack: 1, mss: 1460 });
    s.expect(".", { ack: 1 });
    return s;
  };
  /** The client asks every five seconds for so long; the guest answers or not. Gives how often it was asked. */
  const asks = (s: TcpScript, ms: number, answers: boolean): number => {
    let asked = 0;
    for (let passed = 0; passed < ms && s.flowCount > 0; passed += 500) {
      s.advance(500);
      if (s.flowCount > 0 && passed % 5000 === 0) s.peerAsks();
      for (const segment of s.drain()) {
        if ((segment.flags & 0x04) !== 0) continue;
        asked++;
        if (answers) s.inject(".", { seq: 1, ack: 1 });
      }
    }
    return asked;
  };

  it("has it asked, at half its pace", () => {
    const s = called();
    const asked = asks(s, 10 * MINUTE_MS, true);
    // From the second look on, after 130 s: every ten seconds.
    expect(asked).toBeGreaterThan(40);
    expect(asked).toBeLessThan(50);
    expect(s.state).toBe("ESTABLISHED");
  });

  it("is reset when three questions are left unanswered", () => {
    const s = called();
    asks(s, 10 * MINUTE_MS, true);
    expect(asks(s, MINUTE_MS, false)).toBe(3);
    expect(s.flowCount).toBe(0);
    expect(s.peer.sawReset).toBe(true);
  });

  it("and no longer does is left alone", () => {
    const s = called();
    asks(s, 5 * MINUTE_MS, true);
    s.advance(20_000);
    s.drain();
    s.expectNothing(HOUR_MS);
    expect(s.state).toBe("ESTABLISHED");
  });

  it("never asks costs seven calls in two hours and no segment", () => {
    const s = called();
    const calls = s.host.calls;
    s.expectNothing(2 * HOUR_MS - 10_000);
    expect(s.host.calls - calls).toBe(7);
  });

  it("is not asked after while octets for the guest are under way", () => {
    const s = called();
    s.peerWrites(100);
    s.expect(".", { seq: 1, length: 100 });
    // The guest is silent: the octets are sent again until R2, and then it is given up.
    expect(asks(s, 100_000, false)).toBe(8);
    expect(s.flowCount).toBe(1);
  });
});
