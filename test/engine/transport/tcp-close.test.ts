/** Closing: RFC 9293 section 3.6, half-close both ways, simultaneous close, TIME-WAIT and its reuse. */
import { describe, expect, it } from "vitest";
import { ipHeaderOctets, TcpScript } from "./tcp-script.ts";

describe("closing", () => {
  it("passes the guest's FIN on and keeps the other direction open (half-close)", () => {
    const s = new TcpScript();
    s.open();
    s.inject("F.", { seq: 1, ack: 1 });
    // The ACK of a FIN may wait 1 ms for ours to carry it; this host has more to say.
    s.expect(".", { seq: 1, ack: 2 }, 2, 1);
    expect(s.peer.sawFin).toBe(true);
    s.peerWrites(500);
    s.expect(".", { seq: 1, ack: 2, length: 500 });
    s.inject(".", { seq: 2, ack: 501 });
    s.peerCloses();
    s.expect("F.", { seq: 501, ack: 2 });
    s.inject(".", { seq: 2, ack: 502 });
    s.expectNothing(10);
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
  });

  it("passes the host's FIN on and keeps taking from the guest", () => {
    const s = new TcpScript();
    s.open();
    s.peerCloses();
    s.expect("F.", { seq: 1, ack: 1 });
    s.inject(".", { seq: 1, ack: 2 });
    s.inject("P.", { seq: 1, ack: 2, length: 700 });
    s.expect(".", { seq: 2, ack: 701 }, 500);
    expect(s.peer.available).toBe(700);
    s.inject("F.", { seq: 701, ack: 2 });
    s.expect(".", { seq: 2, ack: 702 });
    expect(s.peer.sawFin).toBe(true);
    expect(s.state).toBe("TIME-WAIT");
  });

  it("closes when both FINs cross (RFC 9293 3.6 figure 13)", () => {
    const s = new TcpScript();
    s.open();
    s.peerCloses();
    s.expect("F.", { seq: 1, ack: 1 });
    s.inject("F.", { seq: 1, ack: 1 });
    s.expect(".", { seq: 2, ack: 2 });
    s.inject(".", { seq: 2, ack: 2 });
    s.expectNothing(10);
    expect(s.state).toBe("TIME-WAIT");
    expect(s.peer.sawFin).toBe(true);
  });

  it("sends its FIN again until it is acknowledged", () => {
    const s = new TcpScript();
    s.open();
    s.peerCloses();
    s.expect("F.", { seq: 1, ack: 1 });
    s.expect("F.", { seq: 1, ack: 1 }, 1500, 100);
    s.inject(".", { seq: 1, ack: 2 });
    s.expectNothing(30_000);
  });

  it("does not take a FIN ahead of a hole", () => {
    const s = new TcpScript();
    s.open();
    s.inject("F.", { seq: 101, ack: 1, length: 50 });
    s.expect(".", { ack: 1 });
    s.advance(10);
    expect(s.peer.sawFin).toBe(false);
    s.inject("P.", { seq: 1, ack: 1, length: 100 });
    s.expect(".", { ack: 152 }, 2);
    s.advance(10);
    expect(s.peer.available).toBe(150);
    expect(s.peer.sawFin).toBe(true);
  });

  it("holds the FIN back from the host until the octets before it are with the kernel", () => {
    const s = new TcpScript({ sendBuffer: 1000 });
    s.open();
    s.inject("F.", { seq: 1, ack: 1, length: 1400 });
    s.advance(10);
    expect(s.peer.sawFin).toBe(false);
    s.peerReads(1000);
    s.advance(10);
    expect(s.peer.available).toBe(400);
    expect(s.peer.sawFin).toBe(true);
  });
});

describe("TIME-WAIT", () => {
  const closed = (): TcpScript => {
    const s = new TcpScript();
    s.open({ mss: 1460, timestamp: [1000, 0] });
    s.peerCloses();
    s.expect("F.", { seq: 1, ack: 1 });
    s.inject("F.", { seq: 1, ack: 2, timestamp: [1010, 0] });
    s.expect(".", { seq: 2, ack: 2 });
    expect(s.state).toBe("TIME-WAIT");
    return s;
  };

  it("acknowledges the guest's FIN that comes again (RFC 9293 3.6.1)", () => {
    const s = closed();
    s.inject("F.", { seq: 1, ack: 2, timestamp: [1200, 0] });
    s.expect(".", { seq: 2, ack: 2 });
  });

  it("begins anew with each FIN that comes again", () => {
    const s = closed();
    s.advance(50_000);
    s.inject("F.", { seq: 1, ack: 2, timestamp: [60_000, 0] });
    s.expect(".", { seq: 2, ack: 2 });
    s.advance(50_000);
    expect(s.flowCount).toBe(1);
    s.advance(15_000);
    expect(s.flowCount).toBe(0);
  });

  it("ends after a minute and leaves nothing", () => {
    const s = closed();
    s.advance(59_000);
    expect(s.flowCount).toBe(1);
    s.advance(5000);
    expect(s.flowCount).toBe(0);
    const left = s.core.nextDeadlineMs(s.world.clock);
    // Over IPv6 the router has its next advertisement to send.
    if (ipHeaderOctets() === 20) expect(left).toBe(-1);
    else expect(left).toBeGreaterThan(60_000);
  });

  it("lets a SYN with a later timestamp reopen the connection (RFC 6191)", () => {
    const s = closed();
    s.startOver(0x2000_0000);
    s.open({ mss: 1460, timestamp: [5000, 0] });
    expect(s.state).toBe("ESTABLISHED");
    expect(s.connects).toBe(2);
  });

  it("does not let an old SYN reopen it", () => {
    const s = closed();
    s.inject("S", { seq: -500_000, mss: 1460, timestamp: [10, 0] });
    s.advance(10);
    expect(s.drain().every((segment) => (segment.flags & 0x02) === 0)).toBe(true);
    expect(s.connects).toBe(1);
  });
});
