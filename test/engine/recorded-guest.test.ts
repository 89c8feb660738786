/**
 * The recorded boot replayed into the engine, our answers beside libslirp's, field by field. Where they differ on
 * purpose the test says so with the reason; anything else that differs fails.
 *
 * Two things of the recording cannot be replayed as they are: the guest acknowledges libslirp's sequence numbers, so
 * its acknowledgments are moved by the difference of the initial ones; and libslirp agreed on no TCP option but MSS,
 * so the guest's SYNs are cut down to that one (with timestamps agreed, its later segments would have to have them).
 */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED } from "../../src/engine/boundary.ts";
import { FrameExchange } from "../support/frame-exchange.ts";
import { recordedGuest } from "../support/recorded-guest.ts";
import { needs } from "../support/requirements.ts";
import { readWithTshark } from "../support/tshark.ts";

const REFUSED_PORT = 8098;
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const FIN = 1;
const SYN = 2;
const RST = 4;
const ACK = 16;

function viewOf(octets: Uint8Array): DataView {
  return new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
}

interface Packet {
  readonly octets: Uint8Array;
  readonly protocol: number;
  readonly fragment: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  readonly payload: Uint8Array;
}

function parse(octets: Uint8Array): Packet | null {
  const view = viewOf(octets);
  if (view.getUint16(12) !== 0x0800) return null;
  const ip = 14 + (octets[14] & 15) * 4;
  const end = 14 + view.getUint16(16);
  const protocol = octets[23];
  const isTcp = protocol === TCP;
  const header = isTcp ? (octets[ip + 12] >> 4) * 4 : 8;
  return {
    octets,
    protocol,
    fragment: view.getUint16(20) & 0x3fff,
    sourcePort: view.getUint16(ip),
    destinationPort: view.getUint16(ip + 2),
    sequence: isTcp ? view.getUint32(ip + 4) : 0,
    acknowledgment: isTcp ? view.getUint32(ip + 8) : 0,
    flags: isTcp ? octets[ip + 13] : 0,
    payload: octets.subarray(ip + header, end),
  };
}

/** Header checksum of the IPv4 header at 14, by its definition. */
function fixIpChecksum(octets: Uint8Array): void {
  const view = viewOf(octets);
  view.setUint16(24, 0);
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += view.getUint16(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(24, ~sum & 0xffff);
}

/** The guest's SYN with the MSS option alone. */
function withMssOnly(octets: Uint8Array): Uint8Array {
  const cut = octets.slice(0, 14 + 20 + 24);
  const view = viewOf(cut);
  view.setUint16(16, 44);
  cut[46] = 0x60;
  fixIpChecksum(cut);
  return cut;
}

const conversation = (packet: Packet, fromGuest: boolean): string =>
  fromGuest
    ? `${packet.sourcePort}-${packet.destinationPort}`
    : `${packet.destinationPort}-${packet.sourcePort}`;

interface Stream {
  ours: number;
  theirs: number;
  socket: number;
  toGuest: Map<number, number>;
}

/**
 * Congestion control makes us send in more rounds than libslirp, so the guest's ACK of a whole flight may come before
 * we have sent it: acknowledges what there is until we have.
 */
function catchUp(
  exchange: FrameExchange,
  stream: Stream,
  frame: Uint8Array,
  acknowledgment: number,
  sentBefore: readonly Uint8Array[],
  name: string,
): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let round = 0; round < 50; round++) {
    let sent = stream.ours;
    for (const packet of [...sentBefore, ...out].map(parse)) {
      if (packet?.protocol !== TCP || conversation(packet, false) !== name) continue;
      const length = packet.payload.length + (packet.flags & FIN) + ((packet.flags & SYN) >> 1);
      const end = (packet.sequence + length) | 0;
      if (((end - sent) | 0) > 0) sent = end;
    }
    if (((sent - acknowledgment) | 0) >= 0) return out;
    const bare = frame.slice(0, 54);
    const view = viewOf(bare);
    view.setUint16(16, 40);
    bare[47] = ACK;
    view.setUint32(42, sent >>> 0);
    fixIpChecksum(bare);
    out.push(...exchange.exchange(bare, true));
  }
  throw new Error(`the guest acknowledged octets of ${name} that were never sent`);
}

