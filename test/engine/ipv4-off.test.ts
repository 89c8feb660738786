/** A guest that has IPv6 alone: `--ipv4 off`. */
import { describe, expect, it } from "vitest";
import { defaultEngineConfig, defaultIpv6Config, LOOPBACK } from "../../src/engine/config.ts";
import { GATEWAY, GUEST, GUEST_MAC, tcp, udp } from "../hostile/guest-packets.ts";
import { buildArp, buildEthernet, ETHERTYPE_ARP, SYN } from "../sim/guest-stack/codec.ts";
import { clientMessage } from "../support/dhcp-client.ts";
import { FrameExchange } from "../support/frame-exchange.ts";
import { frame6, GUEST6, icmp6, ip6, macOption, neighbourMessage, udp6 } from "../support/frames6.ts";
import { openForward } from "../support/open-forward.ts";

const GATEWAY_MAC = [0x52, 0x55, 10, 0, 2, 2];
const FORWARD = {
  protocol: "udp",
  hostAddress: LOOPBACK,
  hostPort: 5353,
  guestAddress: 0,
  guestPort: 53,
} as const;
const ETHERTYPE_IPV6 = 0x86dd;

function setUp() {
  const { gatewayMac } = defaultEngineConfig();
  const forwards = [{ ...FORWARD, guestAddress6: null }];
  const exchange = new FrameExchange({ ipv4: false, ipv6: defaultIpv6Config(gatewayMac), forwards });
  exchange.settle();
  return exchange;
}

describe("a guest without IPv4", () => {
  it("N69 gets no answer by ARP or DHCP, and nothing of its IPv4 leaves", () => {
    const exchange = setUp();
    const request = { operation: 1, senderMac: GUEST_MAC, senderIp: GUEST, targetMac: Buffer.alloc(6) };
    const arp = buildArp({ ...request, targetIp: GATEWAY });
    const frames = [
      buildEthernet(Buffer.alloc(6, 0xff), GUEST_MAC, ETHERTYPE_ARP, arp),
      udp({
        from: 0,
        to: -1,
        sourcePort: 68,
        destinationPort: 67,
        payload: clientMessage({ type: 1, mac: [...GUEST_MAC] }),
      }),
      udp({}),
      udp({ to: defaultEngineConfig().dns, destinationPort: 53 }),
      tcp({ flags: SYN, sequence: 1 }),
    ];
    for (const frame of frames) expect(exchange.exchange(frame)).toEqual([]);
    expect(exchange.core.counters.snapshot().drops).toEqual({ "ipv4-off": frames.length });
    expect([exchange.network.sockets, exchange.network.datagrams]).toEqual([[], []]);
  });

  it("N69 has IPv6 as ever, forwards included, and is asked for nothing over ARP", () => {
    const exchange = setUp();
    exchange.exchange(frame6(udp6({}, 5000, 6000, [1]), GATEWAY_MAC, [...GUEST_MAC]));
    expect(exchange.network.datagrams).toMatchObject([{ words: ip6("2001:db8::1"), port: 6000 }]);
    const here = neighbourMessage(136, 0x20, GUEST6, macOption(2, [...GUEST_MAC]));
    exchange.exchange(frame6(icmp6({ destination: "ff02::1", payload: here }), GATEWAY_MAC, [...GUEST_MAC]));
    const handle = exchange.network.udpForward(0);
    openForward(exchange.core, handle);
    exchange.network.arrive(handle, LOOPBACK, 1234, Uint8Array.of(9));
    const out = exchange.pass(3000);
    const types = out.map((frame) => (frame[12] << 8) | frame[13]);
    expect(types).not.toContain(0x0806);
    expect(types).not.toContain(0x0800);
    const client = out.find((frame) => frame[20] === 17);
    expect([client?.at(-1), ((client?.[12] ?? 0) << 8) | (client?.[13] ?? 0)]).toEqual([9, ETHERTYPE_IPV6]);
    expect(exchange.core.flows(exchange.now).map(({ guest }) => guest)).toContain(`[${GUEST6}]:53`);
  });
});
