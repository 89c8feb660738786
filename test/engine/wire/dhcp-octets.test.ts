/** DHCP's and DHCPv6's options, and names in them, to the octet. */
import { describe, expect, it } from "vitest";
import { FILE, OPTIONS, SNAME } from "../../../src/engine/wire/dhcp.ts";
import * as option from "../../../src/engine/wire/dhcp-options.ts";
import * as dhcp6 from "../../../src/engine/wire/dhcpv6.ts";
import { encodeDomainList, encodeFqdn, encodeSearchList } from "../../../src/engine/wire/domain-list.ts";
import { ip6, octets6 } from "../../support/frames6.ts";

const LIMIT = 320;
/** What options may take in front of END. */
const ROOM = LIMIT - 1 - OPTIONS;
const sized = (code: number, length: number): option.Option => ({
  code,
  value: new Uint8Array(length).fill(code),
});
const piece = (code: number, length: number): number[] => [
  code,
  length,
  ...new Array<number>(length).fill(code),
];

/** What stands in the three fields, without the zeros at their ends; and how long the message is. */
function write(options: readonly option.Option[], file: boolean, sname: boolean) {
  const message = new Uint8Array(LIMIT + 40);
  const length = option.writeOptions(message, options, LIMIT, file, sname);
  const field = (from: number, to: number): number[] => {
    const octets = [...message.subarray(from, to)];
    return octets.slice(0, octets.findLastIndex((octet) => octet !== 0) + 1);
  };
  expect(message.subarray(LIMIT).every((octet) => octet === 0)).toBe(true);
  return {
    main: field(OPTIONS, LIMIT),
    file: field(FILE, FILE + 128),
    sname: field(SNAME, SNAME + 64),
    length,
  };
}

