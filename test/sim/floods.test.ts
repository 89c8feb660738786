/**
 * A guest that floods: every kind of state the engine keeps for it has a bound and a counter, it is all given back,
 * and a connection beside the flood hardly feels it (in virtual time: what it waits for others' turns and frames).
 */
import { describe, expect, it } from "vitest";
import { GUESTS_MAX, HALF_OPEN_MAX, REASSEMBLY_QUEUES_MAX, UDP_MAPPINGS_MAX } from "../../src/limits.ts";
import { FLOOD_IP, FloodRig, GUEST_MAC, StubbornPeer } from "./flood-rig.ts";
import {
  ACK,
  buildEthernet,
  buildIpv4,
  buildUdp,
  ETHERTYPE_IPV4,
  PROTOCOL_UDP,
  SYN,
} from "./guest-stack/codec.ts";
import { TcpSocket } from "./host-network/tcp-socket.ts";
import { Pattern } from "./world/pattern.ts";

/** A connection that behaves waits no longer than this for its echo, milliseconds of virtual time. */
const ECHO_MAX_MS = 60;
/** What a flood may add to the process, octets: the arena is as large as it ever gets. */
const RSS_MAX = 400_000_000;

/** `yiaddr` of a DHCP reply, from the frame's start: 14 Ethernet, 20 IP, 8 UDP, 16. */
const YOUR_ADDRESS_AT = 58;

/** Runs `flood` beside the echoing connection and checks what it did to it. */
function beside(rig: FloodRig, flood: () => void, echoMaxMs = ECHO_MAX_MS): void {
  const rssBefore = process.memoryUsage().rss;
  rig.startEcho();
  rig.run(100);
  const before = rig.echoMs.length;
  expect(before).toBeGreaterThan(10);
  flood();
  rig.run(2000);
  expect(rig.echoMs.length).toBeGreaterThan(before + 300);
  expect(rig.echoesSent - rig.echoMs.length).toBeLessThan(3);
  expect(rig.echoMs.reduce((most, ms) => Math.max(most, ms), 0)).toBeLessThan(echoMaxMs);
  expect(process.memoryUsage().rss - rssBefore).toBeLessThan(RSS_MAX);
  rig.stopEcho();
}

