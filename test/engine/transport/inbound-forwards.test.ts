/** Whose clients are taken when, and for which guest: sockets of forwards, one turn at a time. */
import { describe, expect, it } from "vitest";
import type { ServedPort } from "../../../src/engine/api.ts";
import { EAGAIN, EMFILE, type HostNetwork } from "../../../src/engine/boundary.ts";
import { defaultEngineConfig, type Forward } from "../../../src/engine/config.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { Destinations } from "../../../src/engine/network/destinations.ts";
import { InboundForwards, type InboundParts } from "../../../src/engine/transport/inbound-forwards.ts";
import type { OpenPorts } from "../../../src/engine/transport/open-ports.ts";
import type { Path } from "../../../src/engine/transport/path.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const GUEST = ip("10.0.2.15");
const OTHER_GUEST = ip("10.0.2.16");
const GUEST6 = ip6("2001:db8:1:2:3:4:5:6");
const NAMED6 = ip6("2001:db8:1:2:3:4:5:7");
const CLIENT = [0, 0, 0xffff, ip("203.0.113.9"), 50_002];
const CLIENT6 = [...ip6("2001:db8:a:b:c:d:e:f"), 50_003];
const TOKEN = 0x1000000;
const FORWARD = 41;

const TCP: Forward = { protocol: "tcp", hostAddress: 0, hostPort: 8080, guestAddress: 0, guestPort: 80 };
const UDP: Forward = { ...TCP, protocol: "udp" };
const port = (forward: Forward, id = FORWARD, guestPort = 80): ServedPort => ({ id, forward, guestPort });

/** A path as it stood when it was handed over. */
interface SeenPath {
  readonly ipOctets: number;
  readonly guestAddress: number;
  readonly guestPort: number;
  readonly remotePort: number;
  readonly remoteAddress?: number;
  readonly pair?: readonly number[];
  readonly target: readonly number[];
  /** The client's socket. */
  readonly socket?: number;
}

interface Over {
  readonly followGuest?: boolean;
  /** The guest's IPv6: whether it has shown itself, and its address. */
  readonly v6?: { known: boolean; chosen: readonly number[] | null } | null;
}

class Rig {
  /** Clients that wait at each socket, or what the host says instead of the first. */
  readonly waiting = new Map<number, (readonly number[] | number)[]>();
  readonly accepted: { handle: number; token: number; forward: number; path?: SeenPath }[] = [];
  readonly received: { forward: number; handle: number; path: SeenPath }[] = [];
  readonly wanted6: unknown[] = [];
  readonly neighbours = new Neighbours();
  readonly egress: { unresolved: number };
  readonly ctx = { gateway: 0, openPorts: null as OpenPorts | null };
  readonly listening: unknown[] = [];
  readonly inbound: InboundForwards;
  nextId = 7;
  slotsFree = true;
  hasMore = false;
  /** The number before that of the first client's socket. */
  lastHandle = 900;

