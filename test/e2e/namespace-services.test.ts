/** What answers inside the guest's own network: DNS, and addresses that the host serves (--guestfwd). */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packet from "dns-packet";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { BIG_TEXTS, DnsServer, type DnsServerBehaviour, HUGE_TEXTS } from "../support/dns-server.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { sluice, until } from "../support/program.ts";
import { missing, needs, TUN_DEVICE } from "../support/requirements.ts";

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

interface TcpAnswer {
  readonly id: number;
  readonly rcode: string;
  readonly data: readonly unknown[];
}

describe("DNS, how it is asked", () => {
  let guest: NamespaceGuest;
  let server: DnsServer;

  beforeAll(async () => {
    if (!isPossible) return;
    server = await new DnsServer("192.0.2.80", { delayMs: 100 }).listen();
    guest = await NamespaceGuest.start({ options: ["--resolver", `127.0.0.1:${server.port}`] });
  });
  afterAll(async () => {
    await guest?.close();
    server?.close();
  });
  afterEach(() => {
    server.asked.length = 0;
    server.origins.length = 0;
  });

  const askUdp = (id: number, name: string) => {
    const questions = [{ type: "A", name } as const];
    const message = packet.encode({ type: "query", id, flags: packet.RECURSION_DESIRED, questions });
    return guest.agent.do<{ text: string }>("udpAsk", {
      host: DNS,
      port: 53,
      message: message.toString("hex"),
      encoding: "hex",
    });
  };

  it("once for the same question, asked many times at a time", async () => {
    const ids = Array.from({ length: 20 }, (_, i) => 100 + i);
    const answers = await Promise.all(ids.map((id) => askUdp(id, "same.test")));
    expect(answers.map(({ text }) => packet.decode(Buffer.from(text, "hex")).id)).toEqual(ids);
    expect(server.asked).toEqual(["udp same.test A"]);
    expect((await guest.report()).counters["dns-merged"]).toBe(19);
  });

  it("under ids and from ports that the guest does not choose (RFC 5452)", async () => {
    for (let i = 0; i < 8; i++) await askUdp(7, `n${i}.test`);
    const { origins } = server;
    expect(origins).toHaveLength(8);
    expect(new Set(origins.map(({ id }) => id)).size).toBeGreaterThan(6);
    expect(new Set(origins.map(({ port }) => port)).size).toBeGreaterThan(6);
    const inOrder = (list: readonly number[]) => list.every((n, i) => i === 0 || n === list[i - 1] + 1);
    expect(inOrder(origins.map(({ id }) => id))).toBe(false);
    expect(inOrder(origins.map(({ port }) => port))).toBe(false);
  });

  it("over TCP, many questions on a connection, and an answer of 60 KiB comes intact", async () => {
    const questions = [
      { id: 1, type: "A", name: "one.test" },
      { id: 2, type: "TXT", name: "huge.test" },
      { id: 3, type: "A", name: "missing.test" },
      ...Array.from({ length: 40 }, (_, i) => ({ id: 10 + i, type: "A", name: `n${i}.test` })),
    ];
    for (const pipelined of [false, true]) {
      const answers = await guest.agent.do<TcpAnswer[]>("dnsOverTcp", { server: DNS, questions, pipelined });
      const byId = new Map(answers.map((answer) => [answer.id, answer]));
      expect(byId.size).toBe(questions.length);
      expect(byId.get(1)).toMatchObject({ rcode: "NOERROR", data: ["192.0.2.80"] });
      expect(byId.get(2)).toMatchObject({ rcode: "NOERROR", data: [HUGE_TEXTS] });
      expect(byId.get(3)).toMatchObject({ rcode: "NXDOMAIN", data: [] });
      expect(byId.get(49)).toMatchObject({ data: ["192.0.2.80"] });
    }
  });
});

