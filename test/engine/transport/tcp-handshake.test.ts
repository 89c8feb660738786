/** Opening connections: RFC 9293 section 3.5, from both sides, and what happens when the host cannot. */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED, ENETUNREACH, ETIMEDOUT } from "../../../src/engine/boundary.ts";
import { ip } from "../../support/frames.ts";
import { guestEnd, ipHeaderOctets, TcpScript } from "./tcp-script.ts";

describe("opening by the guest", () => {
  it("answers the SYN only once the host is connected (RFC 9293 3.5)", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.expectNothing(5000);
    s.hostConnects();
    s.expect("S.", { ack: 1, mss: 1460 });
    s.inject(".", { seq: 1, ack: 1 });
    s.expectNothing();
    expect(s.state).toBe("ESTABLISHED");
    expect(s.connects).toBe(1);
  });

  it("connects once for a SYN that comes three times", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.inject("S", { mss: 1460 });
    s.advance(1000);
    s.inject("S", { mss: 1460 });
    s.hostConnects();
    s.expect("S.", { ack: 1 });
    s.expectNothing();
    expect(s.connects).toBe(1);
  });

  it("says the same SYN-ACK again to a SYN that comes again", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.hostConnects();
    const first = s.expect("S.", { ack: 1 });
    s.inject("S", { mss: 1460 });
    expect(s.expect("S.", { ack: 1 }).sequence).toBe(first.sequence);
  });

  it("sends the SYN-ACK again while it is not acknowledged, with back-off (RFC 6298 5.5)", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.hostConnects();
    s.expect("S.", { ack: 1 });
    s.expect("S.", { ack: 1, seq: 0 }, 1100, 900);
    s.expect("S.", { ack: 1, seq: 0 }, 2200, 1800);
    s.expect("S.", { ack: 1, seq: 0 }, 4400, 3600);
  });

  it("answers a refused connection with RST and ACK (RFC 9293 3.10.7.1)", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.hostFails(ECONNREFUSED);
    s.expect("R.", { ack: 1 });
    s.expectNothing(1000);
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
  });

  it("answers a connection that fails at once with RST and ACK", () => {
    const s = new TcpScript();
    s.connectErrno = ENETUNREACH;
    s.inject("S", { mss: 1460 });
    s.expect("R.", { ack: 1 });
    expect(s.flowCount).toBe(0);
  });

  it("stays silent while a connection times out, then resets", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.expectNothing(120_000);
    s.hostFails(ETIMEDOUT);
    s.expect("R.", { ack: 1 });
    expect(s.flowCount).toBe(0);
  });

  it("gives up a connection the host never answers, within RFC 5382's four minutes", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.expect("R.", { ack: 1 }, 260_000, 120_000);
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
  });

  it("drops the host's connection when the guest resets in the middle of opening", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.inject("R", { seq: 1 });
    s.expectNothing(10);
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
  });

  it("answers a wrong ACK in SYN-RECEIVED with a RST (RFC 9293 3.10.7.4)", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.hostConnects();
    s.expect("S.", { ack: 1 });
    s.inject(".", { seq: 1, ack: 77 });
    s.expect("R", { seq: 77 });
    s.inject(".", { seq: 1, ack: 1 });
    s.expectNothing();
    expect(s.state).toBe("ESTABLISHED");
  });

  it("takes octets that come with the handshake's last ACK", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.hostConnects();
    s.expect("S.", { ack: 1 });
    s.inject("P.", { seq: 1, ack: 1, length: 300 });
    s.expect(".", { ack: 301 }, 500);
    expect(s.peer.available).toBe(300);
  });
});

describe("out of descriptors", () => {
  /** A connection that the host does not answer, of this age, and another for which no descriptor is left. */
  const second = (ageMs: number, descriptorsShort: number): TcpScript => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.advance(ageMs);
    expect(s.flowCount).toBe(1);
    s.descriptorsShort = descriptorsShort;
    s.startOver(0x1000_0000, 40_001);
    s.inject("S", { mss: 1460 });
    return s;
  };

  it("a half-open connection that has waited for a second gives its own up", () => {
    const s = second(1000, 1);
    expect(s.connects).toBe(2);
    expect(s.host.openHandles).toBe(1);
    expect(s.core.flows(s.world.clock).map(({ guest }) => guest)).toEqual([guestEnd(40001)]);
    s.hostConnects();
    s.expect("S.", { ack: 1 });
  });

  it("one that is younger is let finish: the new SYN is dropped, and will come again", () => {
    const s = second(996, 1);
    expect(s.connects).toBe(1);
    expect(s.core.flows(s.world.clock).map(({ guest }) => guest)).toEqual([guestEnd(40000)]);
    s.hostConnects();
    s.advance(10);
    s.drain();
    s.inject("S", { mss: 1460 });
    expect(s.connects).toBe(2);
  });

  it("one that gave way in vain is not missed twice: the SYN is dropped in silence", () => {
    const s = second(5000, 2);
    s.expectNothing(10);
    expect(s.connects).toBe(1);
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
  });
});