  constructor({ followGuest = false, v6 = null }: Over = {}) {
    const wanted6 = this.wanted6;
    const find6 = (words: Int32Array, index: number): number =>
      v6?.known === true && words[index + 3] === (v6.chosen ?? NAMED6)[3] ? 0 : -1;
    this.egress = Object.assign(
      { unresolved: 0 },
      { wantGuest6: (words: Int32Array, at: number) => wanted6.push([...words.subarray(at, at + 4)]) },
    );
    const chosen = new Int32Array(4);
    const choose = (): boolean => {
      if (v6?.chosen == null) return false;
      chosen.set(v6.chosen);
      return true;
    };
    this.inbound = new InboundForwards({
      ...{ guestAddress: GUEST, followGuest, token: TOKEN, egress: this.egress, neighbours: this.neighbours },
      sources: { isGuest: () => true },
      destinations: new Destinations(defaultEngineConfig(), null),
      destinations6: {
        seenByGuest: (words: Int32Array, from: number, to: Int32Array, at: number): void =>
          to.set(words.subarray(from, from + 4), at),
      },
      v6: v6 === null ? null : { neighbours: { find: find6 }, guests: { choose, chosen } },
      network: {
        tcpAccept: (handle: number, token: number, from: Int32Array): number => {
          const next = this.waiting.get(handle)?.shift() ?? EAGAIN;
          if (typeof next === "number") return next;
          from.set(next);
          this.accepted.push({ handle, token, forward: -1 });
          return this.lastHandle + this.accepted.length;
        },
        tcpListen: (...args: unknown[]): number => this.listening.push(args),
      } as unknown as HostNetwork,
      tcp: {
        ctx: this.ctx,
        nextInboundId: () => this.nextId,
        acceptInbound: (path: Path, handle: number, forward: number) => {
          const last = this.accepted.at(-1);
          if (last !== undefined) Object.assign(last, { forward, path: { ...pathOf(path), socket: handle } });
        },
      },
      udp: {
        slotsFree: () => this.slotsFree,
        receiveForward: (forward: number, handle: number, path: Path): boolean => {
          this.received.push({ forward, handle, path: pathOf(path) });
          return this.hasMore;
        },
      },
    } as unknown as InboundParts);
  }

  knows(address: number): void {
    this.neighbours.learn(address, 0x5254, 1);
  }

  /** So many clients wait at the socket. */
  call(handle: number, count = 1, from: readonly number[] = CLIENT): void {
    const list = this.waiting.get(handle) ?? [];
    for (let i = 0; i < count; i++) list.push(from);
    this.waiting.set(handle, list);
  }
}

function pathOf(path: Path): SeenPath {
  const { ipOctets, guestAddress, guestPort, remoteAddress, remotePort } = path;
  const target = new Int32Array(5);
  path.copyTarget(target);
  const numbers = { ipOctets, guestAddress, guestPort, remotePort, target: [...target] };
  return ipOctets === 20 ? { ...numbers, remoteAddress } : { ...numbers, pair: [...path.pair] };
}

