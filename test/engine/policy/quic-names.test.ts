/** Names shown by QUIC, with a policy that says what a test wants: what passes, what is kept, what is refused for which remote, and when. */
import { describe, expect, it } from "vitest";
import {
  QUIC_HANDSHAKES_MAX,
  QUIC_HANDSHAKES_PER_FLOW,
  QUIC_HELD_OCTETS,
} from "../../../src/engine/limits.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS, type DropReasonName } from "../../../src/engine/metrics/drop-reasons.ts";
import { Name } from "../../../src/engine/policy/name.ts";
import type { Policy } from "../../../src/engine/policy/policy.ts";
import { OVER_QUIC } from "../../../src/engine/policy/targets.ts";
import { QuicFlows } from "../../../src/engine/service/names/quic-flows.ts";
import { QuicNames } from "../../../src/engine/service/names/quic-names.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import { HostQuicKeys } from "../../../src/host/quic-keys.ts";
import { clientHello } from "../../support/client-hello.ts";
import { ip } from "../../support/frames.ts";
import {
  CLIENT_ID,
  crypto,
  initialPackets,
  longPacket,
  type PacketFields,
} from "../../support/quic-client.ts";

const GUEST = ip("10.0.2.15");
const REMOTE = ip("203.0.113.10");
const OTHER_ID = Buffer.from("0102030405060708", "hex");
const PAYLOAD_AT = 128;
const SCRATCH_AT = 16_384;
const RULE = 3;
const SHORT = Buffer.concat([Buffer.of(0x40), Buffer.alloc(40, 5)]);
const ACK = Buffer.of(2, 0, 0, 0, 0);

const whole = (name: string | null, fields: PacketFields = {}): Buffer =>
  initialPackets(clientHello(name), 1000, fields)[0];
/** The parts of a ClientHello that takes two datagrams. */
const parts = (name: string, fields: PacketFields = {}): Buffer[] => {
  const long = clientHello(name, [Buffer.concat([Buffer.from([0, 51, 4, 0]), Buffer.alloc(1024, 3)])]);
  return initialPackets(long, 900, fields);
};

interface Setting {
  readonly refuseEch?: boolean;
  /** What rules and their limits say of a name. */
  readonly shown?: (name: string) => DropReasonName;
  readonly admit?: () => DropReasonName;
}

interface Sending {
  readonly guestPort?: number;
  readonly remote?: number;
  readonly nowMs?: number;
  readonly segmentSize?: number;
}

