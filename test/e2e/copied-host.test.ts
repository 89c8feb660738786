/** A guest with the network of its host: address, subnet and gateway are the host's, the subnet's other machines are there. */
import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { needs } from "../support/requirements.ts";

const HOST = "198.51.100.1";
const ROUTER = "198.51.100.254";
const NEIGHBOUR = "198.51.100.7";
const ALIAS = "169.254.1.2";

let guest: NamespaceGuest | undefined;
let host: HostNamespace | undefined;

beforeEach((context) =>
  needs(context, { ...NAMESPACE_NEEDS, commands: ["unshare", "nsenter", "ip", "busybox"] }),
);
afterEach(async () => {
  const ended = await guest?.close();
  await host?.close();
  expect(ended?.status).toBe(0);
  guest = host = undefined;
});

/** A host with a default route, and an address of the same subnet that is not the guest's. */
async function start(...options: string[]) {
  host = await HostNamespace.make();
  host.ip("link", "add", "uplink0", "type", "veth", "peer", "name", "uplink1");
  host.ip("link", "set", "uplink1", "up");
  host.ip("link", "set", "uplink0", "up");
  host.ip("address", "add", `${HOST}/24`, "dev", "uplink0");
  host.ip("address", "add", `${NEIGHBOUR}/32`, "dev", "lo");
  host.ip("route", "add", "default", "via", ROUTER);
  guest = await NamespaceGuest.start({ host, options });
  return { host, guest };
}

/** Whether the guest hears an answer to a ping. */
function pings(guest: NamespaceGuest, address: string): boolean {
  const [command, ...enter] = guest.enter;
  return (
    spawnSync(command as string, [...enter, "busybox", "ping", "-c", "1", "-W", "1", address]).status === 0
  );
}

describe("--copy-host", () => {
  it("has the guest where the host is, among its neighbours", async () => {
    const { host, guest } = await start(
      "--copy-host",
      "auto",
      "--host-alias",
      `${ALIAS}=host`,
      "-p",
      `${NEIGHBOUR}:8080:80`,
    );
    expect(guest.ip("-4", "-o", "address", "show", "dev", guest.device)).toContain(`inet ${HOST}/24`);
    expect(guest.ip("route")).toContain(`default via ${ROUTER} dev ${guest.device}`);
    expect(guest.sluice.stderr).not.toContain("hides");
    const port = await host.agent.do<number>("tcpServer", { kind: "whoami", host: NEIGHBOUR });
    expect(await guest.agent.do("exchange", { host: NEIGHBOUR, port })).toBe(NEIGHBOUR);
    const own = await host.agent.do<number>("tcpServer", { kind: "whoami", host: HOST });
    expect(await guest.agent.do("exchange", { host: ALIAS, port: own })).toBe(HOST);
    await guest.agent.do("tcpServer", { kind: "whoami", host: HOST, port: 80 });
    expect(await host.agent.do("exchange", { host: NEIGHBOUR, port: 8080 })).toBe(NEIGHBOUR);
  });

  it("leaves the gateway to itself but for pings and DNS that are ours", async () => {
    const { guest } = await start("--copy-host", "uplink0", "--answer-ping");
    expect(pings(guest, ROUTER)).toBe(true);
    expect((await guest.report()).counters["echo-replies"]).toBe(1);
    expect(pings(guest, NEIGHBOUR)).toBe(false);
    expect((await guest.report()).drops["icmp"]).toBeGreaterThan(0);
  });
});

describe("--outbound-device", () => {
  it("keeps what leaves to one interface", async () => {
    const { host, guest } = await start("--outbound-device", "uplink0");
    const port = await host.agent.do<number>("tcpServer", { kind: "whoami", host: NEIGHBOUR });
    // The address is there by the loopback interface alone.
    const dialled = await guest.agent.do("dial", { host: NEIGHBOUR, port, timeoutMs: 1500 });
    expect(dialled).toMatchObject({ outcome: "timeout" });
  });
});
