/** --refuse-with: ICMP in place of TCP's reset and UDP's silence, about what the guest may not reach and nothing else. */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED } from "../../../src/engine/boundary.ts";
import { defaultEngineConfig, defaultIpv6Config, type EngineConfig } from "../../../src/engine/config.ts";
import {
  asIpv4,
  asTcp,
  fragmentOf,
  GATEWAY,
  GATEWAY_MAC,
  GUEST,
  GUEST_MAC,
  REMOTE,
  tcp,
  udp,
} from "../../hostile/guest-packets.ts";
import { RST, SYN } from "../../sim/guest-stack/codec.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";
import { ip } from "../../support/frames.ts";
import { checksum6, GUEST6, octets6, packet6, ROUTER6 } from "../../support/frames6.ts";
import { policyOf } from "../../support/policy-rig.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";

const [ICMP, TCP, UDP, ICMPV6] = [1, 6, 17, 58];
const UNREACHABLE: Partial<EngineConfig> = { refuseWith: "unreachable" };
const PROHIBITED: Partial<EngineConfig> = { refuseWith: "prohibited" };
const METADATA = ip("169.254.169.254");
const FAR6 = "2001:db8::1";
/** Not of the world's: no guest may go there. */
const REFUSED6 = "fe80::99";
const ETHERNET_OCTETS = 14;

const syn = (to: number, destinationPort = 80): Buffer =>
  tcp({ to, destinationPort, flags: SYN, sequence: 1000 });
const datagram = (to: number, octets = 8, destinationPort = 9): Buffer =>
  udp({ to, destinationPort, payload: Buffer.alloc(octets, 0x5a) });

/** A datagram or SYN over IPv6. */
function sent6(to: string, protocol: number, octets = 8): Buffer {
  const head =
    protocol === UDP
      ? [0x9c, 0x40, 0, 9, (octets + 8) >>> 8, (octets + 8) & 255, 0, 0]
      : [0x9c, 0x40, 0, 80, 0, 0, 3, 232, 0, 0, 0, 0, 0x50, SYN, 255, 255, 0, 0, 0, 0];
  const message = protocol === UDP ? [...head, ...new Array<number>(octets).fill(0x5a)] : head;
  const check = checksum6(GUEST6, to, protocol, message);
  message.splice(protocol === UDP ? 6 : 16, 2, check >>> 8, check & 255);
  const inner = packet6({ destination: to, next: protocol, payload: message });
  return Buffer.from([...GATEWAY_MAC, ...GUEST_MAC, 0x86, 0xdd, ...inner]);
}

/** The message that the engine answers `frame` with. */
function told(exchange: AccountedExchange, frame: Buffer) {
  const { verdict, replies } = exchange.send(frame);
  expect(replies).toHaveLength(1);
  const [reply = new Uint8Array()] = replies;
  expect(reply.subarray(0, 12)).toEqual(Uint8Array.from([...GUEST_MAC, ...GATEWAY_MAC]));
  const { source, destination, protocol, payload } = asIpv4(reply);
  expect({ source, destination, protocol }).toEqual({ source: GATEWAY, destination: GUEST, protocol: ICMP });
  const [type, code] = payload;
  return { verdict, type, code, quoted: Buffer.from(payload.subarray(8)), octets: reply.length, reply };
}

