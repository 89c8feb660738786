/** What the two families have in common and what not; orders, overlaps and floods of each are in reassembly.test.ts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  REASSEMBLY_FRAGMENTS_MAX,
  REASSEMBLY_QUEUES_MAX,
  REASSEMBLY_TIMEOUT_MS,
  REASSEMBLY6_TIMEOUT_MS,
} from "../../../src/engine/limits.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { REASSEMBLY_REGION_OCTETS, Reassembly } from "../../../src/engine/network/reassembly.ts";
import { octets6, packet6 } from "../../support/frames6.ts";

const RX_AT = 4096;
const REGION_AT = 2 * 65_536 + 4096;
const GUARD_AT = REGION_AT + REASSEMBLY_REGION_OCTETS;

interface Piece {
  readonly offset: number;
  readonly payload: Uint8Array;
  readonly more: boolean;
  readonly id?: number;
  /** Octets of destination options in front of the fragment header. */
  readonly optionOctets?: number;
}

function setUp() {
  const octets = new Uint8Array(GUARD_AT + 4096).fill(0xee);
  const view = new DataView(octets.buffer);
  const counters = new Counters();
  const reassembly = new Reassembly(octets, view, REGION_AT, counters);
  const outcome = (result: number): string | Uint8Array => {
    if (result < 0) return DROP_REASONS[-result];
    return result === 0 ? "waits" : octets.slice(result, result + reassembly.completedLength);
  };
  const add = ({ offset, payload, more, id = 7, optionOctets = 0 }: Piece, now = 0) => {
    const options = optionOctets === 0 ? [] : [44, optionOctets / 8 - 1, 1, optionOctets - 4];
    const front = [...options, ...new Array<number>(Math.max(0, optionOctets - 4)).fill(0)];
    const header = [17, 0, offset >>> 8, (offset & 0xf8) | (more ? 1 : 0), 0, 0, 0, id];
    const next = optionOctets === 0 ? 44 : 60;
    const start = packet6({ next, payload: [...front, ...header] });
    octets.set(start, RX_AT);
    octets.set(payload, RX_AT + start.length);
    view.setUint16(RX_AT + 4, front.length + 8 + payload.length);
    const end = RX_AT + start.length + payload.length;
    return outcome(reassembly.add6(RX_AT, RX_AT + 40 + front.length, end, now));
  };
  /** An IPv4 fragment whose words look like the same key. */
  const add4 = (offset: number, more: boolean, payload: Uint8Array, id: number, now = 0) => {
    octets.fill(0, RX_AT, RX_AT + 20);
    view.setUint8(RX_AT, 0x45);
    view.setUint16(RX_AT + 2, 20 + payload.length);
    view.setUint16(RX_AT + 4, id);
    view.setUint16(RX_AT + 6, (more ? 0x2000 : 0) | (offset >> 3));
    view.setUint8(RX_AT + 9, 17);
    octets.set(payload, RX_AT + 20);
    return outcome(reassembly.add(RX_AT, 20, 20 + payload.length, now));
  };
  const guardsHold = (): boolean =>
    octets.subarray(GUARD_AT).every((octet) => octet === 0xee) &&
    octets.subarray(REGION_AT - 4096, REGION_AT).every((octet) => octet === 0xee);
  return { add, add4, counters, reassembly, guardsHold };
}

const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 31 + 17) & 255);

