/** Every field of the headers stands where its RFC has it, wherever the header stands. */
import { describe, expect, it } from "vitest";
import { DROP_REASONS, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import * as arp from "../../../src/engine/wire/arp.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import * as ethernet from "../../../src/engine/wire/ethernet.ts";
import * as icmp from "../../../src/engine/wire/icmp.ts";
import * as icmpv6 from "../../../src/engine/wire/icmpv6.ts";
import * as ipv4 from "../../../src/engine/wire/ipv4.ts";
import * as ipv6 from "../../../src/engine/wire/ipv6.ts";
import * as qemu from "../../../src/engine/wire/qemu-stream.ts";
import * as record from "../../../src/engine/wire/record.ts";
import * as tcp from "../../../src/engine/wire/tcp.ts";
import * as udp from "../../../src/engine/wire/udp.ts";

const AT = 5;

/** Octets that tell their place in the header at AT, from 1 on. */
const counting = (): DataView => new DataView(Uint8Array.from({ length: 80 }, (_, i) => i - AT + 1).buffer);
const u16 = (at: number): number => ((at + 1) << 8) | (at + 2);
const i32 = (at: number): number => (u16(at) << 16) | u16(at + 2);

/** What `write` changes, from AT on. Nothing in front may change, nor behind. */
function written(write: (view: DataView) => unknown, octets: number): number[] {
  const all = new Uint8Array(AT + octets + 5).fill(0xee);
  write(new DataView(all.buffer));
  expect([...all.subarray(0, AT), ...all.subarray(AT + octets)]).toEqual(
    new Array<number>(AT + 5).fill(0xee),
  );
  return [...all.subarray(AT, AT + octets)];
}

describe("Ethernet", () => {
  it("is read and written by place", () => {
    const view = counting();
    expect([ethernet.destinationHigh(view, AT), ethernet.destinationLow(view, AT)]).toEqual([u16(0), i32(2)]);
    expect([ethernet.sourceHigh(view, AT), ethernet.sourceLow(view, AT)]).toEqual([u16(6), i32(8)]);
    expect(ethernet.etherType(view, AT)).toBe(u16(12));
    expect(
      written(
        (to) => ethernet.writeEthernet(to, AT, 0x0102, 0x03040506, 0x0708, 0x090a0b0c, 0x0d0e),
        ethernet.ETHERNET_HEADER_OCTETS,
      ),
    ).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  });

  it("has addresses of two numbers, whose group bit is the lowest of the first octet", () => {
    const mac = Uint8Array.of(0x91, 0x82, 0xf3, 0x84, 0x95, 0xa6);
    expect([ethernet.macHigh(mac), ethernet.macLow(mac)]).toEqual([0x9182, 0xf38495a6 | 0]);
    const all = new Uint8Array(6).fill(255);
    expect([ethernet.BROADCAST_HIGH, ethernet.BROADCAST_LOW]).toEqual([
      ethernet.macHigh(all),
      ethernet.macLow(all),
    ]);
    expect([ethernet.ETHERNET_HEADER_OCTETS, ethernet.ETHERNET_VLAN_HEADER_OCTETS]).toEqual([14, 18]);
    expect([0x0100, 0x3333, 0xffff, 0x01ff].map(ethernet.isGroup)).toEqual([true, true, true, true]);
    expect([0, 0x0001, 0x5254, 0xfeff].map(ethernet.isGroup)).toEqual([false, false, false, false]);
  });
});

describe("ARP", () => {
  it("is read and written by place", () => {
    const view = counting();
    expect(arp.operation(view, AT)).toBe(u16(6));
    expect([arp.senderMacHigh(view, AT), arp.senderMacLow(view, AT)]).toEqual([u16(8), i32(10)]);
    expect(arp.senderAddress(view, AT)).toBe(i32(14));
    expect([arp.targetMacHigh(view, AT), arp.targetMacLow(view, AT)]).toEqual([u16(18), i32(20)]);
    expect(arp.targetAddress(view, AT)).toBe(i32(24));
    const octets = written((to) => {
      arp.writeArp(to, AT, arp.REPLY);
      arp.writeSender(to, AT, 0x0102, 0x03040506, 0x0708090a);
      arp.writeTarget(to, AT, 0x0b0c, 0x0d0e0f10, 0x11121314);
    }, arp.ARP_OCTETS);
    expect(octets).toEqual([0, 1, 8, 0, 6, 4, 0, 2, ...Array.from({ length: 20 }, (_, i) => i + 1)]);
  });

  it("is checked by place", () => {
    const good = new DataView(new ArrayBuffer(AT + arp.ARP_OCTETS));
    for (const operation of [arp.REQUEST, arp.REPLY]) {
      arp.writeArp(good, AT, operation);
      expect(arp.checkArp(good, AT, arp.ARP_OCTETS)).toBe(HANDLED);
    }
    for (let at = 0; at < 8; at++) {
      const bad = new DataView(good.buffer.slice(0));
      bad.setUint8(AT + at, bad.getUint8(AT + at) ^ 0x10);
      expect([at, DROP_REASONS[arp.checkArp(bad, AT, arp.ARP_OCTETS)]]).toEqual([at, "arp-malformed"]);
    }
    // Nothing is read of one that is not all there.
    expect(DROP_REASONS[arp.checkArp(new DataView(new ArrayBuffer(AT)), AT, 0)]).toBe("arp-malformed");
  });
});

describe("IPv4", () => {
  it("is read by place", () => {
    const view = counting();
    expect(ipv4.headerLength(view, AT)).toBe(4);
    view.setUint8(AT, 0x4f);
    expect(ipv4.headerLength(view, AT)).toBe(60);
    expect([ipv4.totalLength(view, AT), ipv4.identification(view, AT)]).toEqual([u16(2), u16(4)]);
    expect([ipv4.ttl(view, AT), ipv4.protocol(view, AT)]).toEqual([9, 10]);
    expect([ipv4.source(view, AT), ipv4.destination(view, AT)]).toEqual([i32(12), i32(16)]);
    for (const [bits, fragment] of [
      [0xffff, 0x3fff],
      [0xc000, 0],
      [0x2000, 0x2000],
      [0x0001, 1],
    ]) {
      view.setUint16(AT + 6, bits);
      expect(ipv4.fragmentBits(view, AT)).toBe(fragment);
    }
  });

  it.each([
    [0, 0],
    [0x4000, 0xffff],
    [0x2000, 0x8001],
  ])("is written by place, with a checksum that is right (%i, %i)", (flags, id) => {
    const [source, destination] = [0xfffefdfc | 0, 0xff00ff01 | 0];
    const write = (view: DataView) =>
      ipv4.writeIpv4(
        ...([
          view,
          AT,
          0xff0f,
          id,
          flags,
          17,
          source,
          destination,
          ipv4.addressSum(source, destination),
        ] as const),
      );
    const octets = written(write, 20);
    const sum = octets.splice(10, 2);
    expect(octets).toEqual([
      ...[0x45, 0, 0xff, 0x0f, id >> 8, id & 255, flags >> 8, flags & 255, 64, 17],
      ...[0xff, 0xfe, 0xfd, 0xfc, 0xff, 0, 0xff, 1],
    ]);
    expect(sumOf([...octets.slice(0, 10), ...sum, ...octets.slice(10)])).toBe(0xffff);
    const marked = written((view) => {
      write(view);
      ipv4.setTypeOfService(view, AT, 0xb8);
    }, 20);
    expect([marked[1], sumOf(marked)]).toEqual([0xb8, 0xffff]);
  });

  it("sums whatever carries there are", () => {
    const view = new DataView(new Uint8Array(AT + 60).fill(0xff).buffer);
    expect(ipv4.headerSum(view, AT, 60)).toBe(0xffff);
    view.setUint16(AT, 0xfff0);
    view.setUint16(AT + 2, 0x0010);
    expect([ipv4.headerSum(view, AT, 2), ipv4.headerSum(view, AT, 4)]).toEqual([0xfff0, 1]);
    view.setUint16(AT + 4, 1);
    view.setUint32(AT, 0xffffffff);
    expect(ipv4.headerSum(view, AT, 6)).toBe(1);
    ipv4.writeIpv4(view, AT, 20, 0x7adb, 0, 17, -1, -1, 0xffff);
    expect(ipv4.headerSum(view, AT, 20)).toBe(0xffff);
    expect(ipv4.addressSum(-1, -1)).toBe(0xffff);
    expect(ipv4.addressSum(0x0001_8000, 0x8000_0000 | 0)).toBe(2);
    expect(ipv4.addressSum(0x1234_0000, 0x0000_4321)).toBe(0x5555);
    // Its first fold carries again.
    expect(ipv4.addressSum(0xffff_ffff | 0, 0x0001_0000)).toBe(1);
    expect(ipv4.addressSum(0xffff_0001 | 0, 0xffff_ffff | 0)).toBe(1);
    expect(ipv4.pseudoSum(0xffff, 17, 0xffff)).toBe(17);
    expect(ipv4.pseudoSum(0xffff, 1, 0xffff)).toBe(1);
    expect(ipv4.pseudoHeaderSum(0x0001_0002, 0x0003_0004, 6, 20)).toBe(36);
  });

  it("knows its multicast addresses", () => {
    expect([0xe0000000, 0xefffffff].map((address) => ipv4.isMulticast(address | 0))).toEqual([true, true]);
    expect([0xdfffffff, 0xf0000000, -1, 0x0a000001].map((address) => ipv4.isMulticast(address | 0))).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });

  it("is checked by place, and to the octet", () => {
    const check = (first: number, total: number, available: number): string => {
      const view = new DataView(new ArrayBuffer(AT + 80));
      view.setUint8(AT, first);
      view.setUint16(AT + 2, total);
      return DROP_REASONS[ipv4.checkIpv4(view, AT, available)];
    };
    expect(check(0x45, 20, 20)).toBe("handled");
    expect(check(0x45, 20, 46)).toBe("handled");
    expect(check(0x46, 24, 24)).toBe("handled");
    expect(check(0x4f, 60, 60)).toBe("handled");
    for (const [first, total, available] of [
      [0x44, 40, 40],
      [0x55, 40, 40],
      [0x45, 19, 40],
      [0x46, 23, 40],
      [0x45, 41, 40],
      [0x45, 20, 19],
    ])
      expect(check(first, total, available)).toBe("ipv4-malformed");
    expect(DROP_REASONS[ipv4.checkIpv4(new DataView(new ArrayBuffer(AT)), AT, 0)]).toBe("ipv4-malformed");
  });
});

describe("TCP and UDP", () => {
  it("are read by place", () => {
    const view = counting();
    expect([tcp.sourcePort(view, AT), tcp.destinationPort(view, AT)]).toEqual([u16(0), u16(2)]);
    expect([tcp.sequence(view, AT), tcp.acknowledgment(view, AT)]).toEqual([i32(4), i32(8)]);
    expect([tcp.flags(view, AT), tcp.window(view, AT)]).toEqual([14, u16(14)]);
    view.setUint8(AT + 12, 0xf7);
    expect(tcp.headerLength(view, AT)).toBe(60);
    expect([udp.sourcePort(view, AT), udp.destinationPort(view, AT)]).toEqual([u16(0), u16(2)]);
    expect([udp.length(view, AT), udp.checksum(view, AT)]).toEqual([u16(4), u16(6)]);
  });

  it("are written by place", () => {
    expect(
      written((to) => tcp.writeTcp(to, AT, 0x0102, 0x0304, 0x05060708, 0x090a0b0c, 60, 0x1ff, 0x0d0e), 20),
    ).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0xf1, 0xff, 13, 14, 0, 0, 0, 0]);
    expect(written((to) => udp.writeUdp(to, AT, 0x0102, 0x0304, 0x0506, 0x0708), 8)).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8,
    ]);
  });

  it("are checked by place, and to the octet", () => {
    const view = new DataView(new ArrayBuffer(AT + 64));
    const ofTcp = (offset: number, available: number): string => {
      view.setUint8(AT + 12, offset << 4);
      return DROP_REASONS[tcp.checkTcp(view, AT, available)];
    };
    expect([ofTcp(5, 20), ofTcp(5, 40), ofTcp(15, 60)]).toEqual(["handled", "handled", "handled"]);
    for (const [offset, available] of [
      [4, 40],
      [0, 40],
      [6, 23],
      [5, 19],
    ])
      expect(ofTcp(offset, available)).toBe("tcp-malformed");
    const ofUdp = (length: number, available: number): string => {
      view.setUint16(AT + 4, length);
      return DROP_REASONS[udp.checkUdp(view, AT, available)];
    };
    expect([ofUdp(8, 8), ofUdp(8, 26), ofUdp(20, 20)]).toEqual(["handled", "handled", "handled"]);
    expect([ofUdp(7, 20), ofUdp(21, 20), ofUdp(8, 7)]).toEqual(new Array(3).fill("udp-malformed"));
    const nothing = new DataView(new ArrayBuffer(AT));
    expect(DROP_REASONS[tcp.checkTcp(nothing, AT, 0)]).toBe("tcp-malformed");
    expect(DROP_REASONS[udp.checkUdp(nothing, AT, 0)]).toBe("udp-malformed");
  });

  it("order sequence numbers by their signed distance", () => {
    expect([tcp.before(5, 5), tcp.before(5, 6), tcp.before(6, 5)]).toEqual([false, true, false]);
    expect([tcp.beforeOrAt(5, 5), tcp.beforeOrAt(5, 6), tcp.beforeOrAt(6, 5)]).toEqual([true, true, false]);
    expect([tcp.beforeOrAt(-0x80000000, 0x7fffffff), tcp.before(0x7fffffff, -0x80000000)]).toEqual([
      false,
      true,
    ]);
  });
});

