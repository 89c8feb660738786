/** DHCPv6 at its limits: which addresses are ours to lease, whose lease is whose, and how much fits into a reply. */
import { describe, expect, it } from "vitest";
import { client6Message, long, OTHER_CLIENT_MAC, SERVER_DUID } from "../../support/dhcp6-client.ts";
import { DUID_B, FIRST, granted, SECOND, serve, withdrawn } from "../../support/dhcp6-exchange.ts";
import { PREFIX6 } from "../../support/dhcp6-server.ts";
import { ip6 } from "../../support/frames6.ts";

const [SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE] = [1, 3, 4, 5, 6, 8, 9];
const INFORMATION_REQUEST = 11;
const [SUCCESS, NO_BINDING, NOT_ON_LINK] = [0, 3, 4];
const server = SERVER_DUID;
const RAPID: [number, number[]][] = [[14, []]];
const INFINITE = 0xffffffff;
const mac = (n: number) => Uint8Array.of(2, 0, 0, 0, 0, n);

describe("DHCPv6: addresses", () => {
  it.each([
    [`${PREFIX6}1a`, SUCCESS],
    ["fd71:1ae0:d44d:2:ffff:ffff:ffff:ffff", SUCCESS],
    ["fd71:1ae0:d44d:3::15", NOT_ON_LINK],
    ["fd72:1ae0:d44d:2::15", NOT_ON_LINK],
    ["fd71:1ae1:d44d:2::15", NOT_ON_LINK],
  ])("N47 %s is of this link or not: status %i", (address, status) => {
    expect(serve().ask({ type: CONFIRM, ias: [{ addresses: [address] }] }).status).toBe(status);
    const [ia] = serve().ask({ type: REQUEST, server, ias: [{ addresses: [address] }] }).ias;
    expect(ia.status).toBe(status === SUCCESS ? undefined : status);
  });

  it("N47 are all of this link, or the client is not", () => {
    const addresses = [FIRST, "2001:db8::1"];
    expect(serve().ask({ type: CONFIRM, ias: [{ addresses }] }).status).toBe(NOT_ON_LINK);
    expect(serve().ask({ type: CONFIRM, ias: [{ addresses: [FIRST] }, { addresses }] }).status).toBe(
      NOT_ON_LINK,
    );
    expect(serve().ask({ type: CONFIRM, ias: [{}, { addresses: [FIRST] }] }).status).toBe(SUCCESS);
    expect(serve().ask({ type: REQUEST, server, ias: [{ addresses }] }).ias[0].status).toBe(NOT_ON_LINK);
  });

  it("N47 of another link are withdrawn where an address is given in a hurry", () => {
    const [ia] = serve().ask({ type: SOLICIT, ias: [{ addresses: ["2001:db8::1"] }], options: RAPID }).ias;
    expect(ia.addresses).toEqual([...granted(FIRST), withdrawn("2001:db8::1")]);
  });

  it("N51 of which the client names several: the first that can be leased", () => {
    const { lease } = serve();
    expect(lease({ ias: [{ addresses: [`${PREFIX6}99`, `${PREFIX6}1b`, `${PREFIX6}1a`] }] })).toBe(
      long(`${PREFIX6}1b`),
    );
  });

  it("N51 that have the last word of ours, and another third, are not ours", () => {
    const near = "fd71:1ae0:d44d:2:0:1:0:1a";
    const { ask } = serve();
    const [ia] = ask({ type: SOLICIT, ias: [{ addresses: [near] }] }).ias;
    expect(ia.addresses).toEqual([...granted(FIRST), withdrawn(near)]);
  });

  it("N51 a client has had by a former server are its own in REBIND, where they are free and ours", () => {
    const near = "fd71:1ae0:d44d:2:0:1:0:1a";
    expect(serve().ask({ type: REBIND, ias: [{ addresses: [near] }] }).ias[0].addresses).toEqual([
      withdrawn(near),
    ]);
    expect(serve().ask({ type: RENEW, server, ias: [{ addresses: [near] }] }).ias[0].status).toBe(NO_BINDING);
  });

  it("N52 that nobody named are none: REBIND and RENEW without one are told that there is no binding", () => {
    for (const message of [{ type: REBIND }, { type: RENEW, server }]) {
      const [ia] = serve().ask({ ...message, ias: [{}] }).ias;
      expect([ia.status, ia.addresses]).toEqual([NO_BINDING, []]);
    }
  });

  it("N47 RENEW extends what the client has, whatever it names; what it was only offered is no lease", () => {
    const { ask, lease, dhcp } = serve();
    lease();
    expect(ask({ type: RENEW, server, ias: [{}] }, { now: 50 }).ias[0].addresses).toEqual(granted(FIRST));
    expect(dhcp.leases()[0].expiresAt).toBe(86_450);
    const offered = serve();
    offered.ask({ type: SOLICIT, ias: [{}] });
    expect(offered.ask({ type: RENEW, server, ias: [{}] }).ias[0].status).toBe(NO_BINDING);
  });

  it("N51 are told apart by their last words: a reservation may not share one with another address", () => {
    const reserve =
      (...addresses: string[]) =>
      () =>
        serve({ reservations: addresses.map((address, n) => ({ mac: mac(n), address: ip6(address) })) });
    // The range is …15 to …24.
    for (const last of ["15", "1a", "24"])
      expect(reserve(`fd71:1ae0:d44d:2:0:1:0:${last}`)).toThrow(RangeError);
    for (const last of ["14", "25", "ffff"]) expect(reserve(`fd71:1ae0:d44d:2:0:1:0:${last}`)).not.toThrow();
    for (const last of ["15", "24"]) expect(reserve(`${PREFIX6}${last}`)).not.toThrow();
    expect(reserve(`${PREFIX6}99`, "fd71:1ae0:d44d:2:0:1:0:99")).toThrow(/last 32 bits/);
    expect(reserve(`${PREFIX6}99`, `${PREFIX6}99`)).not.toThrow();
  });

  it("N51 of our own that only look like one of the range take none away", () => {
    const ownAddresses = [ip6(`${PREFIX6}15`), ip6("fd71:1ae0:d44d:2:0:1:0:16")];
    expect(serve({ ownAddresses }).lease()).toBe(long(SECOND));
  });
});

