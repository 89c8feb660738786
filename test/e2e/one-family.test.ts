/**
 * One family alone, by this machine's kernel: an IPv4 guest on a host whose way out is IPv6, with the address that its
 * network's NAT64 has for 198.51.100.7; and a guest that has IPv6 alone.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { until } from "../support/program.ts";
import { missing, needs } from "../support/requirements.ts";

const REMOTE = "198.51.100.7";
const TRANSLATED = "64:ff9b::c633:6407";
/** ipv4only.arpa by that NAT64. */
const WELL_KNOWN = "64:ff9b::c000:aa";
const RESOLVER_PORT = 5353;

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
const isPossible = missing(NAMESPACE_NEEDS).length === 0;

describe("a host with IPv6 alone", () => {
  let host: HostNamespace;
  let guest: NamespaceGuest;

  beforeAll(async () => {
    if (!isPossible) return;
    host = await HostNamespace.make();
    host.ip("link", "add", "up0", "type", "veth", "peer", "name", "far0");
    host.ip("link", "set", "far0", "up");
    host.ip("link", "set", "up0", "up");
    host.ip("address", "add", "2001:db8::5/64", "dev", "up0", "nodad");
    host.ip("-6", "route", "add", "default", "via", "2001:db8::1", "dev", "up0");
    host.ip("address", "add", `${TRANSLATED}/128`, "dev", "lo", "nodad");
    await host.agent.do("dnsServer", { host: "::1", port: RESOLVER_PORT, address: WELL_KNOWN });
    guest = await NamespaceGuest.start({ host, options: ["--resolver", `[::1]:${RESOLVER_PORT}`] });
  });
  afterAll(async () => {
    await guest?.close();
    await host?.close();
  });

  const reaches = async (port: number): Promise<boolean> => {
    const exchange = guest.agent.do<string>("exchange", { host: REMOTE, port, message: "through" });
    return (await exchange.catch(() => "")) === "through";
  };

  it("N70 N73 takes the guest's TCP and UDP to its NAT64, whose prefix the resolver knows", async () => {
    const tcp = await host.agent.do<number>("tcpServer", { kind: "echo", host: TRANSLATED });
    const udp = await host.agent.do<number>("udpServer", { kind: "echo", host: TRANSLATED });
    await until(() => reaches(tcp), "the prefix to be known");
    const lost = await guest.agent.do("udpEcho", { host: REMOTE, port: udp, sizes: [1, 1400, 20_000] });
    expect(lost).toEqual([]);
    const { flows } = await guest.report();
    expect(flows).toContain(`[${TRANSLATED}]:${udp}`);
  });

  it("N71 goes by IPv4 once the host has it", async () => {
    host.ip("address", "add", "192.0.2.5/24", "dev", "up0");
    host.ip("address", "add", `${REMOTE}/32`, "dev", "lo");
    host.ip("route", "add", "default", "via", "192.0.2.1");
    const tcp = await host.agent.do<number>("tcpServer", { kind: "echo", host: REMOTE });
    const udp = await host.agent.do<number>("udpServer", { kind: "echo", host: REMOTE });
    await until(() => reaches(tcp), "the way by IPv4");
    expect(await guest.agent.do("udpEcho", { host: REMOTE, port: udp, sizes: [1, 1400] })).toEqual([]);
    expect(guest.sluice.stderr).toContain("a way out over IPv4 and IPv6");
  });
});

describe("a host with a device for each family", () => {
  let host: HostNamespace;
  let world: HostNamespace;

  beforeAll(async () => {
    if (!isPossible) return;
    host = await HostNamespace.make();
    world = await HostNamespace.make(host);
    for (const family of [4, 6]) {
      host.ip("link", "add", `up${family}`, "type", "veth", "peer", "name", `far${family}`);
      host.ip("link", "set", `far${family}`, "netns", String(world.pid));
      host.ip("link", "set", `up${family}`, "up");
      world.ip("link", "set", `far${family}`, "up");
    }
    host.ip("address", "add", "192.0.2.5/24", "dev", "up4");
    host.ip("route", "add", "default", "via", "192.0.2.1");
    host.ip("address", "add", "2001:db8::5/64", "dev", "up6", "nodad");
    host.ip("-6", "route", "add", "default", "via", "2001:db8::1", "dev", "up6");
    world.ip("address", "add", "192.0.2.1/24", "dev", "far4");
    world.ip("address", "add", "2001:db8::1/64", "dev", "far6", "nodad");
    for (const address of [`${REMOTE}/32`, `${TRANSLATED}/128`])
      world.ip("address", "add", address, "dev", "lo");
  });
  afterAll(async () => {
    await world?.close();
    await host?.close();
  });

  it.each([
    { device: "up4", to: REMOTE, from: "192.0.2.5", how: "as it is by the one that has IPv4" },
    {
      device: "up6",
      to: TRANSLATED,
      from: "2001:db8::5",
      how: "by NAT64 by the one that has not, though the host has IPv4",
    },
  ])("N71 lets IPv4 out $how", async ({ device, to, from }) => {
    const options = ["--outbound-device", device, "--nat64", "64:ff9b::/96"];
    const guest = await NamespaceGuest.start({ host, options });
    try {
      const port = await world.agent.do<number>("tcpServer", { kind: "whoami", host: to });
      expect(await guest.agent.do("exchange", { host: REMOTE, port })).toBe(from);
      const udp = await world.agent.do<number>("udpServer", { kind: "whoami", host: to });
      const seen = await guest.agent.do("udpAsk", { host: REMOTE, port: udp, message: "who" });
      expect(seen).toMatchObject({ text: from });
    } finally {
      await guest.close();
    }
  });
});

it("N69 a guest with IPv6 alone has its address by --configure, its ports by -p, and no IPv4", async () => {
  const options = ["--ipv4", "off", "--ipv6", "auto", "-p", "0:8080"];
  const guest = await NamespaceGuest.start({ options });
  try {
    expect(guest.ip("-o", "address", "show", "dev", guest.device)).toMatch(/inet6 fd71:1ae0:d44d:2::15\/64/);
    expect(guest.ip("-4", "-o", "address", "show", "dev", guest.device)).toBe("");
    expect(guest.sluice.stderr).not.toContain("10.0.2");
    await guest.agent.do("tcpServer", { kind: "echo", host: "fd71:1ae0:d44d:2::15", port: 8080 });
    const here = new Agent([]);
    try {
      const to = { host: "127.0.0.1", port: guest.hostPort(8080), message: "in" };
      expect(await here.do("exchange", to)).toBe("in");
    } finally {
      await here.close();
    }
  } finally {
    await guest.close();
  }
});