/** Replays the whole recording. Host sockets give what libslirp's gave, when it gave it. */
function replay() {
  const exchange = new FrameExchange({ allowHostLoopback: true });
  exchange.network.connectTo = (port) => (port === REFUSED_PORT ? ECONNREFUSED : 0);
  const streams = new Map<string, Stream>();
  const pairs: { guest: Uint8Array; ours: Uint8Array[] }[] = [];
  const fromLibslirp: Uint8Array[] = [];
  const fromUs: Uint8Array[] = [];
  const guestOctets = new Map<string, number>();
  let answered = 0;
  for (const { fromGuest, octets } of recordedGuest()) {
    const packet = parse(octets);
    if (!fromGuest) {
      fromLibslirp.push(octets);
      if (packet?.protocol === TCP) {
        const stream = streams.get(conversation(packet, false));
        if (stream === undefined) continue;
        if ((packet.flags & SYN) !== 0) stream.theirs = packet.sequence;
        if (stream.socket < 0) continue;
        const socket = exchange.network.sockets[stream.socket];
        const known = stream.toGuest.has(packet.sequence);
        if (packet.payload.length > 0 && !known) {
          stream.toGuest.set(packet.sequence, packet.payload.length);
          socket.give(packet.payload.slice());
        }
        if ((packet.flags & FIN) !== 0) socket.end();
        fromUs.push(...exchange.settle());
      }
      continue;
    }
    let frame: Uint8Array = octets.slice();
    if (packet?.protocol === TCP) {
      const name = conversation(packet, true);
      if ((packet.flags & SYN) !== 0) {
        frame = withMssOnly(frame);
        streams.set(name, { ours: 0, theirs: 0, socket: -1, toGuest: new Map() });
      }
      const stream = streams.get(name);
      if (stream === undefined) throw new Error(`no SYN of ${name} in the recording`);
      const view = viewOf(frame);
      const tcpAt = 34;
      if ((packet.flags & ACK) !== 0) {
        const acknowledgment = (packet.acknowledgment - stream.theirs + stream.ours) | 0;
        fromUs.push(...catchUp(exchange, stream, frame, acknowledgment, fromUs, name));
        view.setUint32(tcpAt + 8, acknowledgment >>> 0);
      }
      guestOctets.set(name, (guestOctets.get(name) ?? 0) + packet.payload.length);
      const sockets = exchange.network.sockets.length;
      const ours = exchange.exchange(frame, true);
      if (exchange.network.sockets.length > sockets) stream.socket = sockets;
      const synAck = ours.map(parse).find((p) => p !== null && (p.flags & SYN) !== 0);
      if (synAck) stream.ours = synAck.sequence;
      pairs.push({ guest: frame, ours });
      fromUs.push(...ours);
      continue;
    }
    const ours = exchange.exchange(frame, true);
    // A UDP echo server on the host.
    for (const datagram of exchange.network.datagrams.slice(answered)) {
      answered++;
      exchange.network.arrive(datagram.handle, datagram.address, datagram.port, datagram.octets);
      ours.push(...exchange.settle());
    }
    pairs.push({ guest: frame, ours });
    fromUs.push(...ours);
    exchange.now += 1;
  }
  return { exchange, streams, pairs, fromLibslirp, fromUs, guestOctets };
}

const run = replay();

function options(dhcp: Uint8Array): Map<number, string> {
  const found = new Map<number, string>();
  for (let at = 240; at < dhcp.length && dhcp[at] !== 255; ) {
    if (dhcp[at] === 0) {
      at++;
      continue;
    }
    found.set(dhcp[at], Buffer.from(dhcp.subarray(at + 2, at + 2 + dhcp[at + 1])).toString("hex"));
    at += 2 + dhcp[at + 1];
  }
  return found;
}

