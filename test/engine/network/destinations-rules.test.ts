/** Where IPv4 packets may go and what hosts look like to the guest, rule by rule. */
import { describe, expect, it } from "vitest";
import { defaultEngineConfig, type EngineConfig, NOBODY } from "../../../src/engine/config.ts";
import { DROP_REASONS, dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { ControlPorts } from "../../../src/engine/network/control-ports.ts";
import {
  CHECK,
  Destinations,
  EXPLAIN,
  GO,
  GROUP,
  HERE,
  isChecked,
  isDenial,
  QUESTION_TICKETS,
  reasonOf,
  refuse,
  TRANSLATED,
  ticketOf,
  wait,
} from "../../../src/engine/network/destinations.ts";
import type { FlowJudge, Wish } from "../../../src/engine/network/judge.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const GUEST = ip("10.0.2.15");
const GATEWAY = ip("10.0.2.2");
const DNS = ip("10.0.2.3");
const SERVICE = ip("10.0.2.100");
const REMOTE = ip("198.51.100.7");
const LAN = ip("192.168.1.5");
const LOOPBACK = ip("127.0.0.1");
const GROUP_ADDRESS = ip("239.255.255.250");
const BROADCAST = -1;
/** What stands in `to` where nothing was written. */
const UNTOUCHED = [9, 9, 9, 9, 9];
const mapped = (address: number, port = 80): number[] => [0, 0, 0xffff, address, port];
const NAT64 = { words: Int32Array.from(ip6("64:ff9b::")), length: 96 };

class Judge implements FlowJudge {
  readonly asked: string[] = [];
  constructor(public verdict: number) {}
  tcp({ guestAddress, remoteAddress, remotePort }: Wish): number {
    this.asked.push(`tcp ${guestAddress} ${remoteAddress} ${remotePort}`);
    return this.verdict;
  }
  udp({ remoteAddress, remotePort }: Wish, nowMs: number): number {
    this.asked.push(`udp ${remoteAddress} ${remotePort} at ${nowMs}`);
    return this.verdict;
  }
  tcp6(): number {
    throw new Error("not of IPv4");
  }
  udp6(): number {
    throw new Error("not of IPv4");
  }
}

/** Verdicts of 0 and more say of a connection which service it is for, and of a datagram which way it goes. */
function nameOf(verdict: number, protocol: "tcp" | "udp"): string {
  if (verdict === GO) return "go";
  if (verdict === HERE) return "here";
  if (verdict < 0) return DROP_REASONS[reasonOf(verdict)];
  if (protocol === "tcp") return `service ${verdict}`;
  return verdict === GROUP ? "group" : verdict === TRANSLATED ? "translated" : `${verdict}`;
}

function setUp(config: Partial<EngineConfig> = {}, judge: Judge | null = null) {
  const destinations = new Destinations({ ...defaultEngineConfig(), ...config }, judge);
  const to = new Int32Array(5);
  const wish = (remoteAddress: number, remotePort: number) => ({
    guestAddress: GUEST,
    remoteAddress,
    remotePort,
  });
  const tcp = (remote: number, port = 80): [string, number[]] => {
    to.fill(9);
    return [nameOf(destinations.tcp(wish(remote, port), to), "tcp"), [...to]];
  };
  const udp = (remote: number, port = 80, now = 0): [string, number[]] => {
    to.fill(9);
    return [nameOf(destinations.udp(wish(remote, port), to, now), "udp"), [...to]];
  };
  const reach = (remote: number, port = 80): [string, number[]] => {
    to.fill(9);
    return [nameOf(destinations.reach(remote, port, to), "udp"), [...to]];
  };
  return { destinations, tcp, udp, reach };
}

describe("a verdict", () => {
  it("of one kind is never one of another", () => {
    for (let reason = 1; reason < DROP_REASONS.length; reason++) {
      expect(reasonOf(refuse(reason))).toBe(reason);
      expect([GO, HERE, CHECK, EXPLAIN, GROUP, TRANSLATED]).not.toContain(refuse(reason));
      expect([isChecked(refuse(reason)), ticketOf(refuse(reason))]).toEqual([false, -1]);
    }
    for (const verdict of [GO, HERE, CHECK, EXPLAIN, GROUP, TRANSLATED, 0, 1, 100])
      expect([verdict, ticketOf(verdict)]).toEqual([verdict, -1]);
    for (const verdict of [GO, HERE, EXPLAIN, 0, 1])
      expect([verdict, isChecked(verdict)]).toEqual([verdict, false]);
    expect(isChecked(CHECK)).toBe(true);
  });

  it("that names no service is below 0, as services are numbered from there", () => {
    for (const verdict of [GO, HERE, CHECK, EXPLAIN, refuse(1), wait(0, GO), wait(0, CHECK)])
      expect(verdict).toBeLessThan(0);
  });

  it.each([0, 1, 77, QUESTION_TICKETS - 1, QUESTION_TICKETS, QUESTION_TICKETS + 255])(
    "that waits has its ticket, and whether a name is to be shown then: %i",
    (ticket) => {
      expect([ticketOf(wait(ticket, GO)), isChecked(wait(ticket, GO))]).toEqual([ticket, false]);
      expect([ticketOf(wait(ticket, CHECK)), isChecked(wait(ticket, CHECK))]).toEqual([ticket, true]);
    },
  );

  it("has room for the tickets of a program and of a policy's questions", () => {
    expect(QUESTION_TICKETS).toBe(0x100000 - 256);
  });

  it("is a denial where the guest may not go there, whatever it says", () => {
    const denials = DROP_REASONS.filter((_, reason) => isDenial(reason));
    expect(denials).toEqual([
      "destination-refused",
      "destination-restricted",
      "destination-no-service",
      "control-refused",
    ]);
  });
});

describe("a connection", () => {
  it("goes where it wants to on the Internet and in private networks", () => {
    for (const remote of [REMOTE, LAN, ip("10.0.3.1"), ip("10.0.1.255")]) {
      expect(setUp().tcp(remote, 443)).toEqual(["go", mapped(remote, 443)]);
    }
  });

  it.each([
    ["the gateway", GATEWAY, "destination-no-service"],
    ["an address of the subnet", ip("10.0.2.77"), "destination-no-service"],
    ["the subnet's broadcast address", ip("10.0.2.255"), "destination-no-service"],
    ["everybody", BROADCAST, "destination-refused"],
    ["loopback", LOOPBACK, "destination-refused"],
    ["a group", GROUP_ADDRESS, "destination-refused"],
    ["a cloud's metadata", ip("169.254.169.254"), "destination-refused"],
  ])("to %s is refused", (_name, remote, reason) => {
    const { tcp, udp } = setUp();
    expect([tcp(remote), udp(remote)]).toEqual([
      [reason, UNTOUCHED],
      [reason, UNTOUCHED],
    ]);
  });

  it("to metadata goes where link-local addresses are allowed", () => {
    const remote = ip("169.254.169.254");
    expect(setUp({ allowLinkLocal: true }).tcp(remote)).toEqual(["go", mapped(remote)]);
  });

  it("to the gateway goes to the host's loopback where that is allowed, and nowhere else from the subnet", () => {
    const { tcp, udp } = setUp({ allowHostLoopback: true });
    expect([tcp(GATEWAY), udp(GATEWAY)]).toEqual([
      ["go", mapped(LOOPBACK)],
      ["go", mapped(LOOPBACK)],
    ]);
    expect(tcp(ip("10.0.2.77"))[0]).toBe("destination-no-service");
  });

  it("to a gateway outside of the subnet is nobody's on the host's side", () => {
    const gateway = ip("172.31.255.1");
    const { tcp, destinations } = setUp({ gateway });
    expect([tcp(gateway), tcp(gateway + 1)]).toEqual([
      ["destination-no-service", UNTOUCHED],
      ["go", mapped(gateway + 1)],
    ]);
    expect(destinations.seenByGuest(ip("10.0.2.77"))).toBe(gateway);
    expect(setUp({ gateway, allowHostLoopback: true }).tcp(gateway)).toEqual(["go", mapped(LOOPBACK)]);
  });

  it("to DNS over TCP ends in the engine, and nothing else at its address does", () => {
    const { tcp, udp } = setUp();
    expect(tcp(DNS, 53)).toEqual(["here", UNTOUCHED]);
    expect([tcp(DNS, 54)[0], tcp(GATEWAY, 53)[0], udp(DNS, 53)[0]]).toEqual(
      new Array(3).fill("destination-no-service"),
    );
    expect(setUp({ dns: 0 }).tcp(0, 53)[0]).toBe("destination-refused");
  });

  it("to an alias goes to what that stands for", () => {
    const { tcp, udp } = setUp({
      hostAliases: [
        { address: ip("10.0.2.4"), target: LOOPBACK },
        { address: ip("169.254.1.2"), target: LAN },
        { address: ip("10.0.2.6"), target: 0 },
        { address: ip("10.0.2.7"), target: NOBODY },
      ],
    });
    for (const ask of [tcp, udp]) {
      expect(ask(ip("10.0.2.4"))).toEqual(["go", mapped(LOOPBACK)]);
      expect(ask(ip("169.254.1.2"))).toEqual(["go", mapped(LAN)]);
      expect(ask(ip("10.0.2.6"))).toEqual(["destination-no-service", UNTOUCHED]);
      expect(ask(ip("10.0.2.7"))).toEqual(["destination-silent", UNTOUCHED]);
      expect(ask(ip("10.0.2.8"))).toEqual(["destination-no-service", UNTOUCHED]);
      expect(ask(REMOTE)).toEqual(["go", mapped(REMOTE)]);
    }
  });

  it("goes nowhere under restrict, but to guest forwards", () => {
    const { tcp, udp, reach } = setUp({
      restrict: true,
      allowHostLoopback: true,
      guestForwards: [{ address: SERVICE, port: 7, target: { kind: "unix", path: "/s" } }],
    });
    for (const ask of [tcp, udp, reach])
      for (const remote of [REMOTE, GATEWAY, LOOPBACK])
        expect(ask(remote)).toEqual(["destination-restricted", UNTOUCHED]);
    expect(tcp(SERVICE, 7)).toEqual(["service 0", mapped(SERVICE, 7)]);
  });

  it("to a guest forward is told which, by address and port", () => {
    const { tcp, udp } = setUp({
      guestForwards: [
        { address: 0, address6: ip6("fd71:1ae0:d44d:2::100"), port: 7, target: { kind: "unix", path: "/a" } },
        { address: SERVICE, port: 7, target: { kind: "unix", path: "/b" } },
        { address: SERVICE, port: 8, target: { kind: "unix", path: "/c" } },
        { address: DNS, port: 53, target: { kind: "unix", path: "/d" } },
      ],
    });
    expect(tcp(SERVICE, 7)).toEqual(["service 1", mapped(SERVICE, 7)]);
    expect(tcp(SERVICE, 8)).toEqual(["service 2", mapped(SERVICE, 8)]);
    expect(tcp(DNS, 53)).toEqual(["service 3", mapped(DNS, 53)]);
    expect([tcp(SERVICE, 9)[0], tcp(SERVICE + 1, 7)[0], udp(SERVICE, 7)[0]]).toEqual(
      new Array(3).fill("destination-no-service"),
    );
    // The first is of IPv6 alone, whatever stands where an IPv4 address would.
    expect(tcp(0, 7)).toEqual(["destination-refused", UNTOUCHED]);
  });

  it("is refused at a control port, by whatever way, and by nothing else", () => {
    const { destinations, tcp, reach } = setUp({
      allowHostLoopback: true,
      guestForwards: [
        { address: SERVICE, port: 80, target: { kind: "tcp", host: LOOPBACK, port: 8080 } },
        { address: SERVICE, port: 81, target: { kind: "tcp", host: LOOPBACK, port: 8081 } },
      ],
    });
    destinations.controlPorts = new ControlPorts([
      { address: mapped(LOOPBACK).slice(0, 4), port: 8080 },
      { address: mapped(GROUP_ADDRESS).slice(0, 4), port: 80 },
    ]);
    expect([tcp(GATEWAY, 8080)[0], tcp(SERVICE, 80)[0], reach(GATEWAY, 8080)[0]]).toEqual(
      new Array(3).fill("control-refused"),
    );
    expect([tcp(GATEWAY, 8081)[0], tcp(SERVICE, 81)[0], reach(GATEWAY, 8081)[0]]).toEqual([
      "go",
      "service 1",
      "go",
    ]);
    // What goes nowhere is refused for its own reason, wherever the last one went.
    const to = Int32Array.from(mapped(LOOPBACK, 8080));
    const nowhere = { guestAddress: GUEST, remoteAddress: LOOPBACK, remotePort: 8080 };
    for (const verdict of [destinations.tcp(nowhere, to), destinations.reach(LOOPBACK, 8080, to)])
      expect(nameOf(verdict, "tcp")).toBe("destination-refused");
  });
});

describe("a datagram to a group", () => {
  it("goes where that is allowed, and no other address that is nobody's", () => {
    const { udp, tcp } = setUp({ allowMulticast: true });
    expect(udp(GROUP_ADDRESS, 1900)).toEqual(["group", mapped(GROUP_ADDRESS, 1900)]);
    for (const remote of [LOOPBACK, ip("240.0.0.1"), BROADCAST])
      expect(udp(remote)).toEqual(["destination-refused", UNTOUCHED]);
    expect(udp(GATEWAY)).toEqual(["destination-no-service", UNTOUCHED]);
    expect(tcp(GROUP_ADDRESS)).toEqual(["destination-refused", UNTOUCHED]);
  });

  it("goes nowhere by default, nor under restrict", () => {
    expect(setUp().udp(GROUP_ADDRESS)).toEqual(["destination-refused", UNTOUCHED]);
    const { udp } = setUp({ allowMulticast: true, restrict: true });
    expect(udp(GROUP_ADDRESS)).toEqual(["destination-restricted", UNTOUCHED]);
  });
});

describe("the judge", () => {
  it("is asked of what would go out, and has the last word", () => {
    const judge = new Judge(GO);
    const { tcp, udp } = setUp({ allowMulticast: true, allowHostLoopback: true }, judge);
    expect([tcp(REMOTE, 443)[0], udp(REMOTE, 53, 7)[0], udp(GROUP_ADDRESS, 1900, 8)[0]]).toEqual([
      "go",
      "go",
      "group",
    ]);
    expect(judge.asked).toEqual([
      `tcp ${GUEST} ${REMOTE} 443`,
      `udp ${REMOTE} 53 at 7`,
      `udp ${GROUP_ADDRESS} 1900 at 8`,
    ]);
    judge.verdict = refuse(dropReason("policy-denied"));
    expect([tcp(REMOTE)[0], udp(REMOTE)[0], udp(GROUP_ADDRESS)[0], tcp(GATEWAY)[0]]).toEqual(
      new Array(4).fill("policy-denied"),
    );
  });

  it("is not asked of what goes nowhere, or to a service, or ends here", () => {
    const judge = new Judge(refuse(dropReason("policy-denied")));
    const { tcp, udp, reach } = setUp(
      { guestForwards: [{ address: SERVICE, port: 7, target: { kind: "unix", path: "/s" } }] },
      judge,
    );
    expect([
      tcp(LOOPBACK)[0],
      udp(LOOPBACK)[0],
      tcp(SERVICE, 7)[0],
      tcp(DNS, 53)[0],
      reach(REMOTE)[0],
    ]).toEqual(["destination-refused", "destination-refused", "service 0", "here", "go"]);
    expect(judge.asked).toEqual([]);
  });
});

describe("behind a translator", () => {
  const far = [...ip6("64:ff9b::198.51.100.7"), 80];

  it("global addresses go by its prefix, private ones and the host's loopback as they are", () => {
    const { destinations, tcp, udp, reach } = setUp({ allowHostLoopback: true });
    destinations.translate(NAT64);
    expect([udp(REMOTE), reach(REMOTE)]).toEqual([
      ["translated", far],
      ["translated", far],
    ]);
    expect(tcp(REMOTE)).toEqual(["go", far]);
    expect([tcp(LAN), tcp(GATEWAY), udp(LAN), reach(LAN)]).toEqual([
      ["go", mapped(LAN)],
      ["go", mapped(LOOPBACK)],
      ["go", mapped(LAN)],
      ["go", mapped(LAN)],
    ]);
    expect([...destinations.translated(REMOTE)]).toEqual(far.slice(0, 4));
  });

  it("what is refused stays refused", () => {
    const { destinations, tcp } = setUp({ restrict: true });
    destinations.translate(NAT64);
    expect(tcp(REMOTE)).toEqual(["destination-restricted", UNTOUCHED]);
    destinations.translate(null);
    expect(tcp(REMOTE)).toEqual(["destination-restricted", UNTOUCHED]);
    const open = setUp();
    open.destinations.translate(NAT64);
    expect(open.tcp(ip("169.254.169.254"))).toEqual(["destination-refused", UNTOUCHED]);
    expect(open.udp(GATEWAY)).toEqual(["destination-no-service", UNTOUCHED]);
  });

  it("the judge is asked of what is translated, and control ports are looked for by the translated address", () => {
    const judge = new Judge(refuse(dropReason("policy-denied")));
    const { destinations, tcp, udp, reach } = setUp({}, judge);
    destinations.translate(NAT64);
    expect([tcp(REMOTE)[0], udp(REMOTE)[0]]).toEqual(["policy-denied", "policy-denied"]);
    destinations.controlPorts = new ControlPorts([{ address: far.slice(0, 4), port: 80 }]);
    expect([tcp(REMOTE)[0], reach(REMOTE)[0], tcp(REMOTE, 81)[0]]).toEqual([
      "control-refused",
      "control-refused",
      "policy-denied",
    ]);
  });

  it("addresses go as they are again when it is gone", () => {
    const { destinations, tcp, udp } = setUp();
    destinations.translate(NAT64);
    destinations.translate(null);
    expect([tcp(REMOTE), udp(REMOTE)]).toEqual([
      ["go", mapped(REMOTE)],
      ["go", mapped(REMOTE)],
    ]);
    expect([...destinations.translated(REMOTE)]).toEqual([0, 0, 0, 0]);
  });
});

describe("where other machines have addresses of the subnet", () => {
  it("all of it is reached but the guest's own address and everybody's", () => {
    const { tcp } = setUp({ sharedSubnet: true });
    for (const remote of [GATEWAY, ip("10.0.2.77"), ip("10.0.2.0")])
      expect(tcp(remote)).toEqual(["go", mapped(remote)]);
    for (const remote of [GUEST, ip("10.0.2.255")])
      expect(tcp(remote)).toEqual(["destination-no-service", UNTOUCHED]);
  });
});

describe("addresses of the guest's network", () => {
  it.each([
    [24, "10.0.1.255", false],
    [24, "10.0.2.0", true],
    [24, "10.0.2.255", true],
    [24, "10.0.3.0", false],
    [30, "10.0.2.3", true],
    [30, "10.0.2.4", false],
    [0, "198.51.100.7", true],
  ])("with a prefix of %i bits: %s %s", (prefixLength, text, isOn) => {
    expect(setUp({ prefixLength }).destinations.onGuestNetwork(ip(text))).toBe(isOn);
  });

  it.each([
    [24, "10.0.2.255", true],
    [24, "10.0.2.254", false],
    [24, "10.0.3.255", false],
    [24, "255.255.255.255", true],
    [30, "10.0.2.3", true],
    [31, "10.0.2.1", false],
    [32, "10.0.2.0", false],
    [31, "255.255.255.255", true],
  ])("with a prefix of %i bits: %s is for everybody %s", (prefixLength, text, isBroadcast) => {
    const { destinations } = setUp({ prefixLength });
    expect(destinations.isGuestNetworkBroadcast(ip(text))).toBe(isBroadcast);
  });

  it("are no station's where they are nobody's, a group's or everybody's", () => {
    const { destinations } = setUp();
    const refused = dropReason("destination-refused");
    for (const [text, isStation] of [
      ["0.0.0.0", false],
      ["0.1.2.3", false],
      ["1.0.0.0", true],
      ["127.0.0.1", true],
      ["198.51.100.7", true],
      ["223.255.255.255", true],
      ["224.0.0.0", false],
      ["240.0.0.1", false],
      ["255.255.255.255", false],
      ["10.0.2.255", false],
      ["10.0.2.254", true],
    ] as const) {
      expect([text, destinations.isStation(ip(text))]).toEqual([text, isStation]);
      expect([text, destinations.isDenied(ip(text), refused)]).toEqual([text, isStation]);
      expect(destinations.isDenied(ip(text), dropReason("destination-silent"))).toBe(false);
    }
  });
});

describe("a host's address as the guest sees it", () => {
  const config: Partial<EngineConfig> = {
    hostAliases: [
      { address: ip("10.0.2.4"), target: ip("127.0.0.9") },
      { address: ip("169.254.1.2"), target: LAN },
    ],
  };

  it.each([
    ["one that an alias stands for", LAN, ip("169.254.1.2")],
    ["one of loopback that an alias stands for", ip("127.0.0.9"), ip("10.0.2.4")],
    ["another of loopback", ip("127.1.2.3"), GATEWAY],
    ["one of the guest's subnet", ip("10.0.2.77"), GATEWAY],
    ["below loopback", ip("126.255.255.255"), ip("126.255.255.255")],
    ["above loopback", ip("128.0.0.1"), ip("128.0.0.1")],
    ["any other", REMOTE, REMOTE],
  ])("%s", (_name, address, seen) => {
    const { destinations } = setUp(config);
    expect(destinations.seenByGuest(address)).toBe(seen);
    expect(destinations.clientSeenByGuest(Int32Array.from([7, ...mapped(address)]), 1)).toBe(seen);
  });

  it("is its own where there are no aliases, and the gateway's where it is of IPv6", () => {
    const { destinations } = setUp();
    expect([destinations.seenByGuest(LAN), destinations.seenByGuest(GATEWAY)]).toEqual([LAN, GATEWAY]);
    expect(destinations.clientSeenByGuest(Int32Array.from(mapped(LAN)))).toBe(LAN);
    for (const text of ["2001:db8::1", "::198.51.100.7", "0:1::ffff:0:1"])
      expect([text, destinations.clientSeenByGuest(Int32Array.from(ip6(text)))]).toEqual([text, GATEWAY]);
  });
});
