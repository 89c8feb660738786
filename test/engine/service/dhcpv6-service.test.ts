import { describe, expect, it } from "vitest";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { Dhcp6Server } from "../../../src/engine/service/dhcpv6.ts";
import { Dhcp6Service } from "../../../src/engine/service/dhcpv6-service.ts";
import { formatIpv6 } from "../../../src/engine/wire/address-text.ts";
import { CLIENT_MAC, type Client6Message, client6Message, SERVER_DUID } from "../../support/dhcp6-client.ts";
import { defaultDhcp6, PREFIX6 } from "../../support/dhcp6-server.ts";
import { frame6, ip6, udp6 } from "../../support/frames6.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";
import { GATEWAY_MAC, wayOut } from "../../support/way-out.ts";

const CLIENT = "fe80::5054:ff:fe12:3456";
const AGENTS = "ff02::1:2";
const [SOLICIT, REQUEST, RELEASE, INFORMATION_REQUEST] = [1, 3, 8, 11];
const ias = [{ addresses: [`${PREFIX6}15`] }];

function setUp() {
  const out = wayOut();
  const neighbours = new Neighbours6();
  const log: string[] = [];
  const service = new Dhcp6Service({
    ...out,
    config: defaultDhcp6,
    neighbours,
    listener: {
      lease: (words, index, nowMs) => log.push(`leased ${formatIpv6(words, index)} at ${nowMs}`),
      release: (words, index) => log.push(`released ${formatIpv6(words, index)}`),
    },
    routerAddress: Int32Array.from(ip6("fe80::2")),
  });
  const packet = new Packet();
  // What earlier frames have left there.
  out.arena.octets.fill(0xee, out.arena.txHeadersAt, out.arena.txHeadersAt + 4096);
  const handle = (message: Client6Message, { to = AGENTS, nowMs = 0, macLow = 0x00123456 } = {}): string => {
    const octets = client6Message(message);
    out.arena.octets.set(octets, out.arena.rxWindowAt);
    packet.pair.set([...ip6(CLIENT), ...ip6(to)]);
    packet.payloadAt = out.arena.rxWindowAt;
    packet.payloadOctets = octets.length;
    packet.sourceHigh = 0x5254;
    packet.sourceLow = macLow;
    packet.nowMs = nowMs;
    return DROP_REASONS[service.datagram(packet)];
  };
  const macOf = (address: string): number => {
    const i = neighbours.find(Int32Array.from(ip6(address)), 0);
    return i < 0 ? -1 : neighbours.macLow[i];
  };
  return { ...out, service, handle, log, macOf };
}

