import { networkInterfaces } from "node:os";
import { describe, expect, it } from "vitest";
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { formatIpv4 } from "../../src/engine/wire/address-text.ts";
import { aliasedHost, copyHost, hostNetwork, outboundAddress } from "../../src/host/host-copy.ts";
import { defaultRoutes, parseDefaultRoutes6, parseRoutes4 } from "../../src/host/kernel-routes.ts";
import { ip } from "../support/frames.ts";

const ROUTES = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\tFE02000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
wg0\t00000000\t00000000\t0001\t0\t0\t700\t00000000\t0\t0\t0
down0\t00000000\t0101A8C0\t0002\t0\t0\t1\t00000000\t0\t0\t0
wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
`;

function optionsOf(...argv: string[]) {
  return parseCommandArguments("run", ["--tap", "t", ...argv]).options;
}

describe("default routes", () => {
  it("are those that are up and lead everywhere, the best first", () => {
    expect(defaultRoutes(parseRoutes4(ROUTES))).toMatchObject([
      { device: "eth0", gateway: ip("10.0.2.254"), metric: 100 },
      { device: "wlan0", gateway: ip("192.168.1.1"), metric: 600 },
      { device: "wg0", gateway: 0, metric: 700 },
    ]);
    expect(defaultRoutes(parseRoutes4("Iface\n"))).toEqual([]);
  });

  it("are those of IPv6 that do not refuse", () => {
    const zeros = "0".repeat(32);
    const text = [
      `fd000000000000000000000000000000 40 ${zeros} 00 ${zeros} 00000100 00000001 00000000 00000001     eth0`,
      `${zeros} 00 ${zeros} 00 fe800000000000000000000000000001 00000400 00000003 00000000 00000003    wlan0`,
      `${zeros} 00 ${zeros} 00 fd000000000000000000000000000001 00000064 00000003 00000000 00000003     eth0`,
      `${zeros} 00 ${zeros} 00 ${zeros} ffffffff 00000001 00000000 00200200       lo`,
    ].join("\n");
    expect(parseDefaultRoutes6(text)).toEqual([
      { device: "eth0", gateway: [0xfd000000 | 0, 0, 0, 1], metric: 100 },
      { device: "wlan0", gateway: [0xfe800000 | 0, 0, 0, 1], metric: 1024 },
    ]);
    expect(parseDefaultRoutes6("")).toEqual([]);
  });
});

describe("--copy-host", () => {
  it("gives the options that the interface says, with a gateway where it has none", () => {
    const options = optionsOf("--copy-host", "lo");
    copyHost(options);
    expect(options.problems.map(formatProblem)).toEqual([
      '--net: found "127.0.0.0/8"; allowed: a unicast network; 0/8, 127/8 and 224/3 are reserved',
    ]);
    expect(formatIpv4(options.get("gateway") ?? 0)).toBe("169.254.2.2");
    expect(options.get("dns")).toBe(options.get("gateway"));
  });

  it("leaves alone what was said", () => {
    const said = [
      "--net",
      "10.9.0.0/16",
      "--guest-addr",
      "10.9.1.1",
      "--gateway",
      "10.9.0.1",
      "--search",
      "a.example",
    ];
    const options = optionsOf("--copy-host", "lo", ...said, "--no-dns");
    copyHost(options);
    expect(options.problems).toEqual([]);
    expect(options.get("guest-addr")?.addresses).toEqual([ip("10.9.1.1")]);
    expect(options.has("dns")).toBe(false);
    expect(options.all("search").map(({ value }) => value)).toEqual(["a.example"]);
  });

  it("complains about an interface that is not there", () => {
    const options = optionsOf("--copy-host", "nosuch0");
    copyHost(options);
    expect(options.problems.map(formatProblem)).toEqual([
      '--copy-host: found "nosuch0"; allowed: an interface of this host that has an IPv4 address, or auto',
    ]);
  });

  it("knows this host's own", () => {
    const addresses = Object.values(networkInterfaces()).flatMap(
      (all) => all?.map(({ address }) => address) ?? [],
    );
    const host = hostNetwork("auto");
    const shown = formatIpv4(host?.address ?? 0);
    expect([...addresses, "169.254.2.1"]).toContain(shown);
    const outbound = outboundAddress();
    if (outbound !== 0) expect(addresses).toContain(formatIpv4(outbound));
  });
});

describe("the host behind an alias", () => {
  it("is looked up only where one leads to it, and is what --outbound-addr says", () => {
    expect(aliasedHost(optionsOf("--host-alias", "10.0.2.4=loopback"))).toBe(0);
    expect(aliasedHost(optionsOf("--host-alias", "10.0.2.4=host", "--outbound-addr", "192.0.2.9"))).toBe(
      ip("192.0.2.9"),
    );
    expect(aliasedHost(optionsOf("--host-alias", "10.0.2.4=host", "--outbound-addr", "lo"))).toBe(
      ip("127.0.0.1"),
    );
    const both = ["--outbound-addr", "2001:db8::1", "--outbound-addr", "192.0.2.8"];
    expect(aliasedHost(optionsOf("--host-alias", "10.0.2.4=host", ...both))).toBe(ip("192.0.2.8"));
    expect(outboundAddress("nosuch0")).toBe(0);
  });
});
