/**
 * Datagrams in two to four fragments, in all orders, with every fragment repeated at every place, and with every
 * fragment moved onto its neighbours. A datagram arrives once and whole or not at all.
 */
import { describe, expect, it } from "vitest";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { packet, udpPayload } from "./guest-packets.ts";

const PROTOCOL_UDP = 17;
const UNIT = 64;

interface Piece {
  readonly from: number;
  readonly to: number;
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((item, i) =>
    permutations([...items.slice(0, i), ...items.slice(i + 1)]).map((rest) => [item, ...rest]),
  );
}

const payload = Buffer.from(Array.from({ length: 4 * UNIT }, (_, i) => i));
let nextId = 0;

/** The datagram for `pieces` equal pieces, and a way to cut any part of it. */
function datagram(count: number) {
  const octets = udpPayload({ payload: payload.subarray(0, count * UNIT - 8) });
  const id = ++nextId & 0xffff;
  const pieces = Array.from({ length: count }, (_, i) => ({ from: i * UNIT, to: (i + 1) * UNIT }));
  const frame = ({ from, to }: Piece) =>
    packet({
      protocol: PROTOCOL_UDP,
      id,
      fragmentOffset: from,
      moreFragments: to < octets.length,
      payload: octets.subarray(from, to),
    });
  return { octets, pieces, frame };
}

describe("fragments", () => {
  for (const count of [2, 3, 4]) {
    it(`${count} in every order arrive once, whole`, () => {
      const exchange = new AccountedExchange({}, 0xff);
      let delivered = 0;
      for (const order of permutations([...Array(count).keys()])) {
        const { octets, pieces, frame } = datagram(count);
        for (const i of order) expect(exchange.send(frame(pieces[i])).verdict).toBe("handled");
        expect(exchange.network.datagrams).toHaveLength(++delivered);
        expect(Buffer.from(exchange.network.datagrams[delivered - 1].octets)).toEqual(octets.subarray(8));
      }
      expect(exchange.core.usage().reassembly).toBe(0);
      exchange.expectRest();
    });

    it(`${count} in every order with any of them twice, at any later place, arrive once`, () => {
      const exchange = new AccountedExchange({}, 0xff);
      for (const order of permutations([...Array(count).keys()])) {
        for (let twice = 0; twice < count; twice++) {
          for (let place = order.indexOf(twice) + 1; place <= count; place++) {
            const before = exchange.network.datagrams.length;
            const { octets, pieces, frame } = datagram(count);
            const sequence = [...order.slice(0, place), twice, ...order.slice(place)];
            for (const i of sequence) expect(exchange.send(frame(pieces[i])).verdict).toBe("handled");
            expect(exchange.network.datagrams.slice(before).map((d) => Buffer.from(d.octets))).toEqual([
              octets.subarray(8),
            ]);
          }
        }
      }
      // A repetition of a datagram that is complete begins a new one; it ends by itself.
      exchange.expectRest();
      expect(exchange.core.counters.dropped("ipv4-fragment-overlap")).toBe(0);
    });

    it(`${count} of which one reaches into its neighbours never arrive`, () => {
      const exchange = new AccountedExchange({}, 0xff);
      let tried = 0;
      for (const order of permutations([...Array(count).keys()])) {
        for (let bad = 0; bad < count; bad++) {
          for (const [start, end] of [
            [-8, 0],
            [0, 8],
            [-8, 8],
            [8, 8],
            [-8, -8],
          ]) {
            const { octets, pieces, frame } = datagram(count);
            const piece = { from: pieces[bad].from + start, to: pieces[bad].to + end };
            if (piece.from < 0 || piece.to > octets.length) continue;
            tried++;
            const sent = order.map((i) => frame(i === bad ? piece : pieces[i]));
            const verdicts = sent.map((octetsSent) => exchange.send(octetsSent).verdict);
            expect(verdicts).toContain("ipv4-fragment-overlap");
          }
        }
      }
      expect(tried).toBeGreaterThan(count * 2);
      expect(exchange.network.datagrams).toEqual([]);
      exchange.expectRest();
    });
  }

  it("a second end, and octets behind the end, condemn the datagram", () => {
    const exchange = new AccountedExchange({}, 0xff);
    const ends = (from: number, length: number, more: boolean, id: number) =>
      packet({
        protocol: PROTOCOL_UDP,
        id,
        fragmentOffset: from,
        moreFragments: more,
        payload: payload.subarray(0, length),
      });
    exchange.send(ends(64, 64, false, 1));
    expect(exchange.send(ends(128, 64, false, 1)).verdict).toBe("ipv4-fragment-overlap");
    exchange.send(ends(64, 64, false, 2));
    expect(exchange.send(ends(128, 64, true, 2)).verdict).toBe("ipv4-fragment-overlap");
    exchange.send(ends(128, 64, true, 3));
    expect(exchange.send(ends(64, 64, false, 3)).verdict).toBe("ipv4-fragment-overlap");
    expect(exchange.network.datagrams).toEqual([]);
    exchange.expectRest();
  });

  it("fragments of TCP and of unknown protocols are put together and judged as wholes", () => {
    const exchange = new AccountedExchange();
    for (const [protocol, verdict] of [
      [6, "tcp-malformed"],
      [1, "icmp"],
      [2, "igmp"],
      [132, "ipv4-unknown-protocol"],
    ] as const) {
      const piece = (from: number, more: boolean) =>
        packet({
          protocol,
          id: 500 + protocol,
          fragmentOffset: from,
          moreFragments: more,
          payload: Buffer.alloc(8),
        });
      expect(exchange.send(piece(8, false)).verdict).toBe("handled");
      expect(exchange.send(piece(0, true))).toEqual({ verdict, replies: [] });
    }
    exchange.expectRest();
  });
});
