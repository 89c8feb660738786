/** DHCP at its limits: how long a lease, a message and a field may be, and how much of what was asked for fits. */
import { describe, expect, it } from "vitest";
import { type ClientMessage, clientMessage, isReply, MAC, plain, quad } from "../../support/dhcp-client.ts";
import { FIRST, OTHER_MAC, SERVER, serve } from "../../support/dhcp-server.ts";
import { ip } from "../../support/frames.ts";

const [DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM] = [1, 2, 3, 4, 5, 6, 7, 8];
const INFINITE = 0xffffffff;
const uint16 = (n: number): number[] => [n >> 8, n & 255];

describe("DHCP: lease times", () => {
  it.each([
    [0, 60],
    [59, 60],
    [60, 60],
    [61, 61],
    [86_399, 86_399],
    [86_400, 86_400],
    [86_401, 86_400],
    [INFINITE, 86_400],
  ])("asked for %i s, a client is given %i", (asked, given) => {
    const { ask, server } = serve({ leaseSeconds: 86_400 });
    const options = { 51: quad(asked) };
    const timers = {
      51: quad(given),
      58: quad(Math.floor(given / 2)),
      59: quad(Math.floor((given * 7) / 8)),
    };
    expect(ask({ type: DISCOVER, options }).options).toMatchObject(timers);
    const ack = ask({ type: REQUEST, requested: FIRST, serverId: SERVER, options }, 5);
    expect(ack.options).toMatchObject(timers);
    expect(server.leases()[0].expiresAt).toBe(5 + given);
  });

  it("that never end have no timers, unless the client wants an end", () => {
    const { ask, server } = serve({ leaseSeconds: INFINITE });
    const codes = (seconds: number) =>
      ask({ type: REQUEST, requested: FIRST, options: { 51: quad(seconds) } }).codes.filter(
        (code) => code > 57,
      );
    expect([codes(INFINITE), server.leases()[0].expiresAt]).toEqual([[], Infinity]);
    expect([codes(INFINITE - 1), server.leases()[0].expiresAt]).toEqual([[58, 59], INFINITE - 1]);
  });

  it("by number are four octets, and of an end never", () => {
    const extra = (...value: number[]) =>
      serve({ extraOptions: [{ code: 51, value: Uint8Array.from(value) }] });
    for (const value of [[], [1, 2, 3], [0, 0, 1, 2, 3]]) expect(() => extra(...value)).toThrow(RangeError);
    expect(extra(255, 255, 255, 255).ask({ type: DISCOVER }).codes).not.toContain(58);
    const within = new Uint8Array([9, 9, 0, 0, 1, 44]).subarray(2);
    expect(
      serve({ extraOptions: [{ code: 51, value: within }] }).ask({ type: DISCOVER }).options[51],
    ).toEqual(quad(300));
  });

  it("are told in an offer before it is taken, and with the offer the address is kept for a minute", () => {
    const { ask, server } = serve({ rangeSize: 2 });
    expect(ask({ type: DISCOVER }, 10).type).toBe(OFFER);
    expect(server.nextDeadlineSeconds()).toBe(70);
    expect(ask({ type: DISCOVER, mac: OTHER_MAC, requested: FIRST }, 69).yiaddr).toBe(FIRST + 1);
  });
});

