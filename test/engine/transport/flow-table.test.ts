import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FLOWS_MAX } from "../../../src/engine/limits.ts";
import {
  FlowTable,
  flowLabelOf,
  hashEnds,
  keyedHash,
  NO_FLOW,
  packPorts,
  placeAt,
  powerOfTwo,
} from "../../../src/engine/transport/flow-table.ts";
import { Path } from "../../../src/engine/transport/path.ts";

function makeTable(seed = 1): FlowTable {
  let state = seed;
  return new FlowTable({
    int32: () => {
      state = Math.imul(state, 1103515245) + 12345;
      return state | 0;
    },
  });
}

describe("FlowTable", () => {
  it("agrees with a map of strings through any inserts and removals", () => {
    const key = fc.record({
      protocol: fc.constantFrom(6, 17),
      guest: fc.integer({ min: 0, max: 3 }),
      remote: fc.integer({ min: -2, max: 40 }),
      ports: fc.integer({ min: 0, max: 40 }),
    });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), key), { maxLength: 400 }), (steps) => {
        const table = makeTable();
        const model = new Map<string, number>();
        for (const [add, k] of steps) {
          const name = `${k.protocol} ${k.guest} ${k.remote} ${k.ports}`;
          const id = table.find(k.protocol, k.guest, k.remote, k.ports);
          expect(id).toBe(model.get(name) ?? NO_FLOW);
          if (add && id === NO_FLOW) {
            const next = table.nextId();
            expect(table.insert(k.protocol, k.guest, k.remote, k.ports)).toBe(next);
            model.set(name, next);
          } else if (!add && id !== NO_FLOW) {
            table.remove(id);
            model.delete(name);
          }
          expect(table.count).toBe(model.size);
        }
      }),
    );
  });

  it("keeps IPv4 and IPv6 flows of the same ports apart, as a map of strings would", () => {
    const word = fc.constantFrom(0, 1, -1, 0xffff);
    const key = fc.record({
      protocol: fc.constantFrom(6, 17),
      // A pair whose first words are those of an IPv4 key, or eight words of which any one may differ.
      pair: fc.array(word, { minLength: 8, maxLength: 8 }),
      ports: fc.integer({ min: 0, max: 3 }),
      family: fc.constantFrom(4, 6),
    });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), key), { maxLength: 400 }), (steps) => {
        const table = makeTable();
        const model = new Map<string, number>();
        for (const [add, { protocol, pair, ports, family }] of steps) {
          const words = Int32Array.from(pair);
          const address = family === 4 ? `${pair[0]} ${pair[1]}` : pair.join(" ");
          const name = `${family} ${protocol} ${address} ${ports}`;
          const find = () =>
            family === 4
              ? table.find(protocol, pair[0], pair[1], ports)
              : table.find6(protocol, words, ports);
          const id = find();
          expect(id).toBe(model.get(name) ?? NO_FLOW);
          if (add && id === NO_FLOW) {
            const next = table.nextId();
            const added =
              family === 4
                ? table.insert(protocol, pair[0], pair[1], ports)
                : table.insert6(protocol, words, ports);
            expect(added).toBe(next);
            expect(find()).toBe(next);
            model.set(name, next);
          } else if (!add && id !== NO_FLOW) {
            table.remove(id);
            expect(find()).toBe(NO_FLOW);
            model.delete(name);
          }
          expect(table.count).toBe(model.size);
        }
      }),
    );
  });

  it("tells IPv6 flows apart by any one of their eight words", () => {
    const table = makeTable();
    const pair = Int32Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
    const id = table.insert6(6, pair, 9);
    for (let i = 0; i < 8; i++) {
      const other = pair.slice();
      other[i] ^= 1;
      expect(table.find6(6, other, 9)).toBe(NO_FLOW);
    }
    expect(table.find6(6, pair, 9)).toBe(id);
    expect(table.find6(17, pair, 9)).toBe(NO_FLOW);
    expect(table.find6(6, pair, 8)).toBe(NO_FLOW);
    expect([...table.words.subarray(id * 8, id * 8 + 8)]).toEqual([...pair]);
  });

  it.each([1, 3, 64, 100, 1000])("has room for exactly %i flows when that is its bound", (capacity) => {
    const table = new FlowTable({ int32: () => 7 }, capacity);
    const ids = Array.from({ length: capacity }, (_, i) => {
      expect(table.nextId()).toBe(i);
      return table.insert(17, 1, i, 9);
    });
    expect(ids).toEqual([...ids.keys()]);
    expect([table.count, table.nextId(), table.insert(17, 2, 2, 9)]).toEqual([capacity, NO_FLOW, NO_FLOW]);
    for (const id of ids) expect(table.find(17, 1, id, 9)).toBe(id);
    // The id given back last is the next one.
    for (const id of ids) table.remove(id);
    expect([table.count, table.nextId()]).toEqual([0, capacity - 1]);
  });

  it.each([1, 2, 3, 4])(
    "finds what is there and nothing else, half full and with flows in each other's way: %i",
    (seed) => {
      let state = seed;
      const random = (below: number): number => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
        return (state >>> 8) % below;
      };
      const capacity = 16;
      const table = new FlowTable({ int32: () => random(1 << 24) }, capacity);
      const pairOf = (key: number): Int32Array => new Int32Array(8).fill(100 + key);
      // Every other key is one of IPv6.
      const find = (key: number): number =>
        key % 2 === 0 ? table.find(6, 1, key, 9) : table.find6(6, pairOf(key), 9);
      const keys = Array.from({ length: 40 }, (_, key) => key);
      const model = new Map<number, number>();
      for (let step = 0; step < 3000; step++) {
        const key = random(keys.length);
        const known = model.get(key);
        if (known !== undefined) {
          table.remove(known);
          model.delete(key);
        } else {
          const next = table.nextId();
          const id = key % 2 === 0 ? table.insert(6, 1, key, 9) : table.insert6(6, pairOf(key), 9);
          expect(id).toBe(next);
          if (model.size === capacity) expect(id).toBe(NO_FLOW);
          else model.set(key, id);
        }
        const wrong = keys.filter((one) => find(one) !== (model.get(one) ?? NO_FLOW));
        expect([wrong, table.count]).toEqual([[], model.size]);
      }
      expect(table.end).toBe(capacity);
    },
  );

  it.each([1, 3, 100])("has room for exactly %i flows over IPv6, whose addresses it keeps", (capacity) => {
    const table = new FlowTable({ int32: () => 7 }, capacity);
    const pairOf = (i: number): Int32Array => Int32Array.from({ length: 8 }, (_, word) => i * 8 + word);
    for (let i = 0; i < capacity; i++) expect(table.insert6(17, pairOf(i), 9)).toBe(i);
    expect([table.insert6(17, pairOf(capacity), 9), table.find6(17, pairOf(capacity), 9)]).toEqual([
      NO_FLOW,
      NO_FLOW,
    ]);
    for (let i = 0; i < capacity; i++) {
      expect(table.find6(17, pairOf(i), 9)).toBe(i);
      expect([...table.words.subarray(i * 8, i * 8 + 8)]).toEqual([...pairOf(i)]);
    }
    for (let i = 0; i < capacity; i += 2) table.remove(i);
    for (let i = 0; i < capacity; i++) expect(table.find6(17, pairOf(i), 9)).toBe(i % 2 === 0 ? NO_FLOW : i);
  });

  it("refuses when it is full, and finds every flow then", () => {
    const table = makeTable();
    for (let i = 0; i < FLOWS_MAX; i++) table.insert(6, 1, i, packPorts(i & 0xffff, 80));
    expect(table.nextId()).toBe(NO_FLOW);
    expect(table.insert(17, 1, 1, 1)).toBe(NO_FLOW);
    let found = 0;
    for (let i = 0; i < FLOWS_MAX; i++) if (table.find(6, 1, i, packPorts(i & 0xffff, 80)) === i) found++;
    expect(found).toBe(FLOWS_MAX);
    table.remove(table.find(6, 1, 5, packPorts(5, 80)));
    expect(table.insert(17, 1, 1, 1)).not.toBe(NO_FLOW);
  });
});