describe("DHCP: options where they stand", () => {
  it("are by themselves up to the limit", () => {
    const full = write([sized(53, 1), sized(1, ROOM - 5)], true, true);
    expect(full).toEqual({
      main: [...piece(53, 1), ...piece(1, ROOM - 5), 255],
      file: [],
      sname: [],
      length: LIMIT,
    });
    expect(write([], true, true)).toEqual({ main: [255], file: [], sname: [], length: 300 });
    const short = write([sized(53, 1), sized(1, 56)], true, true);
    expect([short.length, short.main.length]).toEqual([302, 62]);
  });

  it("say in their second place that file, sname or both hold some", () => {
    const options = (...lengths: readonly number[]) => [
      sized(53, 1),
      ...lengths.map((length, i) => sized(i + 1, length)),
    ];
    const main = (overload: number, ...pieces: readonly number[][]) => [
      ...piece(53, 1),
      52,
      1,
      overload,
      ...pieces.flat(),
      255,
    ];
    expect(write(options(60, 100), true, true)).toEqual({
      main: main(1, piece(1, 60)),
      file: [...piece(2, 100), 255],
      sname: [],
      length: 309,
    });
    expect(write(options(60, 50), false, true)).toEqual({
      main: main(2, piece(1, 60)),
      file: [],
      sname: [...piece(2, 50), 255],
      length: 309,
    });
    expect(write(options(60, 125, 61, 5), true, true)).toEqual({
      main: main(3, piece(1, 60), piece(4, 5)),
      file: [...piece(2, 125), 255],
      sname: [...piece(3, 61), 255],
      length: 316,
    });
    // One octet more fits into neither field, nor the rest of the others.
    expect(write(options(60, 126), false, true)).toEqual({
      main: main(2, piece(1, 60)),
      file: [],
      sname: [255],
      length: 309,
    });
  });

  it("are left out where they fit nowhere, and an overload of nothing is of file, or of sname", () => {
    const options = [sized(53, 1), sized(1, 600)];
    const main = (overload: number) => [...piece(53, 1), 52, 1, overload, 255];
    expect(write(options, true, true)).toEqual({ main: main(1), file: [255], sname: [], length: 300 });
    expect(write(options, true, false)).toEqual({ main: main(1), file: [255], sname: [], length: 300 });
    expect(write(options, false, true)).toEqual({ main: main(2), file: [], sname: [255], length: 300 });
    expect(write(options, false, false)).toEqual({
      main: [...piece(53, 1), 255],
      file: [],
      sname: [],
      length: 300,
    });
  });

  it("are in pieces where no field holds them whole", () => {
    // 73 octets of room behind the first two options, 127 and 63 in file and sname.
    const left = ROOM - 6;
    const all = left - 2 + 125 + 61;
    expect(write([sized(53, 1), sized(1, all)], true, true)).toEqual({
      main: [...piece(53, 1), 52, 1, 3, ...piece(1, left - 2), 255],
      file: [...piece(1, 125), 255],
      sname: [...piece(1, 61), 255],
      length: LIMIT,
    });
    expect(write([sized(53, 1), sized(1, all + 1)], true, true).main).toEqual([
      ...piece(53, 1),
      52,
      1,
      1,
      255,
    ]);
    // What fills main leaves file as it is.
    expect(write([sized(53, 1), sized(1, left - 2), sized(2, 130)], true, true)).toEqual({
      main: [...piece(53, 1), 52, 1, 3, ...piece(1, left - 2), 255],
      file: [...piece(2, 125), 255],
      sname: [...piece(2, 5), 255],
      length: LIMIT,
    });
  });

  it("are in their order, in pieces as they are whole", () => {
    const value = Uint8Array.from({ length: 300 }, (_, i) => i & 255);
    const message = new Uint8Array(900);
    const length = option.writeOptions(message, [{ code: 43, value }], 900, false, false);
    expect([...message.subarray(OPTIONS, length)]).toEqual([
      ...[43, 255, ...value.subarray(0, 255)],
      ...[43, 45, ...value.subarray(255), 255],
    ]);
    // An option of nothing, and one of just one piece.
    option.writeOptions(
      message.fill(0),
      [{ code: 80, value: new Uint8Array(0) }, sized(43, 255)],
      900,
      false,
      false,
    );
    expect([...message.subarray(OPTIONS, OPTIONS + 260)]).toEqual([80, 0, ...piece(43, 255), 255]);
    // Of two pieces, each has its code and length.
    const exact = OPTIONS + 2 + 255 + 2 + 1 + 1;
    const two = new Uint8Array(exact);
    expect(option.writeOptions(two, [sized(43, 256)], exact, false, false)).toBe(exact);
    expect(option.writeOptions(two.fill(0), [sized(43, 256)], exact - 1, false, false)).toBe(300);
  });

  it("leave two octets that hold no piece as they are", () => {
    const left = ROOM - 6;
    const { main, file } = write([sized(53, 1), sized(1, left - 4), sized(2, 130)], true, true);
    expect(main).toEqual([...piece(53, 1), 52, 1, 3, ...piece(1, left - 4), 255]);
    expect(file).toEqual([...piece(2, 125), 255]);
  });

  it("are counted with the head of each piece", () => {
    // 3 octets, and 260 in two pieces: one or two too many for the field that all else would fit.
    for (const room of [261, 262]) {
      const message = new Uint8Array(OPTIONS + room + 1);
      option.writeOptions(message, [sized(53, 1), sized(43, 256)], message.length, true, false);
      message.set([0x63, 0x82, 0x53, 0x63], OPTIONS - 4);
      expect(option.readOptions(message)?.get(43)).toHaveLength(256);
    }
  });

  it("have values in network order", () => {
    expect([...option.encodeAddresses([0x01020304, 0x85060708 | 0])]).toEqual([1, 2, 3, 4, 0x85, 6, 7, 8]);
    expect([...option.encodeUint16(0x0102)]).toEqual([1, 2]);
    expect([...option.encodeUint32(0x81020304)]).toEqual([0x81, 2, 3, 4]);
    expect([...option.encodeText("aé")]).toEqual([97, 0xc3, 0xa9]);
  });

  it("may stand in a view into something larger", () => {
    const message = new Uint8Array(OPTIONS + 20);
    message.set([0x63, 0x82, 0x53, 0x63], OPTIONS - 4);
    message.set([53, 1, 1, 255, 54, 9], OPTIONS);
    const larger = new Uint8Array(message.length + 9);
    larger.set(message, 4);
    const read = (end: number) => option.readOptions(larger.subarray(4, 4 + end));
    expect(read(OPTIONS + 20)).toEqual(new Map([[53, Uint8Array.of(1)]]));
    expect(read(OPTIONS + 3)).toEqual(new Map([[53, Uint8Array.of(1)]]));
    expect(read(OPTIONS + 2)).toBeNull();
    expect(read(OPTIONS + 1)).toBeNull();
    expect(read(OPTIONS)).toEqual(new Map());
    expect(read(OPTIONS - 1)).toEqual(new Map());
    // An option without octets is whole at the very end.
    larger[4 + OPTIONS + 1] = 0;
    expect(read(OPTIONS + 2)).toEqual(new Map([[53, new Uint8Array(0)]]));
  });

  it("end with file and sname, whatever stands behind those", () => {
    const message = new Uint8Array(OPTIONS + 8);
    message.set([0x63, 0x82, 0x53, 0x63, 52, 1, 3, 255], OPTIONS - 4);
    // Up to the last octet, without END.
    message.set([12, 126, 7], FILE);
    message.set([15, 62, 8], SNAME);
    const options = option.readOptions(message);
    expect([options?.get(12)?.length, options?.get(15)?.length]).toEqual([126, 62]);
    expect(option.readOptions(message.with(FILE + 1, 127))).toBeNull();
    expect(option.readOptions(message.with(SNAME + 1, 63))).toBeNull();
    // A bit that says nothing, and no octet at all.
    message.set([52, 1, 4, 255], OPTIONS);
    expect(option.readOptions(message)?.size).toBe(1);
    message.set([52, 0, 255, 255], OPTIONS);
    expect(option.readOptions(message)?.size).toBe(1);
  });
});