describe("DHCPv6: lifetimes", () => {
  it.each([
    [7, 3, 5],
    [1, 0, 0],
    [INFINITE - 1, 0x7fffffff, Math.floor((INFINITE - 1) * 0.8)],
    [INFINITE, INFINITE, INFINITE],
  ])("N53 of %i s preferred have T1 %i and T2 %i", (preferredSeconds, t1, t2) => {
    const [ia] = serve({ preferredSeconds, validSeconds: INFINITE }).ask({ type: SOLICIT, ias: [{}] }).ias;
    expect(ia).toMatchObject({ t1, t2 });
    expect(ia.addresses[0]).toMatchObject({ preferred: preferredSeconds, valid: INFINITE });
  });

  it("N53 are 0 in what gives no address", () => {
    const [, second] = serve().ask({ type: SOLICIT, ias: [{}, { iaid: 2 }] }).ias;
    expect(second).toMatchObject({ iaid: 2, t1: 0, t2: 0 });
    const [ia] = serve().ask({ type: REBIND, ias: [{ addresses: ["2001:db8::1"] }] }).ias;
    expect(ia).toMatchObject({ t1: 0, t2: 0 });
  });

  it("N53 that end are the lease's", () => {
    const { dhcp, lease } = serve({ preferredSeconds: INFINITE, validSeconds: 100 });
    lease({}, { now: 7 });
    expect([dhcp.leases()[0].expiresAt, dhcp.nextDeadlineSeconds()]).toEqual([107, 107]);
    dhcp.poll(106);
    expect(dhcp.leases()).toHaveLength(1);
    dhcp.poll(107);
    expect(dhcp.leases()).toEqual([]);
  });

  it("N47 are looked at with every message", () => {
    const { dhcp, ask, lease } = serve({ validSeconds: 100 });
    lease();
    ask({ type: INFORMATION_REQUEST }, { now: 100 });
    expect(dhcp.leases()).toEqual([]);
  });
});