describe("floods", () => {
  it("of half-open connections: bounded, counted, gone after four minutes", () => {
    const rig = new FloodRig();
    const pattern = new Pattern(1);
    const sockets: TcpSocket[] = [];
    const hang = (handle: number, token: number): TcpSocket => {
      const settings = { sendBuffer: 1000, receiveBuffer: 1000, delayMs: 0, hiccups: 0 };
      const peer = new StubbornPeer(0);
      const { world, host } = rig;
      const socket = new TcpSocket(
        world,
        world.random,
        handle,
        token,
        "hangs",
        settings,
        pattern,
        pattern,
        peer,
        host.wake,
      );
      sockets.push(socket);
      return socket;
    };
    rig.host.serveTcp(FLOOD_IP, 80, hang);
    beside(rig, () => {
      for (let port = 1; port <= 12_000; port++) {
        rig.segment(FLOOD_IP, { sourcePort: port, flags: SYN, options: { mss: 1460 } });
        if (port % 200 === 0) rig.run(1);
      }
      rig.run(500);
      expect(rig.core.usage().tcp).toBe(HALF_OPEN_MAX + 1);
      expect(rig.core.counters.value("tcp-half-open-evicted")).toBe(12_000 - HALF_OPEN_MAX);
    });
    rig.run(260_000);
    expect(rig.core.usage().tcp).toBe(1);
    expect(sockets.every((socket) => socket.closed)).toBe(true);
  });

  it.each([
    [1000, ECHO_MAX_MS],
    // More than there is memory for: those that stay silent are given up for the others.
    [5000, 10_000],
  ])(
    "of %i connections whose guest never reads: memory bounded, the others served",
    (connections, echoMaxMs) => {
      const rig = new FloodRig();
      const pattern = new Pattern(2);
      rig.host.serveTcp(FLOOD_IP, 80, (handle, token) =>
        rig.socket(handle, token, new StubbornPeer(200_000), pattern, pattern),
      );
      rig.onFlooded = (source, payload) => {
        const segment = rig.parse(source, payload);
        if ((segment.flags & SYN) === 0) return;
        rig.segment(FLOOD_IP, {
          sourcePort: segment.destinationPort,
          flags: ACK,
          sequence: 1001,
          acknowledgment: (segment.sequence + 1) >>> 0,
          // It offers all it can and then acknowledges nothing.
          window: 65_535,
        });
      };
      const flood = (): void => {
        for (let port = 1; port <= connections; port++) {
          rig.segment(FLOOD_IP, { sourcePort: port, flags: SYN, options: { mss: 1460 } });
          if (port % 20 === 0) rig.run(5);
        }
        rig.run(echoMaxMs);
      };
      beside(rig, flood, echoMaxMs);
      rig.run(600_000);
      expect(rig.core.usage().tcp).toBe(1);
      expect(rig.core.usage().smallChunks + rig.core.usage().largeChunks).toBeLessThan(3);
    },
  );

  it("of octets to hosts that never read: backlogs bounded, the others served", () => {
    const rig = new FloodRig();
    const pattern = new Pattern(3);
    rig.host.serveTcp(FLOOD_IP, 80, (handle, token) =>
      rig.socket(handle, token, new StubbornPeer(0), pattern, pattern),
    );
    const sent = new Map<number, number>();
    rig.onFlooded = (source, payload) => {
      const { flags, destinationPort, sequence, acknowledgment, window } = rig.parse(source, payload);
      const edge = acknowledgment - 1001 + window;
      // It sends all that the window allows, whatever it was told of scaling: none was agreed.
      let position = sent.get(destinationPort) ?? 0;
      while (position + 1460 <= edge && flags & ACK) {
        rig.segment(FLOOD_IP, {
          sourcePort: destinationPort,
          flags: ACK,
          sequence: 1001 + position,
          acknowledgment: (sequence + (flags & SYN ? 1 : 0)) >>> 0,
          payload: pattern.slice(position, 1460),
        });
        position += 1460;
      }
      sent.set(destinationPort, position);
    };
    beside(rig, () => {
      for (let port = 1; port <= 1000; port++) {
        rig.segment(FLOOD_IP, { sourcePort: port, flags: SYN, options: { mss: 1460 } });
        if (port % 5 === 0) rig.run(8);
      }
    });
    const octets = [...sent.values()].reduce((sum, value) => sum + value, 0);
    expect(octets).toBeGreaterThan(30_000_000);
  });

  it("of fragments never finished: bounded, counted, gone after half a minute", () => {
    const rig = new FloodRig();
    beside(rig, () => {
      for (let id = 1; id <= 20_000; id++) {
        rig.packet(FLOOD_IP, PROTOCOL_UDP, Buffer.alloc(64), { id, more: true });
        if (id % 500 === 0) rig.run(1);
      }
      rig.run(10);
      expect(rig.core.usage().reassembly).toBeLessThanOrEqual(REASSEMBLY_QUEUES_MAX);
      const { drops } = rig.core.counters.snapshot();
      const counted = Object.entries(drops).filter(([name]) => name.startsWith("ipv4-fragment"));
      expect(counted.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThan(19_000);
    });
    rig.run(60_000);
    expect(rig.core.usage().reassembly).toBe(0);
  });

  it("of datagrams to a hundred thousand ports from as many: mappings bounded, counted, gone", () => {
    const rig = new FloodRig();
    beside(rig, () => {
      for (let n = 0; n < 100_000; n++) {
        const datagram = {
          sourcePort: 1 + (n % 65_535),
          destinationPort: 1 + (n % 60_000),
          payload: Buffer.alloc(4),
        };
        rig.packet(FLOOD_IP, PROTOCOL_UDP, buildUdp(datagram, 0x0a00020f, FLOOD_IP, "none"));
        if (n % 500 === 0) rig.run(1);
      }
      rig.run(10);
      expect(rig.core.usage().udp).toBe(UDP_MAPPINGS_MAX);
      expect(rig.core.counters.value("udp-mappings-evicted")).toBeGreaterThan(10_000);
    });
    rig.run(330_000);
    expect(rig.core.usage().udp).toBe(0);
    expect(rig.host.openHandles).toBe(1);
  });

  it("of DHCP requests from twenty thousand MACs: leases bounded, counted, the guest served", () => {
    const rig = new FloodRig();
    const discover = (n: number): Buffer => {
      const message = Buffer.alloc(300);
      message.set([1, 1, 6, 0], 0);
      message.writeUInt32BE(n, 4);
      message.set([2, 0xfe], 28);
      message.writeUInt32BE(n, 30);
      message.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
      return message;
    };
    const offered = new Set<number>();
    rig.onInvented = (octets) => {
      offered.add(octets.readUInt32BE(YOUR_ADDRESS_AT));
    };
    beside(rig, () => {
      for (let n = 1; n <= 20_000; n++) {
        const mac = Buffer.from([2, 0xfe, 0, 0, 0, 0]);
        mac.writeUInt32BE(n, 2);
        const udp = buildUdp({ sourcePort: 68, destinationPort: 67, payload: discover(n) }, 0, -1, "full");
        const packet = buildIpv4({
          source: 0,
          destination: -1,
          protocol: PROTOCOL_UDP,
          ttl: 64,
          id: 0,
          dontFragment: false,
          moreFragments: false,
          fragmentOffset: 0,
          payload: udp,
        });
        rig.frame(buildEthernet(Buffer.alloc(6, 255), mac, ETHERTYPE_IPV4, packet));
        if (n % 100 === 0) rig.run(1);
      }
      rig.run(10);
      // An offer nobody takes up is offered to the next; the range is all there ever is, the guest's own apart.
      expect(offered.size).toBeGreaterThan(1);
      expect(offered.size).toBeLessThanOrEqual(GUESTS_MAX);
      expect(rig.core.counters.value("dhcp-replies")).toBeLessThanOrEqual(20_000);
    });
  });

  it("of garbage: every frame counted once", () => {
    const rig = new FloodRig();
    const { random } = rig.world;
    const gateway = Buffer.from(rig.core.config.gatewayMac);
    beside(rig, () => {
      for (let n = 0; n < 20_000; n++) {
        const octets = Buffer.alloc(random.between(0, 200));
        for (let i = 0; i < octets.length; i++) octets[i] = random.int32();
        rig.frame(random.chance(0.2) ? octets : buildEthernet(gateway, GUEST_MAC, ETHERTYPE_IPV4, octets));
        if (n % 500 === 0) rig.run(1);
      }
      rig.run(10);
      const { drops } = rig.core.counters.snapshot();
      expect(Object.values(drops).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(20_000);
    });
  });
});