function setUp({ refuseEch = false, shown = () => "handled", admit }: Setting = {}) {
  const octets = new Uint8Array(65_536);
  const counters = new Counters();
  const refusals: { reason: string; remote: number; port: number; name: string; rule?: number }[] = [];
  const allowed: number[] = [];
  const judged: string[] = [];
  const rules: unknown[] = [];
  const admissions: unknown[] = [];
  const passed: Buffer[] = [];
  const way = { verdicts: [] as DropReasonName[], batches: 0 };
  const review = { holds: (_name: string): boolean => true, asked: [] as unknown[] };
  const reasonOf = (reason: DropReasonName): number => DROP_REASONS.indexOf(reason);
  const policy = {
    name: new Name(),
    rule: RULE,
    config: { refuseEch },
    uptimeMs: () => 77,
    shown(words: Int32Array, at: number, port: number, other: unknown, over: number): number {
      judged.push(
        `${this.name.text} ${words[at + 3] === REMOTE ? "" : words[at + 3]}:${port} ${over === OVER_QUIC} ${other}`,
      );
      return reasonOf(shown(this.name.text));
    },
    refusedFlow(words: Int32Array, port: number, over: number, reason: number, rule?: number): void {
      expect([over, ...words.slice(0, 3)]).toEqual([OVER_QUIC, 0, 0, 0xffff]);
      const said = { reason: DROP_REASONS[reason], remote: words[3], port, name: this.name.text };
      refusals.push(rule === undefined ? said : { ...said, rule });
    },
    limits: {
      ofRule: (rule: number) =>
        admit && {
          admit: (isTcp: boolean, uptimeMs: number): number => {
            admissions.push([rule, isTcp, uptimeMs]);
            return reasonOf(admit());
          },
        },
    },
    counts: { allow: (rule: number) => allowed.push(rule) },
    remotes: {
      setRule: (words: Int32Array, at: number, port: number, rule: number) =>
        rules.push([words[at + 3], port, rule]),
    },
    holds(words: Int32Array, at: number, port: number, over: number, isShown: boolean): boolean {
      review.asked.push([this.name.text, words[at + 3], port, over === OVER_QUIC, isShown]);
      return review.holds(this.name.text);
    },
  };
  // Where there is no limit a rule has null.
  if (admit === undefined) policy.limits.ofRule = () => null as never;
  const context = { arena: { octets }, counters } as unknown as TcpContext;
  const names = new QuicNames(context, policy as unknown as Policy, SCRATCH_AT, new HostQuicKeys());
  const send = (payload: Uint8Array, sending: Sending = {}): DropReasonName => {
    const { guestPort = 4000, remote = REMOTE, nowMs = 0, segmentSize = 0 } = sending;
    octets.set(payload, PAYLOAD_AT);
    const packet = new Packet();
    Object.assign(packet, { guestAddress: GUEST, guestPort, remoteAddress: remote, remotePort: 443, nowMs });
    Object.assign(packet, { payloadAt: PAYLOAD_AT, payloadOctets: payload.length, segmentSize });
    const result = names.datagram(packet, {
      pass: ({ payloadAt, payloadOctets, segmentSize: size }) => {
        expect(size).toBe(0);
        passed.push(Buffer.from(octets.slice(payloadAt, payloadAt + payloadOctets)));
        return reasonOf(way.verdicts.shift() ?? "handled");
      },
      endOfBatch: () => void way.batches++,
    });
    expect([packet.payloadAt, packet.payloadOctets, packet.segmentSize]).toEqual([
      ...[PAYLOAD_AT, payload.length, segmentSize],
    ]);
    return DROP_REASONS[result];
  };
  const drops = (): Record<string, number> => {
    expect(counters.drops[0]).toBe(0);
    return counters.snapshot().drops;
  };
  return { names, send, passed, refusals, allowed, judged, rules, admissions, way, review, drops };
}

const refusal = (reason: DropReasonName, over: object = {}) => ({
  reason,
  remote: REMOTE,
  port: 443,
  name: "",
  ...over,
});

/** Guest's ports whose flows share four places. */
function neighbours(count: number): number[] {
  const flows = new QuicFlows();
  const placeOf = (guestPort: number): number => {
    const packet = new Packet();
    Object.assign(packet, { guestAddress: GUEST, guestPort, remoteAddress: REMOTE, remotePort: 443 });
    flows.find(packet, 0);
    return flows.placeForOne();
  };
  const ports: number[] = [];
  for (let guestPort = 1; ports.length < count; guestPort++)
    if (placeOf(guestPort) === placeOf(1)) ports.push(guestPort);
  return ports;
}

