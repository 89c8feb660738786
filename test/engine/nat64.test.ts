/** An IPv4 guest on a host that has IPv6 alone: its destinations go out under the prefix of the network's NAT64. */
import { describe, expect, it } from "vitest";
import {
  defaultEngineConfig,
  defaultIpv6Config,
  type EngineConfig,
  type ResolverAddress,
} from "../../src/engine/config.ts";
import { formatIpv6 } from "../../src/engine/wire/address-text.ts";
import { asIpv4, asTcp, asUdp, GUEST_MAC, tcp, udp } from "../hostile/guest-packets.ts";
import { ACK, SYN } from "../sim/guest-stack/codec.ts";
import { FrameExchange } from "../support/frame-exchange.ts";
import { ip } from "../support/frames.ts";
import { frame6, ip6, octets6, tcp6 } from "../support/frames6.ts";

const GATEWAY_MAC = [0x52, 0x55, 10, 0, 2, 2];
const REMOTE = ip("198.51.100.7");
const WELL_KNOWN = { prefix: ip6("64:ff9b::"), length: 96 };
const RESOLVER: ResolverAddress = { words: ip6("2001:db8::53"), port: 53, scope: 0 };

function setUp(over: Partial<EngineConfig> = {}) {
  const exchange = new FrameExchange({ nat64: WELL_KNOWN, ...over });
  exchange.settle();
  const { core, network } = exchange;
  const uplinks = (hasIpv4: boolean, hasIpv6: boolean): Uint8Array[] => {
    core.setUplinks(hasIpv4, hasIpv6, exchange.now);
    return exchange.settle();
  };
  /** Where the last TCP connection goes, and the last datagram. */
  const target = (): string => formatIpv6(network.sockets.at(-1)?.to ?? []);
  const sentTo = (): string => formatIpv6(network.datagrams.at(-1)?.words ?? []);
  const drops = (): Record<string, number> => core.counters.snapshot().drops;
  return { exchange, core, network, uplinks, target, sentTo, drops };
}

const syn = (to: number, sourcePort = 40_000) =>
  tcp({ to, sourcePort, destinationPort: 80, flags: SYN, sequence: 1000 });

