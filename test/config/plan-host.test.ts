/** Which link, and what the host's side is told: each option where it belongs, and what two of them cannot say together. */
import { describe, expect, it } from "vitest";
import type { CommandName } from "../../src/config/option-definition.ts";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { namedDescriptors, planHost, planLink } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";

type Given = readonly [OptionName, string?];

function options(given: readonly Given[]): OptionSet {
  const set = new OptionSet();
  for (const [name, text] of given) set.add(name, text);
  return set;
}

function link(...given: readonly Given[]) {
  const set = options(given);
  return { link: planLink(set), problems: set.problems.map(formatProblem) };
}

function host(command: CommandName, ...given: readonly Given[]) {
  const set = options(given);
  return { host: planHost(set, command), problems: set.problems.map(formatProblem) };
}

const TAP: Given = ["tap", "t"];
const ALL_LINKS = "--tap, --tap-fd, --qemu-listen, --qemu-connect, --qemu-dgram, --vhost-user, --fd";

describe("the link", () => {
  it.each<[string, Given[], object]>([
    ["a TAP", [TAP], { kind: "tap", name: "t", configure: false, tunDevice: "/dev/net/tun" }],
    [
      "a TAP elsewhere",
      [TAP, ["netns", "/run/n"], ["userns", "/run/u"], ["configure"], ["tun-device", "/dev/tun"]],
      { kind: "tap", name: "t", netns: "/run/n", userns: "/run/u", configure: true, tunDevice: "/dev/tun" },
    ],
    [
      "a TAP in a process's namespace",
      [TAP, ["netns", "77"]],
      { kind: "tap", name: "t", netns: 77, configure: false, tunDevice: "/dev/net/tun" },
    ],
    ["an open TAP", [["tap-fd", "3"]], { kind: "tap-fd", fd: 3 }],
    [
      "a listening socket",
      [["qemu-listen", "unix:/q"]],
      { kind: "qemu-listen", address: { kind: "unix", path: "/q" } },
    ],
    [
      "a connection",
      [["qemu-connect", "unix:/q"]],
      { kind: "qemu-connect", address: { kind: "unix", path: "/q" } },
    ],
    [
      "datagrams",
      [["qemu-dgram", "unix:/a,unix:/b"]],
      { kind: "qemu-dgram", addresses: { kind: "unix", local: "/a", remote: "/b" } },
    ],
    ["shared memory", [["vhost-user", "unix:/v"]], { kind: "vhost-user", path: "/v" }],
    ["an open socket", [["fd", "4"]], { kind: "fd", fd: 4 }],
  ])("is %s", (_what, given, expected) => {
    expect(link(...given)).toStrictEqual({ link: expected, problems: [] });
  });

  it("is exactly one", () => {
    expect(link()).toEqual({
      link: undefined,
      problems: [`link: found "none"; allowed: exactly one of ${ALL_LINKS}`],
    });
    expect(link(["fd", "4"], TAP, ["tap-fd", "3"])).toEqual({
      link: undefined,
      problems: [`link: found "--tap and --tap-fd and --fd"; allowed: exactly one of ${ALL_LINKS}`],
    });
  });

  it("that cannot be read is told once", () => {
    for (const given of [
      ["tap", "a/b"],
      ["fd", "x"],
      ["qemu-listen", "x"],
    ] as const) {
      const { link: found, problems } = link(given);
      expect([found, problems.length]).toEqual([undefined, 1]);
    }
  });

  it.each<[Given[], string[]]>([
    [
      [
        ["fd", "4"],
        ["netns", "1"],
      ],
      ["--netns"],
    ],
    [
      [["tap-fd", "4"], ["configure"], ["tun-device", "/x"]],
      ["--configure", "--tun-device"],
    ],
    [
      [
        ["fd", "4"],
        ["netns", "/n"],
        ["userns", "/u"],
      ],
      ["--netns", "--userns"],
    ],
    [[TAP, ["userns", "/u"]], ["--userns"]],
    [[TAP, ["netns", "1"], ["userns", "/u"]], ["--userns"]],
    [[TAP, ["one-off"]], ["--one-off"]],
    [[["tap-fd", "3"], ["one-off"]], ["--one-off"]],
    [[["fd", "3"], ["one-off"]], []],
    [[["qemu-listen", "unix:/q"], ["one-off"]], []],
    // A namespace that cannot be read is there all the same.
    [[TAP, ["netns", "0"], ["userns", "/u"]], ["--netns"]],
  ])("%j: the fault of %j", (given, places) => {
    expect(
      link(...given)
        .problems.map((line) => line.split(":")[0])
        .sort(),
    ).toEqual([...places].sort());
  });
});

