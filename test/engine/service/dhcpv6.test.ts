import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Dhcp6Config } from "../../../src/engine/config.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import type { Lease6 } from "../../../src/engine/service/dhcpv6.ts";
import {
  CLIENT_MAC,
  type Client6Message,
  client6Message,
  DUID,
  long,
  OTHER_CLIENT_MAC,
  SERVER_DUID,
} from "../../support/dhcp6-client.ts";
import { DUID_B, FIRST, granted, SECOND, serve, withdrawn } from "../../support/dhcp6-exchange.ts";
import { defaultDhcp6, PREFIX6 } from "../../support/dhcp6-server.ts";
import { checksum6, frame6, ip6, octets6, packet6 } from "../../support/frames6.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";

const [SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE] = [
  1, 2, 3, 4, 5, 6, 7, 8, 9,
];
const INFORMATION_REQUEST = 11;
const [SUCCESS, NO_ADDRESSES, NO_BINDING, NOT_ON_LINK, NO_PREFIX] = [0, 2, 3, 4, 6];
const server = SERVER_DUID;

describe("DHCPv6: a lease", () => {
  it("N47 SOLICIT is advertised an address, REQUEST leases it", () => {
    const { dhcp, ask } = serve();
    const leased: Lease6[] = [];
    dhcp.onLease = (one) => leased.push(one);
    const advertised = ask({ type: SOLICIT, ias: [{ iaid: 7 }], request: [23] });
    expect([advertised.type, advertised.transaction]).toEqual([ADVERTISE, [0xab, 0xcd, 0xef]]);
    expect(advertised.ias).toMatchObject([{ iaid: 7, status: undefined, addresses: granted(FIRST) }]);
    expect(advertised.options[7]).toEqual([255]);
    expect(dhcp.leases()).toEqual([]);
    const reply = ask(
      { type: REQUEST, server, ias: [{ iaid: 7, addresses: [FIRST] }], request: [23] },
      { now: 5 },
    );
    expect([reply.type, reply.ias[0].addresses]).toEqual([REPLY, granted(FIRST)]);
    expect(reply.codes).toEqual([1, 2, 3, 23]);
    expect(reply.options[1]).toEqual(DUID);
    const one = { address: ip6(FIRST), mac: Uint8Array.from(CLIENT_MAC), expiresAt: 86_405 };
    expect(leased).toEqual([one]);
    expect(dhcp.leases()).toEqual([one]);
  });

  it("N47 SOLICIT with rapid commit leases at once", () => {
    const { dhcp, ask } = serve();
    const reply = ask({ type: SOLICIT, ias: [{}], options: [[14, []]] });
    expect([reply.type, reply.options[14], reply.ias[0].addresses]).toEqual([REPLY, [], granted(FIRST)]);
    expect(dhcp.leases()).toHaveLength(1);
  });

  it("N47 RENEW and REBIND extend it", () => {
    const { dhcp, ask, lease } = serve();
    lease();
    const ias = [{ addresses: [FIRST] }];
    expect(ask({ type: RENEW, server, ias }, { now: 100 }).ias[0].addresses).toEqual(granted(FIRST));
    expect(dhcp.leases()[0].expiresAt).toBe(86_500);
    expect(ask({ type: REBIND, ias }, { now: 200 }).ias[0].addresses).toEqual(granted(FIRST));
    expect(dhcp.leases()[0].expiresAt).toBe(86_600);
  });

  it("N47 what a client names besides its lease is withdrawn", () => {
    const { ask, lease } = serve();
    lease();
    const [ia] = ask({ type: RENEW, server, ias: [{ addresses: [SECOND, FIRST] }] }).ias;
    expect(ia.addresses).toEqual([...granted(FIRST), withdrawn(SECOND)]);
  });

  it("N47 RELEASE and DECLINE end it, and a declined address rests", () => {
    const { dhcp, ask, lease } = serve();
    const freed: Lease6[] = [];
    dhcp.onRelease = (one) => freed.push(one);
    lease();
    const ias = [{ addresses: [FIRST] }];
    const released = ask({ type: RELEASE, server, ias });
    expect([released.status, released.ias]).toEqual([SUCCESS, []]);
    expect(dhcp.leases()).toEqual([]);
    expect(lease()).toBe(long(FIRST));
    const declined = ask({ type: DECLINE, server, ias });
    expect([declined.status, declined.ias]).toEqual([SUCCESS, []]);
    expect(lease()).toBe(long(SECOND));
    expect(freed.map(({ address }) => address)).toEqual([ip6(FIRST), ip6(FIRST)]);
    expect(
      lease({ duid: DUID_B, ias: [{ addresses: [FIRST] }] }, { mac: OTHER_CLIENT_MAC, now: 599 }),
    ).not.toBe(long(FIRST));
  });

  it("N47 CONFIRM says whether the link is the one of the addresses", () => {
    const { ask } = serve();
    expect(ask({ type: CONFIRM, ias: [{ addresses: [FIRST] }] }).status).toBe(SUCCESS);
    expect(ask({ type: CONFIRM, ias: [{ addresses: [FIRST, "2001:db8::1"] }] }).status).toBe(NOT_ON_LINK);
  });

  it("N47 INFORMATION-REQUEST is told everything but addresses", () => {
    const { dhcp, ask } = serve();
    const reply = ask({ type: INFORMATION_REQUEST, request: [23, 32] });
    expect([reply.type, reply.codes]).toEqual([REPLY, [1, 2, 23, 32]]);
    expect(reply.options[32]).toEqual([0, 1, 0x51, 0x80]);
    expect(ask({ type: INFORMATION_REQUEST, duid: null, server }).codes).toEqual([2, 23, 32]);
    expect(dhcp.leases()).toEqual([]);
  });

  it("N47 ends by itself", () => {
    const { dhcp, lease } = serve();
    lease();
    expect(dhcp.nextDeadlineSeconds()).toBe(86_400);
    dhcp.poll(86_400);
    expect([dhcp.leases(), dhcp.nextDeadlineSeconds()]).toEqual([[], Infinity]);
  });

  it("N53 T1 and T2 are half and four fifths of the preferred lifetime; infinity stays", () => {
    const { ask } = serve();
    expect(ask({ type: SOLICIT, ias: [{}] }).ias[0]).toMatchObject({ t1: 7200, t2: 11_520 });
    const forever = serve({ preferredSeconds: 0xffffffff, validSeconds: 0xffffffff });
    const [ia] = forever.ask({ type: SOLICIT, ias: [{}], options: [[14, []]] }).ias;
    expect(ia).toMatchObject({ t1: 0xffffffff, t2: 0xffffffff });
    expect(ia.addresses[0]).toMatchObject({ preferred: 0xffffffff, valid: 0xffffffff });
    expect(forever.dhcp.leases()[0].expiresAt).toBe(Infinity);
  });

  it("N50 a restarted server has the same identifier and renews what the former one leased", () => {
    const before = serve();
    const identifier = before.ask({ type: INFORMATION_REQUEST }).options[2];
    expect(identifier).toEqual([0, 3, 0, 1, 0x52, 0x55, 10, 0, 2, 2]);
    before.lease({ duid: DUID_B }, { mac: OTHER_CLIENT_MAC });
    expect(before.lease()).toBe(long(SECOND));
    for (const type of [RENEW, REBIND]) {
      const after = serve();
      const ids = type === RENEW ? { server: identifier } : {};
      const [ia] = after.ask({ type, ...ids, ias: [{ addresses: [SECOND] }] }).ias;
      expect(ia.addresses).toEqual(granted(SECOND));
      expect(after.dhcp.leases().map(({ address }) => address)).toEqual([ip6(SECOND)]);
    }
  });
});

