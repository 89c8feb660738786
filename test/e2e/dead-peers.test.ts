/** Real kernels at both ends, one of which is gone: how long the other, and we, go on believing in it. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { until } from "../support/program.ts";
import { missing, needs } from "../support/requirements.ts";

/** A veth pair joins two network namespaces of one owner. */
const NEEDS = { ...NAMESPACE_NEEDS, root: true };
const INSIDE = "198.18.0.2";
const OUTSIDE = "198.18.0.1";
const GUEST_PORT = 8001;
/** The half-closed connections of the first test. */
const FORGOTTEN = 20;

describe("behind a host on a network", () => {
  let host: HostNamespace;
  let outside: HostNamespace;
  let guest: NamespaceGuest;
  let echo: number;

  /** Nothing of `outside` reaches the host any more. */
  const cut = (): string => outside.ip("route", "add", "blackhole", `${INSIDE}/32`);
  const mend = (): string => outside.ip("route", "delete", "blackhole", `${INSIDE}/32`);
  /** Lines of the flow table with this in it. */
  const flows = async (text: string): Promise<string[]> =>
    (await guest.report()).flows.split("\n").filter((line) => line.includes(text));

  beforeEach((context) => needs(context, NEEDS));
  beforeAll(async () => {
    if (missing(NEEDS).length > 0) return;
    host = await HostNamespace.make();
    outside = await HostNamespace.make();
    host.ip("link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", String(outside.pid));
    host.ip("address", "add", `${INSIDE}/24`, "dev", "up0");
    host.ip("link", "set", "up0", "up");
    outside.ip("address", "add", `${OUTSIDE}/24`, "dev", "down0");
    outside.ip("link", "set", "down0", "up");
    // The settings a forward's clients are looked after by.
    for (const [setting, value] of Object.entries({ time: 2, intvl: 1, probes: 3 })) {
      host.shell(`echo ${value} > /proc/sys/net/ipv4/tcp_keepalive_${setting}`);
    }
    echo = await outside.agent.do("tcpServer", { kind: "echo", host: OUTSIDE });
    guest = await NamespaceGuest.start({ host, options: ["-p", `${INSIDE}:0:${GUEST_PORT}`] });
  });
  afterAll(async () => {
    await guest?.close();
    await host?.close();
    await outside?.close();
  });

  it("a guest's keepalive is answered while the peer is there, and not when it is gone", async () => {
    const to = { host: OUTSIDE, port: echo, message: "" };
    await guest.agent.do("hold", { ...to, name: "asks", keepAliveMs: 1000 });
    await guest.agent.do("hold", { ...to, name: "trusts" });
    for (const name of ["asks", "trusts"])
      expect(await guest.agent.do("askHeld", { name, message: "x" })).toBe(true);
    const before = (await guest.report()).counters["tcp-keepalives-relayed"] ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect((await guest.report()).counters["tcp-keepalives-relayed"]).toBeGreaterThan(before + 1);
    expect(await guest.agent.do("askHeld", { name: "asks", message: "y" })).toBe(true);

    cut();
    try {
      const since = Date.now();
      await until(
        async () => (await guest.agent.do("failureHeld", { name: "asks" })) === "ETIMEDOUT",
        "the guest's kernel gives up",
        30_000,
      );
      // A second of idleness, ten probes a second apart.
      expect(Date.now() - since).toBeLessThan(16_000);
      expect(await guest.agent.do("failureHeld", { name: "trusts" })).toBeUndefined();
      // The RST its kernel sends frees what we held for it.
      expect(await flows(`${OUTSIDE}:${echo}`)).toHaveLength(1);
    } finally {
      mend();
    }
    expect(await guest.agent.do("askHeld", { name: "trusts", message: "z" })).toBe(true);
  }, 60_000);

  it("a forward's client that vanished is found by the kernel's keepalive, and the guest told", async () => {
    await guest.agent.do("tcpServer", { kind: "hold", host: "0.0.0.0", port: GUEST_PORT });
    const to = { host: INSIDE, port: guest.hostPort(GUEST_PORT) };
    await outside.agent.do("hold", { ...to, name: "caller" });
    await until(async () => (await flows(`:${GUEST_PORT}`)).length === 1, "the call arrives");
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect(await flows(`:${GUEST_PORT}`)).toHaveLength(1);
    cut();
    try {
      const gone = async (): Promise<boolean> =>
        (await guest.agent.do("failure", { port: GUEST_PORT })) === "ECONNRESET";
      await until(gone, "the guest hears of it", 15_000);
      expect(await flows(`:${GUEST_PORT}`)).toHaveLength(0);
    } finally {
      mend();
    }
  }, 60_000);

  it("connections the guest has closed and forgotten cost nothing after a minute", async () => {
    const keeps = await outside.agent.do<number>("tcpServer", { kind: "keep", host: OUTSIDE });
    const to = { host: OUTSIDE, port: keeps };
    await guest.agent.do("abandon", { ...to, count: FORGOTTEN });
    // One whose program waits for an answer that comes later.
    await guest.agent.do("hold", { ...to, name: "waits", message: "" });
    const heard = guest.agent.do("finishHeld", { name: "waits" });
    const open = async (): Promise<number> => (await flows(`${OUTSIDE}:${keeps}`)).length;
    // Linux forgets after 60 s in FIN-WAIT-2; it is asked after 65 s.
    await new Promise((resolve) => setTimeout(resolve, 55_000));
    expect(await open()).toBe(FORGOTTEN + 1);
    await until(async () => (await open()) === 1, "the others are found out", 20_000);
    await outside.agent.do("sayToAll", { port: keeps, message: "late" });
    expect(await heard).toBe("late");
  }, 120_000);
});
