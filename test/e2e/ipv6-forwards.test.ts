/** Ports on the host's IPv6 addresses, and across families, with this machine's own kernel as the guest. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { until } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

const ROUTER = "fd71:1ae0:d44d:2::2";
const GATEWAY = "10.0.2.2";
const ONE = "2001:db8:9::1";
const TWO = "2001:db8:9::2";
const LINK_LOCAL = "fe80::77";

let guest: NamespaceGuest | undefined;
let host: HostNamespace | undefined;

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
afterEach(async () => {
  const ended = await guest?.close();
  await host?.close();
  expect(ended?.status).toBe(0);
  guest = host = undefined;
});

/** A host with two IPv6 addresses, and one that is good on one of its devices alone. */
async function start(...options: string[]): Promise<{ host: HostNamespace; guest: NamespaceGuest }> {
  host = await HostNamespace.make();
  for (const address of [ONE, TWO]) host.ip("-6", "address", "add", `${address}/128`, "dev", "lo");
  host.ip("link", "add", "d0", "type", "veth", "peer", "name", "d1");
  for (const device of ["d0", "d1"]) host.ip("link", "set", device, "up");
  host.ip("-6", "address", "add", `${LINK_LOCAL}/64`, "dev", "d0", "nodad");
  guest = await NamespaceGuest.start({ host, options });
  const { agent } = guest;
  await agent.do("tcpServer", { kind: "whoami", host: "::", port: 80 });
  await agent.do("udpServer", { kind: "whoami", host: "::", port: 53 });
  return { host, guest };
}

/** The guest has an address of the prefix that it may use. */
async function hasAddress({ ip, device }: { device: string; ip(...args: string[]): string }): Promise<void> {
  const shown = () => ip("-6", "address", "show", "dev", device, "scope", "global", "-tentative");
  await until(() => shown().includes("fd71:1ae0:d44d:2:"), "the guest has an address");
}

describe("a port on the host's IPv6 addresses", () => {
  it("N62 is there for both families with *, and answers from the address that was asked", async () => {
    const { host, guest } = await start("--ipv6", "on", "-p", "*:0:80", "-p", "udp:*:0:53");
    const ready = guest.sluice.stderr;
    const port = guest.hostPort(80);
    expect(ready).toContain(`tcp *:${port} -> :80, tcp [::]:${port} -> :80`);
    expect(ready).toContain("; [::] is every address of this host over IPv6");
    await hasAddress({ device: guest.device, ip: (...args) => guest.ip(...args) });
    const seen: string[] = [];
    for (const address of [ONE, "::1", `${LINK_LOCAL}%d0`, "127.0.0.1"]) {
      seen.push(await host.agent.do<string>("exchange", { host: address, port }));
    }
    expect(seen).toEqual([ONE, ROUTER, ROUTER, GATEWAY]);
    const ask = { port: guest.hostPort(53, "udp"), message: "who am I", timeoutMs: 500 };
    for (const [address, text] of [
      [TWO, TWO],
      [ONE, ONE],
      ["::1", ROUTER],
      [`${LINK_LOCAL}%d0`, ROUTER],
    ] as const) {
      expect(await host.agent.do("udpAsk", { host: address, bind: "::", ...ask })).toEqual({
        text,
        from: `${address}:${ask.port}`,
      });
    }
    expect(await host.agent.do("udpAsk", { host: "127.0.0.1", ...ask })).toMatchObject({ text: GATEWAY });
    expect((await guest.report()).flows).toMatch(/udp .*\[fd71:1ae0:d44d:2:/);
  });

  it("N62 [::1] is that address and no other, and leads to a guest without IPv6 as well", async () => {
    const { host, guest } = await start("--ipv6", "off", "-p", "[::1]:0:80", "-p", "udp:[::1]:0:53");
    const port = guest.hostPort(80);
    expect(await host.agent.do("exchange", { host: "::1", port })).toBe(GATEWAY);
    for (const address of ["127.0.0.1", ONE]) {
      expect(await host.agent.do("dial", { host: address, port })).toMatchObject({ outcome: "ECONNREFUSED" });
    }
    const ask = { host: "::1", bind: "::", port: guest.hostPort(53, "udp"), message: "x" };
    expect(await host.agent.do("udpAsk", ask)).toMatchObject({ text: GATEWAY });
  });

  it("N63 leads across families where --hostfwd says so, either way", async () => {
    const rules = ["tcp:[::1]:0-:80", "udp:[::1]:0-10.0.2.15:53", "tcp:127.0.0.1:0-[]:81"];
    const { host, guest } = await start("--ipv6", "on", ...rules.flatMap((rule) => ["--hostfwd", rule]));
    expect(await host.agent.do("exchange", { host: "::1", port: guest.hostPort(80) })).toBe(GATEWAY);
    const ask = { host: "::1", bind: "::", port: guest.hostPort(53, "udp"), message: "x" };
    expect(await host.agent.do("udpAsk", ask)).toMatchObject({ text: GATEWAY });
    await hasAddress({ device: guest.device, ip: (...args) => guest.ip(...args) });
    await guest.agent.do("tcpServer", { kind: "whoami", host: "::", port: 81 });
    expect(await host.agent.do("exchange", { host: "127.0.0.1", port: guest.hostPort(81) })).toBe(ROUTER);
  });

  it("N62 that is taken in one family is an error that names it", async () => {
    const { host } = await start();
    const port = await host.agent.do<number>("tcpServer", { kind: "echo", host: "::1" });
    const refused = NamespaceGuest.start({ host, options: ["-p", `*:${port}:80`] });
    await expect(refused).rejects.toThrow(
      `forward tcp [::]:${port}: port ${port} is taken by another program`,
    );
  });
});