describe("NAT64 with a prefix that is given", () => {
  it.each([
    ["64:ff9b::", 96, "64:ff9b::c633:6407"],
    ["2001:db8::", 32, "2001:db8:c633:6407::"],
    ["2001:db8:100::", 40, "2001:db8:1c6:3364:7::"],
    ["2001:db8:122::", 48, "2001:db8:122:c633:64:700::"],
    ["2001:db8:122:300::", 56, "2001:db8:122:3c6:33:6407::"],
    ["2001:db8:122:344::", 64, "2001:db8:122:344:c6:3364:700:0"],
  ])(
    "N70 198.51.100.7 goes out under %s/%i as %s, and answers come back from it",
    (prefix, length, translated) => {
      const rig = setUp({ nat64: { prefix: ip6(prefix), length } });
      rig.uplinks(false, true);
      const [answer] = rig.exchange.exchange(syn(REMOTE));
      expect(rig.target()).toBe(translated);
      expect([asIpv4(answer).source, asTcp(answer).flags]).toEqual([REMOTE, SYN | ACK]);
      rig.exchange.exchange(
        udp({ to: REMOTE, sourcePort: 5000, destinationPort: 6000, payload: Buffer.of(1) }),
      );
      expect(rig.sentTo()).toBe(translated);
      const { handle, port } = rig.network.datagrams[0];
      expect([port, rig.network.families.get(handle)]).toEqual([6000, 6]);
      rig.network.arriveFrom(handle, ip6(translated), 6000, Uint8Array.of(7, 8));
      const { source, sourcePort, payload } = asUdp(rig.exchange.settle()[0]);
      expect([source, sourcePort, [...payload]]).toEqual([REMOTE, 6000, [7, 8]]);
      expect(rig.core.flows(0)).toMatchObject([
        { remote: "198.51.100.7:80", target: `[${translated}]:80` },
        { remote: "198.51.100.7:6000", target: `[${translated}]:6000` },
      ]);
    },
  );

  it("N71 is used while the host has IPv6 alone, and only then", () => {
    const rig = setUp();
    const port = (n: number): string => {
      rig.exchange.exchange(syn(REMOTE, 40_000 + n));
      return rig.target();
    };
    expect(port(0)).toBe("::ffff:198.51.100.7");
    rig.uplinks(true, true);
    expect(port(1)).toBe("::ffff:198.51.100.7");
    rig.uplinks(false, true);
    expect(port(2)).toBe("64:ff9b::c633:6407");
    rig.uplinks(false, false);
    expect(port(3)).toBe("::ffff:198.51.100.7");
  });

  it("N71 a guest's port that is in use moves to a socket of the other family, and back", () => {
    const rig = setUp();
    const send = (): number | undefined => {
      rig.exchange.exchange(udp({ to: REMOTE, sourcePort: 5000 }));
      return rig.network.families.get(rig.network.datagrams.at(-1)?.handle ?? -1);
    };
    expect(send()).toBe(4);
    rig.uplinks(false, true);
    expect(rig.core.usage().udp).toBe(0);
    expect(send()).toBe(6);
    rig.uplinks(true, true);
    expect(send()).toBe(4);
    expect(rig.core.usage().udp).toBe(1);
  });

  it("N72 private addresses and the host's loopback are where they were", () => {
    const rig = setUp({ allowHostLoopback: true, allowLinkLocal: true });
    rig.uplinks(false, true);
    const targets = [
      "10.0.2.2",
      "10.1.2.3",
      "172.31.0.1",
      "192.168.1.1",
      "100.64.0.1",
      "169.254.169.254",
    ].map((to, i) => {
      rig.exchange.exchange(syn(ip(to), 41_000 + i));
      return rig.target();
    });
    expect(targets).toEqual([
      "::ffff:127.0.0.1",
      "::ffff:10.1.2.3",
      "::ffff:172.31.0.1",
      "::ffff:192.168.1.1",
      "::ffff:100.64.0.1",
      "::ffff:169.254.169.254",
    ]);
    rig.exchange.exchange(syn(ip("172.32.0.1"), 42_000));
    expect(rig.target()).toBe("64:ff9b::ac20:1");
    // One port of the guest's may have a socket for each.
    rig.exchange.exchange(udp({ to: REMOTE, sourcePort: 5000 }));
    rig.exchange.exchange(udp({ to: ip("10.1.2.3"), sourcePort: 5000 }));
    rig.exchange.exchange(udp({ to: REMOTE, sourcePort: 5000 }));
    const families = rig.network.datagrams.map(({ handle }) => rig.network.families.get(handle));
    expect([families, rig.core.usage().udp]).toEqual([[6, 4, 6], 2]);
  });

  it("N72 an alias of an address outside is answered for under its own name", () => {
    const alias = ip("10.0.2.200");
    const rig = setUp({ hostAliases: [{ address: alias, target: REMOTE }] });
    rig.uplinks(false, true);
    rig.exchange.exchange(udp({ to: alias, sourcePort: 5000, destinationPort: 6000 }));
    expect(rig.sentTo()).toBe("64:ff9b::c633:6407");
    rig.network.arriveFrom(
      rig.network.datagrams[0].handle,
      ip6("64:ff9b::c633:6407"),
      6000,
      Uint8Array.of(1),
    );
    expect(rig.exchange.settle().map((frame) => asUdp(frame).source)).toEqual([alias]);
  });

  it("N72 what may not be reached stays out of reach", () => {
    const rig = setUp();
    rig.uplinks(false, true);
    for (const to of ["127.0.0.1", "169.254.169.254", "168.63.129.16", "0.0.0.1", "240.0.0.1", "10.0.2.77"]) {
      rig.exchange.exchange(syn(ip(to)));
    }
    expect(rig.network.sockets).toEqual([]);
    expect(rig.drops()).toEqual({ "destination-refused": 5, "destination-no-service": 1 });
    const restricted = setUp({ restrict: true });
    restricted.uplinks(false, true);
    restricted.exchange.exchange(syn(REMOTE));
    expect(restricted.network.sockets).toEqual([]);
  });

  it("N72 answers from outside the prefix, and from whom the guest has not sent to, are not heard", () => {
    const rig = setUp();
    rig.uplinks(false, true);
    rig.exchange.exchange(udp({ to: REMOTE, sourcePort: 5000 }));
    const { handle } = rig.network.datagrams[0];
    for (const from of ["2001:db8::c633:6407", "64:ff9b::c633:6408", "::ffff:198.51.100.7"]) {
      rig.network.arriveFrom(handle, ip6(from), 7, Uint8Array.of(1));
      expect(rig.exchange.settle()).toEqual([]);
    }
    expect(rig.drops()).toEqual({ "inbound-filtered": 3 });
  });

  it("N41 an address under the prefix is held to the rules of the IPv4 address in it", () => {
    const nat64 = { prefix: ip6("2001:db8:122:344::"), length: 64 };
    const { gatewayMac } = defaultEngineConfig();
    const rig = setUp({ nat64, ipv6: defaultIpv6Config(gatewayMac) });
    const reach = (destination: string): number => {
      const before = rig.network.sockets.length;
      const packet = tcp6({ destination }, { from: 40_000 + before, to: 80, sequence: 1, flags: SYN });
      rig.exchange.exchange(frame6(packet, GATEWAY_MAC, [...GUEST_MAC]));
      return rig.network.sockets.length - before;
    };
    const loopback = "2001:db8:122:344:7f:0:100:0";
    expect(reach(loopback)).toBe(1);
    rig.uplinks(true, true);
    expect([
      reach(loopback),
      reach("2001:db8:122:344:c6:3364:700:0"),
      reach("2001:db8:122:345:7f:0:100:0"),
    ]).toEqual([0, 1, 1]);
  });
});

