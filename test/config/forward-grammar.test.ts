import { describe, expect, it } from "vitest";
import { parseGuestfwd, parseHostfwd } from "../../src/config/forward-grammar.ts";
import { asRule, parseForwardRule, ruleText } from "../../src/config/forward-rule.ts";
import { Unacceptable } from "../../src/config/problem.ts";
import { parsePublish } from "../../src/config/publish-grammar.ts";

const LOOPBACK = 0x7f000001;

describe("--publish", () => {
  it("binds one TCP port on the loopback by default", () => {
    expect(parsePublish("2222:22")).toStrictEqual([
      { protocol: "tcp", hostAddress: LOOPBACK, hostPort: 2222, guestAddress: 0, guestPort: 22 },
    ]);
    expect(parsePublish("80")).toMatchObject([{ hostPort: 80, guestPort: 80 }]);
  });

  it("takes a protocol and an address", () => {
    expect(parsePublish("udp:127.0.0.1:5353:53")).toMatchObject([
      { protocol: "udp", hostAddress: LOOPBACK, hostPort: 5353, guestPort: 53 },
    ]);
    expect(parsePublish("0.0.0.0:80")).toMatchObject([{ hostAddress: 0, hostPort: 80, guestPort: 80 }]);
    expect(parsePublish("5353:53/udp")).toMatchObject([{ protocol: "udp", hostPort: 5353, guestPort: 53 }]);
  });

  it.each(["8000-8010:8000", "8000-8010:8000-8010", "8000-8010"])(
    "forwards eleven ports to eleven: %s",
    (rule) => {
      expect(parsePublish(rule)).toMatchObject([{ hostPort: 8000, guestPort: 8000, ports: 11 }]);
    },
  );

  it("takes any free host port for 0, when the guest's port is said", () => {
    expect(parsePublish("0:22")).toMatchObject([{ hostPort: 0, guestPort: 22 }]);
    expect(() => parsePublish("0")).toThrow(Unacceptable);
    expect(() => parsePublish("0-5:22")).toThrow(Unacceptable);
  });

  it("N62 takes addresses of IPv6, one or all, and * for both families on one port", () => {
    const guest = { guestAddress: 0, guestAddress6: null, eitherFamily: true };
    expect(parsePublish("[::1]:8080:80")).toEqual([
      {
        protocol: "tcp",
        hostAddress: 0,
        hostAddress6: [0, 0, 0, 1],
        hostPort: 8080,
        ...guest,
        guestPort: 80,
      },
    ]);
    expect(parsePublish("udp:[::]:53")).toMatchObject([
      { protocol: "udp", hostAddress6: [0, 0, 0, 0], hostPort: 53, guestPort: 53 },
    ]);
    expect(parsePublish("*:0:22")).toEqual([
      { protocol: "tcp", hostAddress: 0, hostPort: 0, guestAddress: 0, guestPort: 22 },
      {
        ...{ protocol: "tcp", hostAddress: 0, hostAddress6: [0, 0, 0, 0], hostPort: 0, sharesPort: true },
        ...{ ...guest, guestPort: 22 },
      },
    ]);
    const ports = parsePublish("*:8000-8001:90-91").map(({ hostAddress6, hostPort, guestPort, ports }) => [
      hostAddress6 === undefined ? 4 : 6,
      hostPort,
      guestPort,
      ports,
    ]);
    expect(ports).toEqual([
      [4, 8000, 90, 2],
      [6, 8000, 90, 2],
    ]);
  });

  it.each([
    ["::1:80:80", /\[::1\]:8080:80/],
    ["[::1:80:80", /\[ADDRESS:\]PORT/],
    ["[]:80:80", /an IPv6 address/],
    ["[127.0.0.1]:80:80", /an IPv6 address/],
    ["[fe80::1]:80:80", /good on any interface/],
    ["[ff02::1]:80:80", /no group/],
    ["[::ffff:127.0.0.1]:80:80", /without ::ffff:/],
    ["[::1]", /\[ADDRESS:\]PORT/],
    ["*", /a port from/],
  ] as const)("N62 refuses %j and says what is allowed", (rule, allowed) => {
    expect(() => parsePublish(rule)).toThrow(
      expect.objectContaining({ allowed: expect.stringMatching(allowed) }),
    );
  });

  it("takes an interface, with which link-local addresses are good too", () => {
    expect(parsePublish("127.0.0.1%lo:80")).toMatchObject([{ hostAddress: LOOPBACK, hostDevice: "lo" }]);
    expect(parsePublish("127.0.0.1%tcp:80")).toMatchObject([{ hostDevice: "tcp", hostPort: 80 }]);
    expect(parsePublish("udp:*%eth0:53")).toMatchObject([
      { hostAddress: 0, hostDevice: "eth0" },
      { hostAddress6: [0, 0, 0, 0], hostDevice: "eth0", sharesPort: true },
    ]);
    expect(parsePublish("[fe80::1%eth0]:80")).toMatchObject([
      { hostAddress6: [0xfe800000 | 0, 0, 0, 1], hostDevice: "eth0" },
    ]);
  });

  it.each([
    ["443,80,8000-8010", [80, undefined], [443, undefined], [8000, 11]],
    ["1-10,5,11-12", [1, 12]],
    ["20-30,~25", [20, 5], [26, 5]],
  ] as const)("takes the set %s as ranges", (rule, ...ranges) => {
    expect(parsePublish(rule)).toEqual(
      ranges.map(([first, ports]) => ({
        ...{ protocol: "tcp", hostAddress: LOOPBACK, guestAddress: 0, hostPort: first, guestPort: first },
        ...(ports === undefined ? {} : { ports }),
      })),
    );
  });

  it("takes all ports that the host has no use for, and those that somebody listens on", () => {
    expect(parsePublish("all")).toMatchObject([{ hostPort: 1, guestPort: 1, ports: 65_535, optional: true }]);
    const holes = parsePublish("udp:*:~80,~1024-65535");
    expect(holes.map(({ hostPort, ports, optional }) => [hostPort, ports, optional])).toEqual([
      [1, 79, true],
      [1, 79, true],
      [81, 943, true],
      [81, 943, true],
    ]);
    expect(parsePublish("8000-8010,auto")).toMatchObject([
      { hostPort: 8000, ports: 11, whileListening: true },
    ]);
    expect(parsePublish("auto")).toMatchObject([{ hostPort: 1, ports: 65_535, whileListening: true }]);
  });

  it.each([
    "tcp:127.0.0.1:2222:22",
    "udp:*%eth0:53:53",
    "tcp:[::1%lo]:8000-8010:80-90",
    "tcp:*:80,443,8000-8010",
    "tcp:0.0.0.0:all",
    "tcp:*:all,~22,~8000-8010",
    "tcp:127.0.0.1:2222-10.0.2.15:22",
    "tcp:[::1]:2222-[fd71::15]:22",
  ])("writes a rule as it is read: %s", (rule) => {
    const forwards = asRule(parseForwardRule(rule));
    expect(ruleText(forwards, forwards[0]?.hostPort ?? 0)).toBe(rule);
  });

  it.each([
    "80,81:90",
    "all:90",
    "~1-65535",
    "0,80",
    "80,",
    "~",
    "%lo:80",
    "127.0.0.1%:80",
    "*%eth/0:80",
    "",
    ":",
    "22:",
    ":22",
    "65536",
    "22:0",
    "a:b",
    "10-5",
    "1-3:1-4",
    "65530-65535:65534",
    "1.2.3:80:80",
    "1:2:3",
    "sctp:1:1",
    "tcp:80/udp",
    "-1",
    "1-2-3",
    "8 0",
    "x80",
    "xall",
    "allx",
    "auto:80",
    "x127.0.0.1:80",
    "1:80:80",
    "[::1]x:80",
    "*x:80",
    "udp:tcp:80",
    "xudp:80",
    "80/udpx",
    "80:80/sctp",
  ])("refuses %j", (rule) => {
    expect(() => parsePublish(rule)).toThrow(Unacceptable);
  });

  const GRAMMAR =
    "[tcp:|udp:][ADDRESS:]PORT[:GUESTPORT], each port a number or a range A-B, such as 2222:22, udp:127.0.0.1:5353:53 or [::1]:8080:80";
  it.each([
    ["", GRAMMAR, undefined],
    ["1-2-3", GRAMMAR, undefined],
    ["80,81:90", "a set of ports without guest ports: they are the same", "80,81:90"],
    ["auto:90", "a set of ports without guest ports: they are the same", "auto:90"],
    ["~1-65535", "a set with at least one port", "~1-65535"],
    ["10-5", "a range whose end is not below its start", "10-5"],
    ["1-3:1-4", "as many guest ports as host ports (3; this range has 4)", "1-4"],
    ["1-3:1-2", "as many guest ports as host ports (3; this range has 2)", "1-2"],
    ["65530-65535:65531", "guest ports up to 65535", "65531"],
    ["0", "host port 0 (any free port) only alone and with a guest port, such as 0:22", undefined],
    ["0-1:22", "host port 0 (any free port) only alone and with a guest port, such as 0:22", undefined],
    ["tcp:80/udp", "the protocol once, in front (udp:53) or behind (53/udp)", undefined],
    ["0,80", "a port from 1 to 65535", "0"],
    ["~0", "a port from 1 to 65535", "0"],
    ["80:0", "a port from 1 to 65535", "0"],
    ["65536", "a port from 0 to 65535", "65536"],
    // No words of a set, which begin with port 1.
    ["xall", "a port from 0 to 65535", "xall"],
    ["allx", "a port from 0 to 65535", "allx"],
    ["xauto", "a port from 0 to 65535", "xauto"],
    ["autox", "a port from 0 to 65535", "autox"],
  ])("says of %j what is allowed", (rule, allowed, found) => {
    expect(() => parsePublish(rule)).toThrow(expect.objectContaining({ allowed, found }));
  });

  it("takes ranges that lead up to the last port", () => {
    expect(parsePublish("65530-65535:65530")).toMatchObject([{ guestPort: 65_530, ports: 6 }]);
    expect(parsePublish("5-5:7")).toMatchObject([{ hostPort: 5, guestPort: 7 }]);
    expect(parsePublish("5-5:7")[0]).not.toHaveProperty("ports");
    expect(parsePublish("1-3:7")).toMatchObject([{ guestPort: 7, ports: 3 }]);
  });

  it.each([
    ["80,~81", [[80, 1]]],
    ["80-90,~80,~90", [[81, 9]]],
    ["80-90,85-95", [[80, 16]]],
    ["80-95,85-90", [[80, 16]]],
    ["80-89,90", [[80, 11]]],
    [
      "80-89,91",
      [
        [80, 10],
        [91, 1],
      ],
    ],
    ["all,80", [[1, 65_535]]],
    ["~65535", [[1, 65_534]]],
    ["~1", [[2, 65_534]]],
  ] as const)("takes the set %s as first ports and how many", (rule, ranges) => {
    expect(parsePublish(rule).map(({ hostPort, ports = 1 }) => [hostPort, ports])).toEqual(ranges);
  });

  it.each([
    ["80,90", undefined, undefined],
    ["all", true, undefined],
    ["~80", true, undefined],
    ["80,auto", true, true],
    ["auto", true, true],
    ["auto,~80", true, true],
  ])("%s: optional %s, while somebody listens %s", (rule, optional, whileListening) => {
    for (const forward of parsePublish(rule)) {
      expect([forward.optional, forward.whileListening]).toEqual([optional, whileListening]);
    }
  });
});

