import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type CapturedPacket,
  CaptureFormatError,
  LINKTYPE_ETHERNET,
  PCAP_FILE_HEADER_OCTETS,
  PCAP_SNAPLEN,
  readCapture,
} from "../../../src/engine/wire/pcap.ts";
import { recordedGuest } from "../../support/recorded-guest.ts";
import { needs } from "../../support/requirements.ts";
import { captureOf, readWithTshark } from "../../support/tshark.ts";

const FRAMES = [Uint8Array.of(1, 2, 3), Uint8Array.of(), Uint8Array.from({ length: 100 }, (_, i) => i)];
const RECORDED = new URL("../../fixtures/linux-6.1-guest-behind-libslirp.pcap", import.meta.url);

function read(file: Uint8Array): CapturedPacket[] {
  return [...readCapture(file)];
}

function digest(packets: readonly CapturedPacket[]): string {
  const hash = createHash("sha256");
  for (const { octets } of packets) hash.update(octets);
  return hash.digest("hex");
}

/** Ints of 2 or 4 octets and raw octets, in either byte order. */
function build(
  littleEndian: boolean,
  parts: readonly (readonly ["u16" | "u32", number] | Uint8Array)[],
): Uint8Array {
  return Uint8Array.from(
    parts.flatMap((part) => {
      if (part instanceof Uint8Array) return [...part];
      const [kind, value] = part;
      const octets = kind === "u16" ? [value >>> 8, value] : [value >>> 24, value >>> 16, value >>> 8, value];
      return littleEndian ? octets.reverse() : octets;
    }),
  );
}

function padded(octets: Uint8Array): Uint8Array {
  const all = new Uint8Array((octets.length + 3) & ~3);
  all.set(octets);
  return all;
}

type Part = readonly ["u16" | "u32", number] | Uint8Array;
function block(littleEndian: boolean, type: number, parts: readonly Part[]): Uint8Array {
  const body = build(littleEndian, parts);
  const length = body.length + 12;
  return build(littleEndian, [["u32", type], ["u32", length], body, ["u32", length]]);
}

const section = (le: boolean) =>
  block(le, 0x0a0d0d0a, [
    ["u32", 0x1a2b3c4d],
    ["u16", 1],
    ["u16", 0],
    ["u32", 0xffffffff],
    ["u32", 0xffffffff],
  ]);
const iface = (le: boolean, linkType: number, snaplen: number, resolution?: number) =>
  block(le, 1, [
    ["u16", linkType],
    ["u16", 0],
    ["u32", snaplen],
    ...(resolution === undefined
      ? []
      : [["u16", 9] as const, ["u16", 1] as const, Uint8Array.of(resolution, 0, 0, 0)]),
    ...(resolution === undefined ? [] : [["u16", 0] as const, ["u16", 0] as const]),
  ]);
const enhanced = (le: boolean, index: number, ticks: number, octets: Uint8Array) =>
  block(le, 6, [
    ["u32", index],
    ["u32", Math.floor(ticks / 2 ** 32)],
    ["u32", (ticks % 2 ** 32) | 0],
    ["u32", octets.length],
    ["u32", octets.length + 5],
    padded(octets),
  ]);

