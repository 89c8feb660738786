/** Which queue a fragment goes to, which gives way, and what is too much for one: at the edges, over both families. */
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
import { ip } from "../../support/frames.ts";
import { packet6 } from "../../support/frames6.ts";

const RX_AT = 4096;
const REGION_AT = 2 * 65_536 + 4096;
const octets = new Uint8Array(REGION_AT + REASSEMBLY_REGION_OCTETS + 1024);
const view = new DataView(octets.buffer);

interface Piece {
  /** Which octets of the payload these are. */
  readonly from: number;
  readonly to: number;
  readonly more: boolean;
  /** What they are, but for those of the usual pattern. */
  readonly octets?: Uint8Array;
}

interface Piece4 extends Piece {
  readonly id?: number;
  readonly source?: string;
  readonly destination?: string;
  readonly headerOctets?: number;
}

interface Piece6 extends Piece {
  readonly id?: number;
  readonly source?: string;
  readonly destination?: string;
}

const PATTERN = Uint8Array.from({ length: 65_536 }, (_, i) => (i * 31 + (i >> 8)) & 255);

function setUp() {
  const counters = new Counters();
  const reassembly = new Reassembly(octets, view, REGION_AT, counters);
  const outcome = (result: number, header: number): string => {
    if (result < 0) return DROP_REASONS[-result];
    if (result === 0) return "waits";
    const payload = octets.subarray(result + header, result + reassembly.completedLength);
    return Buffer.compare(payload, PATTERN.subarray(0, payload.length)) === 0
      ? `whole, ${payload.length} octets`
      : "other octets";
  };
  const add = ({ from, to, more, id = 1, headerOctets = 20, ...rest }: Piece4, now = 0): string => {
    const {
      source = "10.0.2.15",
      destination = "10.0.2.2",
      octets: payload = PATTERN.subarray(from, to),
    } = rest;
    octets.fill(1, RX_AT, RX_AT + headerOctets);
    view.setUint8(RX_AT, 0x40 | (headerOctets / 4));
    view.setUint16(RX_AT + 4, id);
    view.setUint16(RX_AT + 6, (more ? 0x2000 : 0) | (from >> 3));
    view.setUint8(RX_AT + 9, 17);
    view.setInt32(RX_AT + 12, ip(source));
    view.setInt32(RX_AT + 16, ip(destination));
    octets.set(payload, RX_AT + headerOctets);
    return outcome(reassembly.add(RX_AT, headerOctets, headerOctets + payload.length, now), headerOctets);
  };
  const add6 = ({ from, to, more, id = 1, ...rest }: Piece6, now = 0): string => {
    const { octets: payload = PATTERN.subarray(from, to), ...ends } = rest;
    const header = [17, 0, from >>> 8, (from & 0xf8) | (more ? 1 : 0), id >>> 24, id >>> 16, id >>> 8, id];
    const start = packet6({ ...ends, next: 44, payload: header.map((octet) => octet & 255) });
    octets.set(start, RX_AT);
    octets.set(payload, RX_AT + start.length);
    return outcome(reassembly.add6(RX_AT, RX_AT + 40, RX_AT + start.length + payload.length, now), 40);
  };
  return { add, add6, counters, reassembly };
}

const FIRST = { from: 0, to: 8, more: true };
const LAST = { from: 8, to: 24, more: false };

describe("a fragment of the same place", () => {
  const changed = (at: number): Uint8Array => {
    const payload = PATTERN.slice(8, 24);
    payload[at] ^= 1;
    return payload;
  };

  for (const family of ["add", "add6"] as const) {
    it.each([
      ["the same octets", LAST, "waits"],
      ["another first octet", { ...LAST, octets: changed(0) }, "overlap"],
      ["another last octet", { ...LAST, octets: changed(15) }, "overlap"],
      ["more to follow", { ...LAST, more: true }, "overlap"],
    ])(`${family}: with %s as the last one`, (_name, piece, result) => {
      const send = setUp()[family];
      expect(send(LAST)).toBe("waits");
      expect(send(piece)).toMatch(result);
      expect(send(FIRST)).toMatch(result === "waits" ? "whole, 24 octets" : "overlap");
    });

    it(`${family}: that is the last one after all`, () => {
      const send = setUp()[family];
      expect(send({ ...LAST, more: true })).toBe("waits");
      expect(send(LAST)).toMatch("overlap");
    });
  }
});

