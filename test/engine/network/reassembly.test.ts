import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  REASSEMBLY_FRAGMENTS_MAX,
  REASSEMBLY_QUEUES_MAX,
  REASSEMBLY_TIMEOUT_MS,
} from "../../../src/engine/limits.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { FragmentCutter } from "../../../src/engine/network/fragment.ts";
import { REASSEMBLY_REGION_OCTETS, Reassembly } from "../../../src/engine/network/reassembly.ts";
import { fragmentBits, totalLength } from "../../../src/engine/wire/ipv4.ts";
import { recordedGuest } from "../../support/recorded-guest.ts";

const RX_AT = 4096;
const REGION_AT = 2 * 65536 + 4096;
const GUARD_AT = REGION_AT + REASSEMBLY_REGION_OCTETS;

interface Piece {
  /** Octets into the payload. */
  readonly offset: number;
  readonly payload: Uint8Array;
  readonly more: boolean;
  readonly id?: number;
  readonly source?: number;
  readonly protocol?: number;
  /** Octets of IP options, a multiple of 4. */
  readonly optionOctets?: number;
}

function packetOf({
  offset,
  payload,
  more,
  id = 7,
  source = 0x0a00020f,
  protocol = 17,
  optionOctets = 0,
}: Piece) {
  const header = 20 + optionOctets;
  const packet = new Uint8Array(header + payload.length).fill(1, 20, header);
  const view = new DataView(packet.buffer);
  view.setUint8(0, 0x40 | (header >> 2));
  view.setUint16(2, packet.length);
  view.setUint16(4, id);
  view.setUint16(6, (more ? 0x2000 : 0) | (offset >> 3));
  view.setUint8(8, 64);
  view.setUint8(9, protocol);
  view.setInt32(12, source);
  view.setInt32(16, 0x0a000202);
  packet.set(payload, header);
  return packet;
}

function setUp() {
  const octets = new Uint8Array(GUARD_AT + 4096).fill(0xee);
  const view = new DataView(octets.buffer);
  const counters = new Counters();
  const reassembly = new Reassembly(octets, view, REGION_AT, counters);
  const addPacket = (packet: Uint8Array, nowMs = 0): number => {
    octets.set(packet, RX_AT);
    return reassembly.add(RX_AT, (packet[0] & 15) * 4, packet.length, nowMs);
  };
  /** Adds a fragment; tells what came of it in words, or the payload that it completed. */
  const add = (piece: Piece, nowMs = 0): string | Uint8Array => {
    const result = addPacket(packetOf(piece), nowMs);
    if (result < 0) return DROP_REASONS[-result];
    if (result === 0) return "waits";
    expect(fragmentBits(view, result)).toBe(0);
    expect(totalLength(view, result)).toBe(reassembly.completedLength);
    expect(result % 4).toBe(0);
    const header = (octets[result] & 15) * 4;
    return octets.slice(result + header, result + reassembly.completedLength);
  };
  const guardsHold = (): boolean =>
    octets.subarray(GUARD_AT).every((octet) => octet === 0xee) &&
    octets.subarray(REGION_AT - 4096, REGION_AT).every((octet) => octet === 0xee);
  return { octets, view, counters, reassembly, add, addPacket, guardsHold };
}

function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 17 + (i >> 8)) & 255);
}

/** A payload cut at the given multiples of 8. */
function pieces(payload: Uint8Array, cuts: readonly number[], id?: number): Piece[] {
  const edges = [0, ...cuts, payload.length];
  return edges.slice(0, -1).map((from, i) => ({
    offset: from,
    payload: payload.slice(from, edges[i + 1]),
    more: i < edges.length - 2,
    ...(id === undefined ? {} : { id }),
  }));
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, i) =>
    permutations([...items.slice(0, i), ...items.slice(i + 1)]).map((rest) => [item, ...rest]),
  );
}

