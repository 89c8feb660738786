/** IPv6 beyond one host: a path with a smaller MTU, sources of one's choice, services for the guest, and what is told of it. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { type Running, run, sluice } from "../support/program.ts";
import { findCommand, needs } from "../support/requirements.ts";

const NEAR = "2001:db8:5::1";
const OTHER = "2001:db8:5::11";
const FAR = "2001:db8:5::2";
const ROUTER = "fd71:1ae0:d44d:2::2";
const SERVICE = "fd71:1ae0:d44d:2::100";
const MIB = 1 << 20;

let guest: NamespaceGuest | undefined;
let host: HostNamespace;
let holder: Running | undefined;
let far: Agent | undefined;

beforeEach(async (context) => {
  needs(context, NAMESPACE_NEEDS);
  host = await HostNamespace.make();
});
afterEach(async () => {
  const ended = await guest?.close();
  await far?.close();
  holder?.child.kill("SIGKILL");
  await holder?.ended;
  await host.close();
  guest = far = holder = undefined;
  if (ended !== undefined) expect(ended.status).toBe(0);
});

/** Another host, one link away over which packets of up to `mtu` octets go, and the host knows how many. */
async function farHost(mtu: number): Promise<Agent> {
  const [command, ...enter] = host.enter;
  const inside = "ip link set lo up && echo made && exec sleep 3600";
  holder = run(command, [...enter, "unshare", "--net", "sh", "-c", inside]);
  await holder.says(/made/, "stdout");
  const pid = String(holder.child.pid);
  const there = [...enter, "nsenter", "-t", pid, "-n"];
  const ip = (...args: string[]) => execFileSync(command, [...there, findCommand("ip")!, ...args]);
  host.ip("link", "add", "up0", "type", "veth", "peer", "name", "far0", "netns", pid);
  for (const address of [NEAR, OTHER]) {
    host.ip("-6", "address", "add", `${address}/64`, "dev", "up0", "nodad", "preferred_lft", "forever");
  }
  host.ip("link", "set", "up0", "up");
  ip("-6", "address", "add", `${FAR}/64`, "dev", "far0", "nodad");
  ip("link", "set", "far0", "mtu", String(mtu), "up");
  host.ip("-6", "route", "add", `${FAR}/128`, "dev", "up0", "mtu", String(mtu));
  far = new Agent([command, ...there]);
  return far;
}

async function start(...options: string[]): Promise<NamespaceGuest> {
  guest = await NamespaceGuest.start({ host, options: ["--ipv6", "on", ...options] });
  return guest;
}

describe("a path with a smaller MTU", () => {
  it("N65 carries TCP and UDP whole, both ways", async () => {
    const there = await farHost(1280);
    const { agent } = await start();
    const sink = await there.do("tcpServer", { kind: "sink", host: FAR });
    const sent = await agent.do("upload", { host: FAR, port: sink, octets: MIB, seed: 3 });
    expect(sent).toMatchObject({ octets: MIB, server: { octets: MIB } });
    const source = await there.do("tcpServer", { kind: "source", host: FAR, octets: MIB, seed: 4 });
    const sha256 = await there.do("digest", { octets: MIB, seed: 4 });
    expect(await agent.do("download", { host: FAR, port: source })).toMatchObject({ octets: MIB, sha256 });
    const port = await there.do("udpServer", { kind: "echo", host: FAR });
    const sizes = [1, 1232, 1233, 1452, 1453, 4000, 20_000];
    expect(await agent.do("udpEcho", { host: FAR, port, sizes })).toEqual([]);
  });
});