describe("DHCPv6: who gets what", () => {
  it("N51 every client its own address, the same one when it asks again", () => {
    const { lease } = serve();
    expect(lease()).toBe(long(FIRST));
    expect(lease({ duid: DUID_B }, { mac: OTHER_CLIENT_MAC })).toBe(long(SECOND));
    expect(lease()).toBe(long(FIRST));
  });

  it("N51 the address it names when that is free", () => {
    const { lease } = serve();
    expect(lease({ ias: [{ addresses: [`${PREFIX6}1a`] }] })).toBe(long(`${PREFIX6}1a`));
  });

  it("N51 firmware and system of one NIC keep one address", () => {
    const { dhcp, lease } = serve();
    expect(lease()).toBe(long(FIRST));
    expect(lease({ duid: [0, 1, 0, 1, 1, 2, 3, 4, ...CLIENT_MAC], ias: [{ iaid: 99 }] })).toBe(long(FIRST));
    expect(dhcp.leases()).toHaveLength(1);
  });

  it("N51 a client that moves to another NIC keeps its address", () => {
    const { dhcp, lease } = serve();
    lease();
    expect(lease({}, { mac: OTHER_CLIENT_MAC })).toBe(long(FIRST));
    expect(dhcp.leases()).toMatchObject([{ mac: Uint8Array.from(OTHER_CLIENT_MAC) }]);
  });

  it.each([
    ["the frame", CLIENT_MAC, DUID],
    ["a DUID-LL", OTHER_CLIENT_MAC, [0, 3, 0, 1, ...CLIENT_MAC]],
    ["a DUID-LLT", OTHER_CLIENT_MAC, [0, 1, 0, 1, 9, 9, 9, 9, ...CLIENT_MAC]],
  ])("N51 a reservation is found by the MAC in %s", (_name, mac, duid) => {
    const reserved = `${PREFIX6}77`;
    const reservations = [{ mac: Uint8Array.from(CLIENT_MAC), address: ip6(reserved) }];
    const { lease } = serve({ reservations });
    expect(lease({ duid: DUID_B }, { mac: [2, 0, 0, 0, 0, 1] })).toBe(long(FIRST));
    expect(lease({ duid: DUID_B, ias: [{ addresses: [reserved] }] }, { mac: [2, 0, 0, 0, 0, 1] })).toBe(
      long(FIRST),
    );
    expect(lease({ duid }, { mac })).toBe(long(reserved));
  });

  it("N51 a reservation may be any address of the prefix", () => {
    const reserved = "fd71:1ae0:d44d:2:5054:ff:fe12:3456";
    const { dhcp, lease } = serve({
      reservations: [{ mac: Uint8Array.from(CLIENT_MAC), address: ip6(reserved) }],
    });
    expect(lease()).toBe(long(reserved));
    expect(dhcp.leases()[0].address).toEqual(ip6(reserved));
    const twin = { mac: Uint8Array.from(CLIENT_MAC), address: ip6("fd71:1ae0:d44d:2:1::15") };
    expect(() => serve({ reservations: [twin] })).toThrow(RangeError);
  });

  it("never our own addresses", () => {
    const { lease } = serve({ rangeStart: ip6(`${PREFIX6}2`), rangeSize: 3 });
    expect(lease()).toBe(long(`${PREFIX6}4`));
    expect(lease({ duid: DUID_B }, { mac: OTHER_CLIENT_MAC })).toBe(NO_ADDRESSES);
  });

  it("N52 nothing but the first IA_NA has an address", () => {
    const { ask } = serve();
    const ias = [{ iaid: 9, code: 25 }, { iaid: 1 }, { iaid: 2 }];
    for (const message of [{ type: SOLICIT }, { type: REQUEST, server }]) {
      expect(ask({ ...message, ias }).ias).toMatchObject([
        { code: 25, iaid: 9, status: NO_PREFIX, addresses: [] },
        { code: 3, iaid: 1, status: undefined, addresses: granted(FIRST) },
        { code: 3, iaid: 2, status: NO_ADDRESSES, addresses: [] },
      ]);
    }
  });

  it("N52 a full range says so", () => {
    const { ask, lease } = serve({ rangeSize: 1 });
    lease();
    const how = { mac: OTHER_CLIENT_MAC };
    const solicited = ask({ type: SOLICIT, duid: DUID_B, ias: [{}] }, how);
    expect([solicited.type, solicited.ias[0].status]).toEqual([ADVERTISE, NO_ADDRESSES]);
    expect(ask({ type: REQUEST, server, duid: DUID_B, ias: [{}] }, how).ias[0].status).toBe(NO_ADDRESSES);
  });

  it("N52 unknown bindings: NoBinding to RENEW, lifetimes 0 to REBIND", () => {
    const { ask, lease } = serve();
    lease();
    const how = { mac: OTHER_CLIENT_MAC };
    const ias = [{ iaid: 5, addresses: [FIRST] }];
    const renewed = ask({ type: RENEW, server, duid: DUID_B, ias }, how);
    expect(renewed.ias).toMatchObject([{ iaid: 5, status: NO_BINDING, addresses: [] }]);
    const rebound = ask({ type: REBIND, duid: DUID_B, ias }, how);
    expect(rebound.ias).toMatchObject([{ status: undefined, addresses: [withdrawn(FIRST)] }]);
    expect(
      ask({ type: REBIND, duid: DUID_B, ias: [{ addresses: ["2001:db8::1"] }] }, how).ias[0].addresses,
    ).toEqual([withdrawn("2001:db8::1")]);
    for (const type of [RELEASE, DECLINE]) {
      const reply = ask({ type, server, duid: DUID_B, ias }, how);
      expect([reply.status, reply.ias[0].status]).toEqual([SUCCESS, NO_BINDING]);
    }
  });

  it("N52 REQUEST for an address of another link: NotOnLink", () => {
    const { dhcp, ask } = serve();
    const [ia] = ask({ type: REQUEST, server, ias: [{ addresses: ["2001:db8::15"] }] }).ias;
    expect(ia).toMatchObject({ status: NOT_ON_LINK, addresses: [] });
    expect(dhcp.leases()).toEqual([]);
  });

  it("N56 10,000 clients take no lease from one that has it", () => {
    const { dhcp, ask, lease, handle } = serve();
    lease();
    for (let n = 0; n < 10_000; n++) {
      const message = client6Message({ type: SOLICIT, duid: [0, 2, n >>> 8, n & 255, 1], ias: [{}] });
      handle(message, { mac: [2, 0, 0, 0, n >>> 8, n & 255], now: n >> 8 });
    }
    expect(dhcp.leases()).toMatchObject([{ address: ip6(FIRST), mac: Uint8Array.from(CLIENT_MAC) }]);
    // Offers promise nothing: an honest newcomer is served through the flood.
    expect(lease({ duid: DUID_B }, { mac: OTHER_CLIENT_MAC, now: 40 })).toMatch(/^fd71/);
    expect(ask({ type: RENEW, server, ias: [{ addresses: [FIRST] }] }, { now: 40 }).ias[0].addresses).toEqual(
      granted(FIRST),
    );
  });
});

