/** Records, octet for octet as wire/record.ts has them, and which are written for whom. */
import { describe, expect, it } from "vitest";
import { DROP_RING_OCTETS, RECORD_RING_OCTETS } from "../../../src/engine/limits.ts";
import { Arena } from "../../../src/engine/memory/arena.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { FLOW_END_REASONS, type FlowEndReason, flowEndBy } from "../../../src/engine/metrics/flow-end.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import type { RecordRing } from "../../../src/engine/transport/record-ring.ts";
import {
  type DnsEnd,
  Recorder,
  WANT_DNS,
  WANT_DROPS,
  WANT_ENDED,
  WANT_HISTORY,
  WANT_OPENED,
} from "../../../src/engine/transport/recorder.ts";
import { ip } from "../../support/frames.ts";
import { ip6, octets6 } from "../../support/frames6.ts";

const WANT_FAILED = 4;
const EVERYTHING = WANT_OPENED | WANT_ENDED | WANT_HISTORY;
const TCP = 6;
const UDP = 17;
const UPTIME_MS = 70_000.5;
const arena = new Arena();

class Rig {
  uptimeMs = 1000;
  readonly ledger = new FlowLedger(8, () => this.uptimeMs);
  readonly recorder = new Recorder(arena, this.ledger);

  /** The rings hold octets of earlier records, none of which may be told again. */
  constructor(wanted = EVERYTHING) {
    arena.octets.fill(0xa5, arena.recordsAt, arena.recordsAt + RECORD_RING_OCTETS);
    arena.octets.fill(0xa5, arena.dropsAt, arena.dropsAt + DROP_RING_OCTETS);
    this.recorder.read(wanted);
  }

  private take(ring: RecordRing): number[] {
    const gather = new Int32Array(4);
    const pieces = ring.pieces(gather, 0);
    const octets: number[] = [];
    for (let i = 0; i < pieces; i++) {
      octets.push(...arena.octets.slice(gather[2 * i], gather[2 * i] + gather[2 * i + 1]));
    }
    ring.taken(octets.length);
    return octets;
  }

  events(): number[] {
    return this.take(this.recorder.events);
  }

  drops(): number[] {
    return this.take(this.recorder.drops);
  }

  /** Leaves no room for a record. */
  fill(): void {
    while (this.recorder.events.reserve(16, 0) >= 0);
    while (this.recorder.drops.reserve(16, 0) >= 0);
  }
}

const u16 = (value: number): number[] => [(value >>> 8) & 255, value & 255];
const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value & 0xffff)];
function f64(value: number): number[] {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return [...new Uint8Array(view.buffer)];
}
/** A record's length, type and time. */
const header = (length: number, type: number, uptimeMs = UPTIME_MS): number[] => [
  ...u16(length),
  type,
  0,
  ...f64(uptimeMs),
];
const mapped = (address: string): number[] => [...u32(0), ...u32(0), ...u32(0xffff), ...u32(ip(address))];

const GUEST = "10.0.2.15";
const REMOTE = "203.0.113.9";
const TARGET = "198.51.100.7";

function path4(): Path {
  const path = new Path();
  path.guestAddress = ip(GUEST);
  path.guestPort = 40_001;
  path.remoteAddress = ip(REMOTE);
  path.remotePort = 50_002;
  path.setTarget(Int32Array.of(0, 0, 0xffff, ip(TARGET), 60_003));
  return path;
}

/** Its addresses are not the first ones of the list they are in. */
function path6(): Path {
  const path = new Path(Int32Array.of(...ip6("1::2"), ...ip6("2001:db8::15:1"), ...ip6("2001:db8:1::9:2")));
  path.pairAt = 4;
  path.ipOctets = 40;
  path.guestPort = 40_001;
  path.remotePort = 50_002;
  path.setTarget(Int32Array.of(...ip6("2001:db8:2:3:4:5:6:7"), 60_003));
  return path;
}

const ADDRESSES_4 = [...mapped(GUEST), ...mapped(REMOTE), ...mapped(TARGET)];
const ADDRESSES_6 = [
  ...octets6("2001:db8::15:1"),
  ...octets6("2001:db8:1::9:2"),
  ...octets6("2001:db8:2:3:4:5:6:7"),
];

/** What all records of a flow have. */
const flow = (
  serial: number,
  protocol: number,
  inbound: number,
  state: number,
  forward: number,
  addresses: number[],
): number[] => [
  ...f64(serial),
  ...[protocol, inbound, state, 0],
  ...u32(forward),
  ...u16(40_001),
  ...u16(50_002),
  ...u16(60_003),
  ...u16(0),
  ...addresses,
];

