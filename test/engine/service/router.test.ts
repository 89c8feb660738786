import { describe, expect, it } from "vitest";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import { RouterAdvertiser, type RouterOptions } from "../../../src/engine/service/router.ts";
import { formatIpv6 } from "../../../src/engine/wire/address-text.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import { checksum6, icmp6, ip6, octets6 } from "../../support/frames6.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";
import { wayOut } from "../../support/way-out.ts";

const LINK_LOCAL = "fe80::5054:ff:fe12:3456";
const FRAME_AT = 1024;
const MAC = [0x52, 0x55, 10, 0, 2, 2];
const words = (text: string): Int32Array => Int32Array.from(ip6(text));
const NAT64 = { words: words("64:ff9b::"), length: 96 };
const OTHER_NAT64 = { words: words("2001:db8:64::"), length: 96 };

interface Advertisement {
  readonly at: number;
  readonly to: string;
  readonly lifetime: number;
  readonly mac: string;
}

function setUp(changes: Partial<RouterOptions> = {}) {
  const octets = new Uint8Array(8192);
  const view = new DataView(octets.buffer);
  const counters = new Counters();
  const frames: Uint8Array[] = [];
  const log: Advertisement[] = [];
  let now = 0;
  let open = true;
  let draws = 0;
  const router = new RouterAdvertiser({
    view,
    checksum: new JavaScriptChecksum(view),
    counters,
    // The ends of the interval, in turn.
    entropy: { int32: () => (draws++ % 2 === 0 ? 0 : 400_000) },
    address: words("fe80::2"),
    mac: Uint8Array.from(MAC),
    prefix: words("fd71:1ae0:d44d:2::"),
    preferredSeconds: 14_400,
    validSeconds: 86_400,
    mtu: 1500,
    managed: true,
    resolver: words("fd71:1ae0:d44d:2::3"),
    searchDomains: [],
    keep: () => FRAME_AT,
    send: (at, length) => {
      if (!open) return false;
      const frame = octets.slice(at, at + length);
      frames.push(frame);
      const reader = new DataView(frame.buffer);
      log.push({
        at: now,
        to: formatIpv6(Array.from({ length: 4 }, (_, i) => reader.getInt32(38 + i * 4))),
        lifetime: reader.getUint16(60),
        mac: Buffer.from(frame.subarray(0, 6)).toString("hex"),
      });
      return true;
    },
    ...changes,
  });
  const times = () => log.map(({ at }) => at);
  return {
    router,
    frames,
    log,
    counters,
    times,
    setOpen: (isOpen: boolean) => {
      open = isOpen;
    },
    /** Lets time pass from deadline to deadline; returns what was sent meanwhile. */
    run(until: number): Advertisement[] {
      const before = log.length;
      for (;;) {
        const left = router.nextDeadlineMs(now);
        if (left < 0 || now + left > until) break;
        now += left;
        router.poll(now);
      }
      now = until;
      return log.slice(before);
    },
    solicit(source: string): Advertisement[] {
      const before = log.length;
      octets.set(icmp6({ source, payload: [133, 0, 0, 0, 0, 0, 0, 0] }), 16);
      expect(router.solicited(16, 0x5254, 0x00123456, now)).toBe(HANDLED);
      return log.slice(before);
    },
    at: () => now,
  };
}

const MULTICAST = { to: "ff02::1", mac: "333300000001" };