describe("IPv4 reassembly", () => {
  it("puts the recorded datagram together", () => {
    const { octets, view, reassembly, addPacket } = setUp();
    const fragments = recordedGuest().filter(
      (frame) =>
        frame.fromGuest && frame.octets[12] === 8 && frame.octets[13] === 0 && isFragment(frame.octets),
    );
    const results = fragments.map((frame) => addPacket(frame.octets.slice(14)));
    expect(results.slice(0, -1)).toEqual([0, 0]);
    const at = results[2];
    expect(reassembly.completedLength).toBe(20 + 8 + 4000);
    expect(totalLength(view, at)).toBe(4028);
    const joined = fragments.flatMap((frame) => [...frame.octets.slice(34)]);
    expect([...octets.slice(at + 20, at + 4028)]).toEqual(joined);
    expect(reassembly.inUse).toBe(0);
  });

  it("takes 2 to 4 fragments in every order", () => {
    const payload = pattern(100);
    for (const cuts of [[8], [8, 64], [16, 24, 96]]) {
      for (const order of permutations(pieces(payload, cuts))) {
        const { add, reassembly } = setUp();
        const results = order.map((piece) => add(piece));
        expect(results.slice(0, -1).every((result) => result === "waits")).toBe(true);
        expect(results.at(-1)).toEqual(payload);
        expect(reassembly.inUse).toBe(0);
      }
    }
  });

  it("ignores exact duplicates, anywhere in every order", () => {
    const payload = pattern(60);
    for (const order of permutations(pieces(payload, [8, 32]))) {
      const { add } = setUp();
      expect(add(order[0])).toBe("waits");
      expect(add(order[0])).toBe("waits");
      expect(add(order[1])).toBe("waits");
      expect(add(order[0])).toBe("waits");
      expect(add(order[1])).toBe("waits");
      expect(add(order[2])).toEqual(payload);
    }
  });

  it("condemns a datagram with any other overlap, in every order, and what comes of it later", () => {
    const payload = pattern(96);
    const [first, middle, last] = pieces(payload, [32, 64]);
    const overlaps: Piece[] = [
      { offset: 8, payload: pattern(8), more: true },
      { offset: 24, payload: pattern(16), more: true },
      { offset: 0, payload: pattern(40), more: true },
      { offset: 0, payload: pattern(16), more: true },
      { offset: 56, payload: pattern(16), more: true },
      { offset: 0, payload: pattern(96), more: false },
    ];
    for (const overlap of overlaps) {
      for (const order of permutations([first, middle, overlap, last])) {
        const { add } = setUp();
        const results = order.map((piece) => add(piece));
        const condemned = results.indexOf("ipv4-fragment-overlap");
        if (condemned < 0) {
          // It overlapped nothing yet: it came after the datagram was whole, or was a whole datagram and came first.
          expect(order.indexOf(overlap)).toBe(overlap.more ? 3 : results[0] === "waits" ? 3 : 0);
          expect(results[order[3] === overlap ? 2 : 3]).toEqual(payload);
          continue;
        }
        expect(results.slice(condemned).every((result) => result === "ipv4-fragment-overlap")).toBe(true);
        expect(results.every((result) => typeof result === "string")).toBe(true);
      }
    }
  });

  it.each([
    ["a second, earlier end", { offset: 16, payload: pattern(4), more: false }],
    ["a second, later end", { offset: 80, payload: pattern(8), more: false }],
    ["data beyond the end", { offset: 72, payload: pattern(16), more: true }],
  ])("condemns %s", (_name, piece) => {
    const { add } = setUp();
    expect(add({ offset: 64, payload: pattern(8), more: false })).toBe("waits");
    expect(add(piece)).toBe("ipv4-fragment-overlap");
  });

  it("condemns an end in front of what has arrived", () => {
    const { add } = setUp();
    expect(add({ offset: 64, payload: pattern(8), more: true })).toBe("waits");
    expect(add({ offset: 0, payload: pattern(20), more: false })).toBe("ipv4-fragment-overlap");
  });

  it.each([
    ["no payload", { offset: 8, payload: pattern(0), more: false }],
    ["a middle piece of 7 octets", { offset: 0, payload: pattern(7), more: true }],
    ["an end beyond 65535", { offset: 65528, payload: pattern(8), more: false }],
    ["the ping of death", { offset: 65528, payload: pattern(1000), more: false }],
  ])("refuses %s without opening a queue", (_name, piece) => {
    const { add, reassembly } = setUp();
    expect(add(piece)).toBe("ipv4-fragment-malformed");
    expect(reassembly.inUse).toBe(0);
  });

  it("refuses a datagram whose own header takes it over 65535 octets", () => {
    const { add, reassembly, guardsHold } = setUp();
    const payload = pattern(65515);
    const [first, last] = pieces(payload, [65000 & ~7]);
    expect(add(last)).toBe("waits");
    expect(add({ ...first, optionOctets: 40 } as Piece)).toBe("ipv4-fragment-malformed");
    expect(reassembly.inUse).toBe(0);
    expect(guardsHold()).toBe(true);
  });

  it("takes the largest datagram at the smallest MTU, backwards", () => {
    const { add, guardsHold } = setUp();
    const payload = pattern(65515);
    const cutter = new FragmentCutter();
    const list: Piece[] = [];
    for (cutter.start(payload.length, 20, 576); cutter.next(); ) {
      const { offset, length, more } = cutter;
      list.push({ offset, payload: payload.slice(offset, offset + length), more });
    }
    const results = list.reverse().map((piece) => add(piece));
    expect(results.at(-1)).toEqual(payload);
    expect(guardsHold()).toBe(true);
  });

  it("keeps the header of the first fragment, options and all", () => {
    const { octets, reassembly, addPacket } = setUp();
    const [first, last] = pieces(pattern(40), [32]);
    addPacket(packetOf({ ...last, optionOctets: 0 }));
    const at = addPacket(packetOf({ ...first, optionOctets: 24 }));
    expect(octets[at]).toBe(0x40 | 11);
    expect(reassembly.completedLength).toBe(44 + 40);
    expect(octets.slice(at + 20, at + 44)).toEqual(new Uint8Array(24).fill(1));
  });

  it("keeps datagrams apart by source, protocol and identification", () => {
    const { add, reassembly } = setUp();
    const [first, last] = pieces(pattern(24), [8]);
    expect(add(first)).toBe("waits");
    for (const other of [{ id: 8 }, { source: 0x0a000210 }, { protocol: 1 }]) {
      expect(add({ ...last, ...other })).toBe("waits");
    }
    expect(reassembly.inUse).toBe(4);
    expect(add(last)).toEqual(pattern(24));
  });

  it("condemns a datagram of more fragments than any sender needs", () => {
    const { add } = setUp();
    for (let i = 0; i < REASSEMBLY_FRAGMENTS_MAX; i++) {
      expect(add({ offset: 16 * i, payload: pattern(8), more: true })).toBe("waits");
    }
    expect(add({ offset: 16 * REASSEMBLY_FRAGMENTS_MAX, payload: pattern(8), more: true })).toBe(
      "ipv4-fragment-limit",
    );
  });

  it("lets the oldest give way to a flood of 100,000, counts it, and carries a whole datagram through it", () => {
    const { add, counters, reassembly } = setUp();
    const payload = pattern(2000);
    const [first, last] = pieces(payload, [1480], 9);
    const flood = 100_000;
    for (let i = 0; i < flood; i++)
      add({ offset: 8, payload: pattern(8), more: true, id: 1000 + i }, i >> 10);
    expect(reassembly.inUse).toBe(REASSEMBLY_QUEUES_MAX);
    expect(counters.dropped("ipv4-fragment-limit")).toBe(flood - REASSEMBLY_QUEUES_MAX);
    expect(add(last, 100)).toBe("waits");
    expect(add(first, 100)).toEqual(payload);
  });

  it("ends an unfinished datagram after its time, also across the wrap of the clock", () => {
    for (const start of [0, 0x7fffffff - 10, -5]) {
      const { add, counters, reassembly } = setUp();
      const [first, last] = pieces(pattern(24), [8]);
      const later = (ms: number): number => (start + ms) | 0;
      add(first, start);
      expect(reassembly.nextDeadlineMs(later(1000))).toBe(REASSEMBLY_TIMEOUT_MS - 1000);
      reassembly.poll(later(REASSEMBLY_TIMEOUT_MS - 1));
      expect(reassembly.inUse).toBe(1);
      reassembly.poll(later(REASSEMBLY_TIMEOUT_MS));
      expect(reassembly.inUse).toBe(0);
      expect(reassembly.nextDeadlineMs(later(REASSEMBLY_TIMEOUT_MS))).toBe(-1);
      expect(counters.dropped("ipv4-fragment-timeout")).toBe(1);
      expect(add(last, later(REASSEMBLY_TIMEOUT_MS))).toBe("waits");
    }
  });

  it("forgives a condemned datagram when its time is up, without counting it twice", () => {
    const { add, counters, reassembly } = setUp();
    const payload = pattern(24);
    add({ offset: 0, payload: pattern(16), more: true });
    expect(add({ offset: 8, payload: pattern(16), more: true })).toBe("ipv4-fragment-overlap");
    reassembly.poll(REASSEMBLY_TIMEOUT_MS);
    expect(counters.dropped("ipv4-fragment-timeout")).toBe(0);
    const [first, last] = pieces(payload, [8]);
    add(first, REASSEMBLY_TIMEOUT_MS);
    expect(add(last, REASSEMBLY_TIMEOUT_MS)).toEqual(payload);
  });

  it("forgets everything on clear", () => {
    const { add, reassembly } = setUp();
    add(pieces(pattern(24), [8])[0]);
    reassembly.clear();
    expect(reassembly.inUse).toBe(0);
  });

  it("rebuilds any payload from any cut, any order, with duplicates", () => {
    const cutPayload = fc.integer({ min: 9, max: 4000 }).chain((length) =>
      fc.record({
        length: fc.constant(length),
        cuts: fc.uniqueArray(
          fc.integer({ min: 1, max: (length - 1) >> 3 }).map((n) => n * 8),
          {
            minLength: 1,
            maxLength: 20,
          },
        ),
        order: fc.infiniteStream(fc.nat()),
        duplicates: fc.array(fc.nat(), { maxLength: 10 }),
      }),
    );
    fc.assert(
      fc.property(cutPayload, ({ length, cuts, order, duplicates }) => {
        const { add, guardsHold, reassembly } = setUp();
        const payload = pattern(length, length);
        const list = pieces(
          payload,
          cuts.sort((a, b) => a - b),
        );
        const shuffled = list
          .map((piece) => ({ piece, key: order.next().value }))
          .sort((a, b) => a.key - b.key);
        const results = shuffled.flatMap(({ piece }, i) => {
          const again =
            duplicates.length > 0 && i < list.length - 1 ? [shuffled[duplicates[0] % (i + 1)].piece] : [];
          return [piece, ...again].map((p) => add(p));
        });
        expect(results.at(-1)).toEqual(payload);
        expect(results.filter((result) => result !== "waits")).toHaveLength(1);
        expect(reassembly.inUse).toBe(0);
        expect(guardsHold()).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it("never completes wrongly, throws or leaves its region, whatever comes", () => {
    const piece: fc.Arbitrary<Piece> = fc.record({
      offset: fc.oneof(
        fc.integer({ min: 0, max: 12 }).map((n) => n * 8),
        fc.integer({ min: 0, max: 8191 }).map((n) => n * 8),
      ),
      payload: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.nat(65515)).map((length) => pattern(length)),
      more: fc.boolean(),
      id: fc.integer({ min: 0, max: 20 }),
      optionOctets: fc.constantFrom(0, 0, 4, 40),
    });
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (list) => {
        const { add, reassembly, guardsHold } = setUp();
        for (const [i, one] of list.entries()) {
          if (20 + (one.optionOctets ?? 0) + one.payload.length > 65535) continue;
          add(one, i * 1000);
          reassembly.poll(i * 1000);
          expect(reassembly.inUse).toBeLessThanOrEqual(REASSEMBLY_QUEUES_MAX);
        }
        reassembly.poll(60_000 + list.length * 1000);
        expect(reassembly.inUse).toBe(0);
        expect(guardsHold()).toBe(true);
      }),
      { numRuns: 150 },
    );
  });
});

function isFragment(frame: Uint8Array): boolean {
  return (((frame[20] << 8) | frame[21]) & 0x3fff) !== 0;
}