describe("ICMP", () => {
  it("makes a reply of a request and keeps its checksum right", () => {
    for (const [request, reply] of [
      [icmp.ECHO_REQUEST, icmp.ECHO_REPLY],
      [icmp.ECHO_REQUEST_6, icmp.ECHO_REPLY_6],
    ]) {
      for (const word of [0, 1, 0x7f00, 0xf7ff, 0xf800, 0xffff, 0x7fff, 0x8000]) {
        const octets = new Uint8Array(AT + 10);
        const view = new DataView(octets.buffer);
        const kernel = new JavaScriptChecksum(view);
        view.setUint8(AT, request);
        view.setUint16(AT + 6, word);
        icmp.finishIcmp(kernel, view, AT, 10);
        expect(kernel.sum(AT, 10, 0)).toBe(0xffff);
        icmp.makeReply(view, AT, reply);
        expect([...octets.slice(0, AT + 2), ...octets.slice(AT + 4)]).toEqual([
          ...[0, 0, 0, 0, 0, reply, 0, 0, 0, word >> 8, word & 255, 0, 0],
        ]);
        expect([word, kernel.sum(AT, 10, 0)]).toEqual([word, 0xffff]);
      }
    }
  });

  it("is read and written by place", () => {
    expect(icmp.typeAndCode(counting(), AT)).toBe(u16(0));
    expect(written((to) => icmp.writeUnreachable(to, AT, icmp.UNREACHABLE, icmp.PROHIBITED), 8)).toEqual([
      ...[3, 13, 0, 0, 0, 0, 0, 0],
    ]);
    expect([icmpv6.type(counting(), AT), icmpv6.ICMPV6_HEADER_OCTETS]).toEqual([1, 4]);
  });
});