describe("what is refused", () => {
  it.each([
    ["a SYN to the gateway", syn(GATEWAY), "destination-no-service"],
    ["a datagram to the gateway", datagram(GATEWAY), "destination-no-service"],
    ["a SYN to a cloud's metadata", syn(METADATA), "destination-refused"],
    ["a datagram there", datagram(METADATA), "destination-refused"],
  ])("%s is answered by an ICMP message that quotes it whole", (_, frame, verdict) => {
    for (const [config, code] of [
      [UNREACHABLE, 0],
      [PROHIBITED, 13],
    ] as const) {
      const exchange = new AccountedExchange(config);
      const message = told(exchange, frame);
      expect(message).toMatchObject({ verdict, type: 3, code });
      expect(message.quoted).toEqual(frame.subarray(ETHERNET_OCTETS));
      const { counters } = exchange.core.counters.snapshot();
      expect(counters["icmp-unreachable"]).toBe(1);
      expect(counters["tcp-resets-to-guest"]).toBeUndefined();
      exchange.expectRest();
    }
  });

  it("is a reset, or silence for UDP, by default", () => {
    const exchange = new AccountedExchange({});
    const { replies } = exchange.send(syn(GATEWAY));
    expect(replies.map((frame) => asTcp(frame).flags & RST)).toEqual([RST]);
    expect(exchange.send(datagram(GATEWAY)).replies).toEqual([]);
  });

  it("is quoted as far as 576 octets go", () => {
    const frame = datagram(GATEWAY, 1400);
    const { quoted, octets } = told(new AccountedExchange(UNREACHABLE), frame);
    expect(octets).toBe(ETHERNET_OCTETS + 576);
    expect(quoted).toEqual(frame.subarray(ETHERNET_OCTETS, ETHERNET_OCTETS + 576 - 28));
  });

  it("is quoted without what the link has behind it", () => {
    const exchange = new AccountedExchange(UNREACHABLE, 0xee);
    for (const frame of [syn(GATEWAY), datagram(GATEWAY, 1)]) {
      const padded = Buffer.concat([frame, Buffer.alloc(40, 0xaa)]);
      expect(told(exchange, padded).quoted).toEqual(frame.subarray(ETHERNET_OCTETS));
    }
  });

  it("by --restrict, a policy or an embedding program is told of likewise", () => {
    const denying = policyOf({ default: "deny", rules: [{ deny: "198.51.100.7" }] });
    expect(told(new AccountedExchange({ ...PROHIBITED, restrict: true }), syn(REMOTE)).verdict).toBe(
      "destination-restricted",
    );
    const policed = new AccountedExchange({ ...PROHIBITED, policy: denying });
    expect(told(policed, syn(REMOTE)).verdict).toBe("policy-denied");
    expect(told(policed, datagram(ip("203.0.113.1"))).verdict).toBe("policy-no-rule");
  });

  it("in fragments is told of once, quoting the whole", () => {
    const exchange = new AccountedExchange(UNREACHABLE);
    const whole = datagram(GATEWAY, 64).subarray(ETHERNET_OCTETS + 20);
    const part = (first: number, end: number): Buffer =>
      fragmentOf({ to: GATEWAY, protocol: UDP, payload: whole }, first, end);
    expect(exchange.send(part(40, 72)).replies).toEqual([]);
    expect(told(exchange, part(0, 40)).quoted.subarray(20)).toEqual(whole);
  });
});

describe("nobody is told", () => {
  it("of what is for many, on the link or by its address", () => {
    const exchange = new AccountedExchange(UNREACHABLE);
    for (const to of [ip("224.0.0.251"), ip("239.255.255.250"), ip("10.0.2.255"), -1, ip("240.0.0.1"), 0]) {
      expect(exchange.send(datagram(to)).replies).toEqual([]);
    }
    const broadcast = datagram(GATEWAY);
    broadcast.fill(0xff, 0, 6);
    expect(exchange.send(broadcast)).toMatchObject({ verdict: "destination-no-service", replies: [] });
  });

  it("of a segment that opens nothing: it gets its reset", () => {
    const exchange = new AccountedExchange(UNREACHABLE);
    const { replies } = exchange.send(tcp({ to: GATEWAY, flags: 16, sequence: 1, acknowledgment: 7 }));
    expect(replies.map((frame) => asTcp(frame).flags & RST)).toEqual([RST]);
  });

  it("of an address that is nobody's, which stays silent", () => {
    const target = -1;
    const exchange = new AccountedExchange({
      ...UNREACHABLE,
      hostAliases: [{ address: ip("10.0.2.9"), target }],
    });
    for (const frame of [syn(ip("10.0.2.9")), datagram(ip("10.0.2.9"))]) {
      expect(exchange.send(frame)).toEqual({ verdict: "destination-silent", replies: [] });
    }
  });

  it("of what the host refuses: its reset is passed on", () => {
    const exchange = new AccountedExchange(UNREACHABLE);
    exchange.network.connectTo = () => ECONNREFUSED;
    const { replies } = exchange.send(syn(REMOTE));
    expect(replies.map((frame) => asTcp(frame).flags & RST)).toEqual([RST]);
  });

  it("more than fifty times at once, and once a millisecond then; TCP has its reset beyond that", () => {
    const exchange = new AccountedExchange(UNREACHABLE);
    const flood = (): number[] =>
      Array.from({ length: 200 }, (_, i) => exchange.send(syn(GATEWAY, 1000 + i)).replies).map((replies) => {
        expect(replies).toHaveLength(1);
        return asIpv4(replies[0] as Uint8Array).protocol;
      });
    expect(flood().filter((protocol) => protocol === ICMP)).toHaveLength(50);
    const { counters } = exchange.core.counters.snapshot();
    expect(counters["icmp-unreachable-limited"]).toBe(150);
    expect(counters["tcp-resets-to-guest"]).toBe(150);
    exchange.now = (exchange.now + 7) | 0;
    expect(flood().filter((protocol) => protocol === ICMP)).toHaveLength(7);
    expect(exchange.send(datagram(GATEWAY)).replies).toEqual([]);
    exchange.expectRest();
  });
});