describe("opening towards the guest", () => {
  // Over IPv6: test/engine/ipv6.test.ts, N45.
  it.runIf(ipHeaderOctets() === 20)(
    "shows the guest a caller from its own subnet as the gateway, and any other as it is",
    () => {
      for (const [caller, seen] of [
        ["10.0.2.77", "10.0.2.2"],
        ["10.0.2.15", "10.0.2.2"],
        ["127.0.0.1", "10.0.2.2"],
        ["127.200.0.9", "10.0.2.2"],
        ["10.0.3.77", "10.0.3.77"],
        ["198.51.100.7", "198.51.100.7"],
      ]) {
        const s = new TcpScript();
        s.peerCalls(50_000, ip(caller));
        expect(s.core.flows(s.world.clock)[0].remote).toBe(`${seen}:50000`);
      }
    },
  );

  it("sends a SYN for a caller and completes with an ACK (RFC 9293 3.5 figure 6)", () => {
    const s = new TcpScript();
    s.peerCalls();
    const syn = s.expect("S", { mss: 1460 });
    expect(syn.options.sackPermitted).toBe(true);
    s.inject("S.", { seq: 0, ack: 1, mss: 1460 });
    s.expect(".", { seq: 1, ack: 1 });
    expect(s.state).toBe("ESTABLISHED");
  });

  it("resets the caller when the guest refuses", () => {
    const s = new TcpScript();
    s.peerCalls();
    s.expect("S");
    s.inject("R.", { seq: 0, ack: 1 });
    s.expectNothing(10);
    expect(s.peer.sawReset).toBe(true);
    expect(s.flowCount).toBe(0);
  });

  it("comes back for those who wait when the host had run out of descriptors", () => {
    const s = new TcpScript();
    s.hostExhausted();
    s.hostSleeps(1);
    s.peerCalls(50_000);
    s.peerCalls(50_001);
    s.advance(1000);
    expect(s.drain().length).toBe(1);
    expect(s.flowCount).toBe(1);
  });

  it("ignores a RST in SYN-SENT that acknowledges nothing (RFC 9293 3.10.7.3)", () => {
    const s = new TcpScript();
    s.peerCalls();
    s.expect("S");
    s.inject("R", { seq: 0 });
    s.expectNothing();
    s.inject("S.", { seq: 0, ack: 1, mss: 1460 });
    s.expect(".", { seq: 1, ack: 1 });
  });

  it("answers a wrong ACK in SYN-SENT with a RST", () => {
    const s = new TcpScript();
    s.peerCalls();
    s.expect("S");
    s.inject("S.", { seq: 0, ack: 900, mss: 1460 });
    s.expect("R", { seq: 900 });
  });

  it("sends the SYN again with back-off and gives up in the end", () => {
    const s = new TcpScript();
    s.peerCalls();
    s.expect("S");
    s.expect("S", { seq: 0 }, 1100, 900);
    s.expect("S", { seq: 0 }, 2200, 1800);
    // Not before three minutes (RFC 9293 3.8.3), and within RFC 5382's four.
    s.advance(176_000);
    expect(s.flowCount).toBe(1);
    s.advance(30_000);
    s.drain();
    expect(s.peer.sawReset).toBe(true);
    expect(s.flowCount).toBe(0);
  });

  it("opens when both sides send a SYN at once (RFC 9293 3.5 figure 7)", () => {
    const s = new TcpScript();
    s.peerCalls();
    s.expect("S");
    s.inject("S", { seq: 0, mss: 1460 });
    s.expect("S.", { seq: 0, ack: 1 });
    s.inject("S.", { seq: 0, ack: 1, mss: 1460 });
    s.advance(10);
    s.drain();
    expect(s.state).toBe("ESTABLISHED");
    s.peerWrites(10);
    s.expect(".", { seq: 1, ack: 1, length: 10 }, 10);
  });
});