describe("DHCPv6 on the link", () => {
  it("N49 answers from fe80::2 port 547 to where the message came from, port 546", (context) => {
    needs(context, { commands: ["tshark"] });
    const { handle, sent, counters } = setUp();
    expect(handle({ type: SOLICIT, ias, request: [23] })).toBe("handled");
    expect(handle({ type: REQUEST, server: SERVER_DUID, ias, request: [23] })).toBe("handled");
    const fields = ["eth.dst", "ipv6.src", "ipv6.dst", "udp.srcport", "udp.dstport", "dhcpv6.msgtype"];
    const readings = readWithTshark(sent(), fields);
    expect(readings).toEqual(
      ["2", "7"].map((type) => ({
        fields: {
          "eth.dst": ["52:54:00:12:34:56"],
          "ipv6.src": ["fe80::2"],
          "ipv6.dst": [CLIENT],
          "udp.srcport": ["547"],
          "udp.dstport": ["546"],
          "dhcpv6.msgtype": [type],
        },
        complaints: [],
      })),
    );
    expect(counters.value("dhcp6-replies")).toBe(2);
  });

  it("N49 are whole frames, to the MAC and the address that asked", () => {
    const { handle, sent } = setUp();
    const server = new Dhcp6Server(defaultDhcp6);
    const message: Client6Message = { type: SOLICIT, ias, request: [23] };
    const outcome = server.handle(client6Message(message), Uint8Array.from(CLIENT_MAC), true, 0);
    if (!("reply" in outcome)) throw new Error(outcome.drop);
    expect(handle(message)).toBe("handled");
    const packet = udp6({ source: "fe80::2", destination: CLIENT }, 547, 546, [...outcome.reply]);
    expect(sent()).toEqual([frame6(packet, CLIENT_MAC, [...GATEWAY_MAC])]);
  });

  it("N49 never have a checksum of zero", () => {
    const { handle, sent } = setUp();
    // Two octets of the DUID, which comes back in the reply, make the rest of the sum up to any number.
    const sumOf = (n: number): number => {
      const duid = [0, 3, 0, 1, 2, 0, 0, 0, n >> 8, n & 255];
      handle({ type: INFORMATION_REQUEST, duid, request: [23] });
      return new DataView(sent()[0].buffer).getUint16(14 + 40 + 6);
    };
    const missing = sumOf(0);
    expect([sumOf(missing - 1), sumOf(missing), sumOf(missing + 1)]).toEqual([1, 0xffff, 0xfffe]);
  });

  it("tells of leases, which hold their address for the MAC, and of their end", () => {
    const { handle, log, macOf, service, sent } = setUp();
    handle({ type: REQUEST, server: SERVER_DUID, ias }, { nowMs: 5 });
    expect(log).toEqual([`leased ${PREFIX6}15 at 5`]);
    expect(macOf(`${PREFIX6}15`)).toBe(0x00123456);
    expect(service.leases()).toMatchObject([{ mac: Uint8Array.from(CLIENT_MAC) }]);
    handle({ type: RELEASE, server: SERVER_DUID, ias });
    expect(log[1]).toBe(`released ${PREFIX6}15`);
    expect(sent()).toHaveLength(2);
  });

  it("ends leases in their time, and asks to be woken every hour at least", () => {
    const { handle, log, service } = setUp();
    expect(service.nextDeadlineMs()).toBe(-1);
    service.poll(10_999);
    handle({ type: REQUEST, server: SERVER_DUID, ias });
    expect(service.nextDeadlineMs()).toBe(3_600_000);
    expect(service.leases()[0].expiresAt).toBe(86_410);
    service.poll(10_000 + 86_399_999);
    expect([service.nextDeadlineMs(), log.length]).toEqual([1, 1]);
    service.poll(10_000 + 86_400_000);
    expect([service.nextDeadlineMs(), log[1]]).toEqual([-1, `released ${PREFIX6}15`]);
  });

  it("ends what has run out alone, and knows each client by its own MAC", () => {
    const { handle, service } = setUp();
    handle({ type: REQUEST, server: SERVER_DUID, ias });
    handle({ type: REQUEST, server: SERVER_DUID, ias: [{}], duid: [0, 2, 0, 0, 0, 9, 1] }, { macLow: 9 });
    const macs = () => service.leases().map(({ mac }) => [...mac]);
    const both = [CLIENT_MAC, [0x52, 0x54, 0, 0, 0, 9]];
    expect(macs()).toEqual(both);
    handle({ type: SOLICIT, ias: [{}], duid: [0, 2, 0, 0, 0, 9, 2] }, { macLow: 10 });
    expect(service.nextDeadlineMs()).toBe(60_000);
    service.poll(60_000);
    expect([service.nextDeadlineMs(), macs()]).toEqual([3_600_000, both]);
  });

  it("N48 does not answer what is sent to its own address", () => {
    const { handle, sent } = setUp();
    expect(handle({ type: SOLICIT, ias }, { to: "fe80::2" })).toBe("dhcp6-not-ours");
    for (const to of ["ff02::1", "ff05::1:2", "ff02:0:0:1::1:2", "ff02::1:0:1:2"])
      expect(handle({ type: SOLICIT, ias }, { to }), to).toBe("dhcp6-not-ours");
    expect(sent()).toEqual([]);
  });

  it("says so when the link takes no more", () => {
    const { handle, link, egress, counters } = setUp();
    link.full = true;
    while (egress.hasRoom()) egress.queue.push(14, 0, 0, 0, 0, 0);
    expect(handle({ type: SOLICIT, ias })).toBe("link-full");
    expect(counters.value("dhcp6-replies")).toBe(0);
    const crowded = setUp();
    crowded.link.full = true;
    crowded.egress.queue.push(14, 0, 0, 0, 0, 0);
    while (crowded.scratch.keep(1) !== 0);
    expect(crowded.handle({ type: SOLICIT, ias })).toBe("link-full");
    expect([crowded.egress.queue.length, crowded.counters.value("dhcp6-replies")]).toEqual([1, 0]);
  });
});