describe("a fragment of the same octets", () => {
  it.each([
    ["from further behind", { from: 0, to: 24, more: true }, { from: 8, to: 24, more: true }],
    ["up to further in front", { from: 0, to: 24, more: true }, { from: 0, to: 16, more: true }],
    ["from further in front", { from: 8, to: 24, more: true }, { from: 0, to: 24, more: true }],
  ])("%s overlaps what is there", (_name, first, second) => {
    for (const family of ["add", "add6"] as const) {
      const send = setUp()[family];
      expect([send(first), send(second)]).toEqual(["waits", expect.stringMatching("overlap")]);
    }
  });
});

describe("a fragment at the end", () => {
  it("may end where the last one has said, and no further", () => {
    const { add } = setUp();
    expect(add({ from: 32, to: 40, more: false })).toBe("waits");
    expect(add({ from: 24, to: 32, more: true })).toBe("waits");
    expect(add({ from: 0, to: 24, more: true })).toBe("whole, 40 octets");
  });

  it("that says so may end where others do, and not before", () => {
    const behind = setUp();
    behind.add({ from: 8, to: 16, more: true });
    expect(behind.add({ from: 16, to: 17, more: false })).toBe("waits");
    for (const to of [23, 24]) {
      const inFront = setUp();
      inFront.add({ from: 16, to: 24, more: true });
      expect([to, inFront.add({ from: 8, to, more: false })]).toEqual([to, "ipv4-fragment-overlap"]);
    }
  });

  it.each([
    [20, 65_515, "waits"],
    [20, 65_516, "ipv4-fragment-malformed"],
    [60, 65_515, "waits"],
  ])("behind a header of %i octets may be up to octet %i: %s", (headerOctets, to, result) => {
    const { add, reassembly } = setUp();
    expect(add({ from: 65_512, to, more: false, headerOctets })).toBe(result);
    expect(reassembly.inUse).toBe(result === "waits" ? 1 : 0);
  });

  it.each([
    [65_535, "waits"],
    [65_536, "ipv6-fragment-malformed"],
  ])("of IPv6 may be up to octet %i: %s", (to, result) => {
    expect(setUp().add6({ from: 65_528, to, more: false })).toBe(result);
  });

  it.each([
    [24, 65_511, "whole, 65511 octets"],
    [24, 65_512, "ipv4-fragment-malformed"],
    [60, 65_475, "whole, 65475 octets"],
    [60, 65_476, "ipv4-fragment-malformed"],
  ])(
    "makes a datagram of at most 65535 octets with a header of %i: %i octets",
    (headerOctets, to, result) => {
      const { add, reassembly } = setUp();
      add({ from: 65_000, to, more: false });
      expect(add({ from: 0, to: 65_000, more: true, headerOctets })).toBe(result);
      expect(reassembly.inUse).toBe(0);
    },
  );

  it.each([
    [8, 16, true, "waits"],
    [8, 15, true, "malformed"],
    [8, 15, false, "waits"],
    [8, 9, false, "waits"],
    [8, 8, false, "malformed"],
  ])("from %i to %i with more to follow %s: %s", (from, to, more, result) => {
    expect(setUp().add({ from, to, more })).toMatch(result);
    expect(setUp().add6({ from, to, more })).toMatch(result);
  });
});

