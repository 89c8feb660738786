/** The engine is not run for an hour (a stopped process, a paused virtual machine it runs in), then its clock is an hour on. */
import { describe, expect, it } from "vitest";
import { asTcp, asUdp, REMOTE, tcp, udp } from "../hostile/guest-packets.ts";
import { ACK, PSH, SYN } from "../sim/guest-stack/codec.ts";
import { AccountedExchange } from "../support/accounted-exchange.ts";

const HOUR_MS = 3_600_000;
const START = 1000;
const text = (octets: Uint8Array): string => Buffer.from(octets).toString("latin1");

describe("after an hour", () => {
  it("a connection goes on where it was, with what was in flight sent again", () => {
    const guest = new AccountedExchange();
    const [synAck] = guest.send(tcp({ flags: SYN, sequence: START })).replies.map(asTcp);
    let theirs = synAck.sequence + 1;
    const segment = (flags: number, sequence: number, payload = ""): Uint8Array =>
      tcp({ flags, sequence, acknowledgment: theirs, payload: Buffer.from(payload) });
    guest.send(segment(ACK, START + 1));
    const [socket] = guest.network.sockets;
    socket.give(Buffer.from("in flight"));
    expect(guest.settle().map((frame) => text(asTcp(frame).payload))).toEqual(["in flight"]);

    guest.now = (guest.now + HOUR_MS) | 0;
    const again = guest.settle().map(asTcp);
    expect(again.map(({ sequence, payload }) => [sequence, text(payload)])).toEqual([[theirs, "in flight"]]);
    theirs += "in flight".length;
    guest.send(segment(ACK | PSH, START + 1, "here I am"));
    expect(text(socket.octets)).toBe("here I am");
    socket.give(Buffer.from("welcome back"));
    expect(guest.settle().map((frame) => text(asTcp(frame).payload))).toEqual(["welcome back"]);
    expect(socket.state).toBe("open");
    guest.expectRest();
  });

  it("a UDP mapping is gone, and the next datagram opens another", () => {
    const guest = new AccountedExchange();
    const datagram = udp({ payload: Buffer.from("x") });
    guest.send(datagram);
    guest.now = (guest.now + HOUR_MS) | 0;
    guest.settle();
    expect(guest.core.usage().udp).toBe(0);
    guest.send(datagram);
    const sent = guest.network.datagrams.map(({ handle }) => handle);
    expect(new Set(sent).size).toBe(2);
    guest.network.arrive(sent[1], REMOTE, 7, Buffer.from("answer"));
    expect(guest.settle().map((frame) => text(asUdp(frame).payload))).toEqual(["answer"]);
    guest.expectRest();
  });
});
