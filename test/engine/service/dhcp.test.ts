import { describe, expect, it } from "vitest";
import { DhcpServer } from "../../../src/engine/service/dhcp.ts";
import type { Lease } from "../../../src/engine/service/dhcp-leases.ts";
import { clientMessage, isReply, MAC, macOf, plain, quad, XID } from "../../support/dhcp-client.ts";
import { base, dhcpConfig, FIRST, OTHER_MAC, SERVER, serve } from "../../support/dhcp-server.ts";
import { ip } from "../../support/frames.ts";
import { recordedUdpPayloads } from "../../support/recorded-guest.ts";

const [DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM] = [1, 2, 3, 4, 5, 6, 7, 8];

describe("DHCP: a lease", () => {
  it("answers the recorded guest with what libslirp gave it, and with what it asked for besides", () => {
    const server = new DhcpServer(dhcpConfig({ hostname: "guest1", nextServer: SERVER }));
    const asked = recordedUdpPayloads(67);
    const theirs = recordedUdpPayloads(68);
    asked.forEach((message, i) => {
      const ours = plain(server.handle(message, 0));
      const slirp = plain({ reply: theirs[i], destination: "broadcast", address: 0, mac: new Uint8Array(6) });
      expect([ours.type, ours.yiaddr, ours.siaddr, ours.ciaddr]).toEqual([
        slirp.type,
        slirp.yiaddr,
        slirp.siaddr,
        0,
      ]);
      expect(slirp.codes).toEqual([53, 54, 1, 3, 6, 51]);
      for (const code of slirp.codes) expect(ours.options[code]).toEqual(slirp.options[code]);
      // What it sent as identifier and its request list: 1 3 6 12 15 26 28 42 119 121.
      expect(ours.codes).toEqual([53, 54, 51, 61, 1, 3, 6, 12, 26, 28]);
      expect([...ours.sent.reply.slice(4, 8)]).toEqual([...message.slice(4, 8)]);
    });
    expect(server.leases().map(({ address }) => address)).toEqual([FIRST]);
  });

  it("offers, then leases, and reports the lease", () => {
    const { server, ask } = serve();
    const leased: Lease[] = [];
    server.onLease = (lease) => leased.push(lease);
    const offer = ask({ type: DISCOVER }, 100);
    expect([offer.type, offer.yiaddr, offer.options[54]]).toEqual([OFFER, FIRST, quad(SERVER)]);
    expect(new DataView(offer.sent.reply.buffer).getInt32(4)).toBe(XID);
    expect(server.isLeased(FIRST)).toBe(false);
    expect(leased).toEqual([]);
    const ack = ask({ type: REQUEST, requested: FIRST, serverId: SERVER }, 101);
    expect([ack.type, ack.yiaddr]).toEqual([ACK, FIRST]);
    expect(server.isLeased(FIRST)).toBe(true);
    const lease = { address: FIRST, mac: Uint8Array.from(MAC), expiresAt: 101 + base.leaseSeconds };
    expect(leased).toEqual([lease]);
    expect(server.leaseFor(Uint8Array.from(MAC))).toEqual(lease);
    expect(server.leaseFor(Uint8Array.from(OTHER_MAC))).toBeNull();
    expect(server.isLeased(ip("192.0.2.1"))).toBe(false);
  });

  it("gives every client its own address and repeats itself when asked twice", () => {
    const { lease } = serve();
    expect(lease()).toBe(FIRST);
    expect(lease({ mac: OTHER_MAC })).toBe(FIRST + 1);
    expect(lease()).toBe(FIRST);
    expect(lease({ mac: OTHER_MAC })).toBe(FIRST + 1);
  });

  it("gives the address asked for by option 50 when it is free", () => {
    const { ask, lease } = serve();
    expect(ask({ type: DISCOVER, requested: FIRST + 4 }).yiaddr).toBe(FIRST + 4);
    expect(ask({ type: DISCOVER, mac: OTHER_MAC, requested: ip("192.0.2.7") }).yiaddr).toBe(FIRST);
    lease({ mac: OTHER_MAC });
    expect(ask({ type: DISCOVER, mac: macOf(3), requested: FIRST }).yiaddr).toBe(FIRST + 1);
  });

  it("never gives out its own addresses", () => {
    const { lease } = serve({ rangeStart: SERVER, rangeSize: 3 });
    expect(lease()).toBe(ip("10.0.2.4"));
    const { drop } = serve({ rangeStart: SERVER, rangeSize: 2 });
    expect(drop({ type: DISCOVER })).toBe("dhcp-no-address");
  });

  it("lets the client have a shorter lease, within reason, and never a longer one", () => {
    const { ask } = serve();
    const given = (seconds: number) => ask({ type: DISCOVER, options: { 51: quad(seconds) } }).options[51];
    expect(given(3600)).toEqual(quad(3600));
    expect(given(1)).toEqual(quad(60));
    expect(given(-1)).toEqual(quad(base.leaseSeconds));
  });

  it("gives timers at a half and seven eighths of the lease; none with one that never ends", () => {
    const { ask } = serve({ leaseSeconds: 86_313_600 });
    const { options } = ask({ type: DISCOVER });
    expect([options[51], options[58], options[59]]).toEqual([86_313_600, 43_156_800, 75_524_400].map(quad));
    const forever = serve({ leaseSeconds: 0xffffffff });
    expect(forever.ask({ type: DISCOVER }).options[51]).toEqual([255, 255, 255, 255]);
    expect(forever.ask({ type: DISCOVER }).codes).not.toContain(58);
    forever.lease();
    expect(forever.server.leases()[0].expiresAt).toBe(Infinity);
    expect(forever.server.nextDeadlineSeconds()).toBe(Infinity);
  });

  it("commits at once when the client asks for that (RFC 4039)", () => {
    const { server, ask } = serve();
    const ack = ask({ type: DISCOVER, options: { 80: [] } });
    expect([ack.type, ack.yiaddr, ack.options[80]]).toEqual([ACK, FIRST, []]);
    expect(server.isLeased(FIRST)).toBe(true);
  });
});

