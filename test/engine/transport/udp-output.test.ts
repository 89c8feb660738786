/** Datagrams to the guest, octet for octet: one frame, a super-frame where the link cuts it, or IP fragments. */
import { describe, expect, it } from "vitest";
import type { FrameLink } from "../../../src/engine/boundary.ts";
import { TX_HEADER_SLOT_OCTETS, TX_QUEUE_MAX } from "../../../src/engine/limits.ts";
import { Egress } from "../../../src/engine/link/egress.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";
import { Arena } from "../../../src/engine/memory/arena.ts";
import type { TransmitQueue } from "../../../src/engine/memory/transmit-queue.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS, type DropReasonName } from "../../../src/engine/metrics/drop-reasons.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import { UdpOutput } from "../../../src/engine/transport/udp/output.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import { buildEthernet, buildIpv4, buildIpv6, buildUdp } from "../../sim/guest-stack/codec.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const GUEST = ip("10.0.2.15");
const REMOTE = ip("192.0.2.1");
const GUEST6 = ip6("2001:db8:1:2:3:4:5:6");
const REMOTE6 = ip6("2001:db8:a:b:c:d:e:f");
const GUEST_MAC = Buffer.from([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const GATEWAY_MAC = Buffer.from([0x52, 0x55, 10, 0, 2, 2]);
const MTU = 1500;
const LABEL = 0xabcde;
const [PARTIAL, SEGMENTS, IPV6] = [1, 4, 8];
const arena = new Arena();
const PAYLOAD_AT = arena.smallChunksAt;

interface Sent {
  /** In hexadecimal digits. */
  readonly frame: string;
  readonly flags: number;
  readonly segmentSize: number;
  readonly transportOffset: number;
}

interface Offloads {
  readonly tcp?: boolean;
  readonly udp?: boolean;
}

class Rig {
  readonly sent: Sent[] = [];
  readonly counters = new Counters();
  readonly egress: Egress;
  readonly output: UdpOutput;
  /** Frames the link still takes. */
  room = Number.POSITIVE_INFINITY;

  constructor({ tcp = false, udp = false }: Offloads = {}, secrets = [1, 2], isKnown = true) {
    const neighbours = new Neighbours();
    const neighbours6 = new Neighbours6();
    if (isKnown) neighbours.learn(GUEST, 0x5254, 0x00123456);
    if (isKnown) neighbours6.learn(Int32Array.from(GUEST6), 0, 0x5254, 0x00123456);
    this.egress = new Egress(arena, neighbours, GATEWAY_MAC, this.counters);
    this.egress.neighbours6 = neighbours6;
    this.egress.attach({
      name: "rig",
      mtu: MTU,
      queueFrames: 0,
      tcpOffload: tcp,
      udpOffload: udp,
      receive: () => 0,
      transmit: (queue: TransmitQueue) => this.take(queue),
      close: () => {},
    } as FrameLink);
    this.output = new UdpOutput({
      ...{ arena, egress: this.egress, counters: this.counters, mtu: MTU },
      checksum: new JavaScriptChecksum(arena.view),
      secret0: secrets[0] ?? 0,
      secret1: secrets[1] ?? 0,
    });
  }

  private take(queue: TransmitQueue): number {
    const count = Math.min(queue.length, this.room);
    this.room -= count;
    for (let n = 0; n < count; n++) {
      const i = (queue.first + n) & (queue.capacity - 1);
      const part = (at = 0, length = 0): Uint8Array => arena.octets.slice(at, at + length);
      this.sent.push({
        frame: Buffer.concat([
          part(queue.headerAt[i], queue.headerLength[i]),
          part(queue.payloadAt[i], queue.payloadLength[i]),
        ]).toString("hex"),
        flags: queue.flags[i] ?? -1,
        segmentSize: queue.segmentSize[i] ?? -1,
        transportOffset: queue.transportOffset[i] ?? -1,
      });
    }
    queue.taken(count);
    return count;
  }

  /** What becomes of these octets, and the frames they leave in. */
  send(
    payload: Uint8Array,
    segment = 0,
    ends = ends4(),
  ): { verdict: DropReasonName | undefined; sent: Sent[] } {
    arena.octets.set(payload, PAYLOAD_AT);
    const result = this.output.send(ends, PAYLOAD_AT, payload.length, segment);
    this.egress.flush();
    return { verdict: DROP_REASONS[result], sent: this.sent.splice(0) };
  }

  counted(): number[] {
    const names = ["udp-datagrams-to-guest", "udp-octets-to-guest", "fragments-to-guest"] as const;
    return names.map((name) => this.counters.value(name));
  }
}

function ends4(): Path {
  const path = new Path();
  path.guestAddress = GUEST;
  path.guestPort = 40_001;
  path.remoteAddress = REMOTE;
  path.remotePort = 50_002;
  path.flowLabel = LABEL;
  return path;
}

function ends6(remote = REMOTE6): Path {
  const path = new Path(Int32Array.of(7, 7, 7, 7, ...GUEST6, ...remote));
  path.pairAt = 4;
  path.ipOctets = 40;
  path.guestPort = 40_001;
  path.remotePort = 50_002;
  path.flowLabel = LABEL;
  return path;
}

const filled = (length: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));

const udp4 = (payload: Uint8Array, checksum: "full" | "partial" = "full", ends = ends4()): Buffer =>
  buildUdp(
    { sourcePort: ends.remotePort, destinationPort: ends.guestPort, payload: Buffer.from(payload) },
    ...([REMOTE, GUEST, checksum] as const),
  );
const udp6 = (payload: Uint8Array, checksum: "full" | "partial" = "full"): Buffer =>
  buildUdp(
    { sourcePort: 50_002, destinationPort: 40_001, payload: Buffer.from(payload) },
    ...([REMOTE6, GUEST6, checksum] as const),
  );

/** A frame with the part of an IP payload from `from` on. */
function frame4(id: number, payload: Buffer, fragment?: { from: number; more: boolean }): string {
  const packet = buildIpv4({
    ...{ source: REMOTE, destination: GUEST, ttl: 64, id, protocol: 17, payload },
    dontFragment: fragment === undefined,
    moreFragments: fragment?.more ?? false,
    fragmentOffset: fragment?.from ?? 0,
  });
  return buildEthernet(GUEST_MAC, GATEWAY_MAC, 0x0800, packet).toString("hex");
}
function frame6(payload: Buffer, protocol = 17): string {
  const packet = buildIpv6({ source: REMOTE6, destination: GUEST6, protocol, hopLimit: 64, payload });
  packet.writeUInt32BE(0x60000000 | LABEL, 0);
  return buildEthernet(GUEST_MAC, GATEWAY_MAC, 0x86dd, packet).toString("hex");
}

const octetsOf = (sent: Sent | undefined): Buffer => Buffer.from(sent?.frame ?? "", "hex");
const plain = (frame: string, transportOffset: number): Sent => ({
  ...{ frame, flags: 0, segmentSize: 0, transportOffset },
});

describe("a datagram that fits the MTU", () => {
  it.each([0, 1, 2, 999, 1472])("of %i octets leaves in one frame, complete over IPv4", (octets) => {
    const rig = new Rig();
    const payload = filled(octets);
    expect(rig.send(payload)).toEqual({ verdict: "handled", sent: [plain(frame4(1, udp4(payload)), 34)] });
    expect(rig.counted()).toEqual([1, octets, 0]);
    // The next one has another identification.
    expect(rig.send(payload).sent).toEqual([plain(frame4(2, udp4(payload)), 34)]);
  });

  it.each([0, 1, 2, 999, 1452])("of %i octets leaves in one frame, complete over IPv6", (octets) => {
    const rig = new Rig();
    const payload = filled(octets);
    const { verdict, sent } = rig.send(payload, 0, ends6());
    expect({ verdict, sent }).toEqual({ verdict: "handled", sent: [plain(frame6(udp6(payload)), 54)] });
    expect(rig.counted()).toEqual([1, octets, 0]);
  });

  it("leaves its checksum to a link that completes it", () => {
    const rig = new Rig({ tcp: true });
    const payload = filled(100);
    expect(rig.send(payload).sent).toEqual([
      { frame: frame4(1, udp4(payload, "partial")), flags: PARTIAL, segmentSize: 0, transportOffset: 34 },
    ]);
    expect(rig.send(payload, 0, ends6()).sent).toEqual([
      { frame: frame6(udp6(payload, "partial")), flags: PARTIAL | IPV6, segmentSize: 0, transportOffset: 54 },
    ]);
  });

  it("has a checksum of all ones where it comes to zero, and is right around there", () => {
    const rig = new Rig();
    const ends = ends4();
    ends.guestPort = 0xffff;
    ends.remotePort = 0xffff;
    const zero = udp4(Buffer.alloc(2), "full", ends).readUInt16BE(6);
    for (let n = -8; n <= 8; n++) {
      const payload = Buffer.alloc(2);
      payload.writeUInt16BE((zero + n) & 0xffff);
      const sum = octetsOf(rig.send(payload, 0, ends).sent[0]).readUInt16BE(34 + 6);
      expect(sum).toBe(udp4(payload, "full", ends).readUInt16BE(6));
      if (n === 0) expect(sum).toBe(0xffff);
    }
  });
});

describe("a datagram longer than the MTU", () => {
  it.each([
    [1473, [1480, 1]],
    [1474, [1480, 2]],
    [2952, [1480, 1480]],
    [2953, [1480, 1480, 1]],
    [65_507, [...new Array<number>(44).fill(1480), 395]],
  ])("of %i octets leaves in fragments over IPv4", (octets, lengths) => {
    const rig = new Rig({ tcp: true, udp: true });
    const payload = filled(octets);
    const whole = udp4(payload);
    const { verdict, sent } = rig.send(payload);
    let from = 0;
    const frames = lengths.map((length) => {
      const more = from + length < whole.length;
      const frame = frame4(1, whole.subarray(from, from + length), { from, more });
      from += length;
      return plain(frame, 0);
    });
    expect([verdict, sent.length, from]).toEqual(["handled", lengths.length, whole.length]);
    expect(sent).toEqual(frames);
    expect(rig.counted()).toEqual([1, octets, lengths.length]);
    expect(octetsOf(rig.send(filled(1)).sent[0]).readUInt16BE(18)).toBe(2);
  });

  const fragment6 = (whole: Buffer, from: number, length: number, id: number): string => {
    const header = Buffer.from([17, 0, 0, 0, 0, 0, 0, 0]);
    header.writeUInt16BE(from | (from + length < whole.length ? 1 : 0), 2);
    header.writeInt32BE(id, 4);
    return frame6(Buffer.concat([header, whole.subarray(from, from + length)]), 44);
  };
  const idOf = (sent: Sent): number => octetsOf(sent).readInt32BE(14 + 40 + 4);

  it.each([
    [1453, [1448, 13]],
    [2888, [1448, 1448]],
    [2889, [1448, 1448, 1]],
    [65_527, [...new Array<number>(45).fill(1448), 375]],
  ])("of %i octets leaves in fragments over IPv6", (octets, lengths) => {
    const rig = new Rig({ tcp: true, udp: true });
    const payload = filled(octets);
    const whole = udp6(payload);
    const { verdict, sent } = rig.send(payload, 0, ends6());
    const id = sent[0] === undefined ? 0 : idOf(sent[0]);
    let from = 0;
    const frames = lengths.map((length) => {
      const frame = fragment6(whole, from, length, id);
      from += length;
      return plain(frame, 0);
    });
    expect([verdict, sent.length, from]).toEqual(["handled", lengths.length, whole.length]);
    expect(sent).toEqual(frames);
    expect(rig.counted()).toEqual([1, octets, lengths.length]);
  });

  it.each([
    ["IPv4", ends4],
    ["IPv6", ends6],
  ] as const)(
    "in the last of the headers' slots leaves what is behind it as it was, over %s",
    (_name, ends) => {
      const rig = new Rig();
      while (rig.egress.queue.tailSequence < TX_QUEUE_MAX - 2) {
        rig.egress.queue.push(60, 0, 0, 0, 0, 0);
        rig.egress.flush();
      }
      const end = arena.txHeadersAt + TX_QUEUE_MAX * TX_HEADER_SLOT_OCTETS;
      arena.octets.fill(0xa5, end, end + 16);
      expect(rig.send(filled(2000), 0, ends()).verdict).toBe("handled");
      expect([...arena.octets.subarray(end, end + 16)]).toEqual(new Array(16).fill(0xa5));
    },
  );

  it("has an identification that is one more each time, from a start that nobody can guess (RFC 7739)", () => {
    const idsOf = (rig: Rig, ends: Path): number[] =>
      [1, 2, 3].map(() => {
        const [first] = rig.send(filled(2000), 0, ends).sent;
        return first === undefined ? 0 : idOf(first);
      });
    const rig = new Rig();
    const [first = 0, ...more] = idsOf(rig, ends6());
    expect(more).toEqual([(first + 1) | 0, (first + 2) | 0]);
    const others = [
      idsOf(new Rig(), ends6(ip6("2001:db8:a:b:c:d:e:10"))),
      idsOf(new Rig({}, [2, 2]), ends6()),
      idsOf(new Rig({}, [1, 3]), ends6()),
    ];
    for (const ids of others) expect(Math.abs((ids[0] ?? 0) - first)).toBeGreaterThan(1000);
  });

  it.each([
    ["IPv4", 65_507, ends4],
    ["IPv6", 65_527, ends6],
  ] as const)("than a datagram of %s may be is refused", (_name, most, ends) => {
    const rig = new Rig();
    expect(rig.send(filled(most + 1), 0, ends())).toEqual({ verdict: "inbound-too-long", sent: [] });
    expect(rig.counted()).toEqual([0, 0, 0]);
    expect(rig.send(filled(most), 0, ends()).verdict).toBe("handled");
  });
});

describe("several datagrams of one size", () => {
  const all: Offloads = { tcp: true, udp: true };

  it("leave as one super-frame where the link cuts it", () => {
    const rig = new Rig(all);
    const payload = filled(2500);
    expect(rig.send(payload, 1000).sent).toEqual([
      {
        ...{ frame: frame4(1, udp4(payload, "partial")), flags: PARTIAL | SEGMENTS },
        ...{ segmentSize: 1000, transportOffset: 34 },
      },
    ]);
    expect(rig.counted()).toEqual([3, 2500, 0]);
    expect(rig.send(payload, 1000, ends6()).sent).toEqual([
      {
        ...{ frame: frame6(udp6(payload, "partial")), flags: PARTIAL | SEGMENTS | IPV6 },
        ...{ segmentSize: 1000, transportOffset: 54 },
      },
    ]);
    expect(rig.counted()).toEqual([6, 5000, 0]);
  });

  it("leave one by one elsewhere", () => {
    const rig = new Rig({ tcp: false, udp: false });
    const payload = filled(2500);
    const parts = [payload.subarray(0, 1000), payload.subarray(1000, 2000), payload.subarray(2000)];
    const { verdict, sent } = rig.send(payload, 1000);
    expect(verdict).toBe("handled");
    expect(sent).toEqual(parts.map((part, i) => plain(frame4(i + 1, udp4(part)), 34)));
    expect(rig.counted()).toEqual([3, 2500, 0]);
    // Whoever asked for it counts what was handled.
    expect(rig.counters.dropped("handled")).toBe(0);
    expect(rig.send(payload.subarray(0, 2000), 1000).sent).toHaveLength(2);
  });

  it.each([
    ["that are one", 1000, 1000],
    ["that are less than one", 999, 1000],
    ["of no size", 1000, 0],
  ])("%s leave as a plain one", (_what, octets, segment) => {
    const { sent } = new Rig(all).send(filled(octets), segment);
    expect(sent).toEqual([
      {
        frame: frame4(1, udp4(filled(octets), "partial")),
        flags: PARTIAL,
        segmentSize: 0,
        transportOffset: 34,
      },
    ]);
  });

  it.each([
    ["IPv4", 1472, 65_507, ends4],
    ["IPv6", 1452, 65_487, ends6],
  ] as const)(
    "are cut by the link while each fits the MTU and all a packet of %s",
    (_name, size, most, ends) => {
      const frames = (octets: number, segment: number): number[] =>
        new Rig(all).send(filled(octets), segment, ends()).sent.map(({ segmentSize }) => segmentSize);
      expect(frames(3000, size)).toEqual([size]);
      // Each in two fragments, and the short rest.
      expect(frames(2 * (size + 1) + 10, size + 1)).toEqual([0, 0, 0, 0, 0]);
      expect(frames(most, 1000)).toEqual([1000]);
      expect(frames(most + 1, 1000)).toEqual(new Array(66).fill(0));
    },
  );

  it("are counted as dropped one by one", () => {
    const rig = new Rig({}, [1, 2], false);
    expect(rig.send(filled(2500), 1000)).toEqual({ verdict: "handled", sent: [] });
    expect(rig.counters.dropped("inbound-no-guest")).toBe(3);
    expect(rig.counted()).toEqual([0, 0, 0]);
  });
});

describe("a datagram that cannot leave", () => {
  it.each([
    ["one frame over IPv4", 100, ends4],
    ["fragments over IPv4", 2000, ends4],
    ["one frame over IPv6", 100, ends6],
    ["fragments over IPv6", 2000, ends6],
  ] as const)("in %s is dropped while the guest is not known, or the link is full", (_how, octets, ends) => {
    const unknown = new Rig({}, [1, 2], false);
    expect(unknown.send(filled(octets), 0, ends())).toEqual({ verdict: "inbound-no-guest", sent: [] });
    expect(unknown.counted()).toEqual([0, 0, 0]);
    expect([unknown.egress.unresolved, unknown.egress.hasUnresolved6]).toEqual(
      ends === ends4 ? [GUEST, false] : [0, true],
    );
    const full = new Rig();
    full.room = 0;
    while (full.egress.hasRoom()) full.egress.queue.push(60, 0, 0, 0, 0, 0);
    expect(full.send(filled(octets), 0, ends())).toEqual({ verdict: "link-full", sent: [] });
    expect(full.counted()).toEqual([0, 0, 0]);
  });

  it.each([
    ["IPv4", ends4],
    ["IPv6", ends6],
  ] as const)("whole stops at the fragment of %s that finds no room", (_name, ends) => {
    const rig = new Rig();
    rig.room = 0;
    while (rig.egress.queue.room > 1) rig.egress.queue.push(60, 0, 0, 0, 0, 0);
    expect(rig.send(filled(4000), 0, ends()).verdict).toBe("link-full");
    expect(rig.counted()).toEqual([0, 0, 1]);
  });
});