describe("DHCPv6: RELEASE and DECLINE", () => {
  it.each([RELEASE, DECLINE])("N52 %i end what its own association has, and nothing else", (type) => {
    const { dhcp, ask, lease } = serve();
    lease({ ias: [{ iaid: 1 }] });
    const give = (iaid: number, addresses: readonly string[], code = 3) =>
      ask({ type, server, ias: [{ iaid, addresses, code }] });
    // Another association of the same client; a prefix; what others have; none of them.
    for (const reply of [give(2, [FIRST]), give(1, [FIRST], 25), give(1, [SECOND]), give(1, [])]) {
      expect([reply.status, reply.ias.map(({ status }) => status)]).toEqual([SUCCESS, [NO_BINDING]]);
    }
    expect(dhcp.leases()).toHaveLength(1);
    const other = ask({ type, server, duid: DUID_B, ias: [{ addresses: [FIRST] }] });
    expect(other.ias[0].status).toBe(NO_BINDING);
    expect(dhcp.leases()).toHaveLength(1);
    const own = give(1, [SECOND, "2001:db8::1", FIRST]);
    expect([own.status, own.ias]).toEqual([SUCCESS, []]);
    expect(dhcp.leases()).toEqual([]);
  });

  it("N47 DECLINE has the address rest, RELEASE has not", () => {
    for (const [type, next] of [
      [RELEASE, FIRST],
      [DECLINE, SECOND],
    ] as const) {
      const { ask, lease } = serve();
      lease();
      ask({ type, server, ias: [{ addresses: [FIRST] }] }, { now: 10 });
      const how = { mac: OTHER_CLIENT_MAC, now: 609 };
      expect(lease({ duid: DUID_B, ias: [{ addresses: [FIRST] }] }, how)).toBe(long(next));
    }
  });
});