describe("--outbound-addr", () => {
  it("has IPv6 leave from the address that is named, and not at all by an interface without one", async () => {
    const there = await farHost(1500);
    const port = await there.do<number>("tcpServer", { kind: "whoami", host: FAR });
    const udp = await there.do<number>("udpServer", { kind: "whoami", host: FAR });
    const ask = { host: FAR, bind: "::", port: udp, message: "who" };
    for (const [source, seen] of [
      [OTHER, OTHER],
      ["up0", NEAR],
    ] as const) {
      const { agent } = await start("--outbound-addr", source);
      const answers = [await agent.do("exchange", { host: FAR, port })];
      answers.push((await agent.do<{ text: string }>("udpAsk", ask)).text);
      if (source === OTHER) expect(answers).toEqual([seen, seen]);
      // Of an interface with several, one of them.
      else for (const answer of answers) expect([NEAR, OTHER]).toContain(answer);
      await guest?.close();
    }
    host.ip("link", "add", "d0", "type", "veth", "peer", "name", "d1");
    for (const device of ["d0", "d1"]) host.ip("link", "set", device, "up");
    host.ip("address", "add", "192.0.2.1/24", "dev", "d0");
    const { agent } = await start("--outbound-addr", "d0");
    expect(await agent.do("dial", { host: FAR, port })).toMatchObject({ outcome: "ECONNREFUSED" });
  });

  it("names what is wrong", async () => {
    const refused = (...values: string[]) =>
      sluice(["run", "--tap", "t", ...values.flatMap((value) => ["--outbound-addr", value])]).ended;
    for (const values of [
      [NEAR, OTHER],
      ["lo", NEAR],
      ["fe80::1"],
      ["no-such-device"],
      ["192.0.2.1", "192.0.2.2"],
    ]) {
      const { status, stderr } = await refused(...values);
      expect(status).toBe(2);
      expect(stderr).toContain("--outbound-addr");
    }
  });
});

describe("--guestfwd and --reserve", () => {
  it("serve an IPv6 address of the guest's prefix from either family, with --restrict too", async () => {
    const port = await host.agent.do<number>("tcpServer", { kind: "whoami", host: "::1" });
    const rules = [
      `tcp:[${SERVICE}]:7-tcp:[::1]:${port}`,
      `tcp:[${SERVICE}]:8-cmd:echo hello`,
      `tcp:10.0.2.100:9-tcp:[::1]:${port}`,
    ];
    const { agent } = await start("--restrict", ...rules.flatMap((rule) => ["--guestfwd", rule]));
    expect(await agent.do("exchange", { host: SERVICE, port: 7 })).toBe("::1");
    expect(await agent.do("exchange", { host: SERVICE, port: 8 })).toBe("hello\n");
    expect(await agent.do("exchange", { host: "10.0.2.100", port: 9 })).toBe("::1");
    expect(await agent.do("dial", { host: SERVICE, port: 9 })).toMatchObject({ outcome: "ECONNREFUSED" });
  });
});

describe("what is told", () => {
  it("N67 is reported, captured and replayed in both families", async () => {
    const directory = mkdtempSync(join(tmpdir(), "sluice-ipv6-paths-"));
    const pcap = join(directory, "all.pcap");
    try {
      const port = await host.agent.do<number>("tcpServer", { kind: "hold", host: "::1" });
      const {
        agent,
        device,
        sluice: running,
      } = await start("--allow-host-loopback", "--no-offload", "--pcap", pcap);
      await agent.do("hold", { host: ROUTER, port, name: "six" });
      await agent.do("dial", { host: "10.0.2.2", port });
      expect(running.stderr).toContain(`ready: tap ${device}`);
      expect(running.stderr).toContain("IPv6 in fd71:1ae0:d44d:2::/64");
      const { flows, counters } = await guest!.report();
      expect(flows).toMatch(/tcp .*\[fd71:1ae0:d44d:2::15\]:\d+ .*\[::1\]:\d+/);
      expect(counters["router-advertisements"]).toBeGreaterThan(0);
      await guest!.close();
      const { status, stdout } = await sluice(["replay", "--ipv6", "on", "--allow-host-loopback", pcap])
        .ended;
      expect(status).toBe(0);
      expect(stdout).toMatch(/^kept from the network: [1-9]\d* connections/m);
      expect(stdout).toMatch(/^ {2}ndp-replies +[1-9]/m);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