/** Ends of either family, whose addresses of IPv6 are at `pairAt`. */
function ends(ipOctets: number, pairAt = 0): Path {
  const path = new Path(
    Int32Array.from({ length: pairAt + 8 }, (_, i) => (i < pairAt ? 99 : i - pairAt + 1)),
  );
  Object.assign(path, {
    ipOctets,
    pairAt,
    guestAddress: 10,
    guestPort: 11,
    remoteAddress: 12,
    remotePort: 13,
  });
  return path;
}

describe("a flow between ends", () => {
  it("is found by them, of either family", () => {
    const table = makeTable();
    expect([table.findEnds(6, ends(20)), table.findEnds(6, ends(40)), table.end]).toEqual([
      NO_FLOW,
      NO_FLOW,
      0,
    ]);
    const id = table.insertEnds(6, ends(20));
    const id6 = table.insertEnds(17, ends(40));
    expect([table.findEnds(6, ends(20)), table.findEnds(17, ends(40))]).toEqual([id, id6]);
    expect(table.find(6, 10, 12, packPorts(11, 13))).toBe(id);
    expect(table.find6(17, ends(40).pair, packPorts(11, 13))).toBe(id6);
    expect([table.findEnds(17, ends(20)), table.findEnds(6, ends(40))]).toEqual([NO_FLOW, NO_FLOW]);
    expect([table.protocolOf(id), table.protocolOf(id6), table.end, table.count]).toEqual([6, 17, 2, 2]);
    table.remove(id6);
    expect([table.protocolOf(id6), table.end, table.count, table.nextId()]).toEqual([0, 2, 1, id6]);
  });

  it("over IPv6 finds no place in a full table", () => {
    const table = new FlowTable({ int32: () => 7 }, 1);
    expect([table.insertEnds(6, ends(40)), table.insertEnds(17, ends(40))]).toEqual([0, NO_FLOW]);
    expect(table.findEnds(6, ends(40))).toBe(0);
  });

  it("has a hash that depends on both its ends, the keys and what it is for", () => {
    const numbers = ["guestPort", "remotePort", "guestAddress", "remoteAddress"] as const;
    const hashes = [hashEnds(1, 2, 3, ends(20)), hashEnds(9, 2, 3, ends(20)), hashEnds(1, 9, 3, ends(20))];
    hashes.push(hashEnds(1, 2, 9, ends(20)));
    for (const name of numbers) hashes.push(hashEnds(1, 2, 3, Object.assign(ends(20), { [name]: 9 })));
    expect(new Set(hashes).size).toBe(8);
    const hashes6 = [hashEnds(1, 2, 3, ends(40, 4)), hashEnds(9, 2, 3, ends(40, 4))];
    hashes6.push(hashEnds(1, 9, 3, ends(40, 4)), hashEnds(1, 2, 9, ends(40, 4)));
    for (const name of numbers.slice(0, 2)) {
      hashes6.push(hashEnds(1, 2, 3, Object.assign(ends(40, 4), { [name]: 9 })));
    }
    for (let word = 0; word < 8; word++) {
      const path = ends(40, 4);
      path.pair[4 + word] = 99;
      hashes6.push(hashEnds(1, 2, 3, path));
    }
    expect(new Set(hashes6).size).toBe(14);
    expect(hashEnds(1, 2, 3, ends(40, 4))).toBe(hashEnds(1, 2, 3, ends(40)));
  });

  it("over IPv6 is hashed as HalfSipHash-1-3 has it, computed by its definition with BigInt", () => {
    const word = fc.integer({ min: -0x80000000, max: 0x7fffffff });
    fc.assert(
      fc.property(
        word,
        word,
        word,
        fc.array(word, { minLength: 8, maxLength: 8 }),
        (k0, k1, domain, pair) => {
          const path = ends(40);
          path.pair.set(pair);
          const message = [...pair, domain, packPorts(11, 13)];
          expect(hashEnds(k0, k1, domain, path)).toBe(referenceHash(k0, k1, message));
        },
      ),
    );
  });

  it("has a flow label of 20 bits that is not 0 (RFC 6437)", () => {
    const labels = new Set<number>();
    for (let key = 0; key < 500; key++) {
      const label = flowLabelOf(key, 2, ends(40));
      expect(label > 0 && label <= 0xfffff).toBe(true);
      labels.add(label);
    }
    expect(labels.size).toBeGreaterThan(490);
    expect(flowLabelOf(1, 2, ends(40, 4))).toBe(flowLabelOf(1, 2, ends(40)));
  });

  it("has a flow label of 1 where its hash has only zeros there", () => {
    // The first key that there is one with.
    const key = 504_693;
    expect(hashEnds(key, 2, 0x100, ends(40)) & 0xfffff).toBe(0);
    expect(flowLabelOf(key, 2, ends(40))).toBe(1);
  });
});