/** What the engine's question looked like, and an answer to it with these addresses. */
function answerTo(question: Uint8Array, addresses: readonly string[], rcode = 0, ttl = 600): Uint8Array {
  const records = addresses.flatMap((address) => [
    ...[0xc0, 12, 0, 28, 0, 1, 0, 0, ttl >>> 8, ttl & 255, 0, 16],
    ...octets6(address),
  ]);
  const message = Uint8Array.from([...question, ...records]);
  message[2] = 0x81;
  message[3] = 0x80 | rcode;
  message[7] = addresses.length;
  return message;
}

function discovering(over: Partial<EngineConfig> = {}) {
  const rig = setUp({ nat64: "auto", resolvers: [RESOLVER], ...over });
  const questions = () => rig.network.datagrams.filter(({ port }) => port === 53);
  const answer = (addresses: readonly string[], rcode = 0, ttl = 600): Uint8Array[] => {
    const question = questions().at(-1);
    if (question === undefined) throw new Error("nothing was asked");
    rig.network.arriveFrom(
      question.handle,
      RESOLVER.words,
      53,
      answerTo(question.octets, addresses, rcode, ttl),
    );
    return rig.exchange.settle();
  };
  const connect = (sourcePort: number): string => {
    rig.exchange.exchange(syn(REMOTE, sourcePort));
    return rig.target();
  };
  return { ...rig, questions, answer, connect };
}