const COUNTS = {
  octetsFromGuest: 5_000_000_000,
  octetsToGuest: 7,
  packetsFromGuest: 3_000_000_000,
  packetsToGuest: 11,
};

/** Flow 3 is the second there has been, of forward 41; it began at 1000, connected within 250 ms. */
function rigWithFlow(wanted?: number): Rig {
  const rig = new Rig(wanted);
  rig.ledger.open(0, 0);
  rig.ledger.open(3, 41);
  rig.uptimeMs = 1250;
  rig.ledger.connected(3);
  rig.ledger.retransmits[3] = 13;
  rig.uptimeMs = UPTIME_MS;
  return rig;
}

describe("a record of a flow", () => {
  it("that opens has its number, its ends and its target", () => {
    const rig = rigWithFlow();
    rig.recorder.flowOpened(3, TCP, path4());
    expect(rig.events()).toEqual([...header(84, 1), ...flow(2, TCP, 1, 0, 41, ADDRESSES_4)]);
    rig.recorder.flowOpened(0, UDP, path6());
    expect(rig.events()).toEqual([...header(84, 1), ...flow(1, UDP, 0, 0, 0, ADDRESSES_6)]);
    expect(rig.drops()).toEqual([]);
  });

  it("that ends has its counts, and why and by whom it ended", () => {
    const rig = rigWithFlow();
    rig.recorder.flowEnded(3, TCP, path4(), COUNTS, flowEndBy("refused", "host"), -111);
    const ended = [
      ...f64(1000),
      ...f64(5_000_000_000),
      ...f64(7),
      ...u32(3_000_000_000),
      ...u32(11),
      ...u32(250),
      ...u32(13),
      ...[FLOW_END_REASONS.indexOf("refused"), 1, 0, 0],
      ...u32(-111),
    ];
    expect(rig.events()).toEqual([...header(132, 2), ...flow(2, TCP, 1, 0, 41, ADDRESSES_4), ...ended]);
  });

  it("in a row has its state, for how long it has been idle, and the call it is for", () => {
    const rig = rigWithFlow();
    rig.recorder.row(900_000, 3, UDP, 5, path6(), { ...COUNTS, idleMs: 3_000_000_001 });
    const row = [
      ...f64(1000),
      ...f64(5_000_000_000),
      ...f64(7),
      ...u32(3_000_000_001),
      ...u32(900_000),
      ...u32(3),
    ];
    expect(rig.events()).toEqual([...header(120, 7), ...flow(2, UDP, 1, 5, 41, ADDRESSES_6), ...row]);
  });

  it("is followed by the end of the rows, with the place to go on from", () => {
    const rig = rigWithFlow();
    rig.recorder.rowsEnd(900_000, 4711);
    expect(rig.events()).toEqual([...header(24, 8), ...u32(900_000), ...f64(4711)]);
  });
});

it("a record of the host's clock has its time", () => {
  const rig = rigWithFlow();
  rig.recorder.clock(1_700_000_000_123);
  expect(rig.events()).toEqual([...header(20, 6), ...f64(1_700_000_000_123)]);
});

describe("who asks for", () => {
  const openings = (rig: Rig): number[] => {
    rig.recorder.flowOpened(3, TCP, path4());
    return rig.events();
  };
  const ends = (rig: Rig, name: FlowEndReason): number[] => {
    rig.recorder.flowEnded(3, TCP, path4(), COUNTS, flowEndBy(name, "guest"), 0);
    return rig.events();
  };
  const drop = (rig: Rig): number[] => {
    rig.recorder.denied(1, UDP, path4());
    return rig.drops();
  };

  it.each([
    ["all", EVERYTHING],
    ["openings", WANT_OPENED],
    ["ends", WANT_ENDED],
    ["failures", WANT_FAILED],
    ["drops", WANT_DROPS],
    ["DNS questions", WANT_DNS],
    ["nothing", 0],
  ])("%s hears of nothing else", (_what, wanted) => {
    const rig = rigWithFlow(wanted);
    expect(openings(rig).length > 0).toBe((wanted & WANT_OPENED) !== 0);
    expect(ends(rig, "closed").length > 0).toBe((wanted & WANT_ENDED) !== 0);
    expect(ends(rig, "refused").length > 0).toBe((wanted & (WANT_ENDED | WANT_FAILED)) !== 0);
    expect(drop(rig).length > 0).toBe((wanted & WANT_DROPS) !== 0);
    expect(rig.recorder.wantsDns).toBe((wanted & WANT_DNS) !== 0);
  });

  it("failures hears of these ends", () => {
    const rig = rigWithFlow(WANT_FAILED);
    const heard = FLOW_END_REASONS.filter((name) => ends(rig, name).length > 0);
    expect(heard).toEqual(["host-reset", "refused", "timed-out", "no-resources"]);
  });

  it("nothing yet finds what failed, was dropped or asked, the latest of it", () => {
    const recorder = new Recorder(arena, new FlowLedger(8, () => 0));
    expect(recorder.wanted).toBe(WANT_FAILED | WANT_DROPS | WANT_DNS);
    const [events, drops] = [recorder.events, recorder.drops];
    expect([events.isRead, drops.isRead]).toEqual([false, false]);
    recorder.read(WANT_OPENED);
    expect([recorder.wanted, events.isRead, drops.isRead]).toEqual([WANT_OPENED, true, true]);
  });
});

