/** IPv6 with this machine's own kernel as the guest: its addresses and routes, traffic both ways, and tshark on all of it. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { needs } from "../support/requirements.ts";

const PREFIX = "fd71:1ae0:d44d:2::";
const ROUTER = `${PREFIX}2`;
const OUTSIDE = "2001:db8:9::1";
const MIB = 1 << 20;

let guest: NamespaceGuest | undefined;
let host: HostNamespace | undefined;

beforeEach((context) =>
  needs(context, { ...NAMESPACE_NEEDS, commands: [...(NAMESPACE_NEEDS.commands ?? []), "tshark"] }),
);
afterEach(async () => {
  const ended = await guest?.close();
  await host?.close();
  expect(ended?.status).toBe(0);
  guest = host = undefined;
});

async function start(...options: string[]): Promise<{ host: HostNamespace; guest: NamespaceGuest }> {
  host = await HostNamespace.make();
  host.ip("-6", "address", "add", `${OUTSIDE}/128`, "dev", "lo");
  guest = await NamespaceGuest.start({ host, options });
  return { host, guest };
}

async function until<T>(what: string, look: () => T | undefined, timeoutMs = 8000): Promise<T> {
  for (const end = performance.now() + timeoutMs; performance.now() < end; ) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`no ${what} in time`);
}

/** The addresses of the prefix that the guest may use. */
function addresses({ device, ip }: { device: string; ip: (...args: string[]) => string }): string[] {
  const [{ addr_info: found = [] } = {}] = JSON.parse(
    ip("-6", "-json", "address", "show", "dev", device),
  ) as {
    addr_info?: { local: string; tentative?: boolean }[];
  }[];
  return found
    .filter(({ local, tentative }) => local.startsWith(PREFIX.slice(0, -2)) && !tentative)
    .map(({ local }) => local);
}

function defaultRoutes(of: NamespaceGuest): string[] {
  return of.ip("-6", "route", "show", "default").split("\n").filter(Boolean);
}

describe("a guest with IPv6", () => {
  it.each([
    ["super-frames", []],
    ["plain frames", ["--no-offload"]],
  ] as const)(
    "N1 N4 N60 makes its addresses, and reaches the host and the world with %s",
    async (kind, options) => {
      const directory = mkdtempSync(join(tmpdir(), "sluice-ipv6-"));
      const pcap = join(directory, "all.pcap");
      const { host, guest } = await start(
        "--ipv6",
        "on",
        "--allow-host-loopback",
        "--pcap",
        pcap,
        ...options,
      );
      await until(
        "address",
        () => addresses({ device: guest.device, ip: (...args) => guest.ip(...args) })[0],
      );
      expect(await until("default route", () => defaultRoutes(guest)[0])).toContain("via fe80::2");
      for (const [server, asked] of [
        ["::1", ROUTER],
        [OUTSIDE, OUTSIDE],
      ] as const) {
        const sink = await host.agent.do("tcpServer", { kind: "sink", host: server });
        const sent = await guest.agent.do("upload", { host: asked, port: sink, octets: 4 * MIB, seed: 7 });
        expect(sent).toMatchObject({ octets: 4 * MIB, server: { octets: 4 * MIB } });
        const source = await host.agent.do("tcpServer", {
          kind: "source",
          host: server,
          octets: 4 * MIB,
          seed: 8,
        });
        const digest = await host.agent.do("digest", { octets: 4 * MIB, seed: 8 });
        expect(await guest.agent.do("download", { host: asked, port: source })).toMatchObject({
          octets: 4 * MIB,
          sha256: digest,
        });
        const echo = await host.agent.do("udpServer", { kind: "echo", host: server });
        const sizes = [0, 1, 1452, 1453, 4000, 20_000, 65_000];
        expect(await guest.agent.do("udpEcho", { host: asked, port: echo, sizes })).toEqual([]);
      }
      const { drops } = await guest.report();
      expect(Object.keys(drops).filter((name) => name !== "mld")).toEqual([]);
      await guest.close();
      // With super-frames checksums are the kernel's to complete.
      const sums = kind === "plain frames" ? "TRUE" : "FALSE";
      const preferences = ["-o", `tcp.check_checksum:${sums}`, "-o", `udp.check_checksum:${sums}`];
      const bad = ["tcp", "udp", "icmpv6"].map((protocol) => `${protocol}.checksum.status == 0`).join(" || ");
      const filter = `eth.src == 52:55:0a:00:02:02 && (_ws.malformed || ${bad})`;
      const read = execFileSync("tshark", ["-r", pcap, "-n", ...preferences, "-Y", filter], {
        encoding: "utf8",
      });
      rmSync(directory, { recursive: true });
      expect(read).toBe("");
    },
  );

  it("N21 N45 N63 is what forwards go to, from clients of IPv4 and its gateway's address", async () => {
    const { host, guest } = await start("--ipv6", "auto", "--hostfwd", "tcp:127.0.0.1:0-[]:7000");
    await guest.agent.do("tcpServer", { kind: "whoami", host: "::", port: 7000 });
    const port = guest.hostPort(7000);
    expect(await host.agent.do("exchange", { host: "127.0.0.1", port })).toBe(ROUTER);
  });

  it("N66 is set up at once by --configure, and nothing of it stays", async () => {
    const { guest } = await start("--ipv6", "on");
    // As soon as it says that it is ready: no second for duplicate address detection.
    expect(addresses({ device: guest.device, ip: (...args) => guest.ip(...args) })).toEqual([`${PREFIX}15`]);
    expect(defaultRoutes(guest)).toEqual([expect.stringContaining("via fe80::2")]);
    const left = guest.ip("-6", "route", "show");
    guest.sluice.child.kill("SIGTERM");
    await guest.sluice.ended;
    expect(left).toContain(guest.device);
    expect(guest.ip("-6", "route", "show")).not.toContain(guest.device);
    expect(guest.ip("link", "show")).not.toContain(guest.device);
  });

  it("N5 has a default route while the host has one", async () => {
    const { host, guest } = await start("--ipv6", "auto");
    await until("address", () => addresses({ device: guest.device, ip: (...args) => guest.ip(...args) })[0]);
    expect(defaultRoutes(guest)).toEqual([]);
    host.ip("-6", "route", "add", "2000::/3", "dev", "lo");
    await until("default route", () => defaultRoutes(guest)[0]);
    host.ip("-6", "route", "del", "2000::/3", "dev", "lo");
    await until("end of the default route", () => (defaultRoutes(guest).length === 0 ? true : undefined));
  });

  it("N13 N14 takes no address of ours for its own, and keeps its own from nobody", async () => {
    const { guest } = await start("--ipv6", "on");
    const { device } = guest;
    guest.ip("-6", "address", "add", `${ROUTER}/64`, "dev", device);
    guest.ip("-6", "address", "add", `${PREFIX}77/64`, "dev", device);
    const shown = () => guest.ip("-6", "address", "show", "dev", device);
    await until("failure of duplicate address detection", () =>
      shown().includes("dadfailed") ? true : undefined,
    );
    await until("address", () =>
      addresses({ device, ip: (...args) => guest.ip(...args) }).find((one) => one === `${PREFIX}77`),
    );
  });
});