describe("a queue", () => {
  it.each<[string, Partial<Piece4>]>([
    ["source", { source: "10.0.2.16" }],
    ["destination", { destination: "10.0.2.3" }],
    ["identification", { id: 2 }],
  ])("is of one %s", (_name, other) => {
    const { add, reassembly } = setUp();
    expect([add(FIRST), add({ ...LAST, ...other })]).toEqual(["waits", "waits"]);
    expect([reassembly.inUse, add(LAST)]).toEqual([2, "whole, 24 octets"]);
  });

  it.each<[string, Partial<Piece6>]>([
    ["source", { source: "fd71:1ae0:d44d:2::16" }],
    ["destination", { destination: "2001:db8::2" }],
    ["identification", { id: 2 }],
  ])("of IPv6 is of one %s", (_name, other) => {
    const { add6, reassembly } = setUp();
    expect([add6(FIRST), add6({ ...LAST, ...other })]).toEqual(["waits", "waits"]);
    expect([reassembly.inUse, add6(LAST)]).toEqual([2, "whole, 24 octets"]);
  });

  it("whose datagram is whole takes nothing more: a late copy begins another", () => {
    for (const family of ["add", "add6"] as const) {
      const { [family]: send, reassembly } = setUp();
      send(FIRST);
      expect([send(LAST), reassembly.inUse]).toEqual(["whole, 24 octets", 0]);
      expect([send(LAST), reassembly.inUse]).toEqual(["waits", 1]);
      expect([send(FIRST), reassembly.inUse]).toEqual(["whole, 24 octets", 0]);
    }
  });

  it("has the header of the fragment at 0, whenever that came", () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const { add, reassembly } = setUp();
      const pieces = [
        { ...FIRST, headerOctets: 24 },
        { ...LAST, headerOctets: 32 },
      ];
      for (const n of order) add(pieces[n] as Piece4);
      expect(reassembly.completedLength).toBe(24 + 24);
    }
  });

  it("begins empty, whatever the one beside it holds", () => {
    for (const piece of [
      { from: 0, to: 8, more: false },
      { from: 8, to: 16, more: true },
    ]) {
      const { add } = setUp();
      add({ ...FIRST, id: 1 });
      for (let n = 0; n < REASSEMBLY_FRAGMENTS_MAX; n++)
        expect(add({ from: 1000 + 16 * n, to: 1008 + 16 * n, more: true, id: 2 })).toBe("waits");
      expect(add({ ...LAST, id: 1 })).toBe("whole, 24 octets");
      expect(add({ ...piece, id: 3 })).toBe(piece.more ? "waits" : "whole, 8 octets");
      if (!piece.more) continue;
      expect(add({ from: 0, to: 8, more: true, id: 3 })).toBe("waits");
      expect(add({ from: 16, to: 17, more: false, id: 3 })).toBe("whole, 17 octets");
    }
  });

  it("is in the region, be it the first, the last or full", () => {
    octets.fill(0xee, REGION_AT - 1024, REGION_AT);
    octets.fill(0xee, REGION_AT + REASSEMBLY_REGION_OCTETS);
    const { add, reassembly } = setUp();
    const ids = Array.from({ length: REASSEMBLY_QUEUES_MAX }, (_, id) => id);
    for (const id of ids) add({ from: 65_000, to: 65_475, more: false, id });
    for (const id of ids) add({ from: 8, to: 65_000, more: true, id });
    expect(reassembly.inUse).toBe(REASSEMBLY_QUEUES_MAX);
    for (const id of ids)
      expect(add({ from: 0, to: 8, more: true, id, headerOctets: 60 })).toBe("whole, 65475 octets");
    const around = [
      octets.subarray(REGION_AT - 1024, REGION_AT),
      octets.subarray(REGION_AT + REASSEMBLY_REGION_OCTETS),
    ];
    expect(around.map((guard) => [guard.length, guard.every((octet) => octet === 0xee)])).toEqual([
      [1024, true],
      [1024, true],
    ]);
  });

  it("is of one family, whatever it held before", () => {
    // IPv4's key is identification and protocol in one word; here IPv6's identification is the same word.
    const key = (1 << 16) | 17;
    const { add, add6, reassembly } = setUp();
    add(FIRST);
    add(LAST);
    expect([add6({ ...FIRST, id: key }), reassembly.inUse]).toEqual(["waits", 1]);
    expect([add(LAST), reassembly.inUse]).toEqual(["waits", 2]);
    const turned = setUp();
    turned.add6({ ...FIRST, id: key });
    turned.add6({ ...LAST, id: key });
    expect([turned.add(FIRST), turned.reassembly.inUse]).toEqual(["waits", 1]);
    expect([turned.add6({ ...LAST, id: key }), turned.reassembly.inUse]).toEqual(["waits", 2]);
  });

  it("that was forgotten takes nothing more", () => {
    const { add, reassembly } = setUp();
    add(FIRST);
    reassembly.clear();
    expect([reassembly.inUse, reassembly.nextDeadlineMs(0)]).toEqual([0, -1]);
    expect([add(LAST), reassembly.inUse]).toEqual(["waits", 1]);
  });
});

