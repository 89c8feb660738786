/** A guest with an address that it was given by hand, which the engine was told of or not. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { needs } from "../support/requirements.ts";

const HOST_ADDRESS = "198.51.100.1";
const STATIC = "10.0.2.100";

let guest: NamespaceGuest | undefined;
let host: HostNamespace | undefined;

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
afterEach(async () => {
  const ended = await guest?.close();
  await host?.close();
  expect(ended?.status).toBe(0);
  guest = host = undefined;
});

/** A guest that sets itself up with STATIC, and a host with an echo to be reached. */
async function start(...options: string[]) {
  host = await HostNamespace.make();
  host.ip("address", "add", `${HOST_ADDRESS}/32`, "dev", "lo");
  const port = await host.agent.do("tcpServer", { kind: "whoami", host: HOST_ADDRESS });
  guest = await NamespaceGuest.start({ host, options, configure: false });
  guest.ip("link", "set", guest.device, "up");
  guest.ip("address", "add", `${STATIC}/24`, "dev", guest.device);
  guest.ip("route", "add", "default", "via", "10.0.2.2");
  return { host, guest, port };
}

describe("a guest with a static address", () => {
  it("is told of once, with the option that would admit it", async () => {
    const { guest, port } = await start();
    const dial = { host: HOST_ADDRESS, port, timeoutMs: 1500 };
    await guest.agent.do("dial", dial).catch(() => undefined);
    await guest.agent.do("dial", dial).catch(() => undefined);
    expect((await guest.report()).drops["ipv4-spoofed-source"]).toBeGreaterThan(1);
    const told = guest.sluice.stderr.match(/packets from .* are dropped: .*/g);
    expect(told).toHaveLength(1);
    expect(told?.[0]).toMatch(/^packets from 10\.0\.2\.100 .*--guest-addr 10\.0\.2\.100 would admit it/);
  });

  it.each(["any", `10.0.2.15,${STATIC}`])("is served with --guest-addr %s", async (addresses) => {
    const { guest, port } = await start("--guest-addr", addresses);
    expect(await guest.agent.do("exchange", { host: HOST_ADDRESS, port })).toBe(HOST_ADDRESS);
    expect(guest.sluice.stderr).not.toContain("are dropped");
  });

  it("is where forwards go with --guest-addr any, once it was heard from", async () => {
    const { host, guest, port } = await start("--guest-addr", "any", "-p", `${HOST_ADDRESS}:8080:80`);
    await guest.agent.do("tcpServer", { kind: "whoami", host: STATIC, port: 80 });
    const early = host.agent.do("exchange", { host: HOST_ADDRESS, port: 8080 });
    await guest.agent.do("exchange", { host: HOST_ADDRESS, port });
    expect(await early).toBe(HOST_ADDRESS);
  });
});
