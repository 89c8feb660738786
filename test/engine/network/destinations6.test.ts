/** Where IPv6 packets may go and what hosts look like to the guest, rule by rule. */
import { describe, expect, it } from "vitest";
import {
  defaultEngineConfig,
  defaultIpv6Config,
  type EngineConfig,
  type Ipv6Config,
} from "../../../src/engine/config.ts";
import { DROP_REASONS, dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { ControlPorts } from "../../../src/engine/network/control-ports.ts";
import { GO, HERE, reasonOf, refuse } from "../../../src/engine/network/destinations.ts";
import { Destinations6 } from "../../../src/engine/network/destinations6.ts";
import type { FlowJudge, Wish6 } from "../../../src/engine/network/judge.ts";
import { formatIpv6 } from "../../../src/engine/wire/address-text.ts";
import { GUEST6, ip6, ROUTER6 } from "../../support/frames6.ts";

const PREFIX = "fd71:1ae0:d44d:2::";
const DNS6 = `${PREFIX}3`;
const SERVICE6 = `${PREFIX}100`;
const FAR6 = "2001:db8::1";
const LOOPBACK6 = "::1";
const AWS6 = "fd00:ec2::254";
const UNTOUCHED = "9:9:9:9 9";
const NAT64 = { words: Int32Array.from(ip6("2001:db8:64::")), length: 96 };

class Judge implements FlowJudge {
  readonly asked: string[] = [];
  constructor(readonly verdict: number) {}
  tcp6({ pair, remotePort }: Wish6): number {
    this.asked.push(`tcp ${formatIpv6(pair, 4)} ${remotePort}`);
    return this.verdict;
  }
  udp6({ pair, remotePort }: Wish6, nowMs: number): number {
    this.asked.push(`udp ${formatIpv6(pair, 4)} ${remotePort} at ${nowMs}`);
    return this.verdict;
  }
  tcp(): number {
    throw new Error("not of IPv6");
  }
  udp(): number {
    throw new Error("not of IPv6");
  }
}

function nameOf(verdict: number): string {
  if (verdict === GO) return "go";
  if (verdict === HERE) return "here";
  return verdict >= 0 ? `service ${verdict}` : DROP_REASONS[reasonOf(verdict)];
}

function setUp(
  config: Partial<EngineConfig> = {},
  of6: Partial<Ipv6Config> = {},
  judge: Judge | null = null,
) {
  const whole = { ...defaultEngineConfig(), ...config };
  const ipv6 = { ...defaultIpv6Config(whole.gatewayMac), ...of6 };
  const destinations = new Destinations6(whole, ipv6, judge);
  const to = new Int32Array(5);
  const wish = (remote: string, remotePort = 80): Wish6 => ({
    pair: Int32Array.from([...ip6(GUEST6), ...ip6(remote)]),
    remotePort,
  });
  /** What a question leads to, and the address and port it was filled in with. */
  const answer = (ask: () => number): string[] => {
    to.fill(9);
    const verdict = nameOf(ask());
    const words = to.every((word) => word === 9) ? UNTOUCHED : `${formatIpv6(to)} ${to[4]}`;
    return [verdict, words];
  };
  const tcp = (remote: string, port = 80) => answer(() => destinations.tcp(wish(remote, port), to));
  const udp = (remote: string, port = 80, now = 0) =>
    answer(() => destinations.udp(wish(remote, port), to, now));
  const reach = (remote: string, port = 80) =>
    answer(() => destinations.reach(wish(remote, port).pair, port, to));
  return { destinations, wish, tcp, udp, reach };
}

describe("a flow", () => {
  it("goes where it wants to", () => {
    for (const remote of [FAR6, "fd71:1ae0:d44d:3::1", "fd71:1ae1:d44d:2::1", "fd12::1"]) {
      const { tcp, udp, reach } = setUp();
      expect([tcp(remote, 443), udp(remote, 443), reach(remote, 443)]).toEqual(
        new Array(3).fill(["go", `${remote} 443`]),
      );
    }
  });

  it.each([
    ["the gateway", ROUTER6, "destination-no-service"],
    ["the DNS address", DNS6, "destination-no-service"],
    ["another of the prefix", `${PREFIX}77`, "destination-no-service"],
    ["loopback", LOOPBACK6, "destination-refused"],
    ["a link-local address", "fe80::1", "destination-refused"],
    ["a group", "ff02::fb", "destination-refused"],
    ["a cloud's metadata", AWS6, "destination-refused"],
    ["an IPv4 loopback address behind NAT64", "64:ff9b::127.0.0.1", "destination-refused"],
  ])("to %s is refused", (_name, remote, reason) => {
    const { tcp, udp, reach } = setUp();
    expect([tcp(remote), udp(remote), reach(remote)]).toEqual(new Array(3).fill([reason, UNTOUCHED]));
  });

  it("to metadata goes where link-local addresses are allowed", () => {
    expect(setUp({ allowLinkLocal: true }).tcp(AWS6)).toEqual(["go", `${AWS6} 80`]);
  });

  it("to the gateway goes to the host's loopback where that is allowed, to no other address of ours", () => {
    const { tcp, udp } = setUp({ allowHostLoopback: true });
    expect([tcp(ROUTER6, 81), udp(ROUTER6, 81)]).toEqual(new Array(2).fill(["go", "::1 81"]));
    for (const remote of [DNS6, `${PREFIX}1:2`, "fd71:1ae0:d44d:2:1::2"])
      expect(tcp(remote)).toEqual(["destination-no-service", UNTOUCHED]);
  });

  it("to DNS over TCP ends in the engine, where there is DNS", () => {
    const { tcp } = setUp();
    expect(tcp(DNS6, 53)).toEqual(["here", UNTOUCHED]);
    expect([tcp(DNS6, 54)[0], tcp(ROUTER6, 53)[0]]).toEqual([
      "destination-no-service",
      "destination-no-service",
    ]);
    expect(setUp({}, { dns: null }).tcp(DNS6, 53)[0]).toBe("destination-no-service");
  });

  it("to a gateway or DNS address outside of the prefix is nobody's on the host's side", () => {
    const { tcp } = setUp({}, { gateway: ip6("fd99::2"), dns: ip6("fd99::3") });
    expect([tcp("fd99::2")[0], tcp("fd99::3")[0], tcp("fd99::4")[0], tcp("fd98::2")[0]]).toEqual([
      "destination-no-service",
      "destination-no-service",
      "go",
      "go",
    ]);
    expect(setUp({}, { gateway: ip6("fd99::2"), dns: null }).tcp("fd99::3")[0]).toBe("go");
  });

  it("goes nowhere under restrict, but to guest forwards", () => {
    const { tcp, udp, reach } = setUp({
      restrict: true,
      allowHostLoopback: true,
      guestForwards: [{ address: 0, address6: ip6(SERVICE6), port: 7, target: { kind: "unix", path: "/s" } }],
    });
    for (const ask of [tcp, udp, reach])
      for (const remote of [FAR6, ROUTER6, LOOPBACK6])
        expect(ask(remote)).toEqual(["destination-restricted", UNTOUCHED]);
    expect(tcp(SERVICE6, 7)).toEqual(["service 0", `${SERVICE6} 7`]);
  });

  it("to a guest forward is told which, by address and port, those of IPv4 counted", () => {
    const { tcp, udp } = setUp({
      guestForwards: [
        { address: 1, port: 7, target: { kind: "unix", path: "/a" } },
        { address: 0, address6: ip6(SERVICE6), port: 7, target: { kind: "unix", path: "/b" } },
        { address: 0, address6: ip6(SERVICE6), port: 8, target: { kind: "unix", path: "/c" } },
        { address: 0, address6: ip6(FAR6), port: 8, target: { kind: "unix", path: "/d" } },
      ],
    });
    expect([tcp(SERVICE6, 7), tcp(SERVICE6, 8), tcp(FAR6, 8)]).toEqual([
      ["service 1", `${SERVICE6} 7`],
      ["service 2", `${SERVICE6} 8`],
      ["service 3", `${FAR6} 8`],
    ]);
    expect([tcp(SERVICE6, 9)[0], udp(SERVICE6, 7)[0], tcp(FAR6, 7)[0]]).toEqual([
      "destination-no-service",
      "destination-no-service",
      "go",
    ]);
    // One that differs in any of its words is another.
    for (const remote of ["2001:db8::2", "2001:db8::1:0:1", "2001:db8:0:1::1", "2001:db9::1"])
      expect([remote, tcp(remote, 8)[0]]).toEqual([remote, "go"]);
  });

  it("is refused at a control port, by whatever way, and by nothing else", () => {
    const { destinations, tcp, reach, udp } = setUp({
      allowHostLoopback: true,
      guestForwards: [
        {
          address: 0,
          address6: ip6(SERVICE6),
          port: 80,
          target: { kind: "tcp", host: 0, host6: ip6(LOOPBACK6), port: 8080 },
        },
        {
          address: 0,
          address6: ip6(SERVICE6),
          port: 81,
          target: { kind: "tcp", host: 0, host6: ip6(LOOPBACK6), port: 8081 },
        },
      ],
    });
    expect([tcp(ROUTER6, 8080)[0], tcp(SERVICE6, 80)[0], reach(ROUTER6, 8080)[0]]).toEqual([
      "go",
      "service 0",
      "go",
    ]);
    destinations.controlPorts = new ControlPorts([{ address: ip6(LOOPBACK6), port: 8080 }]);
    expect([tcp(ROUTER6, 8080)[0], tcp(SERVICE6, 80)[0], reach(ROUTER6, 8080)[0]]).toEqual(
      new Array(3).fill("control-refused"),
    );
    expect([
      tcp(ROUTER6, 8081)[0],
      tcp(SERVICE6, 81)[0],
      reach(ROUTER6, 8081)[0],
      udp(ROUTER6, 8080)[0],
    ]).toEqual(["go", "service 1", "go", "go"]);
    destinations.tcp(
      { pair: Int32Array.of(0, 0, 0, 0, ...ip6(ROUTER6)), remotePort: 8080 },
      new Int32Array(5),
    );
    // What goes nowhere is refused for its own reason, wherever the last one went.
    const to = Int32Array.of(0, 0, 0, 1, 8080);
    const pair = Int32Array.of(0, 0, 0, 0, ...ip6("fe80::1"));
    for (const verdict of [
      destinations.tcp({ pair, remotePort: 8080 }, to),
      destinations.reach(pair, 8080, to),
    ])
      expect(nameOf(verdict)).toBe("destination-refused");
  });
});

describe("the judge", () => {
  it("is asked of what would go out, and has the last word", () => {
    for (const [verdict, name] of [
      [GO, "go"],
      [refuse(dropReason("policy-denied")), "policy-denied"],
    ] as const) {
      const judge = new Judge(verdict);
      const { tcp, udp } = setUp({}, {}, judge);
      expect([tcp(FAR6, 443)[0], udp(FAR6, 53, 7)[0]]).toEqual([name, name]);
      expect(judge.asked).toEqual([`tcp ${FAR6} 443`, `udp ${FAR6} 53 at 7`]);
    }
  });

  it("is not asked of what goes nowhere, or to a service, or ends here", () => {
    const judge = new Judge(refuse(dropReason("policy-denied")));
    const { tcp, udp, reach } = setUp(
      {
        guestForwards: [
          { address: 0, address6: ip6(SERVICE6), port: 7, target: { kind: "unix", path: "/s" } },
        ],
      },
      {},
      judge,
    );
    expect([
      tcp(LOOPBACK6)[0],
      udp(LOOPBACK6)[0],
      tcp(SERVICE6, 7)[0],
      tcp(DNS6, 53)[0],
      reach(FAR6)[0],
    ]).toEqual(["destination-refused", "destination-refused", "service 0", "here", "go"]);
    expect(judge.asked).toEqual([]);
  });
});

describe("a translator's prefix of the network", () => {
  const inside = (text: string) => formatIpv6(Int32Array.from(ip6(`2001:db8:64::${text}`)));

  it("is held to the rules of the IPv4 addresses in it, and only it", () => {
    const { destinations, tcp } = setUp();
    expect(tcp(inside("127.0.0.1"))[0]).toBe("go");
    destinations.setNat64(NAT64);
    for (const text of ["127.0.0.1", "169.254.169.254", "224.0.0.1"])
      expect([text, ...tcp(inside(text))]).toEqual([text, "destination-refused", UNTOUCHED]);
    expect(tcp(inside("198.51.100.7"))).toEqual(["go", `${inside("198.51.100.7")} 80`]);
    expect(tcp("2001:db8:65::7f00:1")[0]).toBe("go");
    destinations.setNat64(null);
    expect(tcp(inside("127.0.0.1"))[0]).toBe("go");
  });

  it("opens metadata with link-local addresses, and nothing under restrict", () => {
    const open = setUp({ allowLinkLocal: true });
    open.destinations.setNat64(NAT64);
    expect(open.tcp(inside("169.254.169.254"))[0]).toBe("go");
    const restricted = setUp({ restrict: true });
    restricted.destinations.setNat64(NAT64);
    expect(restricted.tcp(inside("127.0.0.1"))[0]).toBe("destination-restricted");
    restricted.destinations.setNat64(null);
    expect(restricted.tcp(FAR6)[0]).toBe("destination-restricted");
  });
});

describe("where other machines have addresses of the prefix", () => {
  it("all of it is reached but the guest's own address and ours", () => {
    const { tcp } = setUp({}, { shared: true, guestAddress: ip6(GUEST6) });
    expect([tcp(`${PREFIX}77`)[0], tcp(GUEST6)[0], tcp(ROUTER6)[0], tcp(DNS6)[0]]).toEqual([
      "go",
      "destination-no-service",
      "destination-no-service",
      "destination-no-service",
    ]);
    expect(setUp({}, { shared: true }).tcp(GUEST6)[0]).toBe("go");
  });
});

describe("a denial", () => {
  it("is of what one station could have, for where it is", () => {
    const { destinations, wish } = setUp();
    const [refused, silent] = [dropReason("destination-refused"), dropReason("destination-silent")];
    for (const [remote, isStation] of [
      [FAR6, true],
      ["fe80::1", true],
      ["ff02::fb", false],
      [LOOPBACK6, false],
    ] as const) {
      expect([remote, destinations.isDenied(wish(remote), refused)]).toEqual([remote, isStation]);
      expect(destinations.isDenied(wish(remote), silent)).toBe(false);
    }
  });
});

describe("a host's address as the guest sees it", () => {
  it.each([
    [FAR6, FAR6],
    ["fd71:1ae0:d44d:3::77", "fd71:1ae0:d44d:3::77"],
    ["::2", "::2"],
    ["::1:0:0:1", "::1:0:0:1"],
    ["::1:0:1", "::1:0:1"],
    ["::1:0:0:0:1", "::1:0:0:0:1"],
    ["::1:0:0:ffff:a00:1", "::1:0:0:ffff:a00:1"],
    ["fec0::1", "fec0::1"],
    [LOOPBACK6, ROUTER6],
    ["::ffff:10.0.0.1", ROUTER6],
    ["fe80::1", ROUTER6],
    ["febf::1", ROUTER6],
    [`${PREFIX}77`, ROUTER6],
  ])("%s is %s", (address, seen) => {
    const { destinations } = setUp();
    const words = Int32Array.from([7, ...ip6(address)]);
    const to = new Int32Array(7).fill(9);
    destinations.seenByGuest(words, 1, to, 2);
    expect([formatIpv6(to, 2), to[0], to[1], to[6]]).toEqual([seen, 9, 9, 9]);
  });

  it("is its own where it is another machine's of the prefix, but for the guest's", () => {
    const { destinations } = setUp({}, { shared: true, guestAddress: ip6(GUEST6) });
    const to = new Int32Array(4);
    const seen = (address: string): string => {
      destinations.seenByGuest(Int32Array.from(ip6(address)), 0, to, 0);
      return formatIpv6(to);
    };
    expect([seen(`${PREFIX}77`), seen(GUEST6)]).toEqual([`${PREFIX}77`, ROUTER6]);
  });
});