describe("DHCP: REQUEST in its four states", () => {
  it("SELECTING: confirms what was offered", () => {
    const { ask } = serve();
    ask({ type: DISCOVER });
    expect(ask({ type: REQUEST, requested: FIRST, serverId: SERVER }).type).toBe(ACK);
  });

  it("SELECTING: says nothing when another server was chosen, and takes its offer back", () => {
    const { ask, drop } = serve({ rangeSize: 1 });
    ask({ type: DISCOVER });
    expect(drop({ type: REQUEST, requested: FIRST, serverId: ip("10.0.2.9") })).toBe("dhcp-not-ours");
    expect(ask({ type: DISCOVER, mac: OTHER_MAC }).yiaddr).toBe(FIRST);
  });

  it("SELECTING: a lease survives that its client looks at another server", () => {
    const { server, drop, lease } = serve();
    lease();
    expect(drop({ type: REQUEST, requested: FIRST, serverId: ip("10.0.2.9") })).toBe("dhcp-not-ours");
    expect(server.isLeased(FIRST)).toBe(true);
  });

  it("SELECTING: without an address is malformed", () => {
    expect(serve().drop({ type: REQUEST, serverId: SERVER })).toBe("dhcp-malformed");
  });

  it("INIT-REBOOT: confirms the address the client has", () => {
    const { ask, lease } = serve();
    const address = lease();
    const ack = ask({ type: REQUEST, requested: address });
    expect([ack.type, ack.yiaddr, ack.ciaddr]).toEqual([ACK, address, 0]);
  });

  it("INIT-REBOOT: grants a free address to a client of a former engine", () => {
    const { server, ask } = serve();
    expect(ask({ type: REQUEST, requested: FIRST + 2 }).type).toBe(ACK);
    expect(server.isLeased(FIRST + 2)).toBe(true);
  });

  it.each([
    ["on another network", ip("192.168.1.5")],
    ["outside the range", ip("10.0.2.200")],
    ["that is ours", SERVER],
    ["leased to another client", FIRST],
    ["that is not the one it has", FIRST + 5],
  ])("INIT-REBOOT: refuses an address %s", (_name, requested) => {
    const { server, ask, lease } = serve();
    lease({ mac: OTHER_MAC });
    lease();
    const nak = ask({ type: REQUEST, requested });
    expect([nak.type, nak.yiaddr, nak.ciaddr, nak.siaddr]).toEqual([NAK, 0, 0, 0]);
    expect(nak.options[54]).toEqual(quad(SERVER));
    expect(nak.codes).toEqual([53, 54, 56]);
    expect(nak.sent.destination).toBe("broadcast");
    expect(server.leases()).toHaveLength(2);
  });

  it("RENEWING: extends the lease, unicast, ciaddr and yiaddr filled", () => {
    const { server, ask, lease } = serve();
    const address = lease({}, 0);
    const ack = ask({ type: REQUEST, ciaddr: address, broadcast: true }, 43_200);
    expect([ack.type, ack.yiaddr, ack.ciaddr]).toEqual([ACK, address, address]);
    expect([ack.sent.destination, ack.sent.address]).toEqual(["unicast", address]);
    expect(server.leases()[0].expiresAt).toBe(43_200 + base.leaseSeconds);
  });

  it("REBINDING: the same, also after the engine has started anew", () => {
    const { ask } = serve();
    const ack = ask({ type: REQUEST, ciaddr: FIRST + 1 });
    expect([ack.type, ack.yiaddr, ack.sent.address]).toEqual([ACK, FIRST + 1, FIRST + 1]);
  });

  it("REBINDING: refuses an address that is another's, by broadcast", () => {
    const { ask, lease } = serve();
    lease({ mac: OTHER_MAC });
    const nak = ask({ type: REQUEST, ciaddr: FIRST });
    expect([nak.type, nak.ciaddr, nak.sent.destination]).toEqual([NAK, 0, "broadcast"]);
  });
});

