import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import * as ethernet from "../../../src/engine/wire/ethernet.ts";
import * as ipv4 from "../../../src/engine/wire/ipv4.ts";
import * as tcp from "../../../src/engine/wire/tcp.ts";
import {
  TcpOptions,
  writeMss,
  writeSackHead,
  writeSackPermitted,
  writeTimestamps,
  writeWindowScale,
} from "../../../src/engine/wire/tcp-options.ts";
import * as udp from "../../../src/engine/wire/udp.ts";

/** Frames of the recorded boot (classic pcap, little-endian), each as a view of its own. */
function recordedFrames(): DataView[] {
  const file = readFileSync(new URL("../../fixtures/linux-6.1-guest-behind-libslirp.pcap", import.meta.url));
  const frames: DataView[] = [];
  for (let at = 24; at < file.length; ) {
    const length = file.readUInt32LE(at + 8);
    const copy = new Uint8Array(length);
    copy.set(file.subarray(at + 16, at + 16 + length));
    frames.push(new DataView(copy.buffer));
    at += 16 + length;
  }
  return frames;
}

describe("codecs against the recorded capture", () => {
  const frames = recordedFrames().filter((view) => ethernet.etherType(view, 0) === ethernet.ETHERTYPE_IPV4);

  it("reads every IPv4 header, and writes it again octet for octet where it has no options", () => {
    expect(frames.length).toBeGreaterThan(300);
    for (const view of frames) {
      const at = ethernet.ETHERNET_HEADER_OCTETS;
      expect(ipv4.checkIpv4(view, at, view.byteLength - at)).toBe(HANDLED);
      const header = ipv4.headerLength(view, at);
      expect(ipv4.headerSum(view, at, header)).toBe(0xffff);
      if (header !== 20 || ipv4.ttl(view, at) !== 64 || view.getUint8(at + 1) !== 0) continue;
      const again = new DataView(new ArrayBuffer(20));
      ipv4.writeIpv4(
        again,
        0,
        ipv4.totalLength(view, at),
        ipv4.identification(view, at),
        view.getUint16(at + ipv4.FLAGS_FRAGMENT),
        ipv4.protocol(view, at),
        ipv4.source(view, at),
        ipv4.destination(view, at),
        ipv4.addressSum(ipv4.source(view, at), ipv4.destination(view, at)),
      );
      expect(new Uint8Array(again.buffer)).toEqual(new Uint8Array(view.buffer, at, 20));
    }
  });

  it("reads every TCP header and finds libslirp's checksums right", () => {
    let seen = 0;
    for (const view of frames) {
      const at = ethernet.ETHERNET_HEADER_OCTETS;
      if (ipv4.protocol(view, at) !== ipv4.PROTOCOL_TCP) continue;
      const tcpAt = at + ipv4.headerLength(view, at);
      const octets = ipv4.totalLength(view, at) - ipv4.headerLength(view, at);
      expect(tcp.checkTcp(view, tcpAt, octets)).toBe(HANDLED);
      // The guest leaves its checksums to the device; only the gateway's are complete on this capture.
      if (ethernet.sourceHigh(view, 0) !== 0x5255) continue;
      const pseudo = ipv4.pseudoHeaderSum(
        ipv4.source(view, at),
        ipv4.destination(view, at),
        ipv4.PROTOCOL_TCP,
        octets,
      );
      expect(new JavaScriptChecksum(view).sum(tcpAt, octets, pseudo)).toBe(0xffff);
      seen++;
    }
    expect(seen).toBeGreaterThan(50);
  });
});

describe("length checks", () => {
  it("refuses every cut of a header and every length that lies", () => {
    const view = new DataView(new ArrayBuffer(128));
    ipv4.writeIpv4(view, 0, 60, 1, 0, ipv4.PROTOCOL_TCP, 1, 2, 3);
    for (let cut = 0; cut < 60; cut++) expect(ipv4.checkIpv4(view, 0, cut)).not.toBe(HANDLED);
    expect(ipv4.checkIpv4(view, 0, 60)).toBe(HANDLED);
    view.setUint16(ipv4.TOTAL_LENGTH, 19);
    expect(ipv4.checkIpv4(view, 0, 60)).not.toBe(HANDLED);
    view.setUint16(ipv4.TOTAL_LENGTH, 60);
    for (const first of [0x44, 0x40, 0x65, 0x05, 0xff]) {
      view.setUint8(0, first);
      expect(ipv4.checkIpv4(view, 0, first === 0xff ? 59 : 60)).not.toBe(HANDLED);
    }
    tcp.writeTcp(view, 0, 1, 2, 3, 4, 32, tcp.ACK, 5);
    for (let cut = 0; cut < 32; cut++) expect(tcp.checkTcp(view, 0, cut)).not.toBe(HANDLED);
    expect(tcp.checkTcp(view, 0, 32)).toBe(HANDLED);
    view.setUint8(tcp.DATA_OFFSET, 0x40);
    expect(tcp.checkTcp(view, 0, 60)).not.toBe(HANDLED);
    udp.writeUdp(view, 0, 1, 2, 20, 0);
    for (let cut = 0; cut < 20; cut++) expect(udp.checkUdp(view, 0, cut)).not.toBe(HANDLED);
    expect(udp.checkUdp(view, 0, 20)).toBe(HANDLED);
    view.setUint16(udp.LENGTH, 7);
    expect(udp.checkUdp(view, 0, 20)).not.toBe(HANDLED);
  });
});