describe("lists of flows", () => {
  it("grow as ids come", () => {
    const list: (string | null)[] = [];
    placeAt(list, 2, "two");
    placeAt(list, 0, "nought");
    expect(list).toEqual(["nought", null, "two"]);
    placeAt(list, 3, "three");
    expect(list).toEqual(["nought", null, "two", "three"]);
  });

  it.each([
    [0, 1],
    [1, 1],
    [2, 2],
    [3, 4],
    [4, 4],
    [5, 8],
    [57_344, 65_536],
  ])("of %i have room for the power of two %i", (n, size) => {
    expect(powerOfTwo(n)).toBe(size);
  });

  it("have ports in one int, the guest's on top", () => {
    expect(packPorts(0xffff, 1) >>> 0).toBe(0xffff0001);
    expect(packPorts(1, 0xffff)).toBe(0x1ffff);
  });
});

describe("keyedHash", () => {
  it("depends on every word and on the key", () => {
    const base = [1, 2, 3, 4, 5, 6] as const;
    const hash = keyedHash(...base);
    for (let i = 0; i < base.length; i++) {
      const changed: [number, number, number, number, number, number] = [...base];
      changed[i] ^= 0x10000;
      expect(keyedHash(...changed)).not.toBe(hash);
    }
  });

  it("matches HalfSipHash-1-3 computed by its definition with BigInt", () => {
    const word = fc.integer({ min: -0x80000000, max: 0x7fffffff });
    fc.assert(
      fc.property(word, word, word, word, word, word, (k0, k1, a, b, c, d) => {
        expect(keyedHash(k0, k1, a, b, c, d)).toBe(referenceHash(k0, k1, [a, b, c, d]));
      }),
    );
  });
});

