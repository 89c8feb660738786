/** What reaches the guest from outside: declared ports, with the client's own address, also when the guest is late. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import {
  HostNamespace,
  NAMESPACE_NEEDS,
  NamespaceGuest,
  type NamespaceGuestOptions,
} from "../support/namespace-guest.ts";
import { needs } from "../support/requirements.ts";

const LOOPBACK = "127.0.0.1";
/** An address of the host that is not of its loopback network. */
const HOST_ADDRESS = "198.51.100.1";

let guests: NamespaceGuest[] = [];
let hosts: HostNamespace[] = [];
const agents: Agent[] = [];

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
afterEach(async () => {
  for (const guest of guests) expect((await guest.close()).status).toBe(0);
  for (const host of hosts) await host.close();
  for (const agent of agents.splice(0)) await agent.close();
  guests = [];
  hosts = [];
});

async function startGuest(options: NamespaceGuestOptions): Promise<NamespaceGuest> {
  const guest = await NamespaceGuest.start(options);
  guests.push(guest);
  return guest;
}

function hostAgent(): Agent {
  const agent = new Agent();
  agents.push(agent);
  return agent;
}

/** A host with an address besides its loopback's. */
async function startHost(): Promise<HostNamespace> {
  const host = await HostNamespace.make();
  hosts.push(host);
  host.ip("address", "add", `${HOST_ADDRESS}/32`, "dev", "lo");
  return host;
}

describe("a forwarded port", () => {
  it("shows the guest the client's real address, and the gateway's for the host itself", async () => {
    const host = await startHost();
    const guest = await startGuest({
      host,
      options: [
        "-p",
        `${HOST_ADDRESS}:80:8080`,
        "-p",
        "80:8080",
        "-p",
        `udp:${HOST_ADDRESS}:53:5353`,
        "-p",
        "udp:53:5353",
      ],
    });
    await guest.agent.do("tcpServer", { kind: "whoami", host: "0.0.0.0", port: 8080 });
    await guest.agent.do("udpServer", { kind: "whoami", host: "0.0.0.0", port: 5353 });
    expect(await host.agent.do("exchange", { host: HOST_ADDRESS, port: 80 })).toBe(HOST_ADDRESS);
    expect(await host.agent.do("exchange", { host: LOOPBACK, port: 80 })).toBe("10.0.2.2");
    const ask = { port: 53, message: "who am I" };
    expect(await host.agent.do("udpAsk", { host: HOST_ADDRESS, ...ask })).toEqual({
      text: HOST_ADDRESS,
      from: `${HOST_ADDRESS}:53`,
    });
    expect(await host.agent.do("udpAsk", { host: LOOPBACK, ...ask })).toEqual({
      text: "10.0.2.2",
      from: `${LOOPBACK}:53`,
    });
  });

  it("is one of a range: eleven ports to eleven ports, TCP and UDP", async () => {
    const host = await startHost();
    const guest = await startGuest({ host, options: ["-p", "8000-8010:9000", "-p", "udp:8000-8010:9000"] });
    for (const offset of [0, 5, 10]) {
      const port = 9000 + offset;
      await guest.agent.do("tcpServer", { kind: "echo", host: "0.0.0.0", port });
      await guest.agent.do("udpServer", { kind: "echo", host: "0.0.0.0", port });
      const to = { host: LOOPBACK, port: 8000 + offset, message: `port ${port}` };
      expect(await host.agent.do("exchange", to)).toBe(`port ${port}`);
      expect(await host.agent.do("udpAsk", to)).toMatchObject({ text: `port ${port}` });
    }
  });

  it("in QEMU's grammar is on every address when it names none", async () => {
    const host = await startHost();
    const guest = await startGuest({
      host,
      options: ["--hostfwd", "tcp::2222-:22", "--hostfwd", `udp:${LOOPBACK}:53-:53`],
    });
    await guest.agent.do("tcpServer", { kind: "whoami", host: "0.0.0.0", port: 22 });
    await guest.agent.do("udpServer", { kind: "echo", host: "0.0.0.0", port: 53 });
    expect(await host.agent.do("exchange", { host: HOST_ADDRESS, port: 2222 })).toBe(HOST_ADDRESS);
    expect(await host.agent.do("exchange", { host: LOOPBACK, port: 2222 })).toBe("10.0.2.2");
    expect(await host.agent.do("udpAsk", { host: LOOPBACK, port: 53, message: "x" })).toMatchObject({
      text: "x",
    });
    expect(guest.sluice.stderr).toContain("* is every address of this host");
  });

  it("without a declaration is refused", async () => {
    const host = await startHost();
    const guest = await startGuest({ host, options: ["-p", "8080:80"] });
    await guest.agent.do("tcpServer", { kind: "whoami", host: "0.0.0.0", port: 81 });
    for (const port of [80, 81]) {
      for (const address of [LOOPBACK, HOST_ADDRESS]) {
        expect(await host.agent.do("dial", { host: address, port })).toMatchObject({
          outcome: "ECONNREFUSED",
        });
      }
    }
    // -p without an address is the loopback's alone.
    expect(await host.agent.do("dial", { host: HOST_ADDRESS, port: 8080 })).toMatchObject({
      outcome: "ECONNREFUSED",
    });
  });

  it("carries large datagrams both ways", async () => {
    const guest = await startGuest({ options: ["-p", "udp:0:7"] });
    await guest.agent.do("udpServer", { kind: "echo", host: "0.0.0.0", port: 7 });
    const sizes = [0, 1, 1472, 1473, 9000, 65_507];
    const to = { host: LOOPBACK, port: guest.hostPort(7, "udp"), sizes };
    expect(await hostAgent().do("udpEcho", to)).toEqual([]);
  });
});

