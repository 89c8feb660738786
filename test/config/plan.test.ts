import { describe, expect, it } from "vitest";
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import type { HostPlan, LinkPlan } from "../../src/config/host-plan.ts";
import { planEngine, planHost, planLink } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { defaultEngineConfig, defaultIpv6Config, type EngineConfig } from "../../src/engine/config.ts";

function plan(...argv: string[]): {
  engine: EngineConfig;
  host: HostPlan;
  link: LinkPlan | undefined;
  problems: string[];
} {
  const { options } = parseCommandArguments("run", argv);
  const link = planLink(options);
  const engine = planEngine(options);
  const host = planHost(options, "run");
  return { engine, host, link, problems: options.problems.map(formatProblem) };
}

const TAP = ["--tap", "guest0"];
const problemsOf = (...argv: string[]): string[] => plan(...TAP, ...argv).problems;

describe("what run is told", () => {
  it("has the documented defaults", () => {
    const { engine, host, link, problems } = plan(...TAP);
    expect(problems).toEqual([]);
    const defaults = defaultEngineConfig();
    expect(engine).toEqual({ ...defaults, ipv6: defaultIpv6Config(defaults.gatewayMac) });
    expect(link).toEqual({ kind: "tap", name: "guest0", configure: false, tunDevice: "/dev/net/tun" });
    expect(host).toEqual({
      resolvers: "system",
      udpPorts: "ephemeral",
      control: { maxForwards: 4096 },
      log: { level: "info", format: "text" },
      oneOff: false,
      background: false,
      outliveParent: false,
      listening: [],
      sandbox: true,
    });
  });

  it("forwards what is listened on in a namespace of the guest's own alone", () => {
    const listening = (...args: string[]) => plan(...TAP, "-p", "auto", ...args);
    expect(listening("--netns", "/run/netns/a").host.listening).toMatchObject([{ ports: 65_535 }]);
    expect(listening("--netns", "/run/netns/a").engine.forwards).toEqual([]);
    expect(listening().problems).toEqual([
      '--publish: found "auto"; allowed: auto only with --tap and --netns, or for a command of sluice exec',
    ]);
  });

  it("lets one port be on several interfaces, and none on one and on all", () => {
    expect(problemsOf("-p", "127.0.0.1%lo:80", "-p", "127.0.0.1%eth0:80", "-p", "all")).toEqual([
      expect.stringContaining("65537 ports"),
    ]);
    expect(problemsOf("-p", "127.0.0.1%lo:80", "-p", "0.0.0.0:80")[0]).toContain(
      "tcp port 80 is bound by 127.0.0.1%lo:80",
    );
    expect(problemsOf("-p", "127.0.0.1%lo:80-90", "-p", "127.0.0.1%lo:85")[0]).toContain(
      "tcp port 85 is bound by",
    );
  });

  it("gives a descriptor to one option alone, and names both that want it", () => {
    for (const name of ["ready-fd", "exit-fd"]) {
      expect(problemsOf(`--${name}`, "7", "--flow-log", "fd:7")).toEqual([
        `--flow-log: found "fd:7"; allowed: a descriptor of its own; --${name} has 7 already`,
      ]);
    }
    expect(problemsOf("--ready-fd", "7", "--flow-log", "fd:8")).toEqual([]);
    const fd = ["--fd", "7", "--flow-log", "fd:7"];
    expect(planHost(parseCommandArguments("run", fd).options, "run").flowLog?.target).toEqual({ fd: 7 });
    const { options } = parseCommandArguments("run", fd);
    planHost(options, "run");
    expect(options.problems.map(formatProblem)).toEqual([
      '--flow-log: found "fd:7"; allowed: a descriptor of its own; --fd has 7 already',
    ]);
  });

  it("logs flows to a file, standard output or a descriptor", () => {
    expect(plan(...TAP, "--flow-log", "/tmp/flows").host.flowLog).toEqual({
      target: { path: "/tmp/flows" },
      level: "ends",
    });
    expect(plan(...TAP, "--flow-log", "-", "--flow-log-level", "all").host.flowLog).toEqual({
      target: { fd: 1 },
      level: "all",
    });
    expect(plan(...TAP, "--flow-log", "fd:7").host.flowLog?.target).toEqual({ fd: 7 });
    expect(problemsOf("--flow-log", "fd:x")[0]).toMatch(/^--flow-log: found "/);
    expect(problemsOf("--flow-log-level", "all")).toEqual([
      '--flow-log-level: found "all"; allowed: only with --flow-log',
    ]);
  });

  it("needs exactly one link", () => {
    expect(plan().problems[0]).toMatch(/^link: found "none"; allowed: exactly one of --tap, --tap-fd/);
    expect(plan(...TAP, "--fd", "3").problems[0]).toContain('found "--tap and --fd"');
    expect(plan("--qemu-listen", "unix:/run/q", "--configure").problems).toEqual([
      "--configure: allowed: only with --tap",
    ]);
  });

  it("knows every link", () => {
    expect(plan("--qemu-listen", "unix:/run/q").link).toEqual({
      kind: "qemu-listen",
      address: { kind: "unix", path: "/run/q" },
    });
    expect(plan("--qemu-connect", "tcp:[::1]:99").link).toEqual({
      kind: "qemu-connect",
      address: { kind: "tcp", host: "::1", port: 99 },
    });
    expect(plan("--qemu-dgram", "udp:127.0.0.1:1,udp:localhost:2").link).toEqual({
      kind: "qemu-dgram",
      addresses: {
        kind: "udp",
        local: { host: "127.0.0.1", port: 1 },
        remote: { host: "127.0.0.1", port: 2 },
      },
    });
    expect(plan("--tap-fd", "5").link).toEqual({ kind: "tap-fd", fd: 5 });
    expect(plan("--tap", "t", "--netns", "4711", "--configure").link).toEqual({
      kind: "tap",
      name: "t",
      netns: 4711,
      configure: true,
      tunDevice: "/dev/net/tun",
    });
    expect(plan("--tap", "t", "--netns", "/run/n", "--userns", "/run/u").link).toMatchObject({
      netns: "/run/n",
      userns: "/run/u",
    });
  });

  it("moves the default addresses with the subnet", () => {
    const { engine, problems } = plan(...TAP, "--net", "192.168.7.0/24");
    expect(problems).toEqual([]);
    expect(engine).toMatchObject({
      gateway: 0xc0a80702 | 0,
      dns: 0xc0a80703 | 0,
      guestAddress: 0xc0a8070f | 0,
      dhcp: { router: 0xc0a80702 | 0, dnsServers: [0xc0a80703 | 0], rangeSize: 16 },
    });
    expect(plan(...TAP, "--net", "10.0.0.0/8").engine.guestAddress).toBe(0x0a00020f);
  });

  it.each(["10.9.8.0/28", "10.9.8.0/29", "10.9.8.0/27"])("fits into the small subnet %s", (net) => {
    const { engine, problems } = plan(...TAP, "--net", net);
    expect(problems).toEqual([]);
    expect(engine.dhcp?.rangeSize).toBeGreaterThan(0);
  });

  it("fits into a /30 only without DNS", () => {
    expect(problemsOf("--net", "10.9.8.0/30")).toHaveLength(1);
    expect(problemsOf("--net", "10.9.8.0/30", "--no-dns")).toEqual([]);
  });

  it("leases to the first address that has an owner", () => {
    expect(plan(...TAP, "--gateway", "10.0.2.20").engine.dhcp?.rangeSize).toBe(5);
    expect(plan(...TAP, "--dhcp-start", "10.0.2.250").engine.dhcp?.rangeSize).toBe(5);
    expect(plan(...TAP, "--reserve", "52:54:00:00:00:01=10.0.2.17").engine.dhcp?.rangeSize).toBe(2);
  });

  it("lets a reservation be the guest's address", () => {
    const { engine, problems } = plan(
      ...TAP,
      "--guest-addr",
      "10.0.2.50",
      "--reserve",
      "52:54:00:00:00:01=10.0.2.50",
      "--dhcp-start",
      "10.0.2.60",
    );
    expect(problems).toEqual([]);
    expect(engine.guestAddress).toBe(0x0a000232);
  });

  it("takes more addresses of the guest, or any of the subnet", () => {
    const [first, second] = [0x0a000264, 0x0a000210];
    expect(plan(...TAP, "--guest-addr", "10.0.2.100,10.0.2.16").engine).toMatchObject({
      guestAddress: first,
      otherGuestAddresses: [second],
      anyGuestAddress: false,
      forwardsFollowGuest: false,
    });
    // A lease is never another guest's address.
    const listed = plan(...TAP, "--guest-addr", "10.0.2.15,10.0.2.18").engine;
    expect(listed.dhcp).toMatchObject({ rangeStart: 0x0a00020f, rangeSize: 3 });
    expect(plan(...TAP, "--guest-addr", "any").engine).toMatchObject({
      guestAddress: 0x0a00020f,
      anyGuestAddress: true,
      forwardsFollowGuest: true,
    });
    expect(plan(...TAP, "--guest-addr", "10.0.2.100,any").engine).toMatchObject({
      guestAddress: first,
      otherGuestAddresses: [],
      anyGuestAddress: true,
      forwardsFollowGuest: false,
    });
  });

  it("bounds flows, and what is of them by all of them", () => {
    expect(plan(...TAP, "--max-flows", "1000").engine).toMatchObject({
      maxFlows: 1000,
      maxHalfOpen: 1000,
      maxUdpMappings: 1000,
    });
    const asked = ["--max-flows", "200000", "--max-half-open", "100", "--max-udp-mappings", "150000"];
    expect(plan(...TAP, ...asked).engine).toMatchObject({
      maxFlows: 200_000,
      maxHalfOpen: 100,
      maxUdpMappings: 150_000,
    });
    expect(problemsOf("-p", "8000-8009:8000", "--max-forwards", "9")).toEqual([
      '--publish: found "10 ports"; allowed: at most 9 ports in all (--max-forwards)',
    ]);
    expect(problemsOf("-p", "8000-8009:8000", "--max-forwards", "10")).toEqual([]);
  });

  it("gives no router and no DNS with --restrict, and no DNS with --no-dns", () => {
    expect(plan(...TAP, "--restrict").engine.dhcp).toMatchObject({ router: 0, dnsServers: [] });
    const { engine, host } = plan(...TAP, "--no-dns");
    expect(engine).toMatchObject({ dns: 0, dhcp: { dnsServers: [] } });
    expect(host.resolvers).toBe("none");
  });

  it("takes names for the host, any number of them", () => {
    const names = ["--dns-host-name", "host.internal", "--dns-host-name", "host.docker.internal."];
    expect(plan(...TAP, ...names).engine.dnsHostNames).toEqual(["host.internal", "host.docker.internal"]);
    expect(plan(...TAP).engine.dnsHostNames).toEqual([]);
  });

  it("takes the lease time from option 51", () => {
    expect(plan(...TAP, "--dhcp-option", "51=600").engine.dhcp).toMatchObject({
      leaseSeconds: 600,
      extraOptions: [],
    });
  });

  it("keeps ports in the order they were given", () => {
    const { engine } = plan(...TAP, "-p", "2222:22", "--hostfwd", "udp::53-:53", "-p8080:80");
    expect(engine.forwards.map((f) => f.hostPort)).toEqual([2222, 8080, 53]);
  });
});

describe("complaints", () => {
  it("come all at once, each with place, found and allowed", () => {
    expect(problemsOf("--mtu", "9", "--net=10.0.2.1/24", "-p", "x", "--no-such", "--guest-mac")).toEqual([
      '--mtu: found "9"; allowed: a whole number from 576 to 65521',
      '--net: found "10.0.2.1/24"; allowed: a network address, whose host part is zero: did you mean 10.0.2.0/24?',
      expect.stringMatching(/^--publish: found "x"; allowed: a port from 0 to 65535/),
      expect.stringMatching(/^--no-such: allowed: an option that sluice run has/),
      "--guest-mac: allowed: a value after it",
    ]);
  });

  it("suggest the nearest option", () => {
    expect(problemsOf("--gatway", "10.0.2.2")[0]).toContain("did you mean --gateway?");
    expect(problemsOf("--zzzzzzzz")[0]).not.toContain("did you mean");
  });

  it.each([
    [["--gateway", "127.0.3.2"], "--gateway"],
    [["--gateway", "10.0.2.255"], "--gateway"],
    [["--gateway", "10.0.2.0"], "--gateway"],
    [["--dns", "127.0.2.2"], "--dns"],
    [["--guest-addr", "10.0.2.2"], "--guest-addr"],
    [["--guest-addr", "10.0.3.15"], "--guest-addr"],
    [["--guest-addr", "10.0.2.15,10.0.2.2"], "--guest-addr"],
    [["--guest-addr", "10.0.2.15,10.0.2.15"], "--guest-addr"],
    [["--guest-addr", "any,any"], "--guest-addr"],
    [["--guest-addr", "10.0.2.15,"], "--guest-addr"],
    [["--guest-addr", "all"], "--guest-addr"],
    [["--max-flows", "63"], "--max-flows"],
    [["--max-flows", "2000000"], "--max-flows"],
    [["--max-half-open", "0"], "--max-half-open"],
    [["--max-udp-mappings", "60000"], "--max-udp-mappings"],
    [["--max-flows", "100", "--max-half-open", "101"], "--max-half-open"],
    [["--max-forwards", "0"], "--max-forwards"],
    [["--dhcp-start", "10.0.2.3"], "--dhcp-start"],
    [["--reserve", "52:54:00:00:00:01=10.0.2.2"], "--reserve"],
    [["--reserve", "52:54:00:00:00:01=10.0.2.9", "--reserve", "52:54:00:00:00:01=10.0.2.10"], "--reserve"],
    [["--guest-mac", "52:55:0a:00:02:02"], "--guest-mac"],
    [["--guestfwd", "tcp:10.0.2.2:7-tcp:127.0.0.1:7"], "--guestfwd"],
    [["--guestfwd", "tcp:10.1.2.3:7-tcp:127.0.0.1:7"], "--guestfwd"],
    [["--guestfwd", "tcp:10.0.2.9:7-cmd:a", "--guestfwd", "tcp:10.0.2.9:7-cmd:b"], "--guestfwd"],
    [["-p", "80", "-p", "80:81"], "--publish"],
    [["-p", "80", "--hostfwd", "tcp::80-:81"], "--hostfwd"],
    [["-p", "0.0.0.0:80:80", "-p", "127.0.0.2:80:80"], "--publish"],
    [["--hostfwd", "tcp::80-10.0.2.2:80"], "--hostfwd"],
    [["--hostfwd", "tcp::80-1.2.3.4:80"], "--hostfwd"],
    [["--no-dns", "--resolver", "192.0.2.1"], "--resolver"],
    [["--no-dns", "--dns", "10.0.2.3"], "--dns"],
    [["--no-dns", "--dns-host-name", "host.internal"], "--dns-host-name"],
    [["--dns-host-name", "not a name"], "--dns-host-name"],
    [["--dhcp-option", "42=10.0.2.2", "--dhcp-option", "42=10.0.2.3"], "--dhcp-option"],
    [["--ready-fd", "4", "--exit-fd", "4"], "--exit-fd"],
    [["--ready-fd", "4", "--flow-log", "fd:4"], "--flow-log"],
    [["--userns", "/x"], "--userns"],
    [["--netns", "1", "--userns", "/x"], "--userns"],
    [["--one-off"], "--one-off"],
    [["--user", "nobody", "--no-sandbox"], "--user"],
    [["--mtu", "1500", "--mtu", "1400"], "--mtu"],
    [["--tap", "other"], "--tap"],
    [["--restrict=yes"], "--restrict"],
    [
      [
        "--search",
        "a".repeat(63),
        "--search",
        "b".repeat(63),
        "--search",
        "c".repeat(63),
        "--search",
        "d".repeat(63),
      ],
      "--search",
    ],
    [["--publish", "1000-9999"], "--publish"],
  ])("%j is the fault of %s, once", (argv, place) => {
    const problems = problemsOf(...argv);
    expect(problems).toHaveLength(1);
    expect(problems[0].startsWith(`${place}: `)).toBe(true);
  });

  it("accepts what does not collide", () => {
    expect(problemsOf("-p", "80", "-p", "udp:80", "-p", "127.0.0.2:80:80", "-p", "0:1", "-p", "0:2")).toEqual(
      [],
    );
    expect(problemsOf("--guestfwd", "tcp:10.0.2.9:7-cmd:a", "--guestfwd", "tcp:10.0.2.9:8-cmd:b")).toEqual(
      [],
    );
  });
});
