/** Addresses and ports no honest guest uses. None of them reaches a host socket, and only ARP and TCP say anything. */
import { describe, expect, it } from "vitest";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { ip } from "../support/frames.ts";
import { asTcp, GATEWAY, GUEST, GUEST_MAC, REMOTE, tcp, udp } from "./guest-packets.ts";

const [SYN, RST, ACK] = [2, 4, 16];

describe("addresses that mean harm", () => {
  const foreign: [string, number][] = [
    ["the gateway's", GATEWAY],
    ["the resolver's", GATEWAY + 1],
    ["another station's", ip("10.0.2.77")],
    ["broadcast", -1],
    ["the network's broadcast", ip("10.0.2.255")],
    ["the network's own", ip("10.0.2.0")],
    ["multicast", ip("224.0.0.1")],
    ["loopback", ip("127.0.0.1")],
    ["class E", ip("240.0.0.1")],
    ["somebody's on the Internet", ip("8.8.8.8")],
    ["none", 0],
  ];
  for (const [name, from] of foreign) {
    it(`source ${name}: dropped as spoofed`, () => {
      const exchange = new AccountedExchange();
      for (const frame of [tcp({ from, flags: SYN, sequence: 1 }), udp({ from })]) {
        expect(exchange.send(frame)).toEqual({ verdict: "ipv4-spoofed-source", replies: [] });
      }
      expect(exchange.core.usage()).toMatchObject({ tcp: 0, udp: 0 });
      // Nobody's MAC address was learned from it: the guest is still unknown, then known.
      expect(exchange.network.datagrams).toEqual([]);
    });
  }

  const refused: [string, number][] = [
    ["0.0.0.0", 0],
    ["0.1.2.3", ip("0.1.2.3")],
    ["loopback", ip("127.0.0.1")],
    ["the end of loopback", ip("127.255.255.255")],
    ["multicast", ip("224.0.0.1")],
    ["class E", ip("255.1.2.3")],
    ["broadcast", -1],
    ["link-local", ip("169.254.169.254")],
    ["Alibaba's metadata", ip("100.100.100.200")],
    ["Azure's metadata", ip("168.63.129.16")],
    ["Oracle's metadata", ip("192.0.0.192")],
    ["the network's broadcast", ip("10.0.2.255")],
    ["the guest's own", GUEST],
    ["the gateway", GATEWAY],
    ["the resolver, another port", GATEWAY + 1],
    ["a neighbour that is not there", ip("10.0.2.99")],
  ];
  for (const [name, to] of refused) {
    it(`destination ${name}: UDP silence, TCP a reset, no socket`, () => {
      const exchange = new AccountedExchange();
      const datagram = exchange.send(udp({ to }));
      expect(["destination-refused", "destination-no-service"]).toContain(datagram.verdict);
      expect(datagram.replies).toEqual([]);
      const syn = exchange.send(tcp({ to, flags: SYN, sequence: 41 }));
      expect(syn.verdict).toBe(datagram.verdict);
      expect(syn.replies.map(asTcp)).toMatchObject([{ flags: RST | ACK, acknowledgment: 42 }]);
      expect(exchange.network.sockets).toEqual([]);
      expect(exchange.network.datagrams).toEqual([]);
      expect(exchange.core.usage()).toMatchObject({ tcp: 0, udp: 0 });
    });
  }

  it("port 0 at either end: dropped, without an answer", () => {
    const exchange = new AccountedExchange();
    for (const ports of [{ sourcePort: 0 }, { destinationPort: 0 }, { sourcePort: 0, destinationPort: 0 }]) {
      expect(exchange.send(udp(ports))).toEqual({ verdict: "udp-port-zero", replies: [] });
      for (const flags of [SYN, ACK, RST]) {
        expect(exchange.send(tcp({ ...ports, flags, sequence: 1 }))).toEqual({
          verdict: "tcp-port-zero",
          replies: [],
        });
      }
    }
    expect(exchange.core.usage()).toMatchObject({ tcp: 0, udp: 0 });
  });

  it("Ethernet source broadcast, multicast or the gateway's: the guest's address is not hijacked", () => {
    const exchange = new AccountedExchange();
    exchange.send(udp({}));
    const [{ handle }] = exchange.network.datagrams;
    for (const first of [0xff, 0x01, 0x33]) {
      const frame = udp({});
      frame[6] = first;
      expect(exchange.send(frame)).toEqual({ verdict: "ethernet-bad-source", replies: [] });
    }
    exchange.network.arrive(handle, REMOTE, 7, Buffer.from("to the guest"));
    const [reply] = exchange.settle();
    expect(Buffer.from(reply.subarray(0, 6))).toEqual(GUEST_MAC);
  });

  it("Ethernet destination of another station: not ours", () => {
    const exchange = new AccountedExchange();
    const frame = udp({});
    frame[5] ^= 1;
    expect(exchange.send(frame)).toEqual({ verdict: "ethernet-not-for-us", replies: [] });
  });

  it("ARP that claims the gateway's address, or comes from nowhere: nothing learned", () => {
    const exchange = new AccountedExchange();
    const arp = (sender: number, mac: readonly number[], target: number): Uint8Array => {
      const frame = new Uint8Array(42);
      frame.set([255, 255, 255, 255, 255, 255, ...GUEST_MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, ...mac]);
      const view = new DataView(frame.buffer);
      view.setInt32(28, sender);
      view.setInt32(38, target);
      return frame;
    };
    const mac = [...GUEST_MAC];
    // RFC 5227 section 2.4: the conflict is answered, so that the guest hears of it.
    expect(exchange.send(arp(GATEWAY, mac, GATEWAY)).replies).toHaveLength(1);
    expect(exchange.send(arp(GUEST, [255, 255, 255, 255, 255, 255], GATEWAY)).verdict).toBe("arp-malformed");
    expect(exchange.send(arp(GUEST, [0, 0, 0, 0, 0, 0], GATEWAY)).verdict).toBe("arp-malformed");
    expect(exchange.send(arp(GUEST, mac, ip("10.0.2.200"))).verdict).toBe("arp-not-ours");
    expect(exchange.send(arp(ip("8.8.8.8"), mac, ip("8.8.4.4"))).verdict).toBe("arp-not-ours");
  });
});