describe("a client over TCP", () => {
  it("is taken at once, for a guest that need not have shown itself", () => {
    const rig = new Rig();
    rig.inbound.open(0, 500, port(TCP));
    rig.call(500);
    expect(rig.inbound.work(1000)).toBe(false);
    expect(rig.accepted).toEqual([
      {
        ...{ handle: 500, token: TOKEN | 7, forward: FORWARD },
        path: {
          ...{ ipOctets: 20, guestAddress: GUEST, guestPort: 80, remotePort: 50_002, socket: 901 },
          ...{ remoteAddress: ip("203.0.113.9"), target: CLIENT },
        },
      },
    ]);
    expect([rig.egress.unresolved, rig.inbound.nextDeadlineMs(1000)]).toEqual([0, -1]);
  });

  it("goes to the guest that its forward names", () => {
    const rig = new Rig();
    rig.inbound.open(0, 500, port({ ...TCP, guestAddress: OTHER_GUEST }));
    rig.call(500);
    rig.inbound.work(0);
    expect(rig.accepted[0]?.path).toMatchObject({ guestAddress: OTHER_GUEST });
  });

  it("may have the host's socket number 0", () => {
    const rig = new Rig();
    rig.lastHandle = -1;
    rig.inbound.open(0, 500, port(TCP));
    rig.call(500);
    rig.inbound.work(0);
    expect(rig.accepted[0]?.path).toMatchObject({ socket: 0 });
  });

  it("of this host comes from the gateway, for the guest", () => {
    const rig = new Rig();
    rig.inbound.open(0, 500, port(TCP));
    rig.call(500, 1, [0, 0, 0xffff, ip("127.0.0.1"), 4000]);
    rig.inbound.work(0);
    expect(rig.accepted[0]?.path).toMatchObject({
      ...{ remoteAddress: ip("10.0.2.2"), target: [0, 0, 0xffff, ip("127.0.0.1"), 4000] },
    });
  });

  it("is one of 64 at most that a socket's turn takes", () => {
    const rig = new Rig();
    rig.inbound.open(0, 500, port(TCP));
    rig.inbound.open(1, 501, port(TCP));
    rig.call(500, 65);
    rig.call(501, 64);
    expect(rig.inbound.work(0)).toBe(true);
    expect(rig.accepted.map(({ handle }) => handle)).toEqual([
      ...new Array<number>(64).fill(500),
      ...new Array<number>(64).fill(501),
    ]);
    // Neither has said that it is empty.
    expect(rig.inbound.work(0)).toBe(false);
    expect(rig.accepted).toHaveLength(129);
    rig.call(500);
    expect([rig.inbound.work(0), rig.accepted.length]).toEqual([false, 129]);
    rig.inbound.ready(0);
    expect([rig.inbound.work(0), rig.accepted.length]).toEqual([false, 130]);
  });

  it.each([
    ["there is no place in the flow table", (rig: Rig) => Object.assign(rig, { nextId: -1 })],
    ["the host is out of descriptors", (rig: Rig) => void rig.waiting.set(500, [EMFILE, CLIENT])],
  ])("is looked at again in a quarter of a second when %s", (_why, spoil) => {
    const rig = new Rig();
    rig.inbound.open(0, 500, port(TCP));
    rig.call(500);
    spoil(rig);
    expect(rig.inbound.nextDeadlineMs(0)).toBe(-1);
    expect([rig.inbound.work(0x7fffffff), rig.accepted.length]).toEqual([false, 0]);
    expect(rig.inbound.nextDeadlineMs(0x7fffffff)).toBe(250);
    expect(rig.inbound.nextDeadlineMs((0x7fffffff + 249) | 0)).toBe(1);
    expect(rig.inbound.nextDeadlineMs((0x7fffffff + 999) | 0)).toBe(0);
    rig.nextId = 8;
    expect(rig.inbound.work((0x7fffffff + 250) | 0)).toBe(false);
    expect(rig.accepted.map(({ token }) => token)).toEqual([TOKEN | rig.nextId]);
    expect(rig.inbound.nextDeadlineMs((0x7fffffff + 250) | 0)).toBe(-1);
  });

  it("of one socket is taken while another's waits", () => {
    const rig = new Rig();
    for (const [slot, handle] of [500, 501, 502].entries()) {
      rig.inbound.open(slot, handle, port(TCP));
      rig.call(handle);
    }
    rig.waiting.set(501, [EMFILE, CLIENT]);
    rig.inbound.work(0);
    expect(rig.accepted.map(({ handle }) => handle)).toEqual([500, 502]);
    rig.inbound.work(250);
    expect(rig.accepted.map(({ handle }) => handle)).toEqual([500, 502, 501]);
  });
});

describe("datagrams of clients", () => {
  it("wait for a guest that has not shown itself, which is asked for", () => {
    const rig = new Rig();
    rig.inbound.open(0, 500, port(UDP));
    expect(rig.inbound.work(0)).toBe(false);
    expect([rig.received, rig.egress.unresolved, rig.inbound.nextDeadlineMs(0)]).toEqual([[], GUEST, 250]);
    rig.knows(GUEST);
    rig.egress.unresolved = 0;
    expect(rig.inbound.work(250)).toBe(false);
    expect(rig.received).toMatchObject([
      { forward: FORWARD, handle: 500, path: { ipOctets: 20, guestAddress: GUEST, guestPort: 80 } },
    ]);
    expect([rig.egress.unresolved, rig.inbound.nextDeadlineMs(250)]).toEqual([0, -1]);
    rig.inbound.work(500);
    expect(rig.received).toHaveLength(1);
  });

  it("are read again in the next turn when there may be more", () => {
    const rig = new Rig();
    rig.knows(GUEST);
    rig.inbound.open(0, 500, port(UDP));
    rig.hasMore = true;
    expect(rig.inbound.work(0)).toBe(true);
    expect([rig.inbound.work(0), rig.inbound.nextDeadlineMs(0)]).toEqual([true, -1]);
    rig.hasMore = false;
    expect([rig.inbound.work(0), rig.inbound.work(0), rig.received.length]).toEqual([false, false, 3]);
  });

  it("wait while earlier ones have not left for the guest", () => {
    const rig = new Rig();
    rig.knows(GUEST);
    rig.inbound.open(0, 500, port(UDP));
    rig.slotsFree = false;
    expect([rig.inbound.work(0), rig.received.length, rig.inbound.nextDeadlineMs(100)]).toEqual([
      false,
      0,
      150,
    ]);
    rig.slotsFree = true;
    expect([rig.inbound.work(250), rig.received.length]).toEqual([false, 1]);
  });
});