describe("a datagram that shows a name", () => {
  it("passes at once where that is allowed, is counted, and opens its flow", () => {
    const { send, passed, refusals, allowed, judged, rules, way, drops } = setUp();
    const hello = whole("good.example");
    expect(send(hello)).toBe("handled");
    expect([passed, judged, allowed, rules]).toEqual([
      [hello],
      ["good.example :443 true null"],
      [RULE],
      [[REMOTE, 443, RULE]],
    ]);
    expect(send(SHORT)).toBe("handled");
    expect(send(Buffer.alloc(0))).toBe("handled");
    expect([passed.slice(1), refusals, drops(), way.batches]).toEqual([[SHORT, Buffer.alloc(0)], [], {}, 0]);
  });

  it("is what the way out says of it", () => {
    const { send, way, drops } = setUp();
    way.verdicts.push("flow-table-full", "link-full");
    expect([send(whole("good.example")), send(SHORT), send(SHORT)]).toEqual([
      "flow-table-full",
      "link-full",
      "handled",
    ]);
    expect(drops()).toEqual({});
  });

  it("is kept until the rest has come; then all leave in order, each a batch of its own but the last", () => {
    const { send, passed, way, allowed, drops } = setUp();
    const [first, second] = parts("good.example");
    const early = longPacket(Buffer.alloc(100, 8), { type: 1 });
    expect([send(first), send(early), passed.length]).toEqual(["handled", "handled", 0]);
    way.verdicts.push("link-full", "handled", "flow-table-full");
    expect(send(second)).toBe("flow-table-full");
    expect([passed, way.batches, allowed, drops()]).toEqual([
      [first, early, second],
      2,
      [RULE],
      { "link-full": 1 },
    ]);
    expect(send(SHORT)).toBe("handled");
    expect(passed.slice(3)).toEqual([SHORT]);
  });

  it("is refused where that is not allowed, and the next one begins anew", () => {
    const { send, passed, judged, refusals } = setUp({
      shown: (name) => (name === "good.example" ? "handled" : "policy-name-mismatch"),
    });
    const [first, second] = parts("evil.example");
    for (let i = 0; i < 2; i++)
      expect([send(first), send(second)]).toEqual(["handled", "policy-name-mismatch"]);
    expect([passed, judged.length, refusals]).toEqual([[], 2, []]);
    expect(send(SHORT)).toBe("policy-name-missing");
    expect(send(whole("good.example"))).toBe("handled");
  });

  it("is refused for what is no name, none, or one that is encrypted inside", () => {
    const ech = initialPackets(clientHello("good.example", [Buffer.from([0xfe, 0x0d, 0, 1, 0])]))[0];
    const broken = Buffer.from(clientHello("good.example"));
    broken[4] = 9;
    const cases: [Buffer, DropReasonName][] = [
      [whole(null), "policy-name-missing"],
      [whole("a\0.example"), "policy-name-malformed"],
      [initialPackets(broken)[0], "policy-name-malformed"],
      [initialPackets(Buffer.from([2, 0, 0, 1, 0]))[0], "policy-name-malformed"],
      [longPacket(Buffer.of(0x1e), { fill: 40 }), "policy-name-malformed"],
      [longPacket(Buffer.alloc(0), { numberOctets: 4 }), "policy-name-malformed"],
      [ech, "policy-ech"],
    ];
    for (const [octets, reason] of cases) {
      const { send, passed, refusals, allowed } = setUp({ refuseEch: true });
      // What was said before is nothing to go by.
      expect([send(octets), send(octets)]).toEqual([reason, reason]);
      expect([passed, allowed, refusals]).toEqual([[], [], [refusal(reason), refusal(reason)]]);
    }
    expect(setUp().send(ech)).toBe("handled");
  });

  it("has 8,192 octets at most", () => {
    const sized = (octets: number): Buffer => {
      const plain = crypto(0, clientHello("good.example"));
      const overhead = longPacket(plain).length - plain.length;
      return longPacket(plain, { fill: octets - overhead });
    };
    const { send, passed } = setUp();
    expect([sized(QUIC_HELD_OCTETS).length, send(sized(QUIC_HELD_OCTETS))]).toEqual([
      QUIC_HELD_OCTETS,
      "handled",
    ]);
    expect(passed).toHaveLength(1);
    expect(setUp().send(sized(QUIC_HELD_OCTETS + 1))).toBe("policy-name-malformed");
  });

  it("of a super-frame is one of many, whose reasons are counted but for the last", () => {
    const { send, passed, drops, refusals } = setUp();
    const hello = longPacket(crypto(0, clientHello("good.example")), { fill: 1165 });
    expect(hello).toHaveLength(1200);
    const short = Buffer.concat([SHORT, Buffer.alloc(1200 - SHORT.length)]);
    const tail = Buffer.of(0xc0, 0, 0, 0, 2, 0, 0);
    expect(send(Buffer.concat([short, short, hello, short, tail]), { segmentSize: 1200 })).toBe(
      "policy-quic-version",
    );
    expect([passed, drops()]).toEqual([[hello, short], { "policy-name-missing": 2 }]);
    expect(send(Buffer.concat([short, SHORT]), { segmentSize: 1200 })).toBe("handled");
    expect(passed.slice(2)).toEqual([short, SHORT]);
    expect(refusals.map(({ reason }) => reason)).toEqual([
      ...["policy-name-missing", "policy-name-missing", "policy-quic-version"],
    ]);
  });
});