describe("TCP", () => {
  it("compares sequence numbers over the wrap", () => {
    expect(tcp.before(0x7fffffff, -0x80000000)).toBe(true);
    expect(tcp.before(-1, 0)).toBe(true);
    expect(tcp.before(0, -1)).toBe(false);
    expect(tcp.beforeOrAt(5, 5)).toBe(true);
  });

  it("reads back what it writes", () => {
    const view = new DataView(new ArrayBuffer(64));
    tcp.writeTcp(view, 4, 0xfffe, 80, -5, 0x7fffffff, 44, tcp.SYN | tcp.ACK, 0xffff);
    expect([tcp.sourcePort(view, 4), tcp.destinationPort(view, 4)]).toEqual([0xfffe, 80]);
    expect([tcp.sequence(view, 4), tcp.acknowledgment(view, 4)]).toEqual([-5, 0x7fffffff]);
    expect([tcp.headerLength(view, 4), tcp.flags(view, 4), tcp.window(view, 4)]).toEqual([44, 0x12, 0xffff]);
  });
});

describe("TcpOptions", () => {
  const view = new DataView(new ArrayBuffer(64));
  const options = new TcpOptions();

  it("reads a SYN's options as Linux orders them", () => {
    writeMss(view, 0, 1460);
    writeSackPermitted(view, 4);
    writeTimestamps(view, 8, -7, 9);
    writeWindowScale(view, 20, 7);
    options.parse(view, 0, 24);
    expect(options).toMatchObject({
      mss: 1460,
      sackPermitted: true,
      hasTimestamps: true,
      timestampValue: -7,
      timestampEcho: 9,
      windowShift: 7,
    });
  });

  it("reads timestamps alone by the short way, and forgets what came before", () => {
    writeTimestamps(view, 0, 1, 2);
    options.parse(view, 0, 12);
    expect(options).toMatchObject({
      mss: 0,
      windowShift: -1,
      sackPermitted: false,
      hasTimestamps: true,
      sackBlocks: 0,
    });
  });

  it("reads SACK blocks, at most four", () => {
    writeSackHead(view, 0, 2);
    [10, 20, -30, -20].forEach((edge, i) => {
      view.setInt32(4 + i * 4, edge);
    });
    options.parse(view, 0, 20);
    expect(options.sackBlocks).toBe(2);
    expect([...options.sackEdges.slice(0, 4)]).toEqual([10, 20, -30, -20]);
  });

  it("limits a window shift to 14 and stops at a broken option", () => {
    view.setUint8(0, 3);
    view.setUint8(1, 3);
    view.setUint8(2, 255);
    view.setUint8(3, 2);
    view.setUint8(4, 0);
    options.parse(view, 0, 8);
    expect([options.windowShift, options.mss]).toEqual([14, 0]);
  });

  it("never reads outside the options, whatever they hold", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
        const exact = octets.slice();
        options.parse(new DataView(exact.buffer), 0, exact.length);
        expect(options.sackBlocks).toBeLessThanOrEqual(4);
      }),
    );
  });
});

describe("JavaScriptChecksum", () => {
  it("is the plain sum of big-endian words, at any offset and length", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 300 }),
        fc.nat(7),
        fc.nat(0xffff),
        (octets, offset, initial) => {
          const bytes = new Uint8Array(320);
          bytes.set(octets, offset);
          let sum = initial;
          for (let i = 0; i < octets.length; i += 2) sum += (octets[i] << 8) | (octets[i + 1] ?? 0);
          while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
          expect(new JavaScriptChecksum(new DataView(bytes.buffer)).sum(offset, octets.length, initial)).toBe(
            sum,
          );
        },
      ),
    );
  });
});