describe("--hostfwd, as QEMU has it", () => {
  it("reads every part", () => {
    expect(parseHostfwd("tcp:127.0.0.1:2222-:22")).toEqual({
      protocol: "tcp",
      hostAddress: LOOPBACK,
      hostPort: 2222,
      guestAddress: 0,
      guestPort: 22,
    });
    expect(parseHostfwd("udp:10.1.2.3:53-10.0.2.15:5353")).toMatchObject({
      protocol: "udp",
      hostAddress: 0x0a010203,
      guestAddress: 0x0a00020f,
      guestPort: 5353,
    });
  });

  it("takes an empty protocol for TCP and an empty host address for all addresses", () => {
    expect(parseHostfwd("::8080-:80")).toMatchObject({ protocol: "tcp", hostAddress: 0, hostPort: 8080 });
    expect(parseHostfwd("tcp::8080-:80")).toMatchObject({ hostAddress: 0 });
  });

  it("N62 takes IPv6 in brackets on either side, whatever the other is", () => {
    expect(parseHostfwd("tcp:[::1]:2222-:22")).toEqual({
      ...{ protocol: "tcp", hostAddress: 0, hostAddress6: [0, 0, 0, 1], hostPort: 2222 },
      ...{ guestAddress: 0, guestPort: 22 },
    });
    expect(parseHostfwd("udp:[]:53-10.0.2.15:53")).toMatchObject({
      hostAddress6: [0, 0, 0, 0],
      guestAddress: 0x0a00020f,
    });
    expect(parseHostfwd("tcp:[::1]:2222-[fd71::15]:22")).toMatchObject({
      hostAddress6: [0, 0, 0, 1],
      guestAddress6: [0xfd710000 | 0, 0, 0, 0x15],
    });
    expect(() => parseHostfwd("tcp:[fe80::1]:2222-:22")).toThrow(Unacceptable);
    expect(() => parseHostfwd("tcp:::1:2222-:22")).toThrow(Unacceptable);
  });

  it("reads numbers in C's bases", () => {
    expect(parseHostfwd("tcp::0x50-:0120")).toMatchObject({ hostPort: 80, guestPort: 80 });
  });

  it.each([
    "",
    "tcp::80",
    "tcp:80-:80",
    "tcp::80-80",
    "tcp::-:80",
    "icmp::1-:1",
    "tcp::80-:0",
    "unix:/a-:22",
    "tcp::80-:22,x",
    "xtcp::80-:22",
    "tcp::80-:22x",
    "tcp::80-:22:",
    "tcp::80-:22\n",
  ])("refuses %j", (rule) => {
    expect(() => parseHostfwd(rule)).toThrow(Unacceptable);
  });

  it.each([
    ["0x1", 1],
    ["0Xffff", 65_535],
    ["0x00aF", 175],
    ["010", 8],
    ["0177777", 65_535],
    ["10", 10],
    ["65535", 65_535],
  ])("reads %s as strtol does: %i", (text, port) => {
    expect(parseHostfwd(`tcp::${text}-:${text}`)).toMatchObject({ hostPort: port, guestPort: port });
    expect(parseGuestfwd(`tcp:10.0.2.100:${text}-cmd:a`).port).toBe(port);
  });

  const GRAMMAR =
    "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, such as tcp:127.0.0.1:2222-:22 or tcp:[::1]:2222-[]:22";
  it.each([
    ["", GRAMMAR, undefined],
    ["unix:/a-:22", `${GRAMMAR}; host Unix sockets are not supported`, undefined],
    ["xunix:/a-:22", GRAMMAR, undefined],
    ["tcp::0x10000-:1", "a port from 0 to 65535", "0x10000"],
    ["tcp::x0x10-:1", "a port from 0 to 65535", "x0x10"],
    ["tcp::0x-:1", "a port from 0 to 65535", "0x"],
    ["tcp::0x1g-:1", "a port from 0 to 65535", "0x1g"],
    ["tcp::0200000-:1", "a port from 0 to 65535", "65536"],
    ["tcp::10-:00", "a port from 1 to 65535", "0"],
    ["tcp::10-:0x0", "a port from 1 to 65535", "0"],
    ["tcp:1.2.3:80-:80", "an IPv4 address such as 10.0.2.2", "1.2.3"],
    ["tcp::80-1.2.3:80", "an IPv4 address such as 10.0.2.2", "1.2.3"],
    ["tcp:[x]:80-:80", "an IPv6 address such as 2001:db8::1", "x"],
    ["tcp::80-[x]:80", "an IPv6 address such as 2001:db8::1", "x"],
  ])("says of %j what is allowed", (rule, allowed, found) => {
    expect(() => parseHostfwd(rule)).toThrow(expect.objectContaining({ allowed, found }));
  });

  it("reads host port 0 as any, and what only begins with a zero in tens", () => {
    expect(parseHostfwd("tcp::0-:22")).toMatchObject({ hostPort: 0 });
    expect(parseHostfwd("tcp::089-:22")).toMatchObject({ hostPort: 89 });
    expect(parseHostfwd("tcp::0178-:22")).toMatchObject({ hostPort: 178 });
    expect(parseHostfwd("tcp::1010-:22")).toMatchObject({ hostPort: 1010 });
  });
});