describe("a datagram that shows none", () => {
  it("is refused before one was shown, for its remote", () => {
    const { send, refusals, drops } = setUp();
    const handshake = longPacket(Buffer.alloc(40), { type: 2 });
    for (const octets of [SHORT, Buffer.alloc(0), handshake])
      expect(send(octets)).toBe("policy-name-missing");
    expect(send(SHORT, { remote: REMOTE + 1 })).toBe("policy-name-missing");
    const one = refusal("policy-name-missing");
    expect([refusals, drops()]).toEqual([[one, one, one, { ...one, remote: REMOTE + 1 }], {}]);
  });

  it("of a connection that is known waits with it, and of another one passes where the flow is open", () => {
    const { send, passed } = setUp();
    const of = (id: Buffer): Buffer => longPacket(Buffer.alloc(40), { type: 2, id });
    expect(send(of(OTHER_ID))).toBe("policy-name-missing");
    const [first, second] = parts("good.example");
    send(first);
    expect([send(of(CLIENT_ID)), passed.length]).toEqual(["handled", 0]);
    expect(send(of(OTHER_ID))).toBe("policy-name-missing");
    send(second);
    expect(passed).toHaveLength(3);
    expect([send(of(OTHER_ID)), send(of(CLIENT_ID)), passed.length]).toEqual(["handled", "handled", 5]);
  });

  it("that cannot be read, or is of another version, is refused as that", () => {
    const { send } = setUp();
    expect(send(whole("good.example", { version: 0x709a50c4 }))).toBe("policy-quic-version");
    expect(send(whole("good.example").subarray(0, 6))).toBe("policy-name-malformed");
    const changed = whole("good.example");
    changed[changed.length - 1] ^= 1;
    expect(send(changed)).toBe("policy-name-malformed");
  });
});

describe("packets in one datagram", () => {
  const handshake = (id: Uint8Array): Buffer => longPacket(Buffer.alloc(40), { type: 2, id });

  it("are all of one connection", () => {
    const changed = [0, CLIENT_ID.length - 1].map((at) => {
      const id = Buffer.from(CLIENT_ID);
      id[at] ^= 1;
      return id;
    });
    const others = [
      ...changed,
      CLIENT_ID.subarray(0, 7),
      Buffer.concat([CLIENT_ID, Buffer.of(0)]),
      Buffer.alloc(0),
    ];
    for (const id of others) {
      const { send, passed } = setUp();
      expect(send(Buffer.concat([whole("good.example"), handshake(id)]))).toBe("policy-name-malformed");
      expect(passed).toEqual([]);
    }
    const { send, passed } = setUp();
    expect(send(Buffer.concat([whole("good.example"), handshake(CLIENT_ID), SHORT]))).toBe("handled");
    expect(passed).toHaveLength(1);
    // Behind an id of no octets the next is the length of the other side's: 0.
    const empty = whole("good.example", { id: Buffer.alloc(0) });
    expect(setUp().send(Buffer.concat([empty, handshake(Buffer.of(0))]))).toBe("policy-name-malformed");
  });

  it("are all of one handshake", () => {
    const octets = clientHello("good.example");
    const [first, second] = [
      longPacket(crypto(0, octets.subarray(0, 50)), { fill: 60 }),
      longPacket(crypto(50, octets.subarray(50)), { number: 1 }),
    ];
    const { send, passed } = setUp();
    expect(send(Buffer.concat([first, second]))).toBe("handled");
    expect(passed).toHaveLength(1);
    const half = parts("evil.example", { id: OTHER_ID })[0];
    const own = longPacket(ACK, { id: OTHER_ID, keysOf: CLIENT_ID, number: 5, fill: 40 });
    for (const both of [
      [half, own],
      [own, half],
    ]) {
      expect(send(Buffer.concat(both))).toBe("policy-name-malformed");
    }
    expect(passed).toHaveLength(1);
  });

  it("wait together with the handshake of the first, whichever id is the connection's by then", () => {
    const { send, passed } = setUp();
    const octets = clientHello("good.example");
    const first = longPacket(crypto(0, octets.subarray(0, 50)), { fill: 60 });
    const rest = longPacket(crypto(50, octets.subarray(50)), { id: OTHER_ID, keysOf: CLIENT_ID, number: 1 });
    const both = Buffer.concat([rest, handshake(OTHER_ID)]);
    expect([send(first), send(both)]).toEqual(["handled", "handled"]);
    expect(passed).toEqual([first, both]);
  });
});