describe("router advertisements: when", () => {
  it("N6 three 16 s apart from the link's start, then every 200 to 600 s", () => {
    const { router, run, times, counters } = setUp();
    expect(run(100_000)).toEqual([]);
    router.linkChanged(true, 100_000);
    run(2_000_000);
    const first = [100_000, 116_000, 132_000];
    expect(times()).toEqual([...first, 332_000, 932_000, 1_132_000, 1_732_000, 1_932_000]);
    expect(counters.value("router-advertisements")).toBe(8);
  });

  it("N6 across the wrap of the clock", () => {
    const { router } = setUp();
    const start = 0x7fffffff - 5;
    router.linkChanged(true, start);
    router.poll(start);
    expect(router.nextDeadlineMs((start + 10) | 0)).toBe(15_990);
  });

  it("N10 a new link starts over", () => {
    const { router, run, times } = setUp();
    router.linkChanged(true, 0);
    run(50_000);
    router.linkChanged(false, 50_000);
    expect(router.nextDeadlineMs(50_000)).toBe(-1);
    run(60_000);
    router.linkChanged(true, 60_000);
    run(100_000);
    expect(times()).toEqual([0, 16_000, 32_000, 60_000, 76_000, 92_000]);
  });

  it("N1 a solicitation is answered at once, unicast, each one", () => {
    const { router, run, solicit } = setUp();
    router.linkChanged(true, 0);
    run(10);
    for (let n = 0; n < 3; n++) {
      expect(solicit(LINK_LOCAL)).toMatchObject([{ at: 10, to: LINK_LOCAL, mac: "525400123456" }]);
    }
    // Unicast ones do not count against the schedule.
    expect(run(16_000)).toMatchObject([{ at: 16_000, ...MULTICAST }]);
  });

  it("N2 a hundred solicitations from :: are answered to all, 3 s apart", () => {
    const { router, run, solicit, times } = setUp();
    router.linkChanged(true, 0);
    run(1000);
    for (let n = 0; n < 100; n++) {
      solicit("::");
      run(1000 + n * 90);
    }
    run(15_000);
    expect(times()).toEqual([0, 3000, 6000, 9000, 12_000]);
  });

  it("N2 the first is answered at once", () => {
    const { router, run, solicit } = setUp();
    router.linkChanged(true, 0);
    run(5000);
    expect(solicit("::")).toMatchObject([{ at: 5000, ...MULTICAST }]);
    expect(run(20_999)).toEqual([]);
    expect(run(21_000)).toHaveLength(1);
  });

  it("N5 a change of the way out is told within a second, both ways", () => {
    const { router, run, at } = setUp();
    router.linkChanged(true, 0);
    router.setDefaultRouter(true, 0);
    expect(run(100_000)).toMatchObject([{ lifetime: 1800 }, { lifetime: 1800 }, { lifetime: 1800 }]);
    router.setDefaultRouter(false, at());
    router.setDefaultRouter(false, at());
    expect(run(100_500)).toMatchObject([{ at: 100_000, lifetime: 0, ...MULTICAST }]);
    router.setDefaultRouter(true, at());
    expect(run(110_000)).toMatchObject([{ at: 101_000, lifetime: 1800, ...MULTICAST }]);
  });

  it("N5 a change that is taken back before it was told is told all the same, once", () => {
    const { router, run } = setUp();
    router.linkChanged(true, 0);
    run(100);
    for (let n = 0; n < 9; n++) router.setDefaultRouter(n % 2 === 0, 100);
    expect(run(5000)).toMatchObject([{ at: 1000, lifetime: 1800 }]);
  });

  it("N5 lifetime 0 stays due while the link is full", () => {
    const { router, run, setOpen, at } = setUp();
    router.linkChanged(true, 0);
    router.setDefaultRouter(true, 0);
    run(50_000);
    setOpen(false);
    router.setDefaultRouter(false, at());
    expect(run(60_000)).toEqual([]);
    expect(router.nextDeadlineMs(at())).toBeGreaterThan(0);
    setOpen(true);
    expect(run(60_200)).toMatchObject([{ lifetime: 0, ...MULTICAST }]);
  });

  it("N5 stays due while there is no room for it", () => {
    let room = 0;
    const { router, run } = setUp({ keep: () => room });
    router.linkChanged(true, 0);
    expect(run(500)).toEqual([]);
    room = FRAME_AT;
    expect(run(600)).toHaveLength(1);
  });

  it("N5 a change before anything was advertised is no reason to advertise", () => {
    const { router, run } = setUp();
    router.linkChanged(true, 100);
    router.setDefaultRouter(true, 100);
    router.setNat64(NAT64, 100);
    expect(run(15_000)).toMatchObject([{ at: 100, lifetime: 1800 }]);
  });

  it("N5 a way out that stays as it is is not told, however often it is looked for", () => {
    const { router, run } = setUp();
    router.linkChanged(true, 0);
    run(5000);
    router.setDefaultRouter(false, 5000);
    expect(run(10_000)).toEqual([]);
    router.setDefaultRouter(true, 10_000);
    expect(run(12_000)).toHaveLength(1);
    router.setDefaultRouter(true, 12_000);
    expect(run(15_000)).toEqual([]);
  });

  it("N2 N5 of a change and a solicitation the earlier time holds, whichever came first", () => {
    for (const isSolicitedFirst of [true, false]) {
      const { router, run, solicit } = setUp();
      router.linkChanged(true, 0);
      run(100);
      if (isSolicitedFirst) solicit("::");
      router.setDefaultRouter(true, 100);
      if (!isSolicitedFirst) solicit("::");
      expect(run(10_000)).toMatchObject([{ at: 1000, lifetime: 1800 }]);
    }
  });

  it("N5 a NAT64 prefix that comes, changes or goes is told within a second; one that stays is not told", () => {
    const { router, run } = setUp();
    router.linkChanged(true, 0);
    run(1500);
    router.setNat64(null, 1500);
    expect(run(1600)).toEqual([]);
    router.setNat64(NAT64, 1600);
    expect(run(2500)).toMatchObject([{ at: 1600 }]);
    router.setNat64(NAT64, 2500);
    expect(run(5000)).toEqual([]);
    router.setNat64(OTHER_NAT64, 5000);
    expect(run(5000)).toMatchObject([{ at: 5000 }]);
    router.setNat64(null, 5000);
    expect(run(8000)).toMatchObject([{ at: 6000 }]);
  });

  it("N10 a new link has heard nothing: no wish and no failure of the one before holds", () => {
    const { router, run, solicit, setOpen, times } = setUp();
    router.linkChanged(true, 0);
    run(1000);
    solicit("::");
    router.linkChanged(true, 1000);
    run(10_000);
    // Solicited again, it is answered 3 s after what the new link has heard, not before.
    expect(times()).toEqual([0, 1000]);
    setOpen(false);
    run(17_050);
    router.linkChanged(true, 17_050);
    setOpen(true);
    expect(router.nextDeadlineMs(17_050)).toBe(0);
    expect(run(17_060)).toMatchObject([{ at: 17_050 }]);
  });

  it("N10 a new link is not told of a change as long as nobody there has heard anything", () => {
    const { router, run } = setUp();
    router.linkChanged(true, 0);
    run(5000);
    router.linkChanged(true, 5000);
    router.setDefaultRouter(true, 5000);
    expect(run(15_000)).toMatchObject([{ at: 5000, lifetime: 1800 }]);
  });

  it("N2 a solicitation on a link where nothing was advertised yet is answered at once, once", () => {
    const { router, run, solicit, setOpen } = setUp();
    setOpen(false);
    router.linkChanged(true, 0);
    run(10);
    setOpen(true);
    run(50);
    expect(solicit("::")).toEqual([]);
    expect(run(5000)).toMatchObject([{ at: 100, ...MULTICAST }]);
  });

  it("what failed is tried again every 100 ms, and what goes through in between is not", () => {
    const { router, run, setOpen } = setUp();
    setOpen(false);
    router.linkChanged(true, 0);
    router.poll(0);
    expect([router.nextDeadlineMs(0), router.nextDeadlineMs(40), router.nextDeadlineMs(150)]).toEqual([
      100, 60, 0,
    ]);
    router.poll(99);
    expect(router.nextDeadlineMs(99)).toBe(1);
    router.poll(100);
    expect(router.nextDeadlineMs(100)).toBe(100);
    setOpen(true);
    expect(run(16_199)).toMatchObject([{ at: 200 }]);
    expect(router.nextDeadlineMs(16_199)).toBe(1);
  });

  it("N6 the interval is from 200 to 600 s, both included, whatever is drawn", () => {
    for (const [drawn, interval] of [
      [0, 200_000],
      [1, 200_001],
      [400_000, 600_000],
      [400_001, 200_000],
      [-1, 200_000 + (0xffffffff % 400_001)],
    ]) {
      const { router, run } = setUp({ entropy: { int32: () => drawn } });
      router.linkChanged(true, 0);
      run(32_000);
      expect(router.nextDeadlineMs(32_000), `${drawn}`).toBe(interval);
    }
  });

  it("N2 N5 the clock may wrap between what is wanted and what was sent", () => {
    const start = 0x7fffffff - 500;
    const { router, log } = setUp();
    router.linkChanged(true, start);
    router.poll(start);
    router.setDefaultRouter(true, start);
    expect(router.nextDeadlineMs(start + 400)).toBe(600);
    router.poll((start + 1000) | 0);
    expect(log).toHaveLength(2);
    const retry = setUp();
    retry.setOpen(false);
    retry.router.linkChanged(true, 0x7fffffff - 50);
    retry.router.poll(0x7fffffff - 50);
    expect(retry.router.nextDeadlineMs(0x7fffffff)).toBe(50);
  });

  it("N7 the end takes the default route back", () => {
    const { router, run, log } = setUp();
    router.close();
    expect(log).toEqual([]);
    router.linkChanged(true, 0);
    router.setDefaultRouter(true, 0);
    run(100);
    router.close();
    expect(log.at(-1)).toMatchObject({ lifetime: 0, ...MULTICAST });
    expect(router.nextDeadlineMs(200)).toBe(-1);
  });
});