describe("ICMPv6", () => {
  it("has a checksum over the pseudo-header, which is written over whatever stands there", () => {
    const octets = new Uint8Array(AT + 48).fill(0x77);
    const view = new DataView(octets.buffer);
    const kernel = new JavaScriptChecksum(view);
    icmpv6.finishIcmpv6(kernel, view, AT, AT + 40, 8);
    const pseudo = [...octets.subarray(AT + 8, AT + 40), 0, 0, 0, 8, 0, 0, 0, 58];
    expect(sumOf([...pseudo, ...octets.subarray(AT + 40)])).toBe(0xffff);
    expect(icmpv6.icmpv6Sum(kernel, view, AT, AT + 40, 8)).toBe(0xffff);
    const changed = octets.filter((octet) => octet !== 0x77).length;
    expect(changed).toBeLessThanOrEqual(2);
  });
});

describe("IPv6", () => {
  it("is read and written by place", () => {
    const view = counting();
    expect([ipv6.payloadLength(view, AT), ipv6.nextHeader(view, AT), ipv6.hopLimit(view, AT)]).toEqual([
      u16(4),
      7,
      8,
    ]);
    expect(ipv6.flowLabel(view, AT)).toBe(i32(0) & 0xfffff);
    expect([0, 1, 2, 3].map((word) => ipv6.sourceWord(view, AT, word))).toEqual([8, 12, 16, 20].map(i32));
    expect([0, 1, 2, 3].map((word) => ipv6.destinationWord(view, AT, word))).toEqual(
      [24, 28, 32, 36].map(i32),
    );
    // A label has no more than its 20 bits.
    expect(written((to) => ipv6.writeIpv6(to, AT, 0x0102, 3, 4, 0xfff12345 | 0), 8)).toEqual([
      ...[0x60, 1, 0x23, 0x45, 1, 2, 3, 4],
    ]);
    expect(written((to) => ipv6.writeFragmentHeader(to, AT, 17, 0xabcd, 0x01020304), 8)).toEqual([
      ...[17, 0, 0xab, 0xcd, 1, 2, 3, 4],
    ]);
    expect(
      written((to) => ipv6.writeAddress(to, AT, Int32Array.of(9, i32(0), i32(4), i32(8), i32(12)), 1), 16),
    ).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
    const words = new Int32Array(6);
    ipv6.readAddress(view, AT + 2, words, 1);
    expect([...words]).toEqual([0, i32(2), i32(6), i32(10), i32(14), 0]);
  });

  it("is checked by place, and to the octet", () => {
    const check = (first: number, payload: number, available: number): string => {
      const view = new DataView(new ArrayBuffer(AT + 80));
      view.setUint8(AT, first);
      view.setUint16(AT + 4, payload);
      return DROP_REASONS[ipv6.checkIpv6(view, AT, available)];
    };
    expect([check(0x60, 1, 41), check(0x6f, 1, 80), check(0x60, 20, 60)]).toEqual(
      new Array(3).fill("handled"),
    );
    for (const [first, payload, available] of [
      [0x70, 1, 41],
      [0x40, 1, 41],
      [0xe0, 1, 41],
      [0x60, 0, 41],
      [0x60, 2, 41],
      [0x60, 1, 40],
      [0x60, 1, 39],
    ])
      expect(check(first, payload, available)).toBe("ipv6-malformed");
    expect(DROP_REASONS[ipv6.checkIpv6(new DataView(new ArrayBuffer(AT)), AT, 0)]).toBe("ipv6-malformed");
  });

  it("tells addresses by place", () => {
    const view = (...octets: number[]) =>
      new DataView(
        Uint8Array.of(9, 9, ...octets, ...new Array<number>(16 - octets.length).fill(0), 9).buffer,
      );
    expect(ipv6.isUnspecified(view(), 2)).toBe(true);
    for (const at of [0, 4, 8, 12])
      expect(ipv6.isUnspecified(view(...new Array<number>(at).fill(0), 0, 0, 0, 1), 2)).toBe(false);
    expect(ipv6.multicastScope(view(0xff, 0x32), 2)).toBe(2);
    expect(ipv6.isMapped(view(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff), 2)).toBe(true);
    for (const at of [3, 7, 8])
      expect(ipv6.isMapped(view(...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff].with(at, 1)), 2)).toBe(false);
    expect([view(0xfe, 0x80), view(0xfe, 0xbf)].map((to) => ipv6.isLinkLocal(to, 2))).toEqual([true, true]);
    expect([view(0xfe, 0xc0), view(0xff, 0x80)].map((to) => ipv6.isLinkLocal(to, 2))).toEqual([false, false]);
  });

  it("sums addresses whatever carries there are", () => {
    const octets = new Uint8Array(AT + 40).fill(0xff);
    const view = new DataView(octets.buffer);
    const words = new Int32Array(10).fill(-1);
    expect([ipv6.headerAddressSum6(view, AT), ipv6.addressSum6(words, 1)]).toEqual([0xffff, 0xffff]);
    // The header's first eight octets are no address.
    octets.fill(0, AT + 8);
    words.fill(0, 1, 9);
    expect([ipv6.headerAddressSum6(view, AT), ipv6.addressSum6(words, 1)]).toEqual([0, 0]);
    view.setInt32(AT + 8, 0xffffffff | 0);
    view.setInt32(AT + 36, 0x00010001);
    words[1] = 0xffffffff | 0;
    words[8] = 0x00010001;
    expect([ipv6.headerAddressSum6(view, AT), ipv6.addressSum6(words, 1)]).toEqual([2, 2]);
    // Its first fold carries again.
    view.setInt32(AT + 36, 1);
    words[8] = 1;
    expect([ipv6.headerAddressSum6(view, AT), ipv6.addressSum6(words, 1)]).toEqual([1, 1]);
  });
});

it("a frame of QEMU's stream has its length in front", () => {
  expect(written((to) => qemu.setStreamFrameLength(to, AT, 0x81020304), 4)).toEqual([0x81, 2, 3, 4]);
  const view = new DataView(Uint8Array.of(9, 0x81, 2, 3, 4).buffer);
  expect(qemu.streamFrameLength(view, 1)).toBe(0x81020304);
});

it("a record has a length, a type and a time, and addresses of four words", () => {
  const header = written((to) => record.writeRecord(to, AT, record.RECORD_DNS, 0x0102, 1.5), 12);
  expect(header).toEqual([1, 2, 4, 0, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
  expect(written((to) => record.writeAddress(to, AT, i32(0), i32(4), i32(8), i32(12)), 16)).toEqual(
    Array.from({ length: 16 }, (_, i) => i + 1),
  );
});

/** Ones' complement sum of octets, folded. */
function sumOf(octets: readonly number[]): number {
  let sum = octets.reduce((before, octet, i) => before + (i % 2 === 0 ? octet << 8 : octet), 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}