describe("a record of a drop", () => {
  const packet = (at: number, octets: number): Packet => {
    const frame = new Packet();
    frame.frameAt = at;
    frame.frameOctets = octets;
    arena.octets.set(
      Array.from({ length: octets }, (_, i) => (i + 1) & 255),
      at,
    );
    return frame;
  };
  const NO_ENDS = [...u16(0), ...u16(0), ...u16(0), ...new Array<number>(32).fill(0)];

  it.each([
    [0, 0],
    [1, 3],
    [59, 1],
    [60, 0],
    [61, 3],
    [95, 1],
    [96, 0],
    [97, 0],
    [1514, 0],
  ])("of the guest has the first octets of its frame of %i", (octets, padding) => {
    const rig = rigWithFlow();
    rig.recorder.dropped(77, packet(arena.scratchAt, octets));
    const sample = Math.min(octets, 96);
    expect(rig.drops()).toEqual([
      ...header(64 + sample + padding, 3),
      ...u16(77),
      ...[0, 0],
      ...u32(1),
      ...u32(octets),
      ...u16(sample),
      ...NO_ENDS,
      ...Array.from({ length: sample }, (_, i) => i + 1),
      ...new Array<number>(padding).fill(0),
    ]);
  });

  it.each([1, 60, 96, 1514])(
    "of a frame of %i octets leaves what is behind it in the ring as it was",
    (octets) => {
      const rig = rigWithFlow();
      rig.recorder.dropped(5, packet(arena.scratchAt, octets));
      const end = arena.dropsAt + rig.drops().length;
      expect(arena.octets.subarray(end, end + 2000).every((octet) => octet === 0xa5)).toBe(true);
    },
  );

  const between = (rig: Rig, from: number, octets: number, protocol: number, addresses: number[]): void => {
    expect(rig.drops()).toEqual([
      ...header(64, 3),
      ...u16(2),
      ...[from, protocol],
      ...u32(1),
      ...u32(octets),
      ...u16(0),
      ...u16(40_001),
      ...u16(50_002),
      ...u16(0),
      ...addresses.slice(0, 32),
    ]);
  };

  it("of the host's has its ends and how long it was, and no octets", () => {
    const rig = rigWithFlow();
    rig.recorder.droppedToGuest(2, UDP, path4(), 65_508);
    between(rig, 1, 65_508, UDP, ADDRESSES_4);
    rig.recorder.droppedToGuest(2, UDP, path6(), 9);
    between(rig, 1, 9, UDP, ADDRESSES_6);
  });

  it("of a flow that was denied is the guest's", () => {
    const rig = rigWithFlow();
    rig.recorder.denied(2, TCP, path6());
    between(rig, 0, 0, TCP, ADDRESSES_6);
  });

  /** Reason and times of each. */
  const told = (octets: number[]): number[][] => {
    const records: number[][] = [];
    for (let at = 0; at < octets.length; at += octets[at] * 256 + octets[at + 1]) {
      records.push([octets[at + 13], octets[at + 19]]);
    }
    return records;
  };

  it("is written of sixteen in one turn; the next of a reason tells how many there were", () => {
    const rig = rigWithFlow();
    for (let i = 0; i < 20; i++) rig.recorder.denied(i % 2, TCP, path4());
    expect(told(rig.drops())).toEqual(Array.from({ length: 16 }, (_, i) => [i % 2, 1]));
    rig.recorder.denied(0, TCP, path4());
    expect(rig.drops()).toEqual([]);
    rig.recorder.endTurn();
    for (let i = 0; i < 2; i++) {
      rig.recorder.denied(0, TCP, path4());
      rig.recorder.denied(1, TCP, path4());
    }
    expect(told(rig.drops())).toEqual([
      [0, 4],
      [1, 3],
      [0, 1],
      [1, 1],
    ]);
  });

  it("that is not written is written nowhere", () => {
    const first = arena.octets.slice(0, arena.rxWindowAt);
    const unwanted = rigWithFlow(WANT_DNS);
    const flooded = rigWithFlow();
    for (let i = 0; i < 17; i++) {
      for (const { recorder } of [unwanted, flooded]) recorder.droppedToGuest(2, UDP, path4(), 9);
    }
    for (const { recorder } of [unwanted, flooded]) recorder.dropped(2, packet(arena.scratchAt, 60));
    expect(Buffer.compare(arena.octets.subarray(0, arena.rxWindowAt), first)).toBe(0);
  });

  it("that is not wanted is not counted for later either", () => {
    const rig = rigWithFlow(WANT_DNS);
    for (let i = 0; i < 20; i++) rig.recorder.denied(1, TCP, path4());
    rig.recorder.read(EVERYTHING);
    rig.recorder.denied(1, TCP, path4());
    expect(told(rig.drops())).toEqual([[1, 1]]);
  });
});

