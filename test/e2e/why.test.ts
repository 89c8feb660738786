/**
 * `sluice why`, after real clients in a guest have met what it explains: a cause each, on a host of the test's own. Times,
 * ports and numbers of tries are a client's; everything else is said to the letter.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Flow } from "../../src/control/schema.ts";
import { ControlPlace } from "../support/control-command.ts";
import { DnsServer } from "../support/dns-server.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { missing, needs } from "../support/requirements.ts";

const SERVER = "198.51.100.1";
const SILENT = "198.51.100.77";
const GUEST = "10.0.2.15";

let host: HostNamespace;
let guest: NamespaceGuest | undefined;
let place: ControlPlace;

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
beforeAll(async () => {
  if (missing(NAMESPACE_NEEDS).length > 0) return;
  host = await HostNamespace.make();
  // What is sent to an address that is behind the loopback and not there is heard by nobody.
  host.shell(`
    ip addr add ${SERVER}/32 dev lo
    ip route add ${SILENT} dev lo
    echo 1 > /proc/sys/net/ipv4/tcp_syn_retries`);
});
afterAll(async () => {
  await host?.close();
});
afterEach(async () => {
  await guest?.close();
  guest = undefined;
  place?.remove();
});

async function start(...options: string[]): Promise<NamespaceGuest> {
  place = new ControlPlace(host.enter);
  guest = await NamespaceGuest.start({ host, options: [...place.options, ...options] });
  return guest;
}

/** The answer, with what is the client's or the clock's own left out. */
async function why(target: string): Promise<string> {
  const text = await place.ask("why", ...(target === "" ? [] : [target]));
  return text
    .replace(/\d+ (?:s|min) ago/g, "N ago")
    .replace(/, (?:once|\d+ times) \(/g, ", M times (")
    .replace(/10\.0\.2\.(15|99):\d+/g, "10.0.2.$1:P")
    .replace(/ in \d+ s,/, " in N,");
}

const dial = (address: string, port: number, timeoutMs = 3000): Promise<{ outcome: string }> =>
  (guest as NamespaceGuest).agent.do("dial", { host: address, port, timeoutMs });

describe("why", () => {
  it("nobody listens on the port", async () => {
    await start();
    expect((await dial(SERVER, 81)).outcome).toBe("ECONNREFUSED");
    expect(await why(`${SERVER}:81`)).toBe(`\
failed    tcp to ${SERVER}:81, N ago, M times (ECONNREFUSED)
because   that host is there and refused: nothing listens on this port, or a firewall there says so
`);
    // Without a target: the last of all.
    expect(await why("")).toContain(`failed    tcp to ${SERVER}:81`);
  });

  it("nobody answers, while it waits and when it has given up", async () => {
    await start();
    const dialled = dial(SILENT, 80, 20_000);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await why(SILENT)).toMatch(
      new RegExp(
        `^waiting   flow \\d+, tcp ${GUEST}:P -> ${SILENT}:80, CONNECTING\n` +
          "because   this host has been trying to connect for 1 s and had no answer yet\n$",
      ),
    );
    expect((await dialled).outcome).toBe("ECONNREFUSED");
    expect(await why(`${SILENT}:80`)).toBe(`\
failed    tcp to ${SILENT}:80, N ago, M times (ETIMEDOUT)
because   nobody answered: the address is not in use, or a firewall on the way drops what is sent there
`);
  });

  it("this host has no way there", async () => {
    await start();
    await dial("192.0.2.9", 443);
    expect(await why("192.0.2.9:443")).toBe(`\
failed    tcp to 192.0.2.9:443, N ago, M times (ENETUNREACH)
because   this host itself has no route there
to change a route on this host; \`ip route get ADDRESS\` shows what it has
`);
  });

  it("--restrict, also for names", async () => {
    await start("--restrict");
    expect((await dial(SERVER, 80)).outcome).toBe("ECONNREFUSED");
    expect(await why(`${SERVER}:80`)).toBe(`\
denied    tcp ${GUEST}:P -> ${SERVER}:80, N ago, M times (destination-restricted)
because   --restrict keeps the guest from everything outside, DNS included
to allow  start without --restrict, or declare it: --guestfwd
`);
    await expect(
      guest?.agent.do("resolve", { server: "10.0.2.3", name: "a.test", type: "A" }),
    ).rejects.toThrow();
    expect(await why("a.test")).toBe(`\
failed    DNS a.test A, N ago, M times (REFUSED)
because   --restrict keeps the guest from everything outside, DNS included
to allow  start without --restrict
`);
  });

  it("the gateway is not the host, and nothing else is in the guest's network", async () => {
    await start();
    await dial("10.0.2.2", 8080);
    expect(await why("10.0.2.2:8080")).toBe(`\
denied    tcp ${GUEST}:P -> 10.0.2.2:8080, N ago, M times (destination-no-service)
because   10.0.2.2 is the gateway, which stands for this host only where that was allowed
to allow  --allow-host-loopback, and 10.0.2.2 is this host's own 127.0.0.1
`);
    await dial("10.0.2.3", 80);
    expect(await why("10.0.2.3:80")).toContain(
      "because   10.0.2.3 is the DNS address, where port 53 answers and nothing else\n",
    );
  });

  it("a metadata service, and a group", async () => {
    await start();
    await dial("100.100.100.200", 80);
    expect(await why("100.100.100.200:80")).toBe(`\
denied    tcp ${GUEST}:P -> 100.100.100.200:80, N ago, M times (destination-refused)
because   100.100.100.200 is link-local, or a cloud's metadata service: what is there may hand out this host's secrets
to allow  --allow-link-local opens all of these addresses
`);
    const asked = { host: "224.0.0.251", port: 5353, message: "?", ttl: 255, timeoutMs: 200, tries: 1 };
    await guest?.agent.do("udpAsk", asked);
    expect(await why("224.0.0.251:5353")).toBe(`\
denied    udp ${GUEST}:P -> 224.0.0.251:5353, N ago, M times (destination-refused)
because   224.0.0.251 is a multicast group, and groups are not sent to
to allow  --allow-multicast, for queries such as those of mDNS and SSDP
`);
  });

  it("the guest has another address than it should", async () => {
    const { device } = await start();
    guest?.ip("addr", "add", "10.0.2.99/24", "dev", device);
    guest?.ip("route", "replace", "default", "via", "10.0.2.2", "src", "10.0.2.99");
    await dial(SERVER, 80, 500);
    expect(await why("10.0.2.99")).toBe(`\
denied    tcp 10.0.2.99:P -> ${SERVER}:80, N ago, M times (ipv4-spoofed-source)
because   the packet came from 10.0.2.99, and the guest's address is 10.0.2.15
to allow  --guest-addr 10.0.2.99 if that is the guest's address, or --guest-addr any
`);
  });

  it("the flow table is full", async () => {
    await start("--max-flows", "64", "--allow-host-loopback");
    const port = await host.agent.do<number>("tcpServer", { kind: "hold" });
    for (let i = 0; i < 64; i++) await guest?.agent.do("hold", { host: "10.0.2.2", port, name: String(i) });
    await dial(SERVER, 80, 500);
    expect(await why(`${SERVER}:80`)).toBe(`\
denied    tcp ${GUEST}:P -> ${SERVER}:80, N ago, M times (flow-table-full)
because   the flow table is full: 64 flows are in use
to allow  --max-flows N for more of them
`);
  });

  it("UDP that nobody answers", async () => {
    await start();
    await guest?.agent.do("udpAsk", { host: SERVER, port: 9, message: "hello", timeoutMs: 200, tries: 1 });
    expect(await why(`${SERVER}:9`)).toMatch(
      new RegExp(
        `^waiting   flow \\d+, udp ${GUEST}:P -> ${SERVER}:9, MAPPED\n` +
          "because   the guest sent 5 octets, which left this host, and nothing came back; UDP does not tell why\n$",
      ),
    );
  });

  it("pings", async () => {
    await start();
    await guest?.run("ping", "-c", "2", "-W", "1", SERVER);
    expect(await why(SERVER)).toMatch(
      /also {6}\d+ ICMP packets of the guest were dropped: sluice carries TCP and UDP, so pings go unanswered\n$/,
    );
  });

  it("a flow that is well, by its number and by its name", async () => {
    await start("--allow-host-loopback");
    const port = await host.agent.do<number>("tcpServer", { kind: "hold" });
    await guest?.agent.do("hold", { host: "10.0.2.2", port, name: "one", message: "12345" });
    const flow = JSON.parse(await place.ask("flows", "--json")) as Flow;
    const text = await why(String(flow.id));
    expect(text).toContain(`open      flow ${flow.id}, tcp ${GUEST}:P -> 10.0.2.2:${port}, ESTABLISHED\n`);
    expect(text).toContain("5 octets from the guest and 0 octets to it in");
    expect(await why(`10.0.2.2:${port}`)).toBe(text);
  });
});