describe("a handshake", () => {
  it("that is over is nobody's, from whichever port its packets come", () => {
    const { send } = setUp({ shown: () => "policy-name-mismatch" });
    expect(send(whole("good.example"))).toBe("policy-name-mismatch");
    const next = longPacket(Buffer.alloc(40), { type: 2 });
    expect([send(next, { guestPort: 4001 }), send(next)]).toEqual([
      "policy-name-missing",
      "policy-name-missing",
    ]);
  });

  it("begins with a number below those of which the beginning is left out", () => {
    const { send } = setUp();
    for (const number of [256, 257])
      expect(send(whole("good.example", { number, numberOctets: 1 })), `${number}`).toBe(
        "policy-name-malformed",
      );
    expect(send(whole("good.example", { number: 255, numberOctets: 1 }))).toBe("handled");
  });

  it("is counted against its rule's limit once, for its first ClientHello", () => {
    const { send, admissions, allowed, judged } = setUp({ admit: () => "handled" });
    const octets = clientHello("good.example");
    send(whole("good.example"));
    send(longPacket(crypto(octets.length, octets), { number: 1, fill: 1162 }));
    expect([admissions, allowed]).toEqual([[[RULE, false, 77]], [RULE, RULE]]);
    const evil = crypto(2 * octets.length, clientHello("evil.example"));
    send(longPacket(evil, { number: 2, fill: 1162 }));
    expect(judged.map((name) => name.split(" ")[0])).toEqual([
      "good.example",
      "good.example",
      "evil.example",
    ]);
  });

  it("that its rule has no room for is refused by that rule, and begins anew", () => {
    const { send, allowed, refusals, passed, admissions } = setUp({ admit: () => "policy-new-rate" });
    expect([send(whole("good.example")), send(whole("good.example"))]).toEqual([
      "policy-new-rate",
      "policy-new-rate",
    ]);
    const one = refusal("policy-new-rate", { name: "good.example", rule: RULE });
    expect([allowed, refusals, passed, admissions.length]).toEqual([[], [one, one], [], 2]);
  });

  it("that says otherwise what it has said is over", () => {
    const { send, passed, refusals } = setUp();
    const [first, second] = parts("good.example");
    send(first);
    expect(send(longPacket(crypto(0, clientHello("evil.example")), { number: 1, fill: 1162 }))).toBe(
      "policy-name-malformed",
    );
    // Half of it alone is the beginning of nothing.
    expect(send(second)).toBe("handled");
    expect([passed, refusals]).toEqual([[], [refusal("policy-name-malformed")]]);
    expect([send(first), passed.length]).toEqual(["handled", 2]);
  });

  it("of more datagrams than are kept is over", () => {
    const { send, refusals, passed } = setUp();
    const [first, second] = parts("good.example");
    for (let i = 0; i < 4; i++) expect(send(first)).toBe("handled");
    expect(send(first)).toBe("policy-name-missing");
    expect(refusals).toEqual([refusal("policy-name-missing")]);
    expect([send(second), send(first), passed.length]).toEqual(["handled", "handled", 2]);
  });

  it("knows its packets by the largest number it has seen", () => {
    const { send, passed } = setUp();
    send(whole("good.example", { number: 300, numberOctets: 2 }));
    for (const number of [5, 301, 555]) {
      const numberOctets = number === 5 ? 2 : 1;
      expect(send(longPacket(ACK, { number, numberOctets, fill: 60 })), `${number}`).toBe("handled");
    }
    expect(passed).toHaveLength(4);
  });

  it("that opens one packet in two handshakes' keys is refused", () => {
    const { send } = setUp();
    send(whole("good.example"));
    send(whole("good.example", { id: OTHER_ID }));
    const next = longPacket(ACK, { id: OTHER_ID, keysOf: CLIENT_ID, number: 1, fill: 60 });
    expect(send(next)).toBe("handled");
    expect(send(longPacket(ACK, { keysOf: Buffer.alloc(8, 9), fill: 60 }))).toBe("policy-name-malformed");
  });
});