describe("DHCP: DECLINE, RELEASE, INFORM, BOOTP", () => {
  it("DECLINE: keeps the address from everybody for ten minutes", () => {
    const { server, ask, drop, lease } = serve();
    const freed: number[] = [];
    server.onRelease = ({ address }) => freed.push(address);
    lease();
    expect(drop({ type: DECLINE, requested: FIRST, serverId: SERVER }, 10)).toBe("handled");
    expect(freed).toEqual([FIRST]);
    expect(server.isLeased(FIRST)).toBe(false);
    expect(ask({ type: DISCOVER }, 11).yiaddr).toBe(FIRST + 1);
    expect(ask({ type: REQUEST, requested: FIRST, mac: OTHER_MAC }, 11).type).toBe(NAK);
    expect(ask({ type: DISCOVER, mac: OTHER_MAC, requested: FIRST }, 611).yiaddr).toBe(FIRST);
  });

  it("DECLINE: of what the client does not hold, or told to another server, changes nothing", () => {
    const { server, drop, lease } = serve();
    lease();
    expect(drop({ type: DECLINE, requested: FIRST, serverId: SERVER, mac: OTHER_MAC })).toBe("dhcp-not-ours");
    expect(drop({ type: DECLINE, requested: FIRST, serverId: ip("10.0.2.9") })).toBe("dhcp-not-ours");
    expect(drop({ type: DECLINE, requested: ip("192.0.2.1"), serverId: SERVER })).toBe("dhcp-not-ours");
    expect(server.isLeased(FIRST)).toBe(true);
  });

  it("DECLINE: cannot take more than half of the addresses away, nor the only one", () => {
    const { lease, drop, ask } = serve({ rangeSize: 4 });
    for (let i = 0; i < 20; i++) {
      const address = lease({ mac: macOf(i) });
      expect(drop({ type: DECLINE, requested: address, serverId: SERVER, mac: macOf(i) })).toBe("handled");
    }
    expect([lease({ mac: macOf(98) }), lease({ mac: macOf(99) })]).toHaveLength(2);
    expect(drop({ type: DISCOVER, mac: macOf(100) })).toBe("dhcp-no-address");
    const single = serve({ rangeSize: 1 });
    single.lease();
    expect(single.drop({ type: DECLINE, requested: FIRST, serverId: SERVER })).toBe("handled");
    expect(single.lease()).toBe(FIRST);
    expect(ask({ type: DISCOVER, mac: macOf(98) }).type).toBe(OFFER);
  });

  it("RELEASE: frees the address, and its client gets it again while nobody else needed it", () => {
    const { server, drop, lease } = serve();
    const freed: number[] = [];
    server.onRelease = ({ address }) => freed.push(address);
    lease({ mac: OTHER_MAC });
    const address = lease();
    expect(drop({ type: RELEASE, ciaddr: address, serverId: SERVER })).toBe("handled");
    expect(freed).toEqual([address]);
    expect(server.leases()).toHaveLength(1);
    expect(lease()).toBe(address);
    expect(drop({ type: RELEASE, ciaddr: address, serverId: SERVER, mac: OTHER_MAC })).toBe("dhcp-not-ours");
    expect(drop({ type: RELEASE, ciaddr: address, serverId: ip("10.0.2.9") })).toBe("dhcp-not-ours");
    expect(drop({ type: RELEASE, ciaddr: ip("192.0.2.1"), serverId: SERVER })).toBe("dhcp-not-ours");
    expect(server.leases()).toHaveLength(2);
  });

  it("INFORM: gives options without an address or a lease, to the address the client has", () => {
    const { server, ask } = serve({ domain: "example.org" });
    const ack = ask({ type: INFORM, ciaddr: ip("10.0.2.77"), options: { 55: [51, 58, 59, 15, 6] } });
    expect([ack.type, ack.yiaddr, ack.ciaddr]).toEqual([ACK, 0, ip("10.0.2.77")]);
    expect([ack.sent.destination, ack.sent.address]).toEqual(["unicast", ip("10.0.2.77")]);
    expect(ack.codes).toEqual([53, 54, 15, 6, 1, 3]);
    expect(server.leases()).toEqual([]);
  });

  it("INFORM: from an address elsewhere is not ours; without an address it is answered by broadcast", () => {
    const { ask, drop } = serve();
    expect(drop({ type: INFORM, ciaddr: ip("192.0.2.1") })).toBe("dhcp-not-ours");
    expect(ask({ type: INFORM }).sent.destination).toBe("broadcast");
  });

  it("BOOTP: gives an address for good, in 300 octets, without DHCP's own options", () => {
    const { server, ask } = serve({ bootFile: "pxelinux.0", nextServer: ip("10.0.2.4"), mtu: 1400 });
    const reply = ask({});
    expect(reply.yiaddr).toBe(FIRST);
    expect(reply.sent.reply).toHaveLength(300);
    expect(reply.codes).not.toContain(53);
    expect(reply.codes).not.toContain(54);
    expect(reply.codes).not.toContain(51);
    expect(reply.codes).not.toContain(58);
    expect(reply.codes.slice(0, 3)).toEqual([1, 3, 6]);
    expect([reply.file, reply.siaddr]).toEqual(["pxelinux.0", ip("10.0.2.4")]);
    server.poll(1e9);
    expect(server.isLeased(FIRST)).toBe(true);
    expect(ask({}).yiaddr).toBe(FIRST);
  });

  it("BOOTP: answers a client without the cookie, and counts when there is no address left", () => {
    const { server, drop } = serve({ rangeSize: 1 });
    const message = clientMessage({}).fill(0, 236);
    expect(plain(server.handle(message, 0)).yiaddr).toBe(FIRST);
    expect(plain(server.handle(message.subarray(0, 236), 0)).yiaddr).toBe(FIRST);
    expect(drop({ mac: OTHER_MAC })).toBe("dhcp-no-address");
  });

  it("BOOTP firmware and the system it boots keep one address", () => {
    const { server, ask, lease } = serve();
    expect(ask({}).yiaddr).toBe(FIRST);
    expect(lease({ options: { 61: [255, 1, 2, 3] } })).toBe(FIRST);
    expect(server.leases()[0].expiresAt).toBe(base.leaseSeconds);
  });
});