describe("options of the handshake", () => {
  it("offers nothing the guest did not offer (RFC 7323 1.3, RFC 2018 2)", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460 });
    s.hostConnects();
    const { options } = s.expect("S.", { mss: 1460 });
    expect(options).toEqual({ mss: 1460 });
  });

  it("agrees to all that the guest offers", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1460, windowScale: 7, sackPermitted: true, timestamp: [1000, 0] });
    s.hostConnects();
    const { options } = s.expect("S.", { mss: 1460 });
    expect(options.sackPermitted).toBe(true);
    expect(options.windowScale).toBeGreaterThan(0);
    expect(options.timestamp?.[1]).toBe(1000);
  });

  it("announces the MSS of its MTU (RFC 6691)", () => {
    const s = new TcpScript({ mtu: 9000 });
    s.inject("S", { mss: 8960 });
    s.hostConnects();
    s.expect("S.", { mss: 8960 });
  });

  it("never sends more than the guest's MSS, options taken off (RFC 6691)", () => {
    const s = new TcpScript();
    s.open({ mss: 700, timestamp: [1, 0] });
    s.peerWrites(5000);
    s.advance(50);
    const segments = s.drain().filter((segment) => segment.payload.length > 0);
    expect(Math.max(...segments.map((segment) => segment.payload.length))).toBe(688);
  });

  it("takes 536, or 1220 over IPv6, when the SYN has no MSS (RFC 9293 3.7.1)", () => {
    const s = new TcpScript();
    s.open({});
    s.peerWrites(5000);
    s.advance(50);
    const segments = s.drain().filter((segment) => segment.payload.length > 0);
    expect(Math.max(...segments.map((segment) => segment.payload.length))).toBe(
      ipHeaderOctets() === 20 ? 536 : 1220,
    );
  });

  it("keeps an absurd MSS from making absurd segments: 48 octets it is, options included", () => {
    for (const [mss, timestamp, octets] of [
      [1, undefined, 48],
      [47, undefined, 48],
      [48, undefined, 48],
      [49, undefined, 49],
      [1, [1, 0] as const, 36],
    ] as const) {
      const s = new TcpScript();
      s.open(timestamp === undefined ? { mss } : { mss, timestamp });
      s.peerWrites(2000);
      const lengths = s.drain().map((segment) => segment.payload.length);
      expect(lengths).toEqual(new Array(lengths.length).fill(octets));
      expect(lengths.length).toBeGreaterThan(1);
    }
  });

  it("scales the guest's window by the agreed shift, but not in the SYN (RFC 7323 2.2)", () => {
    const s = new TcpScript();
    s.inject("S", { mss: 1000, windowScale: 4, win: 1000 });
    s.hostConnects();
    s.expect("S.");
    s.inject(".", { seq: 1, ack: 1, win: 1000 });
    s.peerWrites(100_000);
    s.advance(5);
    let ack = 1;
    let most = 0;
    for (let round = 0; round < 12; round++) {
      const segments = s.drain().filter((segment) => segment.payload.length > 0);
      for (const { sequence, payload } of segments) ack = Math.max(ack, sequence + payload.length);
      most = Math.max(
        most,
        segments.reduce((sum, segment) => sum + segment.payload.length, 0),
      );
      s.inject(".", { seq: 1, ack, win: 1000 });
      s.advance(5);
    }
    expect(most).toBeGreaterThan(1000);
    expect(most).toBeLessThanOrEqual(16_000);
  });

  it("treats a shift over 14 as 14 (RFC 7323 2.3)", () => {
    const s = new TcpScript();
    s.open({ mss: 1460, windowScale: 15 }, 1);
    // Once the congestion window is larger than that.
    s.peerWrites(14_600);
    const last = s.drain().at(-1)!;
    s.inject(".", { seq: 1, ack: last.sequence + last.payload.length, win: 1 });
    s.peerWrites(40_000);
    s.advance(5);
    const sent = s.drain().reduce((sum, segment) => sum + segment.payload.length, 0);
    expect(sent).toBeGreaterThan(14_600);
    expect(sent).toBeLessThanOrEqual(1 << 14);
  });
});
