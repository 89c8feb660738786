/** What a guest's kernel makes of --refuse-with: the errors that its programs get. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { needs } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const GATEWAY6 = "fd71:1ae0:d44d:2::2";
/** Nobody listens; without --allow-host-loopback it would make no difference. */
const PORT = 12_121;

let guest: NamespaceGuest | undefined;

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
afterEach(async () => {
  const ended = await guest?.close();
  guest = undefined;
  expect(ended?.status).toBe(0);
});

/** What a connection and datagrams to both gateways come to. */
async function outcomes(...options: string[]) {
  guest = await NamespaceGuest.start({ options: ["--ipv6", "on", ...options] });
  const { agent } = guest;
  const found: string[] = [];
  for (const host of [GATEWAY, GATEWAY6]) {
    const { outcome } = await agent.do<{ outcome: string }>("dial", { host, port: PORT });
    found.push(outcome, await agent.do<string>("udpFailure", { host, port: PORT }));
  }
  const { counters, drops } = await guest.report();
  return { found, told: counters["icmp-unreachable"] ?? 0, dropped: drops["destination-no-service"] ?? 0 };
}

describe("a connection to where the guest may not go, and datagrams, over both families", () => {
  it("are reset, and silent, by default", async () => {
    const { found, told, dropped } = await outcomes();
    expect(found).toEqual(["ECONNREFUSED", "silent", "ECONNREFUSED", "silent"]);
    expect(told).toBe(0);
    expect(dropped).toBeGreaterThan(2);
  });

  it("find no network with unreachable, which Linux tells TCP alone", async () => {
    const { found, told, dropped } = await outcomes("--refuse-with", "unreachable");
    expect(found).toEqual(["ENETUNREACH", "silent", "ENETUNREACH", "silent"]);
    expect(told).toBe(dropped);
  });

  it("hear of a filter with prohibited", async () => {
    const { found, told, dropped } = await outcomes("--refuse-with", "prohibited");
    expect(found).toEqual(["EHOSTUNREACH", "EHOSTUNREACH", "EACCES", "EACCES"]);
    expect(told).toBe(dropped);
  });
});