describe("DNS with several resolvers", () => {
  /** Asks while the first resolver fails in some way; the second one has 192.0.2.2. */
  const besides = async <T>(
    behaviour: DnsServerBehaviour,
    use: (guest: NamespaceGuest) => Promise<T>,
  ): Promise<T> => {
    const first = await new DnsServer("192.0.2.1", behaviour).listen();
    const second = await new DnsServer("192.0.2.2").listen();
    const guest = await NamespaceGuest.start({
      options: [first, second].flatMap(({ port }) => ["--resolver", `127.0.0.1:${port}`]),
    });
    try {
      return await use(guest);
    } finally {
      await guest.close();
      first.close();
      second.close();
    }
  };
  const address = (guest: NamespaceGuest) =>
    guest.agent.do("resolve", { server: DNS, name: "host.test", type: "A" });
  const overTcp = (guest: NamespaceGuest, type = "A", name = "host.test") =>
    guest.agent.do<TcpAnswer[]>("dnsOverTcp", { server: DNS, questions: [{ id: 5, type, name }] });

  it.for([
    ["SERVFAIL", 2],
    ["NOTIMP", 4],
    ["REFUSED", 5],
  ] as const)("asks the second when the first says %s, over UDP and TCP", async ([, rcode]) => {
    await besides({ rcode }, async (guest) => {
      expect(await address(guest)).toEqual(["192.0.2.2"]);
      expect(await overTcp(guest)).toEqual([{ id: 5, rcode: "NOERROR", data: ["192.0.2.2"] }]);
    });
  });

  it.for(["closed", "silent"] as const)(
    "asks the second over TCP when the first one's is %s",
    async (tcp) => {
      await besides({ tcp }, async (guest) => {
        expect(await address(guest)).toEqual(["192.0.2.1"]);
        expect(await overTcp(guest)).toEqual([{ id: 5, rcode: "NOERROR", data: ["192.0.2.2"] }]);
        // Truncated by the first over UDP, whole from the second.
        expect(await guest.agent.do("resolve", { server: DNS, name: "big.test", type: "TXT" })).toEqual([
          BIG_TEXTS,
        ]);
      });
    },
  );

  it("takes a name that does not exist for an answer", async () => {
    await besides({ rcode: 3 }, async (guest) => {
      await expect(address(guest)).rejects.toThrow("ENOTFOUND");
      expect(await overTcp(guest)).toMatchObject([{ rcode: "NXDOMAIN" }]);
    });
  });
});

describe("--dns-host-name", () => {
  it("names the host, whose services are there with --allow-host-loopback", async () => {
    const host = new Agent();
    const port = await host.do<number>("tcpServer", { kind: "echo" });
    const guest = await NamespaceGuest.start({
      options: [
        "--dns-host-name",
        "host.internal",
        "--dns-host-name",
        "Host.Docker.Internal",
        "--allow-host-loopback",
      ],
    });
    const resolve = (name: string, type: string) => guest.agent.do("resolve", { server: DNS, name, type });
    expect(await resolve("host.internal", "A")).toEqual(["10.0.2.2"]);
    expect(await resolve("HOST.docker.internal", "A")).toEqual(["10.0.2.2"]);
    await expect(resolve("host.internal", "AAAA")).rejects.toThrow("ENODATA");
    expect(await guest.agent.do("exchange", { host: "10.0.2.2", port, message: "hello" })).toBe("hello");
    await guest.close();
    await host.close();
  });
});

describe("DNS that is denied", () => {
  const query = packet.encode({
    type: "query",
    id: 9,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type: "A", name: "host.test" }],
  });

  it("is refused at once under --restrict, whoever is asked", async () => {
    const guest = await NamespaceGuest.start({ options: ["--restrict"] });
    guest.ip("route", "replace", "default", "dev", "tap0", "via", "10.0.2.2");
    for (const host of [DNS, "198.51.100.53"]) {
      const started = Date.now();
      const ask = { host, port: 53, message: query.toString("hex"), encoding: "hex" };
      const answer = await guest.agent.do<{ text: string; from: string }>("udpAsk", ask);
      expect(answer.from).toBe(`${host}:53`);
      expect(packet.decode(Buffer.from(answer.text, "hex"))).toMatchObject({ id: 9, rcode: "REFUSED" });
      expect(Date.now() - started).toBeLessThan(1000);
    }
    const questions = [{ id: 5, type: "A", name: "host.test" }];
    expect(await guest.agent.do("dnsOverTcp", { server: DNS, questions })).toMatchObject([
      { rcode: "REFUSED" },
    ]);
    await guest.close();
  });

  it.for([["--restrict"], ["--no-dns"]])(
    "lets a lookup in a command fail at once: %s",
    async (options, context) => {
      needs(context, { tun: true, userNamespaces: true, commands: ["getent"] });
      const command = [
        "exec",
        "--tun-device",
        TUN_DEVICE,
        ...options,
        "--",
        "getent",
        "ahostsv4",
        "name.test",
      ];
      const started = Date.now();
      const { status, stdout } = await sluice(command).ended;
      expect([status, stdout]).toEqual([2, ""]);
      expect(Date.now() - started).toBeLessThan(3000);
    },
  );
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