describe("the host's side", () => {
  it("is told everything that was given", () => {
    const given: Given[] = [
      ["resolver", "192.0.2.1"],
      ["outbound-addr", "192.0.2.9"],
      ["outbound-device", "eth7"],
      ["udp-ports", "preserve"],
      ["pcap", "/tmp/x.pcap"],
      ["tftp", "/srv"],
      ["log-level", "debug"],
      ["log-format", "json"],
      ["log-file", "/tmp/log"],
      ["ready-fd", "5"],
      ["exit-fd", "6"],
      ["one-off"],
      ["background"],
      ["pid-file", "/run/pid"],
      ["user", "nobody"],
      ["name", "vm1"],
      ["control", "/run/c"],
      ["max-forwards", "7"],
      ["flow-log", "fd:9"],
      ["flow-log-level", "all"],
      ["decide", "./d.js"],
    ];
    expect(host("run", ...given)).toStrictEqual({
      host: {
        resolvers: "listed",
        outbound: [{ kind: "address", address: 0xc0000209 | 0 }],
        outboundDevice: "eth7",
        udpPorts: "preserve",
        pcap: "/tmp/x.pcap",
        tftp: "/srv",
        log: { level: "debug", format: "json", file: "/tmp/log" },
        readyFd: 5,
        exitFd: 6,
        oneOff: true,
        background: true,
        outliveParent: true,
        pidFile: "/run/pid",
        user: "nobody",
        control: { name: "vm1", path: "/run/c", maxForwards: 7 },
        flowLog: { target: { fd: 9 }, level: "all" },
        decide: "./d.js",
        listening: [],
        sandbox: true,
      },
      problems: [],
    });
  });

  it("is told nothing of what was not", () => {
    expect(host("exec").host).toStrictEqual({
      resolvers: "system",
      udpPorts: "ephemeral",
      log: { level: "warn", format: "text" },
      oneOff: false,
      background: false,
      outliveParent: false,
      control: { maxForwards: 4096 },
      listening: [],
      sandbox: true,
    });
  });

  it.each<[Given[], object]>([
    [[["outlive-parent"]], { outliveParent: true, background: false }],
    [[["background"]], { outliveParent: true, background: true }],
    [[["no-sandbox"]], { sandbox: false }],
    [[["no-dns"]], { resolvers: "none" }],
    [[["control", "none"]], { control: { path: null, maxForwards: 4096 } }],
  ])("%j", (given, expected) => {
    expect(host("run", ...given).host).toMatchObject(expected);
  });

  it("becomes no other user without a sandbox", () => {
    expect(host("run", ["user", "nobody"], ["no-sandbox"]).problems).toEqual([
      '--user: found "nobody"; allowed: nothing beside --no-sandbox: becoming another user is part of the sandbox',
    ]);
    expect(host("run", ["no-sandbox"]).problems).toEqual([]);
    expect(host("run", ["user", "nobody"]).problems).toEqual([]);
  });

  it("logs flows of a level where it logs any", () => {
    expect(host("run", ["flow-log-level", "all"]).problems).toEqual([
      '--flow-log-level: found "all"; allowed: only with --flow-log',
    ]);
    expect(host("run", ["flow-log-level", "ends"]).problems).toEqual([]);
    expect(host("run", ["flow-log", "-"]).host.flowLog).toEqual({ target: { fd: 1 }, level: "ends" });
  });

  it("sees who listens in a namespace of the guest's own alone", () => {
    const auto: Given = ["publish", "8000-8001,auto"];
    const allowed =
      '--publish: found "auto"; allowed: auto only with --tap and --netns, or for a command of sluice exec';
    expect(host("run", auto).problems).toEqual([allowed]);
    expect(host("qemu", auto).problems).toEqual([allowed]);
    for (const { host: plan, problems } of [host("exec", auto), host("run", auto, ["netns", "1"])]) {
      expect(problems).toEqual([]);
      expect(plan.listening).toEqual([
        {
          protocol: "tcp",
          hostAddress: 0x7f000001,
          guestAddress: 0,
          hostPort: 8000,
          guestPort: 8000,
          ports: 2,
          optional: true,
          whileListening: true,
        },
      ]);
    }
    const alone = host("exec", auto, ["publish", "80"], ["ipv4", "off"]);
    expect(alone.host.listening).toMatchObject([{ hostPort: 8000, guestAddress6: null }]);
  });
});