describe("over IPv6", () => {
  const ipv6 = defaultIpv6Config(defaultEngineConfig().gatewayMac);

  /** The message that the engine answers with, without Neighbour Discovery's. */
  function answers(exchange: AccountedExchange, frame: Buffer) {
    const { verdict, replies } = exchange.send(frame);
    const messages = replies
      .map((reply) => Buffer.from(reply))
      .filter((reply) => reply[20] !== ICMPV6 || (reply[54] as number) < 128)
      .map((reply) => ({
        reply,
        next: reply[20],
        type: reply[54],
        code: reply[55],
        source: [...reply.subarray(22, 38)],
        quoted: reply.subarray(62),
      }));
    return { verdict, messages };
  }

  it.each([
    ["unreachable", 0],
    ["prohibited", 1],
  ] as const)("%s has code %i, from who was addressed or the gateway", (refuseWith, code) => {
    for (const protocol of [TCP, UDP]) {
      const exchange = new AccountedExchange({ ipv6, refuseWith });
      for (const [to, from] of [
        [ROUTER6, ROUTER6],
        [REFUSED6, ROUTER6],
      ]) {
        const frame = sent6(to as string, protocol);
        const { messages } = answers(exchange, frame);
        expect(messages).toMatchObject([{ next: ICMPV6, type: 1, code, source: octets6(from as string) }]);
        expect(messages[0]?.quoted).toEqual(frame.subarray(ETHERNET_OCTETS));
      }
      expect(exchange.core.counters.snapshot().counters["icmp-unreachable"]).toBe(2);
    }
  });

  it("is quoted as far as 1280 octets go, and groups are not told", () => {
    const exchange = new AccountedExchange({ ipv6, ...UNREACHABLE });
    const [message] = answers(exchange, sent6(ROUTER6, UDP, 1300)).messages;
    expect(message?.reply.length).toBe(ETHERNET_OCTETS + 1280);
    expect(answers(exchange, sent6("ff02::fb", UDP)).messages).toEqual([]);
    expect(answers(new AccountedExchange({ ipv6 }), sent6(ROUTER6, UDP)).messages).toEqual([]);
    expect(answers(exchange, sent6(FAR6, UDP)).verdict).toBe("handled");
  });

  it("all of it is what tshark takes it for", (context) => {
    needs(context, { commands: ["tshark"] });
    const exchange = new AccountedExchange({ ipv6, ...PROHIBITED });
    const over4 = new AccountedExchange(PROHIBITED);
    const frames = [
      told(over4, syn(GATEWAY)).reply,
      told(over4, datagram(METADATA, 1001)).reply,
      ...answers(exchange, sent6(ROUTER6, TCP)).messages.map(({ reply }) => reply),
      ...answers(exchange, sent6(REFUSED6, UDP, 1300)).messages.map(({ reply }) => reply),
    ];
    const fields = [
      "ip.checksum.status",
      "ip.dsfield.dscp",
      "icmp.type",
      "icmp.code",
      "icmp.checksum.status",
      "icmpv6.type",
      "icmpv6.code",
      "icmpv6.checksum.status",
      "tcp.dstport",
      "udp.dstport",
    ];
    const readings = readWithTshark(frames, fields);
    expect(readings.map((reading) => reading.fields)).toMatchObject([
      { "ip.dsfield.dscp": ["48", "0"], "icmp.type": ["3"], "icmp.code": ["13"], "tcp.dstport": ["80"] },
      { "ip.checksum.status": ["1", "1"], "icmp.checksum.status": ["1"], "udp.dstport": ["9"] },
      {
        "icmpv6.type": ["1"],
        "icmpv6.code": ["1"],
        "icmpv6.checksum.status": ["1"],
        "tcp.dstport": ["80"],
      },
      { "icmpv6.type": ["1"], "icmpv6.checksum.status": ["1"], "udp.dstport": ["9"] },
    ]);
    const complaints = readings.flatMap((reading) => reading.complaints);
    expect(complaints.filter((text) => !text.startsWith("Connection establish request"))).toEqual([]);
  });
});
