/** What answers inside the guest's own network: DNS, and addresses that the host serves (--guestfwd). */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packet from "dns-packet";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { BIG_TEXTS, DnsServer } from "../support/dns-server.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { until } from "../support/program.ts";
import { missing, needs } from "../support/requirements.ts";

const DNS = "10.0.2.3";

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
const isPossible = missing(NAMESPACE_NEEDS).length === 0;

describe("DNS", () => {
  let guest: NamespaceGuest;
  let server: DnsServer;

  beforeAll(async () => {
    if (!isPossible) return;
    server = await new DnsServer("192.0.2.80").listen();
    guest = await NamespaceGuest.start({ options: ["--resolver", `127.0.0.1:${server.port}`] });
  });
  afterAll(async () => {
    await guest?.close();
    server?.close();
  });
  afterEach(() => {
    server.asked.length = 0;
  });

  const resolve = (name: string, type: string) => guest.agent.do("resolve", { server: DNS, name, type });

  it("answers over UDP", async () => {
    expect(await resolve("host.test", "A")).toEqual(["192.0.2.80"]);
    expect(server.asked).toEqual(["udp host.test A"]);
  });

  it("says so when there is no such name", async () => {
    await expect(resolve("missing.test", "A")).rejects.toThrow("ENOTFOUND");
  });

  it("answers over TCP when the answer is too long for UDP", async () => {
    expect(await resolve("big.test", "TXT")).toEqual([BIG_TEXTS]);
    expect(server.asked).toEqual(["udp big.test TXT", "tcp big.test TXT"]);
  });

  it("passes on over UDP that an answer was truncated", async () => {
    const questions = [{ type: "TXT", name: "big.test" } as const];
    const query = packet.encode({ type: "query", id: 7, flags: packet.RECURSION_DESIRED, questions });
    const ask = { host: DNS, port: 53, message: query.toString("hex"), encoding: "hex" };
    const answer = await guest.agent.do<{ text: string; from: string }>("udpAsk", ask);
    expect(answer.from).toBe(`${DNS}:53`);
    const octets = Buffer.from(answer.text, "hex");
    expect(octets.length).toBeLessThanOrEqual(512);
    expect(packet.decode(octets)).toMatchObject({ id: 7, flag_tc: true });
  });

  it("answers many at once, each its own", async () => {
    const names = Array.from({ length: 50 }, (_, i) => `n${i}.test`);
    const all = await Promise.all(names.map((name) => resolve(name, "A")));
    expect(all).toEqual(names.map(() => ["192.0.2.80"]));
    expect(new Set(server.asked.map((line) => line.split(" ")[1]))).toEqual(new Set(names));
  });
});

describe("the host's resolv.conf", () => {
  let host: HostNamespace;
  let guest: NamespaceGuest;

  beforeAll(async () => {
    if (!isPossible) return;
    host = await HostNamespace.make();
    // An /etc of the host's own, as installers and VPNs change it: by a new file in the old one's place.
    host.shell(
      "cp -a /etc /tmp/etc-$$ 2>/dev/null || true; mount -t tmpfs none /etc; cp -a /tmp/etc-$$/. /etc/; rm -rf /tmp/etc-$$",
    );
    host.shell("rm -f /etc/resolv.conf; echo nameserver 127.0.0.53 > /etc/resolv.conf");
    await host.agent.do("dnsServer", { host: "127.0.0.53", address: "192.0.2.53" });
    await host.agent.do("dnsServer", { host: "::1", address: "192.0.2.6" });
    guest = await NamespaceGuest.start({ host });
  });
  afterAll(async () => {
    await guest?.close();
    await host?.close();
  });

  const ask = () => guest.agent.do<string[]>("resolve", { server: DNS, name: "host.test", type: "A" });

  it("may name a stub on loopback", async () => {
    expect(await ask()).toEqual(["192.0.2.53"]);
  });

  it("is read again when another file takes its place; IPv6 resolvers are asked too", async () => {
    host.shell("echo nameserver ::1 > /etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf");
    await until(async () => (await ask())[0] === "192.0.2.6", "the other resolver answers", 20_000);
  });
});

describe("--no-dns", () => {
  it("leaves the DNS address without an answer", async () => {
    const guest = await NamespaceGuest.start({ options: ["--no-dns"] });
    const ask = { host: DNS, port: 53, message: "x", timeoutMs: 500, tries: 2 };
    expect(await guest.agent.do("udpAsk", ask)).toBeUndefined();
    await guest.close();
  });
});

describe("--guestfwd", () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-test-guestfwd-"));
  const path = join(directory, "service.sock");
  let guest: NamespaceGuest;
  let host: Agent;

  beforeAll(async () => {
    if (!isPossible) return;
    host = new Agent();
    const port = await host.do<number>("tcpServer", { kind: "echo" });
    await host.do("unixServer", { kind: "echo", path });
    // The engine is another user than root, who runs the service here.
    chmodSync(directory, 0o755);
    chmodSync(path, 0o777);
    guest = await NamespaceGuest.start({
      options: [
        ...["--guestfwd", `tcp:10.0.2.100:7-tcp:127.0.0.1:${port}`],
        ...["--guestfwd", `tcp:10.0.2.100:8-unix:${path}`],
        ...["--guestfwd", "tcp:10.0.2.101:9-cmd:tr a-z A-Z"],
      ],
    });
  });
  afterAll(async () => {
    await guest?.close();
    await host?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it.for([
    ["a TCP server", "10.0.2.100", 7, "hello there"],
    ["a Unix socket", "10.0.2.100", 8, "hello there"],
    ["a command", "10.0.2.101", 9, "HELLO THERE"],
  ] as const)("is served by %s", async ([, address, port, answer]) => {
    const exchange = { host: address, port, message: "hello there" };
    expect(await guest.agent.do("exchange", exchange)).toBe(answer);
    expect(await guest.agent.do("exchange", exchange)).toBe(answer);
  });

  it("opens nothing but the ports it names", async () => {
    const { outcome } = await guest.agent.do<{ outcome: string }>("dial", {
      host: "10.0.2.100",
      port: 10,
      timeoutMs: 1500,
    });
    expect(outcome).not.toBe("connected");
  });
});