describe("outbound addresses", () => {
  const allowed = (...texts: string[]): (string | undefined)[] => {
    const set = options(texts.map((text) => ["outbound-addr", text] as const));
    planHost(set, "run");
    return set.problems.map(({ found, allowed: said }) => {
      expect(said).toBe("one address of each family, or one interface");
      return found;
    });
  };

  it("are one of each family, or those of an interface", () => {
    const [four, six] = ["192.0.2.1", "2001:db8::1"];
    expect(host("run", ["outbound-addr", four], ["outbound-addr", six]).host.outbound).toEqual([
      { kind: "address", address: 0xc0000201 | 0 },
      { kind: "address6", address: [0x20010db8, 0, 0, 1] },
    ]);
    expect(host("run", ["outbound-addr", "eth0"]).host.outbound).toEqual([
      { kind: "interface", name: "eth0" },
    ]);
    expect(allowed(six, four)).toEqual([]);
    expect(allowed(four, "192.0.2.2")).toEqual(["192.0.2.2"]);
    expect(allowed(six, "2001:db8::2", four)).toEqual(["2001:db8::2"]);
    expect(allowed("eth0", "eth1")).toEqual(["eth1"]);
    expect(allowed("eth0", four)).toEqual([four]);
    expect(allowed(four, "eth0", six)).toEqual(["eth0", six]);
  });

  it("are ones to leave from", () => {
    const refused = (text: string): string => host("run", ["outbound-addr", text]).problems.join();
    expect(refused("192.0.2")).toContain("an IPv4 address");
    expect(refused("fe80::1")).toContain("an address good on any interface");
    expect(refused("a/b")).toContain("a device name");
    expect(host("run", ["outbound-addr", "x1.2.3.4"]).host.outbound).toEqual([
      { kind: "interface", name: "x1.2.3.4" },
    ]);
    expect(host("run", ["outbound-addr", "1.2.3.4x"]).host.outbound).toEqual([
      { kind: "interface", name: "1.2.3.4x" },
    ]);
  });
});

describe("descriptors that options name", () => {
  it("are each one option's", () => {
    const set = options([
      ["fd", "3"],
      ["ready-fd", "4"],
      ["exit-fd", "5"],
      ["flow-log", "fd:6"],
    ]);
    expect(namedDescriptors(set)).toEqual([
      { name: "fd", fd: 3 },
      { name: "ready-fd", fd: 4 },
      { name: "exit-fd", fd: 5 },
      { name: "flow-log", fd: 6 },
    ]);
    expect(
      namedDescriptors(
        options([
          ["tap-fd", "3"],
          ["flow-log", "/tmp/x"],
        ]),
      ),
    ).toEqual([{ name: "tap-fd", fd: 3 }]);
    expect(namedDescriptors(options([["flow-log", "-"]]))).toEqual([{ name: "flow-log", fd: 1 }]);
  });

  it("are told with who has them already", () => {
    expect(host("run", ["fd", "3"], ["ready-fd", "3"], ["exit-fd", "3"]).problems).toEqual([
      '--ready-fd: found "3"; allowed: a descriptor of its own; --fd has 3 already',
      '--exit-fd: found "3"; allowed: a descriptor of its own; --ready-fd has 3 already',
    ]);
  });
});

describe("what an instance is called and logs to", () => {
  it.each(["a", "A9", "9", "a.b_c-d", "x".repeat(64)])("may be called %s", (name) => {
    expect(host("run", ["name", name]).host.control.name).toBe(name);
  });

  it.each(["", ".a", "-a", "_a", "a/b", "a b", "é", "a\n", "x".repeat(65)])("is not called %j", (name) => {
    expect(host("run", ["name", name]).problems).toEqual([
      expect.stringContaining("1 to 64 letters, digits, dots, hyphens and underscores"),
    ]);
  });

  it.each([
    ["-", { fd: 1 }],
    ["fd:3", { fd: 3 }],
    ["xfd:3", { path: "xfd:3" }],
    ["--", { path: "--" }],
    ["/tmp/x", { path: "/tmp/x" }],
  ])("logs flows to %s", (text, target) => {
    expect(host("run", ["flow-log", text]).host.flowLog?.target).toEqual(target);
  });

  it.each(["", "fd:", "fd:2", "fd:x"])("logs flows to no %j", (text) => {
    expect(host("run", ["flow-log", text]).problems).toHaveLength(1);
  });
});