describe("time", () => {
  it("is 10 s for the rest of a ClientHello, for each from its first packet on", () => {
    const { names, send, refusals, drops } = setUp();
    expect(names.nextDeadlineMs(0)).toBe(-1);
    const [first, second] = parts("good.example");
    send(first, { nowMs: 1000 });
    send(first, { nowMs: 3000, guestPort: 4001, remote: REMOTE + 1 });
    expect([names.nextDeadlineMs(1000), names.nextDeadlineMs(5000), names.nextDeadlineMs(20_000)]).toEqual([
      ...[10_000, 6000, 0],
    ]);
    names.work(10_999);
    expect(refusals).toEqual([]);
    expect(names.nextDeadlineMs(11_000)).toBe(0);
    names.work(11_000);
    expect([refusals, drops()]).toEqual([[refusal("policy-name-missing")], { "policy-name-missing": 1 }]);
    expect(names.nextDeadlineMs(11_000)).toBe(2000);
    names.work(13_000);
    expect(refusals.slice(1)).toEqual([refusal("policy-name-missing", { remote: REMOTE + 1 })]);
    names.work(99_000);
    expect([names.nextDeadlineMs(13_000), refusals.length]).toEqual([-1, 2]);
    expect([send(second), send(SHORT)]).toEqual(["handled", "policy-name-missing"]);
  });

  it("is not due of one that has shown its name, until it says more", () => {
    const { names, send, refusals } = setUp();
    const octets = clientHello("good.example");
    send(whole("good.example"), { nowMs: 1000 });
    expect(names.nextDeadlineMs(1000)).toBe(-1);
    names.work(99_000);
    const more = longPacket(crypto(octets.length, octets.subarray(0, 20)), { number: 1, fill: 60 });
    expect([send(more, { nowMs: 50_000 }), names.nextDeadlineMs(50_000)]).toEqual(["handled", 10_000]);
    send(longPacket(crypto(octets.length + 20, octets.subarray(20, 30)), { number: 2, fill: 60 }), {
      nowMs: 55_000,
    });
    expect(names.nextDeadlineMs(55_000)).toBe(5000);
    names.work(60_000);
    expect(refusals).toEqual([refusal("policy-name-missing")]);
    expect(send(SHORT)).toBe("handled");
  });

  it("goes on where the clock wraps", () => {
    const { names, send, refusals } = setUp();
    send(parts("good.example")[0], { nowMs: 0x7fffffff });
    expect(names.nextDeadlineMs(0x7fffffff)).toBe(10_000);
    names.work((0x7fffffff + 9999) | 0);
    expect(refusals).toEqual([]);
    names.work((0x7fffffff + 10_000) | 0);
    expect(refusals).toHaveLength(1);
  });
});