describe("NAT64 that the network tells of", () => {
  it("N73 is asked for when the host is left with IPv6 alone, and used as soon as it is known", () => {
    const rig = discovering();
    rig.exchange.pass(60_000);
    rig.uplinks(true, true);
    rig.exchange.pass(60_000);
    expect(rig.questions()).toEqual([]);
    rig.uplinks(false, true);
    expect(rig.questions()).toHaveLength(1);
    expect(Buffer.from(rig.questions()[0].octets).includes("ipv4only")).toBe(true);
    expect(rig.connect(40_000)).toBe("::ffff:198.51.100.7");
    rig.answer(["64:ff9b::c000:aa", "64:ff9b::c000:ab"]);
    expect(rig.connect(40_001)).toBe("64:ff9b::c633:6407");
    rig.uplinks(true, true);
    expect(rig.connect(40_002)).toBe("::ffff:198.51.100.7");
    expect(rig.core.usage().dns).toBe(0);
  });

  it("N73 is asked for again when the answer has run out, or came from no one, and other resolvers at once", () => {
    const rig = discovering();
    rig.uplinks(false, true);
    rig.answer([], 3);
    expect(rig.connect(40_000)).toBe("::ffff:198.51.100.7");
    rig.exchange.pass(59_000);
    expect(rig.questions()).toHaveLength(1);
    rig.exchange.pass(2000);
    expect(rig.questions()).toHaveLength(2);
    rig.answer(["64:ff9b::c000:aa"], 0, 120);
    expect(rig.connect(40_001)).toBe("64:ff9b::c633:6407");
    rig.exchange.pass(119_000);
    expect(rig.questions()).toHaveLength(2);
    rig.exchange.pass(2000);
    expect(rig.questions()).toHaveLength(3);
    // Silence changes nothing, and another network may have another prefix.
    expect(rig.connect(40_002)).toBe("64:ff9b::c633:6407");
    rig.core.setResolvers([RESOLVER]);
    rig.answer(["64:ff9b::c000:aa"]);
    rig.exchange.pass(50);
    expect(rig.questions()).toHaveLength(4);
    rig.answer(["2001:db8:1::c000:aa"]);
    expect(rig.connect(40_003)).toBe("2001:db8:1::c633:6407");
  });

  it.each([
    ["the guest's own network", "fd71:1ae0:d44d:2::c000:aa"],
    ["link-local addresses", "fe80::c000:aa"],
    ["multicast", "ff0e::c000:aa"],
    ["IPv4 itself", "::ffff:192.0.0.170"],
  ])("N73 is not believed to be %s", (_name, address) => {
    const { gatewayMac } = defaultEngineConfig();
    const rig = discovering({ ipv6: defaultIpv6Config(gatewayMac) });
    rig.uplinks(false, true);
    rig.answer([address]);
    expect(rig.connect(40_000)).toBe("::ffff:198.51.100.7");
  });

  it("N73 is not asked for under restrict", () => {
    const rig = discovering({ restrict: true });
    rig.uplinks(false, true);
    rig.exchange.pass(120_000);
    expect(rig.questions()).toEqual([]);
  });
});

/** PREF64 options of router advertisements: `PREFIX/LENGTH for SECONDS`. */
function pref64(frames: readonly Uint8Array[]): string[] {
  const found: string[] = [];
  for (const frame of frames) {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    if (view.getUint16(12) !== 0x86dd || frame[20] !== 58 || frame[54] !== 134) continue;
    for (let at = 54 + 16; at < frame.length; at += frame[at + 1] * 8) {
      if (frame[at] !== 38) continue;
      const word = view.getUint16(at + 2);
      const words = [view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12), 0];
      found.push(`${formatIpv6(words)}/${[96, 64, 56, 48, 40, 32][word & 7]} for ${(word >>> 3) * 8}`);
    }
  }
  return found;
}

describe("a guest that can do without IPv4", () => {
  const { gatewayMac } = defaultEngineConfig();
  const ipv6 = defaultIpv6Config(gatewayMac);

  it("N74 hears of the prefix within a second, and when it is gone", () => {
    const rig = setUp({ ipv6 });
    expect(pref64(rig.exchange.pass(1000))).toEqual([]);
    expect(pref64([...rig.uplinks(true, true), ...rig.exchange.pass(1000)])).toEqual([
      "64:ff9b::/96 for 1800",
    ]);
    expect(pref64([...rig.uplinks(true, false), ...rig.exchange.pass(1000)])).toEqual(["64:ff9b::/96 for 0"]);
  });

  it("N74 hears of the one that replaces another", () => {
    const rig = discovering({ ipv6 });
    rig.uplinks(false, true);
    rig.answer(["2001:db8::c000:aa"]);
    expect(pref64(rig.exchange.pass(1000))).toEqual(["2001:db8::/96 for 1800"]);
    rig.core.setResolvers([RESOLVER]);
    rig.exchange.settle();
    rig.answer(["64:ff9b::c000:aa"]);
    expect(pref64(rig.exchange.pass(1100))).toEqual(["64:ff9b::/96 for 1800", "2001:db8::/96 for 0"]);
  });
});