describe("DHCPv6", () => {
  it("reads codes and lengths of two octets, from any place of a view", () => {
    const value = Uint8Array.from({ length: 300 }, (_, i) => i & 255);
    const octets = Uint8Array.of(9, 9, 7, 1, 2, 0x01, 0x2c, ...value, 0, 5, 0, 0);
    const message = octets.subarray(2);
    expect(dhcp6.readOptions6(message, 1)).toEqual([
      { code: 0x0102, value },
      { code: 5, value: new Uint8Array(0) },
    ]);
    expect(dhcp6.readOptions6(message, message.length)).toEqual([]);
    for (const cut of [1, 2, 3, 5]) expect(dhcp6.readOptions6(message.subarray(0, -cut), 1)).toBeNull();
    expect(dhcp6.readOptions6(message.subarray(0, -4), 1)).toHaveLength(1);
  });

  it("writes codes and lengths of two octets", () => {
    const value = new Uint8Array(0x0203).fill(7);
    expect([...dhcp6.encodeOptions6([{ code: 0x0102, value }])]).toEqual([1, 2, 2, 3, ...value]);
    expect([...dhcp6.encodeOptions6([])]).toEqual([]);
    expect(dhcp6.statusOption(0x0102)).toEqual({ code: 13, value: Uint8Array.of(1, 2) });
    expect([...dhcp6.encodeMessage(dhcp6.REPLY, Uint8Array.of(9, 1, 2, 3, 4), [])]).toEqual([7, 1, 2, 3]);
  });

  it("reads associations and addresses in a view, options behind them included", () => {
    const inner = [0, 13, 0, 2, 0, 0];
    const association = Uint8Array.of(9, 0x81, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, ...inner).subarray(1);
    expect(dhcp6.readAssociation(association)).toEqual({
      iaid: 0x81020304 | 0,
      options: [{ code: 13, value: Uint8Array.of(0, 0) }],
    });
    expect(dhcp6.readAssociation(association.subarray(0, 12))?.options).toEqual([]);
    expect(dhcp6.readAssociation(association.subarray(0, 11))).toBeNull();
    expect(dhcp6.readAssociation(association.subarray(0, -1))).toBeNull();
    const address = Uint8Array.of(
      9,
      ...octets6("2001:db8:1:2:3:4:5:6"),
      0,
      0,
      0,
      1,
      0,
      0,
      0,
      2,
      ...inner,
    ).subarray(1);
    expect([...dhcp6.readIaAddress(address)!]).toEqual(ip6("2001:db8:1:2:3:4:5:6"));
    expect(dhcp6.readIaAddress(address.subarray(0, 24))).not.toBeNull();
    expect(dhcp6.readIaAddress(address.subarray(0, 23))).toBeNull();
    expect(dhcp6.readIaAddress(address.subarray(0, -1))).toBeNull();
  });

  it("writes associations, addresses and times by place", () => {
    const inner = { code: 5, value: Uint8Array.of(7) };
    expect([...dhcp6.encodeAssociation(0x81020304, 0x82000001, 0x83000002, [inner])]).toEqual([
      ...[0x81, 2, 3, 4, 0x82, 0, 0, 1, 0x83, 0, 0, 2],
      ...[0, 5, 0, 1, 7],
    ]);
    const words = ip6("2001:db8:1:2:3:4:5:6");
    const octets = octets6("2001:db8:1:2:3:4:5:6");
    expect([...dhcp6.encodeIaAddress(words, 0x84000003, 0xffffffff)]).toEqual([
      ...octets,
      ...[0x84, 0, 0, 3, 255, 255, 255, 255],
    ]);
    expect([...dhcp6.encodeAddresses6([words, words])]).toEqual([...octets, ...octets]);
    expect([...dhcp6.encodeAddresses6([])]).toEqual([]);
  });

  it("finds the MAC in DUIDs of Ethernet alone, by every octet in front of it", () => {
    const mac = [1, 2, 3, 4, 5, 6];
    for (const head of [
      [0, 3, 0, 1],
      [0, 1, 0, 1, 9, 9, 9, 9],
    ]) {
      expect([...dhcp6.macInDuid(Uint8Array.of(...head, ...mac))!]).toEqual(mac);
      for (let at = 0; at < 4; at++)
        expect(dhcp6.macInDuid(Uint8Array.from([...head.with(at, head[at] ^ 8), ...mac]))).toBeNull();
      for (const other of [mac.slice(1), [...mac, 7], []])
        expect(dhcp6.macInDuid(Uint8Array.of(...head, ...other))).toBeNull();
    }
    expect(dhcp6.macInDuid(Uint8Array.of(0, 1, 0, 1, ...mac))).toBeNull();
    expect(dhcp6.macInDuid(new Uint8Array(0))).toBeNull();
    // Of another kind, and as long as one that began before or in itself would be.
    for (const octets of [5, 6, 7])
      expect(dhcp6.macInDuid(Uint8Array.of(0, 2, 0, 1, 9, 9, 9).subarray(0, octets))).toBeNull();
  });

  it("keeps the protocol's own options to itself", () => {
    expect([...dhcp6.PROTOCOL_OPTIONS_6].toSorted((a, b) => a - b)).toEqual([
      1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 18, 19, 20, 25, 26,
    ]);
  });
});