describe("clients of the guest that was heard from last", () => {
  it("wait until there is one, and stay with it until another link is there", () => {
    const rig = new Rig({ followGuest: true });
    rig.inbound.open(0, 500, port(TCP));
    rig.call(500, 1);
    expect([rig.inbound.work(0), rig.accepted.length]).toEqual([false, 0]);
    expect([rig.egress.unresolved, rig.inbound.nextDeadlineMs(0)]).toEqual([GUEST, 250]);
    rig.knows(OTHER_GUEST);
    rig.inbound.work(250);
    expect(rig.accepted.at(-1)?.path).toMatchObject({ guestAddress: OTHER_GUEST });
    rig.knows(GUEST);
    const next = (): number | undefined => {
      rig.call(500);
      rig.inbound.ready(0);
      rig.inbound.work(250);
      return rig.accepted.at(-1)?.path?.guestAddress;
    };
    expect(next()).toBe(OTHER_GUEST);
    rig.inbound.linkAttached();
    rig.knows(GUEST);
    expect(next()).toBe(GUEST);
  });

  it("go where the configuration says without that, whoever was heard from", () => {
    const rig = new Rig();
    rig.knows(OTHER_GUEST);
    rig.inbound.linkAttached();
    rig.inbound.open(0, 500, port(TCP));
    rig.call(500);
    rig.inbound.work(0);
    expect(rig.accepted[0]?.path).toMatchObject({ guestAddress: GUEST });
  });
});