describe("DHCPv6: messages", () => {
  it("N55 have a type and a transaction, and may have no more", () => {
    const { handle } = serve();
    const message = Uint8Array.of(INFORMATION_REQUEST, 1, 2, 3);
    for (let length = 0; length < 4; length++) {
      expect(handle(message.subarray(0, length))).toEqual({ drop: "dhcp6-malformed" });
    }
    expect(handle(message)).toHaveProperty("reply");
  });

  it("N55 have identifiers of 3 to 130 octets, those without an address too", () => {
    const { handle } = serve();
    const outcome = (type: number, octets: number) =>
      handle(client6Message({ type, duid: new Array<number>(octets).fill(1), ias: [] }));
    for (const type of [SOLICIT, INFORMATION_REQUEST]) {
      for (const octets of [0, 2, 131]) expect(outcome(type, octets)).toEqual({ drop: "dhcp6-malformed" });
      for (const octets of [3, 130]) expect(outcome(type, octets)).toHaveProperty("reply");
    }
  });

  it("N55 have 8 associations at most, of 16 addresses at most", () => {
    const { handle } = serve();
    const ias = (count: number, each: number) =>
      Array.from({ length: count }, (_, iaid) => ({ iaid, addresses: new Array<string>(each).fill(FIRST) }));
    const answers = (count: number, each: number) =>
      "reply" in handle(client6Message({ type: SOLICIT, ias: ias(count, each) }));
    expect([answers(8, 1), answers(9, 1), answers(1, 16), answers(1, 17)]).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  it("N55 may have more in an association than addresses", () => {
    const status = [0, 13, 0, 2, 0, 0];
    const options: [number, number[]][] = [[3, [0, 0, 0, 7, ...new Array<number>(8).fill(0), ...status]]];
    const [ia] = serve().ask({ type: SOLICIT, options }).ias;
    expect([ia.iaid, ia.addresses]).toEqual([7, granted(FIRST)]);
  });

  it("N48 to the server by another's identifier that begins as ours are another's", () => {
    const { drop } = serve();
    for (const other of [[...server, 0], server.slice(0, -1), []]) {
      expect(drop({ type: REQUEST, server: other, ias: [{}] })).toBe("dhcp6-not-ours");
    }
  });

  it("N49 are answered with options as long as all fits into the smallest MTU", () => {
    const extra = (octets: number, code = 200) => ({ code, value: new Uint8Array(octets).fill(7) });
    const plain = serve({ dnsServers: [] }).ask({ type: SOLICIT, ias: [{}] }).octets.length;
    const room = 1280 - 48 - plain - 4;
    for (const [octets, fits] of [
      [room - 1, true],
      [room, true],
      [room + 1, false],
    ] as const) {
      const { ask } = serve({ dnsServers: [], extraOptions: [extra(octets)] });
      const reply = ask({ type: SOLICIT, ias: [{}] });
      expect([reply.codes.includes(200), reply.octets.length <= 1232]).toEqual([fits, true]);
    }
    // What comes after one that does not fit is left out too: the order is the priority.
    const { ask } = serve({ dnsServers: [], extraOptions: [extra(room + 1), extra(1, 201)] });
    expect(ask({ type: SOLICIT, ias: [{}] }).octets).toHaveLength(plain);
  });
});

describe("DHCPv6: options", () => {
  const name = (text: string): number[] => [text.length, ...Buffer.from(text)];

  it("N54 tell nothing of a domain without a host name, nor of a boot file where there is none", () => {
    const { ask } = serve({ domain: "example.org" });
    expect(ask({ type: SOLICIT, ias: [{}], request: [39, 59, 24] }).codes).toEqual([1, 2, 7, 3]);
  });

  it("N54 tell the client's own name where we have none, but no empty one", () => {
    const asked = (value: number[]) =>
      serve().ask({ type: SOLICIT, ias: [{}], options: [[39, value]] }).options[39];
    expect(asked([1, ...name("vm")])).toEqual([6, ...name("vm")]);
    expect(asked([4, ...name("vm")])).toEqual([4, ...name("vm")]);
    expect([asked([0]), asked([])]).toEqual([undefined, undefined]);
    const named = serve({ hostname: "vm1" }).ask({ type: SOLICIT, ias: [{}], options: [[39, []]] });
    expect(named.options[39]).toEqual([4, ...name("vm1")]);
  });

  it("N54 have the operator's values before what the client's would be answered with", () => {
    const value = Uint8Array.of(0, 0);
    const extraOptions = [39, 16].map((code) => ({ code, value }));
    const { ask } = serve({ hostname: "vm1", bootUrl: "http://b/", extraOptions });
    const vendor = [0, 0, 1, 0x57, 0, 10, ...Buffer.from("HTTPClient")];
    const reply = ask({
      type: SOLICIT,
      ias: [{}],
      options: [
        [39, [1, ...name("vm")]],
        [16, vendor],
      ],
    });
    expect([reply.options[39], reply.options[16]]).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  it("N54 return the class of UEFI's HTTP boot where it is whole, and the enterprise's number with it", () => {
    const { ask } = serve({ bootUrl: "http://b/" });
    const classOf = (...value: number[]) =>
      ask({ type: SOLICIT, ias: [{}], options: [[16, value]] }).options[16];
    const http = [...Buffer.from("HTTPClient")];
    expect(classOf(9, 8, 7, 6, 0, 10, ...http)).toEqual([9, 8, 7, 6, 0, 10, ...http]);
    expect(classOf(9, 8, 7, 6, 0, 10, ...http.slice(0, -1))).toBeUndefined();
    for (const at of [0, 4, 9]) expect(classOf(9, 8, 7, 6, 0, 10, ...http.with(at, 0x78))).toBeUndefined();
    expect(classOf()).toBeUndefined();
  });

  it("N54 are those of the first request, of whole codes; one code is told once", () => {
    const { ask } = serve({ searchDomains: ["a.b"], bootUrl: "http://b/" });
    const requested = (value: number[]) =>
      ask({ type: SOLICIT, ias: [{}], options: [[6, value]] }).codes.slice(4);
    expect(requested([0, 24, 0, 23, 0, 24])).toEqual([24, 23]);
    expect(requested([0, 24, 0])).toEqual([24]);
    expect(requested([1, 24, 0, 23])).toEqual([23]);
    expect(requested([0, 23, 1, 24])).toEqual([23]);
    expect(requested([])).toEqual([]);
  });

  it("N54 tell the operator's own time to ask again to those without a lease alone", () => {
    const { ask } = serve({ extraOptions: [{ code: 32, value: Uint8Array.of(0, 0, 2, 88) }] });
    expect(ask({ type: INFORMATION_REQUEST }).options[32]).toEqual([0, 0, 2, 88]);
    expect(ask({ type: SOLICIT, ias: [{}] }).options[32]).toBeUndefined();
    expect(serve().ask({ type: INFORMATION_REQUEST }).options[32]).toEqual([0, 1, 0x51, 0x80]);
  });
});

describe("DHCPv6: reservations", () => {
  it("N51 are for a MAC: of an identifier that holds another one the frame's counts", () => {
    const reserved = `${PREFIX6}77`;
    const reservations = [{ mac: Uint8Array.from(OTHER_CLIENT_MAC), address: ip6(reserved) }];
    const { lease } = serve({ reservations });
    const duid = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
    expect(lease({ duid })).toBe(long(FIRST));
    expect(lease({ duid }, { mac: OTHER_CLIENT_MAC })).toBe(long(reserved));
  });
});