describe("DHCP: who a client is", () => {
  it("goes by the client identifier, not the MAC, and gives it back (RFC 6842)", () => {
    const { ask, lease } = serve();
    const one = { options: { 61: [255, 0, 0, 1] } };
    const two = { options: { 61: [255, 0, 0, 2] } };
    expect(lease(one)).toBe(FIRST);
    expect(lease(two)).toBe(FIRST + 1);
    expect(lease({ ...one, mac: OTHER_MAC })).toBe(FIRST);
    const offer = ask({ ...two, type: DISCOVER });
    expect([offer.yiaddr, offer.options[61]]).toEqual([FIRST + 1, [255, 0, 0, 2]]);
    expect(ask({ ...two, type: REQUEST, requested: FIRST }).options[61]).toEqual([255, 0, 0, 2]);
  });

  it("goes by the MAC where one side has no identifier of its own", () => {
    const { lease } = serve();
    expect(lease()).toBe(FIRST);
    expect(lease({ options: { 61: [1, ...MAC] } })).toBe(FIRST);
    expect(lease({ options: { 61: [255, 9, 9] } })).toBe(FIRST);
    expect(lease()).toBe(FIRST);
    expect(lease({ options: { 61: [1, ...OTHER_MAC] } })).toBe(FIRST);
  });

  it("prefers what the identifier has over what the MAC has, and never lets one client keep two", () => {
    const named = { options: { 61: [255, 1] } };
    const reservations = [{ mac: Uint8Array.from(macOf(5)), address: FIRST + 9 }];
    const { server, lease } = serve({ reservations });
    expect(lease()).toBe(FIRST);
    expect(lease({ ...named, mac: OTHER_MAC })).toBe(FIRST + 1);
    expect(lease(named)).toBe(FIRST + 1);
    expect(lease({ ...named, mac: macOf(5) })).toBe(FIRST + 9);
    expect(server.leases().map(({ address }) => address)).toEqual([FIRST, FIRST + 9]);
  });

  it("gives a client whose reserved address is in use by somebody else another one", () => {
    const reservations = [{ mac: Uint8Array.from(MAC), address: FIRST + 9 }];
    const { drop, lease } = serve({ reservations });
    expect(lease()).toBe(FIRST + 9);
    expect(drop({ type: DECLINE, requested: FIRST + 9, serverId: SERVER })).toBe("handled");
    expect(lease()).toBe(FIRST);
  });

  it("reports an address that moves to another NIC as released and leased anew", () => {
    const { server, lease } = serve();
    const events: string[] = [];
    server.onLease = ({ mac }) => events.push(`lease ${mac[5]}`);
    server.onRelease = ({ mac }) => events.push(`release ${mac[5]}`);
    lease({ options: { 61: [255, 1] } });
    lease({ options: { 61: [255, 1] }, mac: OTHER_MAC });
    expect(events).toEqual(["lease 86", "release 86", "lease 9"]);
  });

  it("serves a reservation to its MAC alone, in and outside of the range", () => {
    const reservations = [
      { mac: Uint8Array.from(MAC), address: FIRST },
      { mac: Uint8Array.from(OTHER_MAC), address: ip("10.0.2.200") },
    ];
    const { ask, lease } = serve({ reservations });
    expect(lease({ mac: macOf(1) })).toBe(FIRST + 1);
    expect(ask({ type: REQUEST, requested: FIRST, mac: macOf(2) }).type).toBe(NAK);
    expect(lease()).toBe(FIRST);
    expect(lease({ options: { 61: [255, 7] } })).toBe(FIRST);
    expect(lease({ mac: OTHER_MAC })).toBe(ip("10.0.2.200"));
  });

  it("serves one MAC alone where an address is delegated, for 999 days", () => {
    const address = ip("10.129.3.7");
    const { ask, drop, lease } = serve({
      serverAddress: ip("169.254.75.10"),
      netmask: ip("255.255.255.255"),
      router: ip("169.254.1.1"),
      rangeStart: address,
      rangeSize: 1,
      onlyMac: Uint8Array.from(MAC),
      leaseSeconds: 86_313_600,
      routes: [
        { destination: 0, prefixLength: 0, gateway: ip("169.254.1.1") },
        { destination: ip("169.254.1.1"), prefixLength: 32, gateway: 0 },
      ],
    });
    expect(drop({ type: DISCOVER, mac: OTHER_MAC })).toBe("dhcp-not-ours");
    const offer = ask({ type: DISCOVER });
    expect(offer.yiaddr).toBe(address);
    expect(offer.options[1]).toEqual([255, 255, 255, 255]);
    expect(offer.options[121]).toEqual([32, 169, 254, 1, 1, 0, 0, 0, 0, 0, 169, 254, 1, 1]);
    expect(offer.codes).not.toContain(28);
    expect(offer.options[54]).toEqual(quad(ip("169.254.75.10")));
    expect(ask({ type: REQUEST, requested: address, serverId: ip("169.254.75.10") }).type).toBe(ACK);
    expect(() => lease({ mac: OTHER_MAC })).toThrow("dhcp-not-ours");
  });
});

