/** DHCP on the guest's link: whole frames, what leases do to the neighbour table and the sources, and when it is woken. */
import { describe, expect, it } from "vitest";
import { defaultEngineConfig, type EngineConfig } from "../../../src/engine/config.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { Sources } from "../../../src/engine/network/sources.ts";
import { DhcpService } from "../../../src/engine/service/dhcp-service.ts";
import { type ClientMessage, clientMessage, MAC, macOf, quad } from "../../support/dhcp-client.ts";
import { dhcpConfig, FIRST, SERVER, serve } from "../../support/dhcp-server.ts";
import { ip, udpFrame } from "../../support/frames.ts";
import { wayOut } from "../../support/way-out.ts";

const [DISCOVER, REQUEST, DECLINE, RELEASE] = [1, 3, 4, 7];
const HOUR_MS = 3_600_000;
const ETHERNET_AND_IP = 34;

function setUp(changes: Partial<EngineConfig> = {}) {
  const out = wayOut();
  const neighbours = new Neighbours();
  const sources = new Sources(0, 16);
  const service = new DhcpService({
    ...out,
    config: { ...defaultEngineConfig(), ...changes },
    neighbours,
    sources,
  });
  const packet = new Packet();
  // What earlier frames have left there.
  out.arena.octets.fill(0xee, out.arena.txHeadersAt, out.arena.txHeadersAt + 4096);
  const handle = (message: ClientMessage): string => {
    const octets = clientMessage(message);
    out.arena.octets.set(octets, out.arena.rxWindowAt);
    packet.payloadAt = out.arena.rxWindowAt;
    packet.payloadOctets = octets.length;
    return DROP_REASONS[service.datagram(packet)];
  };
  const macAt = (address: number): number[] => {
    const i = neighbours.find(address);
    return i < 0 ? [] : [neighbours.macHigh[i], neighbours.macLow[i]];
  };
  return { ...out, service, neighbours, sources, handle, macAt };
}

describe("a DHCP reply", () => {
  it("leaves port 67 of the server for port 68 of the client's address and MAC", () => {
    const { handle, sent, counters } = setUp();
    expect(handle({ type: DISCOVER })).toBe("handled");
    const payload = serve().ask({ type: DISCOVER }).sent.reply;
    const frame = udpFrame({
      source: SERVER,
      sourcePort: 67,
      destination: FIRST,
      destinationPort: 68,
      payload,
    });
    frame.set(MAC);
    expect(sent()).toEqual([frame]);
    expect(counters.value("dhcp-replies")).toBe(1);
  });

  it("goes to all where the client cannot take it otherwise", () => {
    const { handle, sent } = setUp();
    expect(handle({ type: DISCOVER, broadcast: true })).toBe("handled");
    const payload = serve().ask({ type: DISCOVER, broadcast: true }).sent.reply;
    expect(sent()).toEqual([
      udpFrame({ source: SERVER, sourcePort: 67, destination: -1, destinationPort: 68, payload }),
    ]);
  });

  it("comes from the configured server, not from the gateway", () => {
    const serverAddress = ip("169.254.75.10");
    const { handle, sent } = setUp({ dhcp: dhcpConfig({ serverAddress }) });
    handle({ type: DISCOVER });
    const [frame] = sent();
    expect(new DataView(frame.buffer).getInt32(26)).toBe(serverAddress);
  });

  it("never has a checksum of zero, which would say that there is none", () => {
    const { handle, sent } = setUp();
    // Two octets of the MAC, which comes back in the reply, make the rest of the sum up to any number.
    const sumOf = (n: number): number => {
      handle({ type: DISCOVER, mac: [2, 0, 0, 0, n >> 8, n & 255], options: { 61: [255, 1] } });
      return new DataView(sent()[0].buffer).getUint16(ETHERNET_AND_IP + 6);
    };
    const missing = sumOf(0);
    expect([sumOf(missing - 1), sumOf(missing), sumOf(missing + 1)]).toEqual([1, 0xffff, 0xfffe]);
  });

  it("is lost, and said to be, where the link or the scratch memory takes no more", () => {
    const full = setUp();
    full.link.full = true;
    while (full.egress.hasRoom()) full.egress.queue.push(14, 0, 0, 0, 0, 0);
    expect(full.handle({ type: DISCOVER })).toBe("link-full");
    expect(full.counters.value("dhcp-replies")).toBe(0);
    const crowded = setUp();
    crowded.link.full = true;
    crowded.egress.queue.push(14, 0, 0, 0, 0, 0);
    while (crowded.scratch.keep(1) !== 0);
    expect(crowded.handle({ type: DISCOVER })).toBe("link-full");
    expect([crowded.egress.queue.length, crowded.counters.value("dhcp-replies")]).toEqual([1, 0]);
  });

  it("is not there for what the server leaves alone, whose reason is told", () => {
    const { handle, sent } = setUp();
    expect(handle({ type: DISCOVER, giaddr: ip("10.0.2.99") })).toBe("dhcp-not-ours");
    expect(handle({ type: REQUEST })).toBe("dhcp-malformed");
    expect(sent()).toEqual([]);
  });
});

