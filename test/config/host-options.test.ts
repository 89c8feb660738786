import { describe, expect, it } from "vitest";
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import { planEngine, planHost } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { ip } from "../support/frames.ts";

function plan(argv: readonly string[], hostAddress = 0) {
  const { options } = parseCommandArguments("run", ["--tap", "t", ...argv]);
  const engine = planEngine(options, hostAddress);
  const host = planHost(options, "run");
  return { engine, host, problems: options.problems.map(formatProblem) };
}
const problemsOf = (...argv: string[]): string[] => plan(argv).problems;

describe("addresses outside of the subnet", () => {
  it("may be the gateway's and that of DNS, with a route on the link for a DHCP client", () => {
    const { engine, problems } = plan(["--gateway", "172.31.255.1", "--dns", "169.254.1.1"]);
    expect(problems).toEqual([]);
    expect(engine).toMatchObject({ gateway: ip("172.31.255.1"), dns: ip("169.254.1.1") });
    expect(engine.dhcp?.routes).toEqual([{ destination: ip("172.31.255.1"), prefixLength: 32, gateway: 0 }]);
    expect(plan([]).engine.dhcp?.routes).toEqual([]);
    expect(plan(["--gateway", "172.31.255.1", "--restrict"]).engine.dhcp?.routes).toEqual([]);
  });

  it("must be ones that a host can have, as must those inside", () => {
    for (const address of ["127.0.0.1", "224.0.0.1", "0.0.0.1", "255.255.255.255"]) {
      expect(problemsOf("--gateway", address)).toHaveLength(1);
      expect(problemsOf("--dns", address)).toHaveLength(1);
    }
    expect(problemsOf("--gateway", "10.0.2.0")[0]).toContain("neither its first nor its last address");
    expect(problemsOf("--guest-addr", "10.0.3.1")[0]).toContain("inside 10.0.2.0/24");
  });

  it("one address may be the gateway and DNS, and no other two", () => {
    const { engine, problems } = plan(["--dns", "10.0.2.2"]);
    expect(problems).toEqual([]);
    expect(engine.dhcp).toMatchObject({ router: ip("10.0.2.2"), dnsServers: [ip("10.0.2.2")] });
    expect(problemsOf("--dns", "10.0.2.15")[0]).toContain("10.0.2.15 is a DNS address");
    expect(problemsOf("--host-alias", "10.0.2.2=loopback")[0]).toContain("10.0.2.2 is a gateway address");
  });

  it("make room for a guest that is alone in its subnet", () => {
    const one = ["--net", "203.0.113.7/32", "--guest-addr", "203.0.113.7"];
    const { engine, problems } = plan([...one, "--gateway", "10.1.1.1", "--dns", "10.1.1.1"]);
    expect(problems).toEqual([]);
    expect(engine.dhcp).toMatchObject({ netmask: -1, rangeStart: ip("203.0.113.7"), rangeSize: 1 });
    expect(problemsOf("--net", "203.0.113.6/31")).toEqual([]);
    expect(problemsOf(...one)).toHaveLength(1);
  });
});

describe("--host-alias", () => {
  it("takes loopback, host or an address", () => {
    const argv = ["10.0.2.4=loopback", "169.254.1.2=host", "10.0.2.5=192.0.2.9"];
    const { engine, problems } = plan(
      argv.flatMap((rule) => ["--host-alias", rule]),
      ip("198.51.100.1"),
    );
    expect(problems).toEqual([]);
    expect(engine.hostAliases).toEqual([
      { address: ip("10.0.2.4"), target: ip("127.0.0.1") },
      { address: ip("169.254.1.2"), target: ip("198.51.100.1") },
      { address: ip("10.0.2.5"), target: ip("192.0.2.9") },
    ]);
  });

  it.each([
    "10.0.2.4",
    "10.0.2.4=",
    "10.0.2.4=host.example",
    "10.0.2.4=0.0.0.0",
    "10.0.2.4=224.0.0.1",
    "x=host",
  ])("refuses %j", (rule) => {
    expect(problemsOf("--host-alias", rule)).toHaveLength(1);
  });

  it("leads to each place once, and never with --allow-host-loopback to loopback as well", () => {
    expect(problemsOf("--host-alias", "10.0.2.4=host", "--host-alias", "10.0.2.5=host")[0]).toContain(
      "a target of its own",
    );
    const same = ["--host-alias", "10.0.2.4=host", "--host-alias", "10.0.2.5=203.0.113.9"];
    expect(plan(same, ip("203.0.113.9")).problems[0]).toContain("another alias leads there");
    expect(problemsOf(...same)).toEqual([]);
    expect(problemsOf("--host-alias", "10.0.2.4=host", "--host-alias", "10.0.2.4=loopback")[0]).toContain(
      "10.0.2.4 is an alias of the host",
    );
    const nobody = ["--host-alias", "10.0.2.4=nobody", "--host-alias", "10.0.2.5=nobody"];
    expect(plan(nobody).engine.hostAliases.map(({ target }) => target)).toEqual([-1, -1]);
    expect(problemsOf(...nobody)).toEqual([]);
    expect(problemsOf("--host-alias", "10.0.2.4=loopback", "--allow-host-loopback")[0]).toContain(
      "--allow-host-loopback leads there",
    );
  });

  it("takes its address out of what is leased", () => {
    expect(plan(["--host-alias", "10.0.2.18=loopback"]).engine.dhcp?.rangeSize).toBe(3);
  });
});

describe("a shared subnet", () => {
  it("leases the guest's address alone", () => {
    const { engine, problems } = plan(["--shared-subnet"]);
    expect(problems).toEqual([]);
    expect(engine).toMatchObject({ sharedSubnet: true, dhcp: { rangeSize: 1 } });
  });

  it("leaves no other address to the guest", () => {
    expect(problemsOf("--shared-subnet", "--guest-addr", "any")[0]).toContain("addresses by name");
  });
});

it("--outbound-device and --answer-ping say so", () => {
  const { engine, host } = plan(["--outbound-device", "eth7", "--answer-ping"]);
  expect(host.outboundDevice).toBe("eth7");
  expect(engine.answerPing).toBe(true);
  expect(plan([]).engine.answerPing).toBe(false);
});

it("--refuse-with takes one of three words, and is a reset by default", () => {
  expect(plan([]).engine.refuseWith).toBe("reset");
  expect(plan(["--refuse-with", "prohibited"]).engine.refuseWith).toBe("prohibited");
  expect(problemsOf("--refuse-with", "drop")[0]).toContain("reset, unreachable");
});
