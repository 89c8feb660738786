/** --answer-ping: echo requests to our own addresses, and to these alone; by default no ICMP is heard at all. */
import { describe, expect, it } from "vitest";
import { defaultEngineConfig, defaultIpv6Config, type EngineConfig } from "../../../src/engine/config.ts";
import {
  asIpv4,
  fragmentOf,
  GATEWAY,
  GATEWAY_MAC,
  GUEST,
  GUEST_MAC,
  packet,
  REMOTE,
} from "../../hostile/guest-packets.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";
import { ip } from "../../support/frames.ts";
import { checksum6, GUEST6, packet6, ROUTER6 } from "../../support/frames6.ts";

const [ICMP, ICMPV6] = [1, 58];
const ALIAS = ip("198.51.100.9");
const ANSWERING: Partial<EngineConfig> = {
  answerPing: true,
  hostAliases: [{ address: ALIAS, target: ip("127.0.0.1") }],
};

/** RFC 1071, octet by octet. */
function sum(octets: Uint8Array): number {
  let total = 0;
  octets.forEach((octet, i) => {
    total += i % 2 === 0 ? octet << 8 : octet;
  });
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

function message(type: number, data: number, code = 0): Buffer {
  const octets = Buffer.alloc(8 + data);
  octets.set([type, code, 0, 0, 0x12, 0x34, 0, 7]);
  for (let i = 8; i < octets.length; i++) octets[i] = i * 31;
  octets.writeUInt16BE(~sum(octets) & 0xffff, 2);
  return octets;
}

const ping = (to: number, data = 56): Buffer => packet({ to, protocol: ICMP, payload: message(8, data) });

describe("an echo request", () => {
  it.each([
    ["the gateway", GATEWAY],
    ["the DNS address", ip("10.0.2.3")],
    ["an alias of the host", ALIAS],
  ])("to %s is answered with its own octets", (_, to) => {
    const exchange = new AccountedExchange(ANSWERING);
    for (const data of [0, 1, 56, 1472]) {
      const { verdict, replies } = exchange.send(ping(to, data));
      expect(verdict).toBe("handled");
      const [reply] = replies.map(asIpv4);
      expect(reply).toMatchObject({ source: to, destination: GUEST, protocol: ICMP });
      expect(Buffer.from(reply?.payload ?? [])).toEqual(message(0, data));
      expect(replies[0]?.slice(0, 12)).toEqual(Uint8Array.from([...GUEST_MAC, ...GATEWAY_MAC]));
    }
    expect(exchange.core.counters.snapshot().counters["echo-replies"]).toBe(4);
    exchange.expectRest();
  });

  it("is not heard by default", () => {
    const exchange = new AccountedExchange({});
    expect(exchange.send(ping(GATEWAY))).toEqual({ verdict: "icmp", replies: [] });
  });

  it("to anybody else, the guest's own address or a broadcast goes nowhere", () => {
    const exchange = new AccountedExchange(ANSWERING);
    for (const to of [REMOTE, ip("10.0.2.77"), GUEST, ip("10.0.2.255"), -1]) {
      expect(exchange.send(ping(to))).toEqual({ verdict: "icmp", replies: [] });
    }
  });

  it("must be one: whole, right, and of a length that fits into an answer", () => {
    const exchange = new AccountedExchange({ ...ANSWERING, mtu: 1500 });
    const wrong = message(8, 20);
    wrong[20] ^= 1;
    expect(exchange.send(packet({ to: GATEWAY, protocol: ICMP, payload: wrong })).verdict).toBe(
      "icmp-bad-checksum",
    );
    for (const payload of [message(0, 8), message(3, 8), message(8, 8, 1), message(8, 0).subarray(0, 7)]) {
      expect(exchange.send(packet({ to: GATEWAY, protocol: ICMP, payload })).verdict).toBe("icmp");
    }
    expect(exchange.send(ping(GATEWAY, 1473))).toEqual({ verdict: "icmp", replies: [] });
  });

  it("in fragments is answered where it fits", () => {
    const exchange = new AccountedExchange(ANSWERING);
    const whole = message(8, 64);
    const part = (first: number, end: number): Buffer =>
      fragmentOf({ to: GATEWAY, protocol: ICMP, payload: whole }, first, end);
    expect(exchange.send(part(40, 72)).replies).toEqual([]);
    const { replies } = exchange.send(part(0, 40));
    expect(replies.map((frame) => Buffer.from(asIpv4(frame).payload))).toEqual([message(0, 64)]);
  });

  it("floods hold nothing", () => {
    const exchange = new AccountedExchange(ANSWERING);
    for (let i = 0; i < 3000; i++) exchange.send(ping(GATEWAY, i % 1400));
    exchange.expectRest();
  });
});

describe("an echo request over IPv6", () => {
  const ipv6 = defaultIpv6Config(defaultEngineConfig().gatewayMac);

  function ping6(to: string, type = 128): Uint8Array {
    const octets = [type, 0, 0, 0, 0x12, 0x34, 0, 7, 1, 2, 3];
    const check = checksum6(GUEST6, to, ICMPV6, octets);
    octets.splice(2, 2, check >>> 8, check & 255);
    const inner = packet6({ destination: to, next: ICMPV6, payload: octets });
    return Uint8Array.from([...GATEWAY_MAC, ...GUEST_MAC, 0x86, 0xdd, ...inner]);
  }

  it("to the router is answered", () => {
    const exchange = new AccountedExchange({ ipv6, answerPing: true });
    for (const to of [ROUTER6, "fe80::2"]) {
      const { verdict, replies } = exchange.send(ping6(to));
      expect(verdict).toBe("handled");
      const expected = [129, 0, 0, 0, 0x12, 0x34, 0, 7, 1, 2, 3];
      const check = checksum6(to, GUEST6, ICMPV6, expected);
      expected.splice(2, 2, check >>> 8, check & 255);
      const inner = packet6({ source: to, destination: GUEST6, next: ICMPV6, payload: expected });
      expect(replies).toContainEqual(Uint8Array.from([...GUEST_MAC, ...GATEWAY_MAC, 0x86, 0xdd, ...inner]));
    }
  });

  it("is not heard by default, nor to others", () => {
    expect(new AccountedExchange({ ipv6 }).send(ping6(ROUTER6)).verdict).toBe("icmpv6");
    expect(new AccountedExchange({ ipv6, answerPing: true }).send(ping6("2001:db8::1")).verdict).toBe(
      "icmpv6",
    );
  });
});