describe("clients for the guest's IPv6 address", () => {
  const to6 = (forward: Forward, over: Partial<Forward> = {}): ServedPort =>
    port({ ...forward, guestAddress6: null, ...over });

  it("wait where the guest has none, or none is known", () => {
    for (const v6 of [null, { known: true, chosen: null }]) {
      const rig = new Rig({ v6 });
      rig.inbound.open(0, 500, to6(TCP));
      rig.call(500);
      expect([rig.inbound.work(0), rig.accepted.length, rig.inbound.nextDeadlineMs(0)]).toEqual([
        false,
        0,
        250,
      ]);
    }
  });

  it("go to the address that is chosen, or to the one that is named", () => {
    for (const [over, guest] of [
      [{}, GUEST6],
      [{ guestAddress6: NAMED6 }, NAMED6],
    ] as const) {
      const rig = new Rig({ v6: { known: false, chosen: GUEST6 } });
      rig.inbound.open(0, 500, to6(TCP, over));
      rig.call(500, 1, CLIENT6);
      rig.inbound.work(0);
      expect(rig.accepted).toEqual([
        {
          ...{ handle: 500, token: TOKEN | 7, forward: FORWARD },
          path: {
            ...{ ipOctets: 40, guestAddress: 0, guestPort: 80, remotePort: 50_003, socket: 901 },
            ...{ pair: [...guest, ...CLIENT6.slice(0, 4)], target: CLIENT6 },
          },
        },
      ]);
    }
  });

  it("go to the address that is named where none is known", () => {
    const rig = new Rig({ v6: { known: false, chosen: null } });
    rig.inbound.open(0, 500, to6(TCP, { guestAddress6: NAMED6 }));
    rig.call(500, 1, CLIENT6);
    rig.inbound.work(0);
    expect(rig.accepted[0]?.path?.pair?.slice(0, 4)).toEqual([...NAMED6]);
  });

  it("over UDP wait until the guest has shown itself, which is asked for", () => {
    const v6 = { known: false, chosen: GUEST6 };
    const rig = new Rig({ v6 });
    rig.inbound.open(0, 500, to6(UDP));
    expect([rig.inbound.work(0), rig.received.length, rig.inbound.nextDeadlineMs(0)]).toEqual([
      false,
      0,
      250,
    ]);
    expect(rig.wanted6).toEqual([[...GUEST6]]);
    v6.known = true;
    rig.inbound.work(250);
    expect(rig.wanted6).toHaveLength(1);
    expect(rig.received).toMatchObject([{ forward: FORWARD, handle: 500, path: { ipOctets: 40 } }]);
    expect(rig.received[0]?.path.pair?.slice(0, 4)).toEqual([...GUEST6]);
  });

  it("of either family go to its IPv4 address until it has shown itself, and may fall back to that", () => {
    const v6 = { known: false, chosen: null as readonly number[] | null };
    const rig = new Rig({ v6 });
    rig.inbound.open(0, 500, to6(TCP, { eitherFamily: true }));
    const next = (): unknown => {
      rig.call(500);
      rig.inbound.ready(0);
      rig.inbound.work(0);
      const path = rig.accepted.at(-1)?.path;
      return [path?.ipOctets, path?.guestAddress, rig.wanted6.splice(0)];
    };
    expect(next()).toEqual([20, GUEST, []]);
    v6.chosen = GUEST6;
    expect(next()).toEqual([20, GUEST, [[...GUEST6]]]);
    v6.known = true;
    expect(next()).toEqual([40, 0, []]);
    rig.knows(GUEST);
    expect(next()).toEqual([40, GUEST, []]);
  });

  it("of either family go to its IPv4 address where there is no IPv6, and have none to fall back to before it is known", () => {
    const rig = new Rig();
    rig.inbound.open(0, 500, to6(TCP, { eitherFamily: true }));
    rig.call(500);
    rig.inbound.work(0);
    expect(rig.accepted[0]?.path).toMatchObject({ ipOctets: 20, guestAddress: GUEST });
    const nobody = new Rig({ followGuest: true, v6: { known: true, chosen: GUEST6 } });
    nobody.inbound.open(0, 500, to6(TCP, { eitherFamily: true }));
    nobody.call(500);
    nobody.inbound.work(0);
    expect(nobody.accepted[0]?.path).toMatchObject({ ipOctets: 40, guestAddress: 0 });
  });
});

describe("sockets of forwards", () => {
  it("may have numbers in any order, and many", () => {
    const rig = new Rig();
    for (const slot of [100, 3, 16, 15, 40, 0]) {
      rig.inbound.open(slot, 500 + slot, port(TCP, FORWARD, 1000 + slot));
      rig.call(500 + slot);
    }
    rig.inbound.work(0);
    const served = rig.accepted.map(({ handle, path }) => [handle, path?.guestPort]);
    expect(served).toEqual([100, 3, 16, 15, 40, 0].map((slot) => [500 + slot, 1000 + slot]));
    // Those that grew in between keep what they were.
    rig.call(503);
    rig.inbound.ready(3);
    rig.inbound.ready(3);
    rig.inbound.ready(5000);
    rig.inbound.ready(50);
    expect([rig.inbound.work(0), rig.accepted.length, rig.accepted.at(-1)?.handle]).toEqual([false, 7, 503]);
  });

  it("that were never opened have nothing", () => {
    const rig = new Rig();
    rig.inbound.open(0, 500, port(TCP));
    for (const slot of [16, 17, 99]) rig.inbound.ready(slot);
    rig.call(500);
    expect([rig.inbound.work(0), rig.accepted.length, rig.inbound.work(0)]).toEqual([false, 1, false]);
  });

  it("that wait are still to be served when others come that need more room", () => {
    const rig = new Rig();
    for (let slot = 0; slot < 60; slot++) {
      rig.inbound.open(slot, 500 + slot, port(TCP));
      rig.call(500 + slot);
      // Said twice is served once.
      rig.inbound.ready(slot);
    }
    rig.inbound.work(0);
    expect(rig.accepted.map(({ handle }) => handle)).toEqual(Array.from({ length: 60 }, (_, i) => 500 + i));
  });

  it("are forgotten with their forward, and not those of others", () => {
    const rig = new Rig();
    for (const [slot, id] of [41, 42, 41].entries()) {
      rig.inbound.open(slot, 500 + slot, port(TCP, id));
      rig.call(500 + slot);
    }
    rig.inbound.close(41);
    expect(rig.inbound.work(0)).toBe(false);
    expect(rig.accepted.map(({ handle, forward }) => [handle, forward])).toEqual([[501, 42]]);
    // Of one that has gone there is nothing to forget.
    rig.inbound.close(41);
    for (const slot of [0, 1, 2]) rig.inbound.ready(slot);
    rig.call(501);
    rig.inbound.work(0);
    expect(rig.accepted.map(({ handle }) => handle)).toEqual([501, 501]);
    // The slot is free for another forward.
    rig.inbound.open(0, 600, port(TCP, 43));
    rig.call(600);
    rig.inbound.work(0);
    expect(rig.accepted.at(-1)).toMatchObject({ handle: 600, forward: 43 });
  });
});

