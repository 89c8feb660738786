/** RST both ways, and RFC 5961: what an attacker who guesses may not do. */
import { describe, expect, it } from "vitest";
import { ECONNRESET } from "../../../src/engine/boundary.ts";
import { TcpScript } from "./tcp-script.ts";

describe("segments without a connection (RFC 9293 3.10.7.1)", () => {
  it("answers one with ACK by a RST at that number", () => {
    const s = new TcpScript();
    s.inject(".", { seq: 100, ack: 5000 });
    const reset = s.expect("R");
    expect(reset.sequence >>> 0).toBe(5000);
  });

  it("answers one without ACK by a RST that acknowledges it", () => {
    const s = new TcpScript();
    s.inject("F", { seq: 100, length: 20 });
    s.expect("R.", { ack: 121 });
  });

  it("never answers a RST", () => {
    const s = new TcpScript();
    s.inject("R", { seq: 100 });
    s.inject("R.", { seq: 100, ack: 7 });
    s.expectNothing(1000);
  });
});

describe("a reset that cannot leave", () => {
  it("waits for the next link, and is sent once", () => {
    const s = new TcpScript();
    s.open();
    s.linkGoes();
    s.peerResets();
    expect(s.flowCount).toBe(0);
    s.advance(30_000);
    s.linkReturns();
    s.expect("R.", { seq: 1, ack: 1 });
    s.linkGoes();
    s.linkReturns();
    s.expectNothing(10_000);
  });

  it("that waits in the queue when the link goes waits on", () => {
    const s = new TcpScript();
    s.open();
    s.deviceIsDown(true);
    s.peerResets();
    s.linkGoes();
    s.deviceIsDown(false);
    s.linkReturns();
    s.expect("R.", { seq: 1, ack: 1 });
  });

  it("waits while the device is down, until the guest is heard", () => {
    const s = new TcpScript();
    s.open();
    s.peerWrites(100);
    s.expect(".", { seq: 1, length: 100 });
    s.inject(".", { seq: 1, ack: 101 });
    s.deviceIsDown(true);
    s.peerResets();
    s.inject("R", { seq: 7, port: 50_000 });
    s.expectNothing(60_000);
    s.deviceIsDown(false);
    s.expectNothing(1000);
    // A frame that needs no answer.
    s.inject("R", { seq: 7, port: 50_000 });
    s.expect("R.", { seq: 101, ack: 1 });
    s.inject("R", { seq: 7, port: 50_000 });
    s.expectNothing(1000);
  });

  it("is not for the connection that has begun between the same ends since", () => {
    const s = new TcpScript();
    s.open();
    s.deviceIsDown(true);
    s.peerResets();
    s.deviceIsDown(false);
    s.startOver(0x1234_0000);
    s.open();
    s.expectNothing(1000);
    expect(s.state).toBe("ESTABLISHED");
  });
});

describe("resets of a connection", () => {
  it("passes the guest's RST on to the host", () => {
    const s = new TcpScript();
    s.open();
    s.inject("R", { seq: 1 });
    s.expectNothing(10);
    expect(s.peer.sawReset).toBe(true);
    expect(s.flowCount).toBe(0);
  });

  it("passes the host's RST on to the guest, with the number the guest expects", () => {
    const s = new TcpScript();
    s.open();
    s.peerResets();
    const reset = s.drain()[0];
    expect(reset.sequence).toBe(1);
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
  });

  it("resets after delivering what came before the host's RST", () => {
    const s = new TcpScript();
    s.open();
    s.peerWrites(100);
    s.expect(".", { seq: 1, length: 100 });
    s.peerResets();
    s.advance(10);
    expect(s.drain().some((segment) => segment.flags & 0x04)).toBe(true);
    expect(s.flowCount).toBe(0);
  });

  it("passes on a RST that comes after the host's FIN", () => {
    const s = new TcpScript();
    s.open();
    s.peerCloses();
    s.expect("F.", { seq: 1, ack: 1 });
    s.inject(".", { seq: 1, ack: 2 });
    s.peerResets();
    s.expect("R.", { seq: 2, ack: 1 });
    expect(s.flowCount).toBe(0);
    expect(s.host.openHandles).toBe(0);
  });

  it("resets when the host's connection breaks while octets wait for it", () => {
    const s = new TcpScript({ sendBuffer: 1000 });
    s.open();
    s.inject("P.", { seq: 1, ack: 1, length: 1400 });
    s.drain();
    s.socketFails(ECONNRESET);
    s.advance(10);
    expect(s.drain().some((segment) => segment.flags & 0x04)).toBe(true);
    expect(s.core.usage().smallChunks).toBe(0);
  });
});

describe("RFC 5961", () => {
  it("challenges a RST inside the window that is not exact (3.2)", () => {
    const s = new TcpScript();
    s.open();
    s.inject("R", { seq: 50 });
    s.expect(".", { seq: 1, ack: 1 });
    expect(s.state).toBe("ESTABLISHED");
  });

  it("ignores a RST outside the window", () => {
    const s = new TcpScript();
    s.open();
    s.inject("R", { seq: 10_000_000 });
    s.inject("R", { seq: -10 });
    s.expectNothing(100);
    expect(s.state).toBe("ESTABLISHED");
  });

  it("challenges a SYN in a connection, wherever it lies (4.2)", () => {
    const s = new TcpScript();
    s.open();
    s.inject("S", { seq: 1, mss: 1460 });
    s.expect(".", { seq: 1, ack: 1 });
    s.inject("S", { seq: 10_000_000, mss: 1460 });
    s.expect(".", { seq: 1, ack: 1 });
    expect(s.state).toBe("ESTABLISHED");
  });

  it("challenges an acknowledgment of what was never sent (5.2)", () => {
    const s = new TcpScript();
    s.open();
    s.inject(".", { seq: 1, ack: 5000 });
    s.expect(".", { seq: 1, ack: 1 });
    expect(s.state).toBe("ESTABLISHED");
  });

  it("challenges an acknowledgment from the far past (5.2)", () => {
    const s = new TcpScript();
    s.open();
    s.inject(".", { seq: 1, ack: -2_000_000_000 });
    s.expect(".", { seq: 1, ack: 1 });
    expect(s.state).toBe("ESTABLISHED");
  });

  it("limits challenges, and counts them (7)", () => {
    const s = new TcpScript();
    s.open();
    for (let i = 0; i < 100; i++) s.inject("R", { seq: 50 + i });
    const sent = s.drain().length;
    expect(sent).toBeGreaterThan(0);
    expect(sent).toBeLessThan(50);
    expect(s.core.counters.value("tcp-challenge-acks")).toBe(sent);
    s.advance(5000);
    s.inject("R", { seq: 50 });
    s.expect(".", { seq: 1, ack: 1 });
  });

  it("reestablishes a guest that rebooted: SYN, challenge, RST, SYN", () => {
    const s = new TcpScript();
    s.open();
    // The new guest does not know the old connection; its RST to the challenge carries the number we expect.
    s.inject("S", { seq: 5_000_000, mss: 1460 });
    s.expect(".", { seq: 1, ack: 1 });
    s.inject("R", { seq: 1 });
    s.expectNothing(10);
    expect(s.flowCount).toBe(0);
    s.startOver(0x1000_0000);
    s.open();
    expect(s.state).toBe("ESTABLISHED");
  });
});
