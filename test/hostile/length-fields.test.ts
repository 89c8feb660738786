/** Every length field of every header at 0, 1, one less, one more and the largest, and all values where there are few. */
import { describe, expect, it } from "vitest";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { clientMessage } from "../support/dhcp-client.ts";
import { fixHeaderChecksum } from "../support/rewritten-frame.ts";
import { golden } from "./golden-frames.ts";
import { GATEWAY, tcp, udp, udpPayload } from "./guest-packets.ts";

const IP_AT = 14;
const TRANSPORT_AT = 34;
const SYN = 2;
const ACK = 16;

function edges(n: number, max: number): number[] {
  return [...new Set([0, 1, n - 1, n + 1, max])];
}

/** A copy with a field of `octets` octets replaced and the IP header's checksum right again. */
function bent(frame: Uint8Array, at: number, value: number, octets: 1 | 2 = 2): Uint8Array {
  const copy = new Uint8Array(frame);
  if (octets === 2) new DataView(copy.buffer).setUint16(at, value);
  else copy[at] = value;
  if (copy[12] === 8 && copy[13] === 0) fixHeaderChecksum(copy);
  return copy;
}

describe("length fields", () => {
  const datagram = udp({ payload: Buffer.alloc(40, 1) });
  const syn = tcp({
    flags: SYN,
    sequence: 1000,
    options: { mss: 1460, windowScale: 7, sackPermitted: true },
  });

  it("IPv4 total length: more than the frame, or less than its headers, is malformed", () => {
    const exchange = new AccountedExchange({}, 0xff);
    const total = datagram.length - IP_AT;
    for (const value of [...edges(total, 0xffff), 19, 20, 27]) {
      const { verdict, replies } = exchange.send(bent(datagram, IP_AT + 2, value), true);
      // Long enough for IP alone, it is the UDP length that does not fit.
      const expected = value < 20 || value > total ? "ipv4-malformed" : "udp-malformed";
      expect([value, verdict, replies]).toEqual([value, expected, []]);
    }
    exchange.expectRest();
  });

  it("IPv4 header length: every value but the true one", () => {
    const exchange = new AccountedExchange({}, 0xff);
    for (let words = 0; words < 16; words++) {
      if (words === 5) continue;
      const { verdict, replies } = exchange.send(bent(datagram, IP_AT, 0x40 | words, 1), true);
      // A longer header takes the datagram's own for options; what is left is no datagram.
      expect([words, verdict]).toEqual([words, words < 5 ? "ipv4-malformed" : "udp-malformed"]);
      expect(replies).toEqual([]);
    }
    exchange.expectRest();
  });

  it("UDP length: at most what the IP packet holds, at least the header", () => {
    for (const value of [...edges(48, 0xffff), 7, 8, 9]) {
      const exchange = new AccountedExchange({}, 0xff);
      const { verdict } = exchange.send(bent(datagram, TRANSPORT_AT + 4, value), true);
      expect([value, verdict]).toEqual([value, value < 8 || value > 48 ? "udp-malformed" : "handled"]);
      // A shorter one is legal, and carries as much as it says (RFC 768).
      expect(exchange.network.datagrams.map(({ octets }) => octets.length)).toEqual(
        verdict === "handled" ? [value - 8] : [],
      );
      exchange.expectRest();
    }
  });

  it("TCP data offset: every value", () => {
    for (let words = 0; words < 16; words++) {
      const exchange = new AccountedExchange({}, 0xff);
      const header = (syn[TRANSPORT_AT + 12] ?? 0) >> 4;
      const { verdict, replies } = exchange.send(bent(syn, TRANSPORT_AT + 12, words << 4, 1), true);
      const fits = words >= 5 && words <= header;
      expect([words, verdict, replies.length]).toEqual([
        words,
        fits ? "handled" : "tcp-malformed",
        fits ? 1 : 0,
      ]);
      exchange.expectRest();
    }
  });

  it("TCP option lengths: options that lie about their length end the list, the segment still counts", () => {
    const exchange = new AccountedExchange({}, 0xff);
    let port = 1024;
    for (const kind of [2, 3, 4, 5, 8, 30, 255]) {
      for (let length = 0; length < 256; length += length < 16 ? 1 : 48) {
        const frame = bent(syn, TRANSPORT_AT, port++);
        frame.set([kind, length], TRANSPORT_AT + 20);
        const { verdict, replies } = exchange.send(frame, true);
        expect([kind, length, verdict, replies.length]).toEqual([kind, length, "handled", 1]);
      }
    }
  });

  it("TCP MSS, window scale and SACK blocks of absurd values are bounded", () => {
    const exchange = new AccountedExchange();
    for (const mss of [0, 1, 47, 48, 535, 65_535]) {
      exchange.send(tcp({ flags: SYN, sequence: 1, sourcePort: 3000 + (mss % 1000), options: { mss } }));
    }
    for (const windowScale of [0, 14, 15, 255]) {
      exchange.send(
        tcp({ flags: SYN, sequence: 1, sourcePort: 5000 + windowScale, options: { windowScale } }),
      );
    }
    for (const socket of exchange.network.sockets) socket.give(new Uint8Array(5000).fill(1));
    exchange.settle();
    const sack = [0, 1, -1, 0x7fffffff].map((edge) => [edge >>> 0, (edge + 7) >>> 0] as const);
    for (const { port } of exchange.network.sockets.slice(0, 1)) {
      const { verdict } = exchange.send(
        tcp({ flags: ACK, sequence: 2, destinationPort: port, options: { sack } }),
      );
      expect(["handled", "tcp-unacceptable", "tcp-no-connection"]).toContain(verdict);
    }
    exchange.expectRest();
  });

  it("ARP hardware and protocol lengths: only 6 and 4", () => {
    const exchange = new AccountedExchange({}, 0xff);
    const arp = golden[0].octets;
    for (const [at, right] of [
      [IP_AT + 4, 6],
      [IP_AT + 5, 4],
    ]) {
      for (const value of edges(right, 255)) {
        expect([at, value, exchange.send(bent(arp, at, value, 1))]).toEqual([
          at,
          value,
          { verdict: "arp-malformed", replies: [] },
        ]);
      }
    }
  });

  it("DHCP hardware length and option lengths: refused or read as far as they hold", () => {
    const message = clientMessage({
      type: 1,
      requested: 0x0a00020f,
      options: { 55: [1, 3, 6], 12: [97, 98] },
    });
    const dhcpAt = TRANSPORT_AT + 8;
    const frame = (octets: Uint8Array) =>
      udp({ from: 0, to: -1, sourcePort: 68, destinationPort: 67, payload: octets });
    for (const at of [2, 241, 244, 250, 254]) {
      const exchange = new AccountedExchange({}, 0xff);
      for (let value = 0; value < 256; value++) {
        const { verdict, replies } = exchange.send(bent(frame(message), dhcpAt + at, value, 1), true);
        expect(["handled", "dhcp-malformed", "dhcp-not-ours", "dhcp-no-address"]).toContain(verdict);
        expect(replies.length).toBe(verdict === "handled" ? 1 : 0);
        if (at === 2 && value !== 6) expect([value, verdict]).not.toEqual([value, "handled"]);
        for (const reply of replies) expect(reply.length).toBeLessThan(700);
      }
    }
  });

  it("a DNS query of no length, and one with labels that go on for ever", () => {
    const exchange = new AccountedExchange({
      resolvers: [{ words: [0, 0, 0xffff, 0x08080808], port: 53, scope: 0 }],
    });
    const to = GATEWAY + 1;
    const header = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for (const payload of [
      [],
      [0],
      header,
      [...header, 63],
      [...header, 0xc0, 12, 0, 1, 0, 1],
      [...header, 255],
    ]) {
      const { replies } = exchange.send(udp({ to, destinationPort: 53, payload: Buffer.from(payload) }));
      expect(replies.length).toBeLessThanOrEqual(1);
    }
    exchange.expectRest();
  });

  it("fragments whose lengths add up to more than a datagram may have", () => {
    const exchange = new AccountedExchange({}, 0xff);
    const payload = udpPayload({ payload: Buffer.alloc(24) });
    const whole = udp({ payload: Buffer.alloc(24) });
    for (const offset of [0x1fff, 0x1ffe, 8189, 8188]) {
      const frame = bent(whole, IP_AT + 6, 0x2000 | offset);
      const { verdict } = exchange.send(frame, true);
      const fits = offset * 8 + payload.length <= 65_515;
      expect([offset, verdict]).toEqual([offset, fits ? "handled" : "ipv4-fragment-malformed"]);
    }
    exchange.expectRest();
  });
});
