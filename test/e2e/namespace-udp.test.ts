/** UDP between a guest and a host with its own programs and addresses: which ports and addresses of the host are used. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { needs } from "../support/requirements.ts";

const LOOPBACK = "127.0.0.1";
const HOST_ADDRESS = "198.51.100.1";
const SECOND_ADDRESS = "198.51.100.22";
/** What a guest may bind that a program of the host wants: mDNS, and WireGuard in the ephemeral range. */
const WANTED = [5353, 51_820];

let guest: NamespaceGuest | undefined;
let host: HostNamespace | undefined;

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
afterEach(async () => {
  const ended = await guest?.close();
  await host?.close();
  expect(ended?.status).toBe(0);
  guest = host = undefined;
});

/** A host with addresses besides its loopback's, and a guest on it. */
async function start(...options: string[]): Promise<{ host: HostNamespace; guest: NamespaceGuest }> {
  host = await HostNamespace.make();
  for (const address of [HOST_ADDRESS, SECOND_ADDRESS]) addAddress(host, address);
  guest = await NamespaceGuest.start({ host, options });
  return { host, guest };
}

function addAddress(to: HostNamespace, address: string): void {
  to.ip("address", "add", `${address}/32`, "dev", "lo");
}

describe("a guest's UDP socket", () => {
  /** The guest talks from each wanted port; what the host's own programs then get. */
  async function hostPrograms(...options: string[]): Promise<string[]> {
    const { host, guest } = await start(...options);
    const port = await host.agent.do("udpServer", { kind: "echo", host: HOST_ADDRESS });
    for (const bindPort of WANTED) {
      const ask = { host: HOST_ADDRESS, port, message: "hello", bindPort };
      expect(await guest.agent.do("udpAsk", ask)).toEqual({ text: "hello", from: `${HOST_ADDRESS}:${port}` });
    }
    return Promise.all(
      WANTED.map((wanted) =>
        host.agent.do("udpServer", { kind: "echo", host: "0.0.0.0", port: wanted }).then(
          () => "bound",
          (error: Error) => error.message,
        ),
      ),
    );
  }

  it("takes no port that a program of the host wants", async () => {
    expect(await hostPrograms()).toEqual(["bound", "bound"]);
  });

  it("takes its own port of the host with --udp-ports preserve", async () => {
    expect(await hostPrograms("--udp-ports", "preserve")).toEqual(["EADDRINUSE", "EADDRINUSE"]);
  });
});

describe("a UDP forward on all addresses", () => {
  it("answers from the address it was asked on, also one that the host got later", async () => {
    const { host, guest } = await start("-p", "udp:0.0.0.0:53:5353");
    await guest.agent.do("udpServer", { kind: "echo", host: "0.0.0.0", port: 5353 });
    // From here the kernel would choose 127.0.0.1, whatever was asked.
    const ask = { port: 53, message: "hello", bind: LOOPBACK, bindPort: 4000 };
    const asked = async (address: string) => host.agent.do("udpAsk", { host: address, ...ask });
    for (const address of [HOST_ADDRESS, SECOND_ADDRESS, LOOPBACK, HOST_ADDRESS]) {
      expect(await asked(address)).toEqual({ text: "hello", from: `${address}:53` });
    }
    addAddress(host, "198.51.100.33");
    host.ip("address", "del", `${SECOND_ADDRESS}/32`, "dev", "lo");
    for (const address of ["198.51.100.33", HOST_ADDRESS]) {
      expect(await asked(address)).toEqual({ text: "hello", from: `${address}:53` });
    }
    // One client at four addresses: four mappings.
    expect((await guest.report()).flows.match(/^ {2}udp/gm)).toHaveLength(4);
  });
});

describe("a query to a group", () => {
  const GROUPS = [
    { group: "239.255.255.250", port: 1900, ttl: 2 },
    { group: "224.0.0.251", port: 5353, ttl: 255 },
  ];

  /** What the guest hears of each group's member on the host's own link. */
  async function discover(...options: string[]): Promise<unknown[]> {
    const { host, guest } = await start(...options);
    host.ip("link", "add", "lan", "type", "veth", "peer", "name", "far");
    host.ip("address", "add", "192.0.2.1/24", "dev", "lan");
    for (const device of ["lan", "far"]) host.ip("link", "set", device, "up");
    host.ip("route", "add", "default", "dev", "lan");
    const heard: unknown[] = [];
    for (const { group, port, ttl } of GROUPS) {
      await host.agent.do("udpServer", { kind: "echo", host: "0.0.0.0", port, group, on: "192.0.2.1" });
      const ask = {
        host: group,
        port,
        ttl,
        message: "who is there?",
        bindPort: port,
        tries: 2,
        timeoutMs: 1000,
      };
      heard.push(await guest.agent.do("udpAsk", ask));
    }
    return heard;
  }

  it("leaves by the host's default interface with --allow-multicast, and the answer comes from the answerer", async () => {
    const heard = await discover("--allow-multicast");
    expect(heard).toEqual(GROUPS.map(({ port }) => ({ text: "who is there?", from: `192.0.2.1:${port}` })));
  });

  it("goes nowhere without", async () => {
    expect((await discover()).map((answer) => answer ?? null)).toEqual([null, null]);
    expect((await guest?.report())?.drops["destination-refused"]).toBeGreaterThan(0);
  });
});