describe("DHCPv6: what is left without an answer", () => {
  const ias = [{ addresses: [FIRST] }];
  const other = [0, 3, 0, 1, 1, 1, 1, 1, 1, 1];
  it.each<[string, Client6Message, string]>([
    ["SOLICIT with a server identifier", { type: SOLICIT, server, ias }, "dhcp6-not-ours"],
    ["CONFIRM with a server identifier", { type: CONFIRM, server, ias }, "dhcp6-not-ours"],
    ["REBIND with a server identifier", { type: REBIND, server, ias }, "dhcp6-not-ours"],
    ["REQUEST to nobody", { type: REQUEST, ias }, "dhcp6-not-ours"],
    ["REQUEST to another server", { type: REQUEST, server: other, ias }, "dhcp6-not-ours"],
    ["RENEW to nobody", { type: RENEW, ias }, "dhcp6-not-ours"],
    ["RENEW to another server", { type: RENEW, server: other, ias }, "dhcp6-not-ours"],
    ["RELEASE to nobody", { type: RELEASE, ias }, "dhcp6-not-ours"],
    ["RELEASE to another server", { type: RELEASE, server: other, ias }, "dhcp6-not-ours"],
    ["DECLINE to nobody", { type: DECLINE, ias }, "dhcp6-not-ours"],
    ["DECLINE to another server", { type: DECLINE, server: other, ias }, "dhcp6-not-ours"],
    ["SOLICIT without a client", { type: SOLICIT, duid: null, ias }, "dhcp6-malformed"],
    ["REQUEST without a client", { type: REQUEST, duid: null, server, ias }, "dhcp6-malformed"],
    ["CONFIRM without a client", { type: CONFIRM, duid: null, ias }, "dhcp6-malformed"],
    ["INFORMATION-REQUEST with an IA", { type: INFORMATION_REQUEST, ias }, "dhcp6-not-ours"],
    ["INFORMATION-REQUEST to another server", { type: INFORMATION_REQUEST, server: other }, "dhcp6-not-ours"],
    ["CONFIRM without an IA", { type: CONFIRM }, "dhcp6-not-ours"],
    ["CONFIRM without an address", { type: CONFIRM, ias: [{}] }, "dhcp6-not-ours"],
    ["ADVERTISE", { type: ADVERTISE, server, ias }, "dhcp6-not-ours"],
    ["REPLY", { type: REPLY, server, ias }, "dhcp6-not-ours"],
    ["RECONFIGURE", { type: 10, server }, "dhcp6-not-ours"],
    ["RELAY-FORW", { type: 12 }, "dhcp6-not-ours"],
    ["RELAY-REPL", { type: 13 }, "dhcp6-not-ours"],
    ["a message nobody knows", { type: 99, ias }, "dhcp6-not-ours"],
    ["a DUID of 2 octets", { type: SOLICIT, duid: [0, 4], ias }, "dhcp6-malformed"],
    ["a DUID of 131 octets", { type: SOLICIT, duid: new Array(131).fill(0), ias }, "dhcp6-malformed"],
  ])("N48 %s", (_name, message, reason) => {
    const { dhcp, drop } = serve();
    expect(drop(message)).toBe(reason);
    expect(dhcp.leases()).toEqual([]);
  });

  it("N48 whatever is sent to a unicast address", () => {
    const { drop } = serve();
    for (const type of [SOLICIT, CONFIRM, REBIND]) {
      expect(drop({ type, ias }, { toGroup: false })).toBe("dhcp6-not-ours");
    }
    for (const type of [REQUEST, RENEW, RELEASE, DECLINE]) {
      expect(drop({ type, server, ias }, { toGroup: false })).toBe("dhcp6-not-ours");
    }
    expect(drop({ type: INFORMATION_REQUEST }, { toGroup: false })).toBe("dhcp6-not-ours");
  });

  it("N48 IA_TA and options nobody knows are skipped", () => {
    const { ask } = serve();
    const options: [number, number[]][] = [
      [4, [0, 0, 0, 1]],
      [8, [0, 0]],
      [65_000, [1, 2, 3]],
    ];
    expect(ask({ type: SOLICIT, ias: [{}], options }).codes).toEqual([1, 2, 7, 3, 23]);
  });

  it.each([
    ["nothing", []],
    ["half a header", [1, 0, 0]],
    ["an option cut off", [1, 0, 0, 0, 0, 1, 0, 9, 1, 2, 3]],
    [
      "an IA of 11 octets",
      [...client6Message({ type: SOLICIT }), 0, 3, 0, 11, ...new Array<number>(11).fill(0)],
    ],
    [
      "an address cut off",
      [
        ...client6Message({ type: SOLICIT }),
        ...[0, 3, 0, 18, ...new Array<number>(12).fill(0), 0, 5, 0, 2, 1, 1],
      ],
    ],
    [
      "nine IAs",
      [...client6Message({ type: SOLICIT, ias: Array.from({ length: 9 }, (_, iaid) => ({ iaid })) })],
    ],
    [
      "17 addresses in one IA",
      [...client6Message({ type: SOLICIT, ias: [{ addresses: new Array<string>(17).fill(FIRST) }] })],
    ],
  ])("N55 %s", (_name, octets) => {
    expect(serve().handle(Uint8Array.from(octets))).toEqual({ drop: "dhcp6-malformed" });
  });

  it("N55 a DUID of 130 octets is taken", () => {
    const duid = Array.from({ length: 130 }, (_, i) => i);
    const reply = serve().ask({ type: SOLICIT, duid, ias: [{}] });
    expect([reply.options[1], reply.ias[0].addresses]).toEqual([duid, granted(FIRST)]);
  });

  it("N55 never throws, and never answers with more than fits into the smallest MTU", () => {
    const { handle } = serve({
      searchDomains: Array.from({ length: 60 }, (_, n) => `search-${n}.example.org`),
    });
    const pieces = fc.array(
      fc.oneof(
        fc.uint8Array({ maxLength: 24 }),
        fc.constant(Uint8Array.of(0, 1, 0, 4, 0, 4, 1, 2)),
        fc.constant(Uint8Array.of(0, 2, 0, 10, ...SERVER_DUID)),
        fc.constant(client6Message({ type: 1, duid: null, ias: [{ addresses: [FIRST] }] }).slice(4)),
        fc.constant(client6Message({ type: 1, duid: null, request: [23, 24, 39, 59] }).slice(4)),
      ),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(fc.nat(14), pieces, fc.boolean(), (type, parts, toGroup) => {
        const message = Uint8Array.from([type, 1, 2, 3, ...parts.flatMap((part) => [...part])]);
        const outcome = handle(message, { toGroup });
        if ("drop" in outcome) expect(DROP_REASONS).toContain(outcome.drop);
        else expect(outcome.reply.length).toBeLessThanOrEqual(1232);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("DHCPv6: options", () => {
  const config: Partial<Dhcp6Config> = {
    searchDomains: ["example.org"],
    bootUrl: "http://boot.example/x.efi",
    hostname: "vm1",
    extraOptions: [{ code: 31, value: Uint8Array.of(...octets6("2001:db8::1")) }],
  };
  const text = (octets: readonly number[]): string => Buffer.from(octets).toString();

  it("N54 come as the request names them, in its order, and the operator's always", () => {
    const { ask } = serve(config);
    expect(ask({ type: SOLICIT, ias: [{}], request: [24, 23] }).codes).toEqual([1, 2, 7, 3, 24, 23, 31]);
    const reply = ask({ type: SOLICIT, ias: [{}], request: [59, 99] });
    expect([reply.codes, text(reply.options[59])]).toEqual([
      [1, 2, 7, 3, 59, 31],
      "http://boot.example/x.efi",
    ]);
    expect(ask({ type: SOLICIT, ias: [{}] }).codes).toEqual([1, 2, 7, 3, 23, 24, 59, 31]);
  });

  it("N54 have the values of their RFCs", () => {
    const { options } = serve(config).ask({ type: INFORMATION_REQUEST });
    expect(options[23]).toEqual(octets6(`${PREFIX6}3`));
    expect(options[24]).toEqual([7, ...Buffer.from("example"), 3, ...Buffer.from("org"), 0]);
  });

  it("N54 tell the refresh time to those without a lease alone", () => {
    const { ask } = serve(config);
    expect(ask({ type: INFORMATION_REQUEST, request: [32] }).options[32]).toEqual([0, 1, 0x51, 0x80]);
    expect(ask({ type: SOLICIT, ias: [{}], request: [32] }).options[32]).toBeUndefined();
  });

  it("N54 tell the name to who asks, and that we update no DNS", () => {
    const { ask } = serve(config);
    const asked = ask({ type: SOLICIT, ias: [{}], request: [], options: [[39, [1, 2, 118, 109]]] });
    expect(asked.options[39]).toEqual([6, 3, ...Buffer.from("vm1")]);
    expect(ask({ type: SOLICIT, ias: [{}], request: [39] }).options[39]).toEqual([
      4,
      3,
      ...Buffer.from("vm1"),
    ]);
    expect(ask({ type: SOLICIT, ias: [{}], request: [] }).options[39]).toBeUndefined();
    const full = serve({ ...config, domain: "a.b" }).ask({ type: SOLICIT, ias: [{}], request: [39] });
    expect(full.options[39]).toEqual([4, 3, ...Buffer.from("vm1"), 1, 97, 1, 98, 0]);
    const echoed = serve().ask({ type: SOLICIT, ias: [{}], options: [[39, [0, 2, 118, 109]]] });
    expect(echoed.options[39]).toEqual([4, 2, 118, 109]);
    expect(serve().ask({ type: SOLICIT, ias: [{}], request: [39] }).options[39]).toBeUndefined();
  });

  it("N54 return the class of UEFI's HTTP boot to it alone", () => {
    const { ask } = serve(config);
    const vendor = (name: string): [number, number[]][] => [
      [16, [0, 0, 1, 0x57, 0, name.length, ...Buffer.from(name)]],
    ];
    const http = ask({
      type: SOLICIT,
      ias: [{}],
      request: [59],
      options: vendor("HTTPClient:Arch:00016:UNDI:003001"),
    });
    expect(http.options[16]).toEqual([0, 0, 1, 0x57, 0, 10, ...Buffer.from("HTTPClient")]);
    const pxe = ask({ type: SOLICIT, ias: [{}], request: [59], options: vendor("PXEClient:Arch:00007") });
    expect(pxe.options[16]).toBeUndefined();
    expect(
      serve().ask({ type: SOLICIT, ias: [{}], options: vendor("HTTPClient:A") }).options[16],
    ).toBeUndefined();
  });

  it("by number replace the server's own, or take them away, but not the protocol's", () => {
    const own = { code: 23, value: Uint8Array.from(octets6("2001:db8::53")) };
    expect(serve({ extraOptions: [own] }).ask({ type: SOLICIT, ias: [{}] }).options[23]).toEqual(
      octets6("2001:db8::53"),
    );
    const none = { code: 23, value: new Uint8Array(0) };
    expect(serve({ extraOptions: [none] }).ask({ type: SOLICIT, ias: [{}] }).options[23]).toBeUndefined();
    for (const code of [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 18, 19, 20, 25, 26]) {
      expect(() => serve({ extraOptions: [{ code, value: Uint8Array.of(1) }] })).toThrow(RangeError);
    }
  });

  it("N49 N54 are read by tshark without a complaint", (context) => {
    needs(context, { commands: ["tshark"] });
    const { ask } = serve({ ...config, domain: "example.org" });
    const request = [23, 24, 31, 39, 59];
    const replies = [
      ask({ type: SOLICIT, ias: [{}, { iaid: 2 }, { code: 25 }], request }),
      ask({ type: REQUEST, server, ias: [{}], request }),
      ask({ type: CONFIRM, ias: [{ addresses: ["2001:db8::1"] }] }),
      ask({ type: INFORMATION_REQUEST, request: [...request, 32] }),
    ];
    const [from, to] = ["fe80::2", "fe80::5054:ff:fe12:3456"];
    const frames = replies.map(({ octets }) => {
      const length = 8 + octets.length;
      const message = [2, 0x23, 2, 0x22, length >>> 8, length & 255, 0, 0, ...octets];
      const sum = checksum6(from, to, 17, message);
      const payload = message.with(6, sum >>> 8).with(7, sum & 255);
      return frame6(
        packet6({ source: from, destination: to, payload }),
        CLIENT_MAC,
        defaultDhcp6.serverMac as never,
      );
    });
    const fields = ["dhcpv6.msgtype", "dhcpv6.iaaddr.ip", "dhcpv6.search_list_entry", "dhcpv6.status_code"];
    const readings = readWithTshark(frames, fields);
    expect(readings.map(({ complaints }) => complaints)).toEqual([[], [], [], []]);
    expect(readings.map(({ fields: found }) => found["dhcpv6.msgtype"])).toEqual([
      ["2"],
      ["7"],
      ["7"],
      ["7"],
    ]);
    expect(readings[1].fields["dhcpv6.iaaddr.ip"]).toEqual([FIRST]);
    expect(readings[2].fields["dhcpv6.status_code"]).toEqual(["4"]);
  });
});