function referenceHash(k0: number, k1: number, message: number[]): number {
  const mask = 0xffffffffn;
  const u = (n: number): bigint => BigInt(n >>> 0);
  const rotate = (x: bigint, n: bigint): bigint => ((x << n) | (x >> (32n - n))) & mask;
  const v = [u(k0), u(k1), 0x6c796765n ^ u(k0), 0x74656462n ^ u(k1)];
  const round = (): void => {
    v[0] = (v[0] + v[1]) & mask;
    v[1] = rotate(v[1], 5n) ^ v[0];
    v[0] = rotate(v[0], 16n);
    v[2] = (v[2] + v[3]) & mask;
    v[3] = rotate(v[3], 8n) ^ v[2];
    v[0] = (v[0] + v[3]) & mask;
    v[3] = rotate(v[3], 7n) ^ v[0];
    v[2] = (v[2] + v[1]) & mask;
    v[1] = rotate(v[1], 13n) ^ v[2];
    v[2] = rotate(v[2], 16n);
  };
  for (const m of [...message, (message.length * 4) << 24]) {
    v[3] ^= u(m);
    round();
    v[0] ^= u(m);
  }
  v[2] ^= 0xffn;
  for (let i = 0; i < 3; i++) round();
  return Number((v[1] ^ v[3]) & mask) | 0;
}