describe("DHCP: expiry and exhaustion", () => {
  it("gives an expired address to somebody else, the longest unused first", () => {
    const { server, ask, lease } = serve({ rangeSize: 2, leaseSeconds: 100 });
    const freed: number[] = [];
    server.onRelease = ({ address }) => freed.push(address);
    lease({ mac: macOf(1) }, 0);
    lease({ mac: macOf(2) }, 50);
    expect(server.nextDeadlineSeconds()).toBe(100);
    server.poll(99);
    expect(freed).toEqual([]);
    server.poll(100);
    expect(freed).toEqual([FIRST]);
    expect(lease({ mac: macOf(3) }, 151)).toBe(FIRST);
    expect(freed).toEqual([FIRST, FIRST + 1]);
    expect(ask({ type: REQUEST, ciaddr: FIRST, mac: macOf(1) }, 152).type).toBe(NAK);
  });

  it("says nothing to a DISCOVER when all is leased, and serves again after a release", () => {
    const { drop, lease } = serve({ rangeSize: 2 });
    lease({ mac: macOf(1) });
    lease({ mac: macOf(2) });
    expect(drop({ type: DISCOVER, mac: macOf(3) })).toBe("dhcp-no-address");
    expect(drop({ type: RELEASE, ciaddr: FIRST + 1, serverId: SERVER, mac: macOf(2) })).toBe("handled");
    expect(lease({ mac: macOf(3) })).toBe(FIRST + 1);
  });

  it("is not kept from leasing by fifty thousand clients that only ask", () => {
    const { server, ask, lease } = serve();
    const message = clientMessage({ type: DISCOVER });
    const view = new DataView(message.buffer);
    const before = ask({ type: DISCOVER }).yiaddr;
    for (let i = 0; i < 50_000; i++) {
      view.setInt32(28, 0x02000000 | (i >>> 16));
      view.setUint16(32, i);
      if (!isReply(server.handle(message, i / 1000))) throw new Error("an offer was due");
    }
    expect(server.leases()).toEqual([]);
    expect(ask({ type: REQUEST, requested: before, serverId: SERVER }, 1000).type).toBe(ACK);
    expect(lease({ mac: OTHER_MAC }, 1000)).toBeGreaterThan(before);
  });

  it("has at most as many leases as addresses, whoever asks", () => {
    const { server, drop } = serve();
    for (let i = 0; i < 5000; i++) drop({ type: REQUEST, requested: FIRST + (i % 20), mac: macOf(i) });
    expect(server.leases()).toHaveLength(base.rangeSize);
  });
});