describe("router advertisements: what", () => {
  const header = (octets: number): number[] => [
    ...[0x33, 0x33, 0, 0, 0, 1, ...MAC, 0x86, 0xdd],
    ...[0x60, 0, 0, 0, octets >> 8, octets & 255, 58, 255],
    ...octets6("fe80::2"),
    ...octets6("ff02::1"),
  ];
  /** The whole frame around a message whose checksum is 0. */
  const frameOf = (message: readonly number[]): Uint8Array => {
    const sum = checksum6("fe80::2", "ff02::1", 58, message);
    return Uint8Array.of(...header(message.length), 134, 0, sum >> 8, sum & 255, ...message.slice(4));
  };
  const linkLayer = [1, 1, ...MAC];
  const mtu = [5, 1, 0, 0, 0, 0, 0x05, 0xdc];
  const prefix = [
    ...[3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0],
    ...octets6("fd71:1ae0:d44d:2::"),
  ];
  const resolver = [25, 3, 0, 0, 0, 0, 7, 8, ...octets6("fd71:1ae0:d44d:2::3")];

  it("N4 N8 are these octets, with all there is", () => {
    const { router, run, frames } = setUp({ searchDomains: ["a.test"] });
    router.setNat64(NAT64, 0);
    router.setDefaultRouter(true, 0);
    router.linkChanged(true, 0);
    run(0);
    const names = [31, 2, 0, 0, 0, 0, 7, 8, 1, 97, 4, ...Buffer.from("test"), 0];
    const nat64 = [38, 2, 225 >> 5, (225 << 3) & 255, ...octets6("64:ff9b::").slice(0, 12)];
    expect(frames).toEqual([
      frameOf([
        ...[134, 0, 0, 0, 64, 0xc0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0],
        ...[...linkLayer, ...mtu, ...prefix, ...resolver, ...names, ...nat64],
      ]),
    ]);
  });

  it("N4 are these octets, with as little as there can be", () => {
    const { router, run, frames } = setUp({ resolver: null, managed: false });
    router.linkChanged(true, 0);
    run(0);
    expect(frames).toEqual([
      frameOf([134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...linkLayer, ...mtu, ...prefix]),
    ]);
  });

  it("tell guests to forget the NAT64 prefix of before, until the link is another", () => {
    const { router, run, frames } = setUp({ resolver: null });
    router.setDefaultRouter(true, 0);
    router.linkChanged(true, 0);
    run(0);
    const option = (lifetime: number, text: string): number[] => [
      ...[38, 2, lifetime >> 5, (lifetime << 3) & 255],
      ...octets6(text).slice(0, 12),
    ];
    const [now, gone] = [option(225, "64:ff9b::"), option(0, "64:ff9b::")];
    const other = option(225, "2001:db8:64::");
    const told = (nat64: typeof NAT64 | null, nowMs: number): number[] => {
      router.setNat64(nat64, nowMs);
      run(nowMs);
      const message = frames.at(-1)?.slice(54) ?? [];
      return [...message.slice(16 + 8 + 8 + 32)];
    };
    expect(told(NAT64, 2000)).toEqual(now);
    expect(told(OTHER_NAT64, 4000)).toEqual([...other, ...gone]);
    expect(told(null, 6000)).toEqual(option(0, "2001:db8:64::"));
    expect(told(NAT64, 8000)).toEqual(now);
    router.setNat64(OTHER_NAT64, 8000);
    router.linkChanged(true, 8000);
    run(8000);
    expect([...(frames.at(-1)?.slice(54 + 64) ?? [])]).toEqual(other);
  });

  it("N1 to who asked alone have the lifetime of the time, and its address", () => {
    const { router, run, solicit, frames } = setUp({ resolver: null });
    router.linkChanged(true, 0);
    router.setDefaultRouter(true, 0);
    run(0);
    solicit(LINK_LOCAL);
    const [toAll, toOne] = frames.map((frame) => [...frame]);
    expect(toOne.slice(0, 6)).toEqual([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    expect(toOne.slice(38, 54)).toEqual(octets6(LINK_LOCAL));
    // The message is the same but for its checksum, which covers the address.
    expect(toOne.slice(58)).toEqual(toAll.slice(58));
    expect(toOne.slice(56, 58)).not.toEqual(toAll.slice(56, 58));
  });

  it("are counted when they have left, and ask for as much room as they take", () => {
    let room = 0;
    const kept: number[] = [];
    const { router, frames, counters, setOpen } = setUp({
      keep: (octets) => {
        kept.push(octets);
        return room;
      },
    });
    router.linkChanged(true, 0);
    router.poll(0);
    room = FRAME_AT;
    setOpen(false);
    router.poll(1000);
    expect(counters.value("router-advertisements")).toBe(0);
    setOpen(true);
    router.poll(2000);
    expect(counters.value("router-advertisements")).toBe(1);
    expect(kept).toEqual(new Array<number>(3).fill(frames[0].length));
  });

  it("N4 N8 are as the design says, and tshark has nothing to say against them", (context) => {
    needs(context, { commands: ["tshark"] });
    const { router, run, frames } = setUp({
      prefix: words("fd71:1ae0:d44d:2:ffff:ffff:ffff:ffff"),
      searchDomains: ["example.org", "a.test"],
    });
    router.setNat64({ words: words("64:ff9b::"), length: 96 }, 0);
    router.linkChanged(true, 0);
    router.setDefaultRouter(true, 0);
    run(0);
    const expected: Record<string, string[]> = {
      "ipv6.src": ["fe80::2"],
      "ipv6.hlim": ["255"],
      "icmpv6.nd.ra.cur_hop_limit": ["64"],
      "icmpv6.nd.ra.flag": ["0xc0"],
      "icmpv6.nd.ra.router_lifetime": ["1800"],
      "icmpv6.nd.ra.reachable_time": ["0"],
      "icmpv6.nd.ra.retrans_timer": ["0"],
      "icmpv6.opt.linkaddr": ["52:55:0a:00:02:02"],
      "icmpv6.opt.mtu": ["1500"],
      "icmpv6.opt.prefix": ["fd71:1ae0:d44d:2::"],
      "icmpv6.opt.prefix.flag": ["0xc0"],
      "icmpv6.opt.prefix.valid_lifetime": ["86400"],
      "icmpv6.opt.prefix.preferred_lifetime": ["14400"],
      "icmpv6.opt.rdnss": ["fd71:1ae0:d44d:2::3"],
      "icmpv6.opt.rdnss.lifetime": ["1800"],
      "icmpv6.opt.dnssl": ["example.org", "a.test"],
      "icmpv6.opt.dnssl.lifetime": ["1800"],
      "icmpv6.opt.pref64.scaled_lifetime": ["225"],
    };
    const [reading] = readWithTshark([frames[0]], Object.keys(expected));
    expect(reading).toEqual({ fields: expected, complaints: [] });
    expect((frames[0].length - 54) % 8).toBe(0);
  });

  it("N43 name no resolver and no default router where nothing goes out, and no DHCPv6 where there is none", (context) => {
    needs(context, { commands: ["tshark"] });
    const { router, run, frames } = setUp({ resolver: null, managed: false });
    router.linkChanged(true, 0);
    run(0);
    const fields = ["icmpv6.opt.type", "icmpv6.nd.ra.flag", "icmpv6.nd.ra.router_lifetime"];
    expect(readWithTshark(frames, fields)).toEqual([
      {
        fields: {
          "icmpv6.opt.type": ["1", "5", "3"],
          "icmpv6.nd.ra.flag": ["0x00"],
          "icmpv6.nd.ra.router_lifetime": ["0"],
        },
        complaints: [],
      },
    ]);
  });

  it("N8 hold as many names as the smallest MTU has room for", () => {
    const searchDomains = Array.from({ length: 100 }, (_, n) => `${"x".repeat(60)}.n${n}.example`);
    const { router, run, frames } = setUp({ searchDomains });
    router.linkChanged(true, 0);
    run(0);
    expect(frames[0].length).toBeLessThanOrEqual(14 + 1280);
    expect(frames[0].length).toBeGreaterThan(1000);
  });

  it("N8 hold 1,024 octets of names, and not the name with which they would be more", () => {
    const holdsLast = (octets: number): boolean => {
      const last = "y".repeat(octets);
      const { router, run, frames } = setUp({
        searchDomains: [...new Array<string>(15).fill("x".repeat(63)), last],
      });
      router.linkChanged(true, 0);
      run(0);
      return Buffer.from(frames[0]).includes(last);
    };
    // 15 times 65, and with its length and its end 49.
    expect([holdsLast(47), holdsLast(48)]).toEqual([true, false]);
  });

  it("leave by the way out whole, though no header slot holds them", () => {
    const { arena, checksum, counters, egress, scratch, sent } = wayOut();
    const { router } = setUp({
      view: arena.view,
      checksum,
      counters,
      searchDomains: ["a".repeat(60), "b".repeat(60), "c".repeat(60)],
      keep: (octets) => scratch.keep(octets),
      send: (at, octets) => egress.sendKept(at, octets),
    });
    router.linkChanged(true, 0);
    router.poll(0);
    const [frame] = sent();
    expect([frame.length > 256, [...frame.slice(12, 14)], frame[54]]).toEqual([true, [0x86, 0xdd], 134]);
    expect(frame.length).toBe(54 + ((frame[18] << 8) | frame[19]));
  });
});
