/** Every golden frame cut at every octet, once as a bad link would do it and once with lengths that agree with the cut. */
import { describe, expect, it } from "vitest";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { fixHeaderChecksum } from "../support/rewritten-frame.ts";
import { golden } from "./golden-frames.ts";

const [ICMP, TCP] = [1, 6];
const ETHERNET_OCTETS = 14;
const IP_OCTETS = 20;
const TRANSPORT_AT = ETHERNET_OCTETS + IP_OCTETS;
const UDP_OCTETS = 8;
const DHCP_REPLY_MAX = 600;

const u16 = (octets: Uint8Array, at: number): number => (octets[at] << 8) | octets[at + 1];
function setU16(octets: Uint8Array, at: number, value: number): void {
  octets[at] = value >>> 8;
  octets[at + 1] = value;
}

describe("a frame cut at every octet", () => {
  for (const { name, octets } of golden) {
    it(`${name}: dropped as malformed without an answer`, () => {
      const isArp = u16(octets, 12) === 0x0806;
      const malformed = isArp ? "arp-malformed" : "ipv4-malformed";
      for (const poison of [0, 0xff]) {
        const exchange = new AccountedExchange({}, poison);
        for (let cut = 0; cut < octets.length; cut++) {
          const { verdict, replies } = exchange.send(octets.subarray(0, cut), true);
          expect([cut, verdict]).toEqual([cut, cut < ETHERNET_OCTETS ? "frame-truncated" : malformed]);
          expect(replies).toEqual([]);
        }
        expect(exchange.core.usage()).toMatchObject({ tcp: 0, udp: 0, reassembly: 0 });
        expect(exchange.network.sockets).toEqual([]);
        // The whole frame is the first that says anything.
        expect(exchange.send(octets, true).verdict).not.toBe(malformed);
      }
    });
  }
});

describe("an IP packet that is shorter than what it carries", () => {
  const packets = golden.filter(({ octets }) => u16(octets, 12) === 0x0800);
  for (const { name, octets } of packets) {
    it(`${name}: the transport header is not believed`, () => {
      const fragment = (u16(octets, 20) & 0x3fff) !== 0;
      const exchange = new AccountedExchange({}, 0xff);
      for (let cut = TRANSPORT_AT; cut < octets.length; cut++) {
        const frame = octets.slice(0, cut);
        setU16(frame, 16, cut - ETHERNET_OCTETS);
        // A datagram, and a connection, of its own each time.
        setU16(frame, 18, cut);
        if (octets[23] === TCP && cut >= TRANSPORT_AT + 2) setU16(frame, TRANSPORT_AT, 1024 + cut);
        fixHeaderChecksum(frame);
        const { verdict, replies } = exchange.send(frame, true);
        const available = cut - TRANSPORT_AT;
        if (fragment) {
          // Any length of the last fragment is one; all others come in eights.
          const more = (octets[20] & 0x20) !== 0;
          const bad = available === 0 || (more && available % 8 !== 0);
          expect([cut, verdict]).toEqual([cut, bad ? "ipv4-fragment-malformed" : "handled"]);
          expect(replies).toEqual([]);
        } else if (octets[23] === ICMP) {
          expect([cut, verdict]).toEqual([cut, "icmp"]);
        } else if (octets[23] === TCP) {
          const header = available < 20 ? 20 : (octets[46] >> 4) * 4;
          if (available < header) expect([cut, verdict]).toEqual([cut, "tcp-malformed"]);
          else expect(["handled", "tcp-no-connection"]).toContain(verdict);
          expect(replies.length).toBe(available < header ? 0 : 1);
        } else {
          // Without a port to tell it by, a packet from 0.0.0.0 is no DHCP message.
          const nameless = octets[26] === 0 && available < UDP_OCTETS;
          expect([cut, verdict]).toEqual([cut, nameless ? "ipv4-spoofed-source" : "udp-malformed"]);
          expect(replies).toEqual([]);
        }
      }
      exchange.expectRest();
    });
  }

  it("DHCP message: an answer only once the options are whole, and never a long one", () => {
    const message = golden.find(({ name }) => name === "DHCP message")?.octets ?? new Uint8Array();
    const verdicts = new Set<string>();
    const exchange = new AccountedExchange({}, 0xff);
    for (let cut = TRANSPORT_AT + UDP_OCTETS; cut <= message.length; cut++) {
      const frame = message.slice(0, cut);
      setU16(frame, 16, cut - ETHERNET_OCTETS);
      setU16(frame, 38, cut - TRANSPORT_AT);
      fixHeaderChecksum(frame);
      const { verdict, replies } = exchange.send(frame, true);
      verdicts.add(verdict);
      expect(replies.length).toBe(verdict === "handled" ? 1 : 0);
      for (const reply of replies) expect(reply.length).toBeLessThanOrEqual(DHCP_REPLY_MAX);
      if (cut < TRANSPORT_AT + UDP_OCTETS + 236) expect([cut, verdict]).toEqual([cut, "dhcp-malformed"]);
    }
    expect(verdicts).toContain("handled");
  });
});
