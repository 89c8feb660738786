/** Open flows judged again, so many a turn: which are looked at, which end, and which are kept open. */
import { describe, expect, it } from "vitest";
import { flowEndBy } from "../../../src/engine/metrics/flow-end.ts";
import { OVER_TCP, OVER_UDP } from "../../../src/engine/policy/targets.ts";
import { PolicyReview, type PolicyReviewParts } from "../../../src/engine/service/policy-review.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import { CLOSED } from "../../../src/engine/transport/tcp/connection.ts";

const OPEN = CLOSED + 1;

function setUp(end: number, connections: readonly object[] = []) {
  const looked: number[] = [];
  const asked: unknown[] = [];
  const counted: number[] = [];
  const quic = { reviews: 0, leads: false };
  const judge = { holds: false };
  const parts = {
    ctx: { flows: { end }, connections, ledger: { serial: new Float64Array(8) } },
    mappings: {
      retain(id: number, why: number, holds: (words: Int32Array, port: number) => boolean): void {
        expect(why).toBe(flowEndBy("policy-changed", "sluice"));
        looked.push(id);
        if (id === 0) asked.push(holds(new Int32Array(4), 77));
      },
    },
    policy: {
      name: {},
      rule: 5,
      holds(_words: Int32Array, at: number, port: number, over: number, isNamed: boolean): boolean {
        asked.push([at, port, over === OVER_UDP ? "udp" : over === OVER_TCP && "tcp", isNamed]);
        return judge.holds;
      },
    },
    quic: { review: () => quic.reviews++, leadsTo: () => quic.leads },
    letIn: { read: (id: number) => id === 1, isShown: () => true },
    detours: { isOnItsWay: () => true },
    metered: null,
    isService: () => false,
  };
  const review = new PolicyReview(parts as unknown as PolicyReviewParts);
  /** Takes a turn; how many flows were looked at. */
  const turn = (): number => {
    const before = looked.length;
    review.work();
    return looked.length - before;
  };
  return { parts, review, turn, looked, asked, counted, quic, judge };
}

describe("a review of open flows", () => {
  it("looks at 1,024 a turn, each once, and is over with the last", () => {
    const { review, turn, looked } = setUp(2050);
    expect(review.isUnderWay).toBe(false);
    review.begin(false);
    expect([review.isUnderWay, turn(), review.isUnderWay, turn(), review.isUnderWay, turn()]).toEqual([
      ...[true, 1024, true, 1024, true, 2],
    ]);
    expect([review.isUnderWay, looked]).toEqual([false, Array.from({ length: 2050 }, (_, id) => id)]);
    const exact = setUp(1024);
    exact.review.begin(false);
    expect([exact.turn(), exact.review.isUnderWay]).toEqual([1024, false]);
  });

  it("judges what the guest sends by UDP by its remote, and by QUIC that has shown a name", () => {
    const { review, turn, asked, quic, judge } = setUp(1);
    for (const [holds, leads, expected] of [
      [false, false, false],
      [true, false, true],
      [false, true, true],
    ]) {
      judge.holds = holds;
      quic.leads = leads;
      asked.length = 0;
      review.begin(false);
      turn();
      expect(asked).toEqual([[0, 77, "udp", false], expected]);
    }
    expect(quic.reviews).toBe(3);
  });

  it("ends no flow where they are to be kept open, but those that one before was to end", () => {
    const { review, turn, looked, quic } = setUp(3000);
    review.begin(true);
    expect([turn(), turn(), turn(), review.isUnderWay, quic.reviews]).toEqual([0, 0, 0, false, 0]);
    review.begin(false);
    turn();
    review.begin(true);
    expect([turn(), turn(), turn(), review.isUnderWay]).toEqual([0, 1024, 952, false]);
    expect(looked.slice(1024)).toEqual(Array.from({ length: 1976 }, (_, i) => 1024 + i));
    review.begin(true);
    expect([turn(), turn(), turn(), quic.reviews]).toEqual([0, 0, 0, 1]);
    review.begin(false);
    expect([turn(), quic.reviews]).toEqual([1024, 2]);
  });

  it("judges a connection by the name it has shown, of those the guest has opened to somewhere", () => {
    const connection = (id: number, over: object = {}): object =>
      Object.assign(new Path(), { id, state: OPEN, outbound: true, handle: 3, remotePort: 22 }, over);
    const { review, turn, asked, judge } = setUp(6, [
      connection(0, { outbound: false }),
      connection(1),
      connection(2),
      connection(3, { handle: -1 }),
      connection(4, { state: CLOSED, handle: -1 }),
    ]);
    judge.holds = true;
    review.begin(true);
    turn();
    expect(asked).toEqual([
      [0, 22, "tcp", true],
      [0, 22, "tcp", false],
    ]);
  });
});