describe("a record of a DNS question", () => {
  const NAME_AT = arena.scratchAt;
  const question = (over: Partial<DnsEnd> = {}): DnsEnd => ({
    guest: Int32Array.of(...ip6("2001:db8::15")),
    guestPort: 40_001,
    overTcp: false,
    answeredBy: 1,
    type: 28,
    rcode: 3,
    ttl: 3_000_000_000,
    durationMs: 70_001,
    addressCount: 2,
    nameAt: NAME_AT,
    nameOctets: 5,
    ...over,
  });
  const ADDRESSES = Int32Array.of(...ip6("2001:db8::1"), ...ip6("2001:db8::2"), ...ip6("2001:db8::3"));

  it.each([
    [5, 3],
    [8, 0],
    [9, 3],
  ])("has its answer, and its name of %i octets", (nameOctets, padding) => {
    const rig = rigWithFlow();
    const name = Array.from({ length: nameOctets }, (_, i) => 65 + i);
    arena.octets.set(name, NAME_AT);
    rig.recorder.dns(question({ nameOctets }), ADDRESSES);
    expect(rig.events()).toEqual([
      ...header(48 + 32 + nameOctets + padding, 4),
      ...u16(40_001),
      ...[0, 1],
      ...u16(28),
      ...u16(3),
      ...u32(3_000_000_000),
      ...u32(70_001),
      ...[2, nameOctets, 0, 0],
      ...octets6("2001:db8::15"),
      ...octets6("2001:db8::1"),
      ...octets6("2001:db8::2"),
      ...name,
      ...new Array<number>(padding).fill(0),
    ]);
  });

  it("over TCP that nobody answered has no code and no addresses", () => {
    const rig = rigWithFlow();
    rig.recorder.dns(
      question({ overTcp: true, answeredBy: 2, rcode: -1, addressCount: 0, nameOctets: 1 }),
      ADDRESSES,
    );
    const octets = rig.events();
    expect(octets.slice(12, 20)).toEqual([...u16(40_001), 1, 2, ...u16(28), ...u16(-1)]);
    expect([octets.length, octets[28]]).toEqual([52, 0]);
  });

  it("is heard of as well by who follows answers, also where no record finds room", () => {
    const rig = rigWithFlow();
    const heard: unknown[] = [];
    rig.recorder.answered = (...one) => heard.push(one);
    const one = question();
    rig.recorder.dns(one, ADDRESSES);
    rig.fill();
    rig.recorder.dns(one, ADDRESSES);
    expect(heard).toEqual([
      [one, ADDRESSES],
      [one, ADDRESSES],
    ]);
  });
});

it("a record that finds no room is lost, and nothing else is written over", () => {
  const rig = rigWithFlow();
  rig.fill();
  const before = arena.octets.slice(0, arena.smallChunksAt);
  const { recorder } = rig;
  recorder.clock(5);
  recorder.flowOpened(3, TCP, path4());
  recorder.flowEnded(3, TCP, path4(), COUNTS, flowEndBy("closed", "guest"), 0);
  recorder.row(1, 3, TCP, 0, path4(), { ...COUNTS, idleMs: 1 });
  recorder.rowsEnd(1, 2);
  const frame = new Packet();
  frame.frameOctets = 60;
  recorder.dropped(1, frame);
  recorder.droppedToGuest(1, UDP, path4(), 9);
  recorder.denied(1, UDP, path4());
  recorder.dns(
    {
      ...{ guest: new Int32Array(4), guestPort: 1, overTcp: false, answeredBy: 0, type: 1, rcode: 0 },
      ...{ ttl: 0, durationMs: 0, addressCount: 1, nameAt: arena.scratchAt, nameOctets: 9 },
    },
    new Int32Array(4),
  );
  expect(Buffer.compare(arena.octets.subarray(0, arena.smallChunksAt), before)).toBe(0);
});