describe("sockets of forwards that go by what the guest answers", () => {
  const WHEN_OPEN: Forward = { ...TCP, whenOpen: true };

  it("are served while their port is open, and make the engine look every second", () => {
    const rig = new Rig({ followGuest: true });
    rig.inbound.open(0, 500, port(WHEN_OPEN));
    rig.call(500);
    expect([rig.inbound.work(0), rig.accepted.length]).toEqual([false, 0]);
    expect([rig.inbound.nextDeadlineMs(0), rig.inbound.nextDeadlineMs(400)]).toEqual([1000, 600]);
    const { openPorts } = rig.ctx;
    expect(openPorts?.isOpen(0, 80)).toBe(false);
    rig.knows(GUEST);
    const ends = { ipOctets: 20, guestAddress: GUEST, guestPort: 80, remoteAddress: 0, remotePort: 1 };
    expect(openPorts?.answered({ ...ends, pair: new Int32Array(8), pairAt: 0 }, true, 3)).toBe(true);
    expect(rig.listening).toEqual([[500, true]]);
    rig.inbound.ready(0);
    rig.inbound.work(500);
    expect(rig.accepted.map(({ handle }) => handle)).toEqual([500]);
    rig.inbound.close(FORWARD);
    expect(rig.inbound.nextDeadlineMs(500)).toBe(-1);
  });

  it("are open by the answers of the guest that their forward names", () => {
    const rig = new Rig();
    rig.knows(GUEST);
    rig.inbound.open(0, 500, port({ ...WHEN_OPEN, guestAddress: OTHER_GUEST }));
    const ends = { ipOctets: 20, guestPort: 80, remoteAddress: 0, remotePort: 1, pair: new Int32Array(8) };
    const answered = [GUEST, OTHER_GUEST].map((guestAddress) =>
      rig.ctx.openPorts?.answered({ ...ends, guestAddress, pairAt: 0 }, true, 2),
    );
    expect([answered, rig.listening]).toEqual([[false, true], [[500, true]]]);
  });

  it("are looked at after the sooner of a second and a stalled socket's quarter", () => {
    const rig = new Rig({ followGuest: true });
    rig.inbound.open(0, 500, port(WHEN_OPEN));
    rig.inbound.open(1, 501, port(TCP));
    rig.inbound.work(0);
    expect([0, 100, 250, 999].map((now) => rig.inbound.nextDeadlineMs(now))).toEqual([250, 150, 0, 0]);
    rig.inbound.work(900);
    expect([900, 1000, 1100].map((now) => rig.inbound.nextDeadlineMs(now))).toEqual([100, 0, 0]);
  });
});