describe("where there are too many handshakes", () => {
  const half = (fields: PacketFields = {}): Buffer => parts("good.example", fields)[0];

  it("of one flow that which is done gives way, then that which has waited longest", () => {
    const { send, refusals, drops, passed } = setUp();
    const ids = Array.from({ length: QUIC_HANDSHAKES_PER_FLOW + 2 }, (_, i) => Buffer.alloc(8, i + 1));
    send(half({ id: ids[0] }), { nowMs: 500 });
    send(half({ id: ids[1] }), { nowMs: 100 });
    send(whole("good.example", { id: ids[2] }), { nowMs: 900 });
    send(half({ id: ids[3] }), { nowMs: 600 });
    expect(passed).toHaveLength(1);
    send(half({ id: ids[4] }), { nowMs: 1000 });
    expect(refusals).toEqual([]);
    send(half({ id: ids[5] }), { nowMs: 1100 });
    expect([refusals, drops()]).toEqual([[refusal("policy-peek-full")], { "policy-peek-full": 1 }]);
    // The rest of the first one is known still, that of the second is not.
    const rest = (n: number): Buffer => parts("good.example", { id: ids[n] })[1];
    expect([send(rest(0), { nowMs: 1200 }), passed.length]).toEqual(["handled", 3]);
    expect([send(rest(1), { nowMs: 1300 }), passed.length]).toEqual(["handled", 3]);
  });

  it("of all flows too", () => {
    const { names, send, refusals } = setUp();
    for (let i = 0; i < QUIC_HANDSHAKES_MAX; i++)
      send(half(), { guestPort: 10_000 + i, nowMs: i === 5 ? 0 : 100 + i });
    expect(refusals).toEqual([]);
    send(half(), { guestPort: 9000, nowMs: 500 });
    expect(refusals).toHaveLength(1);
    // The sixth: the next is the first.
    expect(names.nextDeadlineMs(500)).toBe(9600);
    // One that is refused leaves its place.
    send(longPacket(crypto(0, clientHello("evil.example")), { number: 1, fill: 60 }), { guestPort: 10_050 });
    send(half(), { guestPort: 9001, nowMs: 600 });
    expect(refusals.map(({ reason }) => reason)).toEqual(["policy-peek-full", "policy-name-malformed"]);
    send(half(), { guestPort: 9002, nowMs: 700 });
    expect(refusals).toHaveLength(3);
    expect(names.nextDeadlineMs(700)).toBe(9401);
  });

  it("those of a flow give way whose place another flow takes", () => {
    const { send, refusals, passed } = setUp();
    const ports = neighbours(5);
    for (const [i, guestPort] of ports.entries()) send(half(), { guestPort, nowMs: i });
    expect(refusals).toEqual([refusal("policy-peek-full")]);
    const rest = parts("good.example")[1];
    for (const guestPort of ports.slice(1)) send(rest, { guestPort });
    expect(passed).toHaveLength(8);
  });
});

describe("another policy", () => {
  it("judges each open flow by the name it has shown, and closes those that may not go on", () => {
    const { names, send, review, passed } = setUp();
    send(whole("good.example"));
    send(whole("evil.example"), { guestPort: 4001, remote: REMOTE + 1 });
    send(parts("good.example")[0], { guestPort: 4002 });
    const words = (last: number): Int32Array => Int32Array.of(0, 0, 0xffff, last);
    const leads = (): boolean[] => [REMOTE, REMOTE + 1].map((last) => names.leadsTo(words(last), 443));
    expect([leads(), names.leadsTo(words(REMOTE), 444)]).toEqual([[true, true], false]);
    review.holds = (name) => name === "good.example";
    names.review();
    expect(review.asked.sort()).toEqual([
      ["evil.example", REMOTE + 1, 443, true, true],
      ["good.example", REMOTE, 443, true, true],
    ]);
    expect(leads()).toEqual([true, false]);
    expect(send(SHORT)).toBe("handled");
    expect(send(SHORT, { guestPort: 4001, remote: REMOTE + 1 })).toBe("policy-name-missing");
    // Its handshake is over as well: what goes on with its keys begins nothing.
    const next = longPacket(ACK, { id: OTHER_ID, keysOf: CLIENT_ID, number: 1, fill: 60 });
    expect(send(next, { guestPort: 4001, remote: REMOTE + 1 })).toBe("policy-name-malformed");
    expect(send(next)).toBe("handled");
    const before = passed.length;
    send(parts("good.example")[1], { guestPort: 4002 });
    expect(passed.length - before).toBe(2);
  });
});