describe("names", () => {
  it("have labels of 63 octets at most, whatever their characters", () => {
    const long = "x".repeat(63);
    expect([...encodeDomainList([long])]).toEqual([63, ...Buffer.from(long), 0]);
    expect([...encodeFqdn("é")]).toEqual([2, 0xc3, 0xa9]);
    expect(() => encodeFqdn(`${"é".repeat(32)}.a`)).toThrow(
      new RangeError(`label "${"é".repeat(32)}" of "${"é".repeat(32)}.a" is over 63 octets`),
    );
    expect([...encodeFqdn("vm.")]).toEqual([2, 118, 109]);
    expect([...encodeFqdn("vm.a.")]).toEqual([2, 118, 109, 1, 97, 0]);
  });

  it("in a search list point to suffixes that stand 16,383 octets from its start, and no further", () => {
    // Names of 32 octets, nothing in common: `z.y` at 511 * 32, moved by a shorter one in front.
    const filler = Array.from({ length: 511 }, (_, i) => `${String(i).padStart(3, "0")}${"x".repeat(27)}`);
    const list = (first: string, ...more: readonly string[]) => [
      ...encodeSearchList([...filler, first, "z.y", ...more]),
    ];
    const at = 511 * 32;
    const reach = (length: number) => {
      const octets = list("f".repeat(length - 2), "z.y");
      expect(octets.slice(at + length, at + length + 5)).toEqual([1, 122, 1, 121, 0]);
      return octets.slice(at + length + 5);
    };
    expect(at + 31).toBe(0x3fff);
    expect(reach(31)).toEqual([0xff, 0xff]);
    // z.y itself is out of reach.
    expect(reach(32)).toEqual([1, 122, 1, 121, 0]);
    // Its second label is, too, where the first is the last that is not.
    const octets = list("f".repeat(29), "y");
    expect(octets.slice(at + 31)).toEqual([1, 122, 1, 121, 0, 1, 121, 0]);
  });

  it("in a search list are the same in letters of either case, but in no other letters", () => {
    expect([...encodeSearchList(["a.B", "A.b"])]).toEqual([1, 97, 1, 66, 0, 0xc0, 0]);
    expect([...encodeSearchList(["ß", "ss"])]).toEqual([2, 0xc3, 0x9f, 0, 2, 115, 115, 0]);
  });

  it("in a search list point to a suffix in whatever name it stands", () => {
    expect([...encodeSearchList(["a.b.c", "d.b.c", "b.c", "c", "d.b.c"])]).toEqual([
      ...[1, 97, 1, 98, 1, 99, 0],
      ...[1, 100, 0xc0, 2],
      ...[0xc0, 2],
      ...[0xc0, 4],
      ...[0xc0, 7],
    ]);
  });
});