describe("why a name", () => {
  let dns: DnsServer;
  afterEach(async () => {
    dns?.close();
  });

  /** On this host itself, whose loopback a resolver of a test's is at. */
  async function startWith(...options: string[]): Promise<NamespaceGuest> {
    place = new ControlPlace();
    guest = await NamespaceGuest.start({ options: [...place.options, ...options] });
    return guest;
  }
  const resolve = (name: string): Promise<unknown> =>
    (guest as NamespaceGuest).agent
      .do("resolve", { server: "10.0.2.3", name, type: "A", timeoutMs: 12_000 })
      .catch((error: Error) => error.message);

  it("does not exist, and what one that exists led to", async () => {
    dns = await new DnsServer("192.0.2.80").listen();
    await startWith("--resolver", `127.0.0.1:${dns.port}`);
    expect(await resolve("missing.test")).toBe("ENOTFOUND");
    expect(await why("missing.test")).toBe(`\
failed    DNS missing.test A, N ago, M times (NXDOMAIN)
because   this host's resolver says that no such name exists
`);
    await resolve("host.test");
    expect(await why("host.test")).toContain("names     host.test is 192.0.2.80\n");
    expect(await why("192.0.2.80")).toContain("names     host.test (answered N ago)\n");
  });

  it("that no resolver answers", async () => {
    dns = await new DnsServer("192.0.2.80", { rcode: 2 }).listen();
    await startWith("--resolver", `127.0.0.1:${dns.port}`);
    expect(await resolve("a.test")).toBe("ESERVFAIL");
    expect(await why("a.test")).toBe(`\
failed    DNS a.test A, N ago, M times (SERVFAIL)
because   the last of this host's resolvers said that it failed
to change this host's /etc/resolv.conf, or --resolver ADDRESS
`);
  });
});

it("says what is no target, and what a guest called itself only in print", async () => {
  place = new ControlPlace();
  guest = await NamespaceGuest.start({ options: place.options });
  await expect(place.ask("why", "http://example.org/")).rejects.toThrow(/ended with 2: .*allowed/s);
  const text = await place.ask("why", "nothing.example");
  expect(text).toMatch(/^[\n\x20-\x7e]+$/);
});