describe("IPv6 reassembly", () => {
  it("gives the fixed header, the first fragment's next header and the payload's length", () => {
    const { add } = setUp();
    const payload = pattern(24);
    expect(add({ offset: 8, payload: payload.slice(8), more: false })).toBe("waits");
    const whole = add({ offset: 0, payload: payload.slice(0, 8), more: true, optionOctets: 16 });
    expect(whole).toEqual(packet6({ next: 17, payload: [...payload] }));
  });

  it("N33 keeps the families apart, whatever their keys", () => {
    const { add, add4, reassembly } = setUp();
    const payload = pattern(24);
    // IPv4's key is identification and protocol in one word; here IPv6's identification is the same word.
    expect(add({ offset: 0, payload: payload.slice(0, 8), more: true, id: 17 })).toBe("waits");
    expect(add4(8, false, payload.slice(8), 0)).toBe("waits");
    expect(reassembly.inUse).toBe(2);
    expect(add({ offset: 8, payload: payload.slice(8), more: false, id: 17 })).toEqual(
      packet6({ next: 17, payload: [...payload] }),
    );
  });

  it("N35 has one pool for both, where the oldest of either gives way and is counted as its own", () => {
    const { add, add4, counters, reassembly } = setUp();
    add4(8, false, pattern(8), 1, 0);
    for (let id = 0; id < REASSEMBLY_QUEUES_MAX + 3; id++) {
      add({ offset: 8, payload: pattern(8), more: true, id }, 1 + id);
    }
    expect(reassembly.inUse).toBe(REASSEMBLY_QUEUES_MAX);
    expect(counters.dropped("ipv4-fragment-limit")).toBe(1);
    expect(counters.dropped("ipv6-fragment-limit")).toBe(3);
  });

  it("N35 waits 60 seconds for IPv6 and 30 for IPv4", () => {
    const { add, add4, counters, reassembly } = setUp();
    add({ offset: 8, payload: pattern(8), more: true }, 0);
    add4(8, false, pattern(8), 1, 0);
    expect(reassembly.nextDeadlineMs(0)).toBe(REASSEMBLY_TIMEOUT_MS);
    reassembly.poll(REASSEMBLY_TIMEOUT_MS);
    expect(counters.dropped("ipv4-fragment-timeout")).toBe(1);
    expect(reassembly.nextDeadlineMs(REASSEMBLY_TIMEOUT_MS)).toBe(
      REASSEMBLY6_TIMEOUT_MS - REASSEMBLY_TIMEOUT_MS,
    );
    reassembly.poll(REASSEMBLY6_TIMEOUT_MS - 1);
    expect(reassembly.inUse).toBe(1);
    reassembly.poll(REASSEMBLY6_TIMEOUT_MS);
    expect([reassembly.inUse, counters.dropped("ipv6-fragment-timeout")]).toEqual([0, 1]);
  });

  it("N35 condemns more fragments than any sender needs", () => {
    const { add } = setUp();
    for (let n = 0; n < REASSEMBLY_FRAGMENTS_MAX; n++)
      add({ offset: 16 * n, payload: pattern(8), more: true });
    expect(add({ offset: 16 * 200, payload: pattern(8), more: true })).toBe("ipv6-fragment-limit");
  });

  it("N31 rebuilds any payload from any cut in any order, and condemns what overlaps", () => {
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(cuts, fc.integer({ min: 1, max: 20 }), fc.infiniteStream(fc.nat()), (at, tail, keys) => {
        const { add, guardsHold, reassembly } = setUp();
        const edges = [0, ...at.sort((a, b) => a - b).map((n) => n * 8)];
        const payload = pattern((edges.at(-1) ?? 0) + tail);
        const list = edges
          .map((from, i) => ({
            offset: from,
            payload: payload.slice(from, edges[i + 1]),
            more: i < edges.length - 1,
            key: keys.next().value,
          }))
          .sort((a, b) => a.key - b.key);
        const results = list.map((piece) => add(piece));
        expect(results.at(-1)).toEqual(packet6({ next: 17, payload: [...payload] }));
        expect(results.slice(0, -1).every((result) => result === "waits")).toBe(true);
        expect(reassembly.inUse).toBe(0);
        add(list[0]);
        const overlap = { ...list[0], offset: list[0].offset + 8, payload: list[0].payload.slice(0, 8) };
        if (list[0].payload.length >= 16) expect(add(overlap)).toBe("ipv6-fragment-overlap");
        expect(guardsHold()).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it("has the guest's own addresses in the datagram", () => {
    const { add } = setUp();
    add({ offset: 0, payload: pattern(8), more: true });
    const whole = add({ offset: 8, payload: pattern(8), more: false });
    expect([...(whole as Uint8Array).slice(24, 40)]).toEqual(octets6("2001:db8::1"));
  });
});