describe("the recorded guest, answered as libslirp answered it", () => {
  it("ARP: the same reply, less libslirp's padding", () => {
    const arp = (frames: Uint8Array[]) => frames.filter((f) => f[12] === 8 && f[13] === 6);
    const theirs = arp(run.fromLibslirp);
    const ours = arp(run.fromUs);
    expect(ours).toHaveLength(theirs.length);
    ours.forEach((frame, i) => {
      expect(frame.subarray(0, 42)).toEqual(theirs[i].subarray(0, 42));
    });
  });

  it("DHCP: the same addresses and options, and the ones that KubeVirt's server gives on top", () => {
    const dhcp = (frames: Uint8Array[]) =>
      frames.map(parse).filter((p) => p !== null && p.protocol === UDP && p.sourcePort === 67) as Packet[];
    const theirs = dhcp(run.fromLibslirp);
    const ours = dhcp(run.fromUs);
    expect(ours).toHaveLength(2);
    ours.forEach((packet, i) => {
      const mine = packet.payload;
      const other = theirs[i].payload;
      // op, htype, hlen, hops, xid; yiaddr; chaddr.
      expect(mine.subarray(0, 8)).toEqual(other.subarray(0, 8));
      expect(mine.subarray(16, 20)).toEqual(other.subarray(16, 20));
      expect(mine.subarray(28, 44)).toEqual(other.subarray(28, 44));
      // siaddr: libslirp names itself as the boot server; with no boot file set we name none (RFC 2131 table 3).
      expect([...mine.subarray(20, 24)]).toEqual([0, 0, 0, 0]);
      const theirOptions = options(other);
      const ourOptions = options(mine);
      for (const [code, value] of theirOptions) expect([code, ourOptions.get(code)]).toEqual([code, value]);
      const more = [...ourOptions.keys()].filter((code) => !theirOptions.has(code));
      // Asked for: MTU (26), broadcast (28), timers (58, 59). The client identifier comes back (61, RFC 6842).
      for (const code of more) expect([26, 28, 58, 59, 61]).toContain(code);
    });
  });

  it("TCP: every SYN gets the same answer", () => {
    const syns = run.pairs.filter(({ guest }) => {
      const p = parse(guest);
      return p?.protocol === TCP && (p.flags & SYN) !== 0;
    });
    expect(syns).toHaveLength(4);
    for (const { guest, ours } of syns) {
      const syn = parse(guest)!;
      const answer = parse(ours[0])!;
      const theirs = run.fromLibslirp
        .map(parse)
        .find((p) => p !== null && p.protocol === TCP && p.destinationPort === syn.sourcePort)!;
      expect(answer.flags).toBe(theirs.flags);
      expect(answer.acknowledgment).toBe(theirs.acknowledgment);
      expect([answer.sourcePort, answer.destinationPort]).toEqual([
        theirs.sourcePort,
        theirs.destinationPort,
      ]);
      // Ethernet, and the addresses of the IP header.
      expect(answer.octets.subarray(0, 14)).toEqual(theirs.octets.subarray(0, 14));
      expect(answer.octets.subarray(26, 34)).toEqual(theirs.octets.subarray(26, 34));
      if ((theirs.flags & RST) !== 0) continue;
      // 65535 octets of window and the MSS of a 1500-octet link, in both.
      expect(viewOf(answer.octets).getUint16(48)).toBe(viewOf(theirs.octets).getUint16(48));
      expect(viewOf(answer.octets).getUint32(54)).toBe(viewOf(theirs.octets).getUint32(54));
    }
  });

  it("TCP: every octet libslirp delivered we deliver, and every octet of the guest reaches the host", () => {
    for (const [name, stream] of run.streams) {
      if (stream.socket < 0) continue;
      const segments = (frames: Uint8Array[], first: number): Uint8Array => {
        const whole: number[] = [];
        for (const packet of frames.map(parse)) {
          if (packet?.protocol !== TCP || conversation(packet, false) !== name) continue;
          const offset = (packet.sequence - first - 1) | 0;
          packet.payload.forEach((octet, i) => {
            whole[offset + i] = octet;
          });
        }
        return Uint8Array.from(whole);
      };
      expect(segments(run.fromUs, stream.ours)).toEqual(segments(run.fromLibslirp, stream.theirs));
      const socket = run.exchange.network.sockets[stream.socket];
      expect(socket.octets.length).toBe(run.guestOctets.get(name));
      expect([name, socket.shutDown, socket.ended]).toEqual([name, true, true]);
    }
    expect(run.guestOctets.get([...run.streams.keys()].at(-1)!)).toBeGreaterThan(190_000);
  });

  it("UDP: the fragmented 4000-octet datagram goes out whole and its echo comes back in fragments like libslirp's", () => {
    expect(run.exchange.network.datagrams.map(({ octets }) => octets.length)).toContain(4000);
    const echo = (frames: Uint8Array[]) =>
      frames
        .map(parse)
        .filter(
          (p) => p !== null && p.protocol === UDP && (p.fragment !== 0 || p.sourcePort === 8096),
        ) as Packet[];
    const shape = (packets: Packet[]) =>
      packets.map(({ octets, fragment }) => [viewOf(octets).getUint16(16), fragment]);
    expect(shape(echo(run.fromUs))).toEqual(shape(echo(run.fromLibslirp)));
    const octets = (packets: Packet[]) =>
      packets.map(({ octets: o }) => Buffer.from(o.subarray(34)).toString("hex"));
    expect(octets(echo(run.fromUs))).toEqual(octets(echo(run.fromLibslirp)));
  });

  it("ICMP: libslirp answers pings, we count and drop them", () => {
    const pings = recordedGuest().filter(
      ({ fromGuest, octets }) => fromGuest && parse(octets)?.protocol === ICMP,
    );
    expect(pings.length).toBeGreaterThan(0);
    expect(run.exchange.core.counters.dropped("icmp")).toBe(pings.length);
    expect(run.fromUs.some((frame) => parse(frame)?.protocol === ICMP)).toBe(false);
  });

  it("accounts for every frame", () => {
    const { counters } = run.exchange.core;
    const sum = counters.drops.reduce((a, b) => a + b, 0);
    expect(sum).toBe(counters.value("link-frames-from-guest"));
    expect(sum).toBeGreaterThanOrEqual(recordedGuest().filter(({ fromGuest }) => fromGuest).length);
  });

  it("tshark finds every frame of ours well-formed, every checksum right", (context) => {
    needs(context, { commands: ["tshark"] });
    const readings = readWithTshark(run.fromUs, [
      "frame.protocols",
      "tcp.checksum.status",
      "ip.checksum.status",
    ]);
    expect(readings).toHaveLength(run.fromUs.length);
    const bad = readings.flatMap(({ complaints }) =>
      complaints.filter((c) => /checksum|malformed|bogus/i.test(c)),
    );
    expect(bad).toEqual([]);
    const tcp = readings.filter(({ fields }) => fields["tcp.checksum.status"].length > 0);
    expect(tcp.length).toBeGreaterThan(200);
    for (const { fields } of tcp) {
      expect([fields["tcp.checksum.status"][0], fields["ip.checksum.status"][0]]).toEqual(["1", "1"]);
    }
  });

  it("returns to rest", () => {
    run.exchange.pass(200_000);
    expect(run.exchange.core.usage()).toMatchObject({
      tcp: 0,
      smallChunks: 0,
      largeChunks: 0,
      queuedFrames: 0,
      reassembly: 0,
    });
  });
});