describe("--guestfwd, as QEMU has it", () => {
  it("serves from TCP, a Unix socket or a command", () => {
    expect(parseGuestfwd("tcp:10.0.2.100:7-tcp:127.0.0.1:7777")).toEqual({
      address: 0x0a000264,
      port: 7,
      target: { kind: "tcp", host: LOOPBACK, port: 7777 },
    });
    expect(parseGuestfwd(":10.0.2.100:7-unix:/run/a-b.sock").target).toEqual({
      kind: "unix",
      path: "/run/a-b.sock",
    });
    expect(parseGuestfwd("tcp:10.0.2.100:7-cmd:netcat 10.0.0.1 -p 99").target).toEqual({
      kind: "command",
      command: "netcat 10.0.0.1 -p 99",
    });
    expect(parseGuestfwd("tcp:10.0.2.100:7-tcp:localhost:1").target).toMatchObject({ host: LOOPBACK });
  });

  it("takes IPv6 in brackets, on either side", () => {
    expect(parseGuestfwd("tcp:[fd71:1ae0:d44d:2::100]:7-tcp:[::1]:7777")).toEqual({
      address: 0,
      address6: [0xfd711ae0 | 0, 0xd44d0002 | 0, 0, 0x100],
      port: 7,
      target: { kind: "tcp", host: 0, host6: [0, 0, 0, 1], port: 7777 },
    });
    expect(parseGuestfwd(":[fd71::7]:7-tcp:127.0.0.1:1").target).toMatchObject({ host: LOOPBACK });
    expect(parseGuestfwd("tcp:10.0.2.100:7-tcp:[2001:db8::1]:1").address).toBe(0x0a000264);
  });

  it.each([
    "",
    "tcp:10.0.2.100:7",
    "udp:10.0.2.100:7-tcp:127.0.0.1:7",
    "tcp:10.0.2.100:7-tcp:127.0.0.1",
    "tcp:10.0.2.100:7-tcp:127.0.0.1:0",
    "tcp:10.0.2.100:7-unix:",
    "tcp:10.0.2.100:7-cmd: ",
    "tcp:10.0.2.100:7-chardev0",
    "tcp:fd71::7:7-tcp:127.0.0.1:7",
    "tcp:[]:7-tcp:127.0.0.1:7",
    "tcp:[10.0.2.100]:7-tcp:127.0.0.1:7",
    "tcp:10.0.2.100:7-tcp:::1:7",
    "tcp:10.0.2.100:7-tcp:[fe80::1]:7",
    `tcp:10.0.2.100:7-unix:/${"x".repeat(108)}`,
  ])("refuses %j", (rule) => {
    expect(() => parseGuestfwd(rule)).toThrow(Unacceptable);
  });

  const GRAMMAR =
    "[tcp]:ADDR:PORT-TARGET where TARGET is tcp:HOST:PORT, unix:PATH or cmd:COMMAND, such as tcp:10.0.2.100:7-tcp:127.0.0.1:7777";
  it.each([
    ["", GRAMMAR, undefined],
    ["xtcp:10.0.2.100:7-cmd:a", GRAMMAR, undefined],
    ["tcp:10.0.2.100:7-chardev0", GRAMMAR, "chardev0"],
    ["tcp:10.0.2.100:7-:a", GRAMMAR, ":a"],
    ["tcp:10.0.2.100:7-tcp", GRAMMAR, "tcp"],
    ["tcp:10.0.2.100:7-cmd:", "a command after cmd:", "cmd:"],
    ["tcp:10.0.2.100:7-cmd: \n", "a command after cmd:", "cmd: \n"],
    ["tcp:10.0.2.100:0-cmd:a", "a port from 1 to 65535", "0"],
    ["tcp:10.0.2.100:7-tcp:127.0.0.1:0", "a port from 1 to 65535", "0"],
    ["tcp:10.0.2.100:7-tcp:127.0.0.1:65536", "a port from 1 to 65535", "65536"],
    ["tcp:10.0.2.100:7-tcp:127.0.0.1", "an IPv4 address such as 10.0.2.2", ""],
    ["tcp:10.0.2.100:7-tcp:x[::1]:7", "an IPv4 address such as 10.0.2.2", "x[::1]"],
    ["tcp:10.0.2.100:7-tcp:[::1]x:7", "an IPv4 address such as 10.0.2.2", "[::1]x"],
    ["tcp:10.0.2.100:7-tcp:[]:7", "an IPv6 address such as 2001:db8::1", ""],
    ["tcp:10.0.2.100:7-unix:", "a socket path of 1 to 107 octets", ""],
  ])("says of %j what is allowed", (rule, allowed, found) => {
    expect(() => parseGuestfwd(rule)).toThrow(expect.objectContaining({ allowed, found }));
  });

  it("takes any text for a command and a path, and a port of each end", () => {
    expect(parseGuestfwd(":10.0.2.100:1-cmd: a\n-b: ")).toEqual({
      address: 0x0a000264,
      port: 1,
      target: { kind: "command", command: " a\n-b: " },
    });
    expect(parseGuestfwd("tcp:10.0.2.100:65535-tcp:127.0.0.1:65535")).toMatchObject({
      port: 65_535,
      target: { port: 65_535 },
    });
  });
});