describe("DHCP: fields", () => {
  it.each([
    ["bootFile", 127, 128, "file"],
    ["tftpServerName", 63, 64, "sname"],
  ] as const)("%s of %i octets is in its field, of %i it is not", (name, fits, not, field) => {
    for (const octets of [1, fits, not]) {
      const offer = serve({ [name]: "x".repeat(octets) }).ask({ type: DISCOVER });
      expect(offer[field]).toBe(octets === not ? "" : "x".repeat(octets));
    }
  });

  it("of a request come back: transaction, flags and all of the hardware address field", () => {
    const { server } = serve();
    const message = clientMessage({ type: DISCOVER, broadcast: true });
    message.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 34);
    for (const change of [() => {}, () => message.set([50, 4, 192, 0, 2, 1, 53, 1, REQUEST, 255], 240)]) {
      change();
      const outcome = server.handle(message, 0);
      if (!isReply(outcome)) throw new Error(outcome.drop);
      const { reply } = outcome;
      expect([...reply.subarray(0, 12)]).toEqual([2, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0x80, 0]);
      expect([...reply.subarray(28, 44)]).toEqual([...MAC, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect(outcome.mac).toEqual(Uint8Array.from(MAC));
    }
  });

  it("name the next server, the configured one before that of option 66", () => {
    const siaddr = (config: Parameters<typeof serve>[0]) => serve(config).ask({ type: DISCOVER }).siaddr;
    expect(siaddr({})).toBe(0);
    expect(siaddr({ nextServer: ip("10.0.2.4") })).toBe(ip("10.0.2.4"));
    expect(siaddr({ tftpServerName: "10.0.2.5" })).toBe(ip("10.0.2.5"));
    expect(siaddr({ nextServer: ip("10.0.2.4"), tftpServerName: "10.0.2.5" })).toBe(ip("10.0.2.4"));
    for (const name of ["255.255.255.255", "0.0.0.1", "1.0.0.0"])
      expect(siaddr({ tftpServerName: name }), name).toBe(ip(name));
    for (const name of [
      "256.0.0.1",
      "1.2.3.256",
      "1.2.3",
      "1.2.3.4.5",
      "x1.2.3.4",
      "1.2.3.4x",
      "1.2.3.0004",
      "a.b",
    ])
      expect(siaddr({ tftpServerName: name }), name).toBe(0);
  });
});

describe("DHCP: message sizes", () => {
  const searchDomains = Array.from({ length: 25 }, (_, i) => `department-${i}.example.org`);
  /** Octets of the largest reply about so long: an option is made longer, octet by octet. */
  const largest = (message: ClientMessage, about: number, mtu = 1500): number => {
    let most = 0;
    for (let octets = about - 340; octets < about - 240; octets++) {
      // Long options come in pieces of 255, each with two octets more: another option fills what these leap over.
      for (const more of [[], [{ code: 201, value: new Uint8Array(1) }]]) {
        const extraOptions = [{ code: 200, value: new Uint8Array(octets) }, ...more];
        const { sent } = serve({ mtu, extraOptions, bootFile: "b", tftpServerName: "s" }).ask(message);
        most = Math.max(most, sent.reply.length);
      }
    }
    return most;
  };

  it.each([
    [undefined, 1500, 548],
    [575, 1500, 548],
    [576, 1500, 548],
    [577, 1500, 549],
    [700, 1500, 672],
    [1499, 1500, 1471],
    [1500, 1500, 1472],
    [1501, 1500, 1472],
    [65_535, 1500, 1472],
    [1300, 1280, 1252],
    [1500, 0, 1472],
  ])("of a client that takes %s octets on a link of %i: %i", (announced, mtu, octets) => {
    const options = announced === undefined ? {} : { 57: uint16(announced) };
    expect(largest({ type: DISCOVER, options }, octets, mtu)).toBe(octets);
  });

  it.each([ACK, INFORM])("hold for every reply (%i)", (kind) => {
    const message: ClientMessage =
      kind === ACK ? { type: REQUEST, requested: FIRST } : { type: INFORM, ciaddr: FIRST };
    expect(largest({ ...message, options: { 57: uint16(700) } }, 672)).toBe(672);
  });

  it.each([
    [300, 300],
    [301, 301],
    [400, 400],
    [547, 547],
    [548, 548],
    [549, 548],
    [900, 548],
  ])("of a BOOTP request of %i octets is %i at most", (asked, most) => {
    let longest = 0;
    for (let octets = 0; octets < 255; octets++) {
      const extraOptions = [
        { code: 201, value: new Uint8Array(asked > 500 ? 200 : 0) },
        { code: 200, value: new Uint8Array(octets) },
      ];
      const { server } = serve({ extraOptions });
      const message = new Uint8Array(asked);
      message.set(clientMessage({}).subarray(0, 300));
      longest = Math.max(longest, plain(server.handle(message, 0)).sent.reply.length);
    }
    expect(longest).toBe(most);
  });

  it("use file and sname where those are free, and of BOOTP never", () => {
    const overload = (config: object, message: ClientMessage) =>
      serve({ searchDomains, ...config }).ask(message).options[52];
    expect(overload({}, { type: DISCOVER })).toEqual([3]);
    expect(overload({ bootFile: "b" }, { type: DISCOVER })).toEqual([2]);
    expect(overload({ tftpServerName: "s" }, { type: DISCOVER })).toEqual([1]);
    expect(overload({ bootFile: "b", tftpServerName: "s" }, { type: DISCOVER })).toBeUndefined();
    expect(overload({}, {})).toBeUndefined();
    expect(overload({}, { type: REQUEST, requested: FIRST })).toEqual([3]);
    expect(overload({}, { type: INFORM, ciaddr: FIRST })).toEqual([3]);
  });

  it("of an identifier may be 255 octets, which come back, and not more", () => {
    const { ask, server } = serve();
    const identifier = Array.from({ length: 255 }, (_, i) => i);
    const options = { 57: uint16(1500), 61: identifier };
    expect(ask({ type: DISCOVER, options }).options[61]).toEqual(identifier);
    const longer = new Uint8Array(700);
    longer.set(clientMessage({ type: DISCOVER, options: { 61: identifier } }));
    const end = 240 + 3 + 257;
    longer.set([61, 1, 7, 255], end);
    expect(server.handle(longer, 0)).toEqual({ drop: "dhcp-malformed" });
  });
});

describe("DHCP: options of fixed length", () => {
  it.each([
    [50, 4],
    [51, 4],
    [53, 1],
    [54, 4],
    [57, 2],
  ])("%i has %i octets, not one less or more", (code, octets) => {
    const { server } = serve();
    const type = code === 53 ? {} : { type: INFORM };
    const handle = (length: number) => {
      const value = new Array<number>(length).fill(code === 53 ? INFORM : 0);
      return server.handle(clientMessage({ ...type, options: { [code]: value } }), 0);
    };
    expect(isReply(handle(octets))).toBe(true);
    for (const wrong of [octets - 1, octets + 1]) expect(handle(wrong)).toEqual({ drop: "dhcp-malformed" });
  });
});

describe("DHCP: whose message it is", () => {
  it.each([0, 1, 2, 3, 4, 5])("of one MAC alone: octet %i counts", (at) => {
    const { drop } = serve({ onlyMac: Uint8Array.from(MAC) });
    const mac = MAC.map((octet, i) => (i === at ? octet ^ 2 : octet));
    expect(drop({ type: DISCOVER, mac })).toBe("dhcp-not-ours");
    expect(drop({ type: DISCOVER })).toBe("replied 2");
  });

  it("DECLINE and RELEASE without a server's identifier are nobody's", () => {
    const { drop, lease, server } = serve();
    lease();
    expect(drop({ type: DECLINE, requested: FIRST })).toBe("dhcp-not-ours");
    expect(drop({ type: RELEASE, ciaddr: FIRST })).toBe("dhcp-not-ours");
    expect(server.isLeased(FIRST)).toBe(true);
  });

  it("INFORM is answered on all of the network and nowhere else", () => {
    const { drop } = serve();
    for (const [address, answered] of [
      ["10.0.2.0", true],
      ["10.0.2.255", true],
      ["10.0.1.255", false],
      ["10.0.3.0", false],
      ["138.0.2.15", false],
    ] as const) {
      const expected = answered ? `replied ${ACK}` : "dhcp-not-ours";
      expect(drop({ type: INFORM, ciaddr: ip(address) }), address).toBe(expected);
    }
  });

  it("REQUEST goes by the address the client has before the one it asks for", () => {
    const { ask } = serve();
    expect(ask({ type: REQUEST, ciaddr: FIRST + 1, requested: FIRST + 2 }).yiaddr).toBe(FIRST + 1);
  });

  it("REQUEST of another address than the one that was only offered is granted", () => {
    const { ask, server } = serve();
    expect(ask({ type: DISCOVER }).yiaddr).toBe(FIRST);
    expect(ask({ type: REQUEST, requested: FIRST + 3 }).type).toBe(ACK);
    expect(server.leases().map(({ address }) => address)).toEqual([FIRST + 3]);
  });

  it("REQUEST to another server takes back at once what the client was offered", () => {
    const { ask, drop, server } = serve();
    ask({ type: DISCOVER });
    expect(server.nextDeadlineSeconds()).toBe(60);
    expect(drop({ type: REQUEST, requested: FIRST, serverId: ip("10.0.2.9") })).toBe("dhcp-not-ours");
    expect(server.nextDeadlineSeconds()).toBe(Infinity);
  });

  it("RELEASE and DECLINE of what was released before are nobody's", () => {
    const { drop, lease } = serve();
    lease();
    expect(drop({ type: RELEASE, ciaddr: FIRST, serverId: SERVER })).toBe("handled");
    expect(drop({ type: RELEASE, ciaddr: FIRST, serverId: SERVER })).toBe("dhcp-not-ours");
    expect(drop({ type: DECLINE, requested: FIRST, serverId: SERVER })).toBe("dhcp-not-ours");
  });

  it("DISCOVER in a hurry is committed to, where the client says nothing of doing without IPv4", () => {
    const { ask, server } = serve();
    server.preferIpv6Only(true);
    expect(ask({ type: DISCOVER, options: { 80: [] } }).type).toBe(ACK);
  });

  it("REQUEST to another server leaves what others were offered and have", () => {
    const { ask, drop, server } = serve({ rangeSize: 2 });
    ask({ type: DISCOVER, mac: OTHER_MAC });
    expect(drop({ type: REQUEST, requested: FIRST, serverId: ip("10.0.2.9") })).toBe("dhcp-not-ours");
    expect(ask({ type: DISCOVER, requested: FIRST }).yiaddr).toBe(FIRST + 1);
    expect(server.leases()).toEqual([]);
  });

  it("a refusal says why, to all, with the client's identifier", () => {
    const { ask, lease } = serve();
    lease();
    const text = (octets: readonly number[]): string => Buffer.from(octets).toString();
    const elsewhere = ask({ type: REQUEST, requested: ip("192.0.2.1"), options: { 61: [255, 7] } });
    expect([elsewhere.type, text(elsewhere.options[56]), elsewhere.options[61]]).toEqual([
      NAK,
      "address is not available",
      [255, 7],
    ]);
    const other = ask({ type: REQUEST, requested: FIRST + 1 });
    expect([other.type, text(other.options[56]), other.sent.address]).toEqual([
      NAK,
      "another address is leased",
      0,
    ]);
    expect([...other.sent.mac]).toEqual([...MAC]);
    expect(other.sent.reply).toHaveLength(300);
  });

  it("a reply goes where the client can take it", () => {
    const { ask, lease } = serve();
    lease();
    const way = (message: ClientMessage) => {
      const { destination, address } = ask(message).sent;
      return [destination, address];
    };
    expect(way({ type: REQUEST, requested: FIRST })).toEqual(["unicast", FIRST]);
    expect(way({ type: REQUEST, requested: FIRST, broadcast: true })).toEqual(["broadcast", FIRST]);
    expect(way({ type: REQUEST, ciaddr: FIRST, broadcast: true })).toEqual(["unicast", FIRST]);
    expect(way({ type: INFORM, ciaddr: FIRST + 9, broadcast: true })).toEqual(["unicast", FIRST + 9]);
    expect(way({ type: INFORM })).toEqual(["broadcast", 0]);
    const rapid = ask({ type: DISCOVER, ciaddr: FIRST, options: { 80: [] } });
    expect([rapid.type, rapid.ciaddr, rapid.yiaddr, rapid.options[80]]).toEqual([ACK, 0, FIRST, []]);
    expect(ask({ type: REQUEST, ciaddr: FIRST }).options[80]).toBeUndefined();
  });
});

describe("DHCP: what a reply tells", () => {
  it("of the network: the broadcast address where there is one", () => {
    const broadcast = (netmask: string, config = {}) =>
      serve({ netmask: ip(netmask), ...config }).ask({ type: DISCOVER }).options[28];
    expect(broadcast("255.255.255.0")).toEqual(quad(ip("10.0.2.255")));
    expect(broadcast("255.255.255.252", { rangeSize: 1 })).toEqual(quad(ip("10.0.2.15")));
    expect(broadcast("255.255.255.254", { rangeSize: 1 })).toBeUndefined();
    expect(broadcast("255.255.255.255", { rangeSize: 1 })).toBeUndefined();
    expect(broadcast("0.0.0.0")).toEqual(quad(-1));
    expect(broadcast("255.255.255.0", { sendBroadcast: false })).toBeUndefined();
  });

  it("the MTU where it is not the usual one, and where it is asked for", () => {
    const codes = (mtu: number, list: number[]) =>
      serve({ mtu })
        .ask({ type: DISCOVER, options: { 55: list } })
        .codes.includes(26);
    expect([codes(1500, [1]), codes(1500, [26]), codes(1400, [1]), codes(0, [26])]).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  it("timers are asked for, or told with everything; the operator's own hold, but for none without a lease", () => {
    const { ask } = serve({ extraOptions: [{ code: 59, value: Uint8Array.from(quad(9)) }] });
    expect(ask({ type: DISCOVER, options: { 55: [58] } }).options).toMatchObject({
      58: quad(43_200),
      59: quad(9),
    });
    expect(ask({ type: INFORM, options: { 55: [58, 59] } }).codes).toEqual([53, 54, 1, 3, 6]);
    expect(ask({}).codes).not.toContain(59);
  });

  it("an option that the operator takes away is not told, whoever asks; a protocol's own cannot be", () => {
    const none = new Uint8Array(0);
    const { ask } = serve({ hostname: "guest1", extraOptions: [{ code: 12, value: none }] });
    expect(ask({ type: DISCOVER, options: { 55: [12, 1] } }).codes).not.toContain(12);
    expect(() => serve({ extraOptions: [{ code: 53, value: none }] })).toThrow(/set by the server/);
  });

  it("the default route with other routes once, last, and without a gateway not at all", () => {
    const toward = { destination: ip("10.9.0.0"), prefixLength: 16, gateway: SERVER };
    const everywhere = { destination: 0, prefixLength: 0, gateway: ip("10.0.2.9") };
    const given = (routes: (typeof toward)[], router = SERVER) =>
      serve({ routes, router }).ask({ type: DISCOVER }).options[121];
    const own = [16, 10, 9, ...quad(SERVER)];
    expect(given([toward])).toEqual([...own, 0, ...quad(SERVER)]);
    expect(given([everywhere, toward])).toEqual([...own, 0, ...quad(ip("10.0.2.9"))]);
    expect(given([toward], 0)).toEqual(own);
    expect(given([])).toBeUndefined();
  });
});