describe("when there is no queue left", () => {
  it.each([0, 7, REASSEMBLY_QUEUES_MAX - 1])(
    "the oldest gives way, be it number %i, and is counted",
    (oldest) => {
      for (const start of [0, 0x7fffffff]) {
        const { add, counters, reassembly } = setUp();
        for (let id = 0; id < REASSEMBLY_QUEUES_MAX; id++) {
          const age = id === oldest ? 0 : 1 + id;
          expect(add({ ...FIRST, id }, (start + age) | 0)).toBe("waits");
        }
        expect([reassembly.inUse, counters.dropped("ipv4-fragment-limit")]).toEqual([
          REASSEMBLY_QUEUES_MAX,
          0,
        ]);
        const now = (start + 100) | 0;
        expect(add({ ...FIRST, id: 1000 }, now)).toBe("waits");
        expect([reassembly.inUse, counters.dropped("ipv4-fragment-limit")]).toEqual([
          REASSEMBLY_QUEUES_MAX,
          1,
        ]);
        for (let id = 0; id < REASSEMBLY_QUEUES_MAX; id++)
          if (id !== oldest) expect([id, add({ ...LAST, id }, now)]).toEqual([id, "whole, 24 octets"]);
        expect(add({ ...LAST, id: 1000 }, now)).toBe("whole, 24 octets");
        expect([reassembly.inUse, add({ ...LAST, id: oldest }, now)]).toEqual([0, "waits"]);
      }
    },
  );

  it("one that is condemned gives way without being counted again", () => {
    const { add, counters, reassembly } = setUp();
    add({ ...FIRST, id: 0 });
    expect(add({ from: 0, to: 16, more: true, id: 0 })).toBe("ipv4-fragment-overlap");
    for (let id = 1; id <= REASSEMBLY_QUEUES_MAX; id++) add({ ...FIRST, id }, id);
    expect([reassembly.inUse, counters.dropped("ipv4-fragment-limit")]).toEqual([REASSEMBLY_QUEUES_MAX, 0]);
    expect(add({ ...FIRST, id: 0 }, 100)).toBe("waits");
    expect(counters.dropped("ipv4-fragment-limit")).toBe(1);
  });
});

describe("the time of a datagram", () => {
  it("is the family's own, to the millisecond, and counted once", () => {
    for (const start of [0, 0x7ffffff0]) {
      const { add, add6, counters, reassembly } = setUp();
      const at = (passed: number): number => (start + passed) | 0;
      add6(FIRST, at(0));
      add(FIRST, at(10));
      const deadlines = [10, 10 + REASSEMBLY_TIMEOUT_MS, 20 + REASSEMBLY_TIMEOUT_MS].map((passed) =>
        reassembly.nextDeadlineMs(at(passed)),
      );
      expect(deadlines).toEqual([REASSEMBLY_TIMEOUT_MS, 0, 0]);
      const left = [9 + REASSEMBLY_TIMEOUT_MS, 10 + REASSEMBLY_TIMEOUT_MS, REASSEMBLY6_TIMEOUT_MS - 1].map(
        (passed) => {
          reassembly.poll(at(passed));
          return reassembly.inUse;
        },
      );
      expect(left).toEqual([2, 1, 1]);
      expect(reassembly.nextDeadlineMs(at(REASSEMBLY6_TIMEOUT_MS - 1))).toBe(1);
      reassembly.poll(at(REASSEMBLY6_TIMEOUT_MS));
      reassembly.poll(at(REASSEMBLY6_TIMEOUT_MS));
      expect([counters.dropped("ipv4-fragment-timeout"), counters.dropped("ipv6-fragment-timeout")]).toEqual([
        1, 1,
      ]);
      expect([reassembly.inUse, reassembly.nextDeadlineMs(at(REASSEMBLY6_TIMEOUT_MS))]).toEqual([0, -1]);
    }
  });

  it("that is next is the earliest of all, whatever came first", () => {
    const { add, reassembly } = setUp();
    add({ ...FIRST, id: 1 }, 100);
    add({ ...FIRST, id: 2 }, 50);
    add({ ...FIRST, id: 3 }, 200);
    expect(reassembly.nextDeadlineMs(200)).toBe(REASSEMBLY_TIMEOUT_MS - 150);
  });

  it("of IPv6 alone is told as it is", () => {
    const { add6, reassembly } = setUp();
    add6(FIRST, 0);
    expect([0, 1, 59_999, 60_000].map((now) => reassembly.nextDeadlineMs(now))).toEqual([
      REASSEMBLY6_TIMEOUT_MS,
      REASSEMBLY6_TIMEOUT_MS - 1,
      1,
      0,
    ]);
  });
});