describe("DHCP leases on the link", () => {
  it("hold their address for the MAC and make it a guest's, until their end", () => {
    const { handle, service, sources, macAt, sent } = setUp();
    expect([macAt(FIRST), sources.isGuest(FIRST)]).toEqual([[], false]);
    expect(handle({ type: REQUEST, requested: FIRST, serverId: SERVER })).toBe("handled");
    expect([macAt(FIRST), sources.isGuest(FIRST)]).toEqual([[0x5254, 0x00123456], true]);
    expect(service.leases()).toMatchObject([{ address: FIRST, mac: Uint8Array.from(MAC) }]);
    expect(sent()).toHaveLength(1);
    expect(handle({ type: RELEASE, ciaddr: FIRST, serverId: SERVER })).toBe("handled");
    expect([sources.isGuest(FIRST), service.leases()]).toEqual([false, []]);
    expect(sent()).toEqual([]);
  });

  it("cannot be pushed out of the neighbour table, and can once they have ended", () => {
    const { handle, neighbours, macAt } = setUp();
    const flood = (): void => {
      for (let n = 0; n < 2 * neighbours.capacity; n++) neighbours.learn(ip("10.0.3.0") + n, 0x0200, n + 1);
    };
    handle({ type: REQUEST, requested: FIRST, serverId: SERVER });
    flood();
    expect(macAt(FIRST)).toEqual([0x5254, 0x00123456]);
    handle({ type: DECLINE, requested: FIRST, serverId: SERVER });
    flood();
    expect(macAt(FIRST)).toEqual([]);
  });

  it("end in their time, for which it asks to be woken, every hour at least", () => {
    const { handle, service, sources } = setUp();
    expect(service.nextDeadlineMs()).toBe(-1);
    service.poll(10_500);
    handle({ type: REQUEST, requested: FIRST, serverId: SERVER });
    handle({ type: REQUEST, requested: FIRST + 1, mac: macOf(1), options: { 51: quad(3700) } });
    expect(service.leases().map(({ expiresAt }) => expiresAt)).toEqual([10 + 86_400, 10 + 3700]);
    expect(service.nextDeadlineMs()).toBe(HOUR_MS);
    service.poll(10_000 + 3_699_999);
    expect([service.nextDeadlineMs(), service.leases().length]).toEqual([1, 2]);
    service.poll(10_000 + 3_700_000);
    expect([service.nextDeadlineMs(), service.leases().length]).toEqual([HOUR_MS, 1]);
    expect([FIRST, FIRST + 1].map((address) => sources.isGuest(address))).toEqual([true, false]);
    service.poll(10_000 + 86_400_000 + 5);
    expect([service.nextDeadlineMs(), service.leases()]).toEqual([-1, []]);
  });

  it("are due at once where the time to end them has passed", () => {
    const { handle, service } = setUp();
    handle({ type: DISCOVER });
    expect(service.nextDeadlineMs()).toBe(60_000);
    service.poll(59_000);
    expect(service.nextDeadlineMs()).toBe(1000);
    service.poll(60_000);
    expect(service.nextDeadlineMs()).toBe(-1);
  });
});

describe("DHCP on a link", () => {
  it("that has no server answers nobody and waits for nothing", () => {
    const { handle, service, sent } = setUp({ dhcp: null });
    expect(handle({ type: DISCOVER })).toBe("dhcp-not-ours");
    service.preferIpv6Only(true);
    service.poll(HOUR_MS);
    expect([sent(), service.leases(), service.nextDeadlineMs()]).toEqual([[], [], -1]);
  });

  it("asks who can do without IPv4 to, where it is told to", () => {
    const { handle, service, sent } = setUp();
    const hasOption = (): boolean => {
      handle({ type: DISCOVER, options: { 55: [108] } });
      return Buffer.from(sent()[0]).includes(Buffer.of(108, 4, 0, 0, 0, 0));
    };
    expect(hasOption()).toBe(false);
    service.preferIpv6Only(true);
    expect(hasOption()).toBe(true);
  });
});