describe("a guest that shows itself late", () => {
  it("gets the connection that waited for it, with an address set by hand", async () => {
    const guest = await startGuest({ configure: false, options: ["-p", "0:80"] });
    const client = hostAgent();
    const waiting = client.do("exchange", { host: LOOPBACK, port: guest.hostPort(80) });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await guest.agent.do("tcpServer", { kind: "whoami", host: "0.0.0.0", port: 80 });
    guest.ip("link", "set", "tap0", "up");
    guest.ip("address", "add", "10.0.2.15/24", "dev", "tap0");
    guest.ip("route", "add", "default", "via", "10.0.2.2");
    expect(await waiting).toBe("10.0.2.2");
  });
});

describe("--restrict", () => {
  it("lets nothing out, DNS included, and forwards in", async () => {
    const client = hostAgent();
    const port = await client.do<number>("tcpServer", { kind: "whoami" });
    const guest = await startGuest({ options: ["--restrict", "--allow-host-loopback", "-p", "0:80"] });
    guest.ip("route", "replace", "default", "dev", "tap0", "via", "10.0.2.2");
    // Every one is told at once: nothing waits for a timeout of its own.
    // (The DNS address takes a connection, to refuse what it is asked: namespace-services.test.ts.)
    for (const to of [{ port }, { host: "192.0.2.1", port: 80 }]) {
      const dial = { host: "10.0.2.2", timeoutMs: 1500, ...to };
      expect(await guest.agent.do("dial", dial)).toMatchObject({ outcome: "ECONNREFUSED" });
    }
    const ask = { host: "10.0.2.3", port: 53, message: "x", timeoutMs: 500, tries: 2 };
    expect(await guest.agent.do("udpAsk", ask)).toBeUndefined();
    expect((await guest.report()).drops["destination-restricted"]).toBeGreaterThan(0);
    await guest.agent.do("tcpServer", { kind: "whoami", host: "0.0.0.0", port: 80 });
    expect(await client.do("exchange", { host: LOOPBACK, port: guest.hostPort(80) })).toBe("10.0.2.2");
  });
});

describe("what is closed by default", () => {
  it("is the host's loopback, link-local addresses, and what is nobody's address", async () => {
    const guest = await startGuest({});
    const nobodys = ["10.0.2.2", "169.254.169.254", "0.0.0.1", "10.0.2.200", "240.0.0.1"];
    guest.ip("route", "replace", "0.0.0.0/8", "dev", "tap0");
    for (const address of nobodys) {
      const { outcome } = await guest.agent.do<{ outcome: string }>("dial", {
        host: address,
        port: 80,
        timeoutMs: 1500,
      });
      expect(outcome, address).not.toBe("connected");
    }
    const { drops, counters } = await guest.report();
    expect(drops["destination-refused"]).toBeGreaterThan(0);
    expect(counters["tcp-opened"] ?? 0).toBe(0);
  });

  it("is not link-local with --allow-link-local", async () => {
    const host = await startHost();
    host.ip("address", "add", "169.254.169.254/32", "dev", "lo");
    const port = await host.agent.do<number>("tcpServer", { kind: "echo", host: "169.254.169.254" });
    const shut = await startGuest({ host });
    const dial = { host: "169.254.169.254", port, timeoutMs: 2000 };
    expect(await shut.agent.do<{ outcome: string }>("dial", dial)).not.toMatchObject({
      outcome: "connected",
    });
    const open = await startGuest({ host, options: ["--allow-link-local"] });
    expect(await open.agent.do("dial", dial)).toMatchObject({ outcome: "connected" });
  });
});

describe("ICMP", () => {
  it("gets no answer and is counted", async (context) => {
    needs(context, { commands: ["busybox"] });
    const guest = await startGuest({});
    for (const address of ["10.0.2.2", "10.0.2.3", "192.0.2.1"]) {
      const { stdout, status } = await guest.run("busybox", "ping", "-c", "1", "-W", "1", address);
      expect(status).toBe(1);
      expect(stdout).toContain("100% packet loss");
    }
    expect((await guest.report()).drops["icmp"]).toBe(3);
  });
});