function join8(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

describe("reading classic pcap", () => {
  it("reads the recorded guest", () => {
    const packets = read(new Uint8Array(readFileSync(RECORDED)));
    expect(packets.length).toBe(recordedGuest().length);
    expect(packets[0]).toMatchObject({ linkType: LINKTYPE_ETHERNET, originalLength: 342 });
    expect(packets[0].octets).toHaveLength(342);
    expect(packets[1].time - packets[0].time).toBeCloseTo(0.000052, 6);
  });

  it.each([
    ["little-endian, microseconds", true, 0xa1b2c3d4, 1e6],
    ["big-endian, microseconds", false, 0xa1b2c3d4, 1e6],
    ["little-endian, nanoseconds", true, 0xa1b23c4d, 1e9],
    ["big-endian, nanoseconds", false, 0xa1b23c4d, 1e9],
  ])("reads %s", (_name, le, magic, ticks) => {
    const octets = Uint8Array.of(9, 8, 7);
    const file = build(le, [
      ["u32", magic],
      ...[["u16", 2] as const, ["u16", 4] as const],
      ...[0, 0, 65535, 0x10000001].map((value) => ["u32", value] as const),
      ...[1000, 250, 3, 60].map((value) => ["u32", value] as const),
      octets,
    ]);
    expect(read(file)).toEqual([{ time: 1000 + 250 / ticks, linkType: 1, originalLength: 60, octets }]);
  });

  it("reads what it writes, and every whole packet of a file cut anywhere", () => {
    const file = captureOf(FRAMES);
    expect(read(file).map(({ octets }) => octets)).toEqual(FRAMES);
    for (let length = PCAP_FILE_HEADER_OCTETS; length < file.length; length++) {
      const found = read(file.subarray(0, length));
      expect(found.length).toBeLessThan(FRAMES.length);
      expect(found.map(({ octets }) => octets)).toEqual(FRAMES.slice(0, found.length));
    }
    for (let length = 0; length < PCAP_FILE_HEADER_OCTETS; length++) {
      expect(() => read(file.subarray(0, length))).toThrow(CaptureFormatError);
    }
  });

  it("says what it found instead of a capture", () => {
    expect(() => read(new TextEncoder().encode("#!/bin/sh\n"))).toThrow(
      /neither pcap nor pcapng: .*0x23212f62/,
    );
  });
});

describe("reading pcapng", () => {
  it.each([
    ["little-endian", true],
    ["big-endian", false],
  ])("reads enhanced and simple packets, %s, past blocks it does not know", (_name, le) => {
    const octets = Uint8Array.of(1, 2, 3, 4, 5);
    const file = join8(
      section(le),
      iface(le, 1, 0),
      iface(le, 101, 4, 9),
      block(le, 5, [new Uint8Array(16)]),
      enhanced(le, 0, 1_700_000_000_000_123, octets),
      enhanced(le, 1, 3_000_000_000, octets),
      block(le, 3, [["u32", 5], padded(octets)]),
    );
    expect(read(file)).toEqual([
      { time: 1_700_000_000.000123, linkType: 1, originalLength: 10, octets },
      { time: 3, linkType: 101, originalLength: 10, octets },
      { time: 0, linkType: 1, originalLength: 5, octets },
    ]);
  });

  it("cuts simple packets at the interface's snaplen, and takes powers of two as clock", () => {
    const octets = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    const file = join8(
      section(true),
      iface(true, 1, 6, 0x80 | 10),
      block(true, 3, [["u32", 100], octets]),
      enhanced(true, 0, 2560, octets),
    );
    expect(read(file)).toEqual([
      { time: 0, linkType: 1, originalLength: 100, octets: octets.subarray(0, 6) },
      { time: 2.5, linkType: 1, originalLength: 13, octets },
    ]);
  });

  it("starts anew with every section, in its own byte order", () => {
    const file = join8(
      section(true),
      iface(true, 1, 0),
      section(false),
      enhanced(false, 0, 1e6, FRAMES[0]),
      iface(false, 113, 0),
      enhanced(false, 0, 2e6, FRAMES[0]),
    );
    expect(read(file)).toMatchObject([{ time: 2, linkType: 113 }]);
  });

  it("leaves out a packet of no interface or longer than its block, and reads on", () => {
    const tooLong = enhanced(true, 0, 0, FRAMES[0]);
    new DataView(tooLong.buffer).setUint32(8 + 12, 0xffffffff, true);
    const file = join8(
      section(true),
      iface(true, 1, 0),
      enhanced(true, 7, 0, FRAMES[0]),
      tooLong,
      enhanced(true, 0, 0, FRAMES[2]),
    );
    expect(read(file).map(({ octets }) => octets)).toEqual([FRAMES[2]]);
  });

  it("reads every whole packet of a file cut anywhere", () => {
    const file = join8(
      section(true),
      iface(true, 1, 0),
      ...FRAMES.map((frame) => enhanced(true, 0, 0, frame)),
    );
    for (let length = 12; length <= file.length; length++) {
      const found = read(file.subarray(0, length)).map(({ octets }) => octets);
      expect(found).toEqual(FRAMES.slice(0, found.length));
      expect(found.length).toBe(
        length === file.length ? FRAMES.length : Math.min(found.length, FRAMES.length - 1),
      );
    }
  });

  it("refuses a section without a byte order", () => {
    expect(() => read(section(true).fill(0, 8, 12))).toThrow(/section at octet 0 has no byte order magic/);
  });

  it("reads what editcap makes of the recorded guest", (context) => {
    needs(context, { commands: ["editcap"] });
    const directory = mkdtempSync(join(tmpdir(), "sluice-pcap-"));
    try {
      const recorded = read(new Uint8Array(readFileSync(RECORDED)));
      for (const format of ["pcapng", "nsecpcap"]) {
        const out = join(directory, format);
        execFileSync("editcap", ["-F", format, RECORDED.pathname, out]);
        const converted = read(new Uint8Array(readFileSync(out)));
        expect(converted.map(({ octets }) => octets.length)).toEqual(
          recorded.map(({ octets }) => octets.length),
        );
        expect(digest(converted)).toBe(digest(recorded));
        expect(converted.at(-1)?.time).toBeCloseTo(recorded.at(-1)?.time ?? 0, 5);
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe("captures", () => {
  it("never throw anything else, and never read past the file, whatever the octets", () => {
    const whole = join8(
      section(true),
      iface(true, 1, 0, 9),
      ...FRAMES.map((frame) => enhanced(true, 0, 0, frame)),
    );
    const damaged = fc
      .tuple(
        fc.constantFrom(whole, captureOf(FRAMES)),
        fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 4 }),
      )
      .map(([file, changes]) => {
        const copy = file.slice();
        for (const [at, octet] of changes) copy[at % copy.length] = octet;
        return copy;
      });
    fc.assert(
      fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), (file) => {
        try {
          for (const { octets } of readCapture(file)) expect(octets.length).toBeLessThanOrEqual(file.length);
        } catch (error) {
          expect(error).toBeInstanceOf(CaptureFormatError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it("as written are read by tshark, super-frames whole", (context) => {
    needs(context, { commands: ["tshark", "capinfos"] });
    const frame = new Uint8Array(65_553).fill(0xff, 0, 12);
    const [reading] = readWithTshark([frame], ["frame.len", "frame.cap_len", "frame.time_epoch"]);
    expect(reading.fields).toMatchObject({ "frame.len": ["65553"], "frame.cap_len": ["65553"] });
    const directory = mkdtempSync(join(tmpdir(), "sluice-pcap-"));
    try {
      const file = join(directory, "one.pcap");
      writeFileSync(file, captureOf(FRAMES));
      const info = execFileSync("capinfos", [file], { encoding: "utf8" });
      expect(info).toContain(`file hdr: ${PCAP_SNAPLEN} bytes`);
      expect(info).toMatch(/Number of packets:\s+3/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
