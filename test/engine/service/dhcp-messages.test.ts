import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ClientMessage, clientMessage, isReply, MAC, macOf, quad } from "../../support/dhcp-client.ts";
import { FIRST, SERVER, serve } from "../../support/dhcp-server.ts";
import { ip, udpFrame } from "../../support/frames.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";

const [DISCOVER, REQUEST, INFORM] = [1, 3, 8];

describe("DHCP: delivery", () => {
  it("goes to the hardware address unless the broadcast flag is set", () => {
    const { ask } = serve();
    const offer = ask({ type: DISCOVER }).sent;
    expect([offer.destination, offer.address, [...offer.mac]]).toEqual(["unicast", FIRST, [...MAC]]);
    const broadcast = ask({ type: DISCOVER, broadcast: true });
    expect([broadcast.sent.destination, broadcast.sent.address]).toEqual(["broadcast", FIRST]);
    expect(new DataView(broadcast.sent.reply.buffer).getUint16(10)).toBe(0x8000);
  });

  it("leaves relayed messages alone", () => {
    expect(serve().drop({ type: DISCOVER, giaddr: ip("10.0.2.99") })).toBe("dhcp-not-ours");
  });

  it.each([2, 5, 6, 9, 10, 255])("leaves message type %i alone", (type) => {
    expect(serve().drop({ type, requested: FIRST, serverId: SERVER })).toBe("dhcp-not-ours");
  });

  it("refuses messages that are none", () => {
    const { server } = serve();
    const good = clientMessage({ type: DISCOVER });
    const malformed = (change: (octets: Uint8Array) => void): unknown => {
      const octets = good.slice();
      change(octets);
      return server.handle(octets, 0);
    };
    const refused = { drop: "dhcp-malformed" };
    for (let length = 0; length < 236; length++)
      expect(server.handle(good.subarray(0, length), 0)).toEqual(refused);
    for (const at of [0, 1, 2]) {
      expect(malformed((octets) => octets.fill(2, at, at + 1))).toEqual(refused);
      expect(malformed((octets) => octets.fill(255, at, at + 1))).toEqual(refused);
    }
    expect(malformed((octets) => octets.fill(0, 28, 34))).toEqual(refused);
    expect(malformed((octets) => octets.fill(0xff, 28, 34))).toEqual(refused);
    expect(malformed((octets) => octets.fill(1, 28, 29))).toEqual(refused);
    for (const [code, value] of [
      [53, []],
      [53, [1, 1]],
      [50, [1, 2, 3]],
      [54, [1, 2, 3, 4, 5]],
      [51, [1]],
      [57, [2]],
    ] as const) {
      expect(server.handle(clientMessage({ options: { [code]: value } }), 0)).toEqual(refused);
    }
    const long = new Uint8Array(1000);
    long.set(good.subarray(0, 243));
    long.set([61, 255], 243);
    long.set([61, 255], 500);
    expect(server.handle(long, 0)).toEqual(refused);
  });
});

describe("DHCP: any message", () => {
  it("never throws, never grows, and answers with sane replies", () => {
    const option = fc.tuple(
      fc.constantFrom(12, 43, 50, 51, 52, 53, 54, 55, 57, 60, 61, 80, 119),
      fc.uint8Array({ maxLength: 80 }),
    );
    const right = fc.constantFrom<[number, Uint8Array]>(
      [53, Uint8Array.of(1)],
      [53, Uint8Array.of(3)],
      [53, Uint8Array.of(4)],
      [53, Uint8Array.of(7)],
      [53, Uint8Array.of(8)],
      [50, Uint8Array.from(quad(FIRST))],
      [54, Uint8Array.from(quad(SERVER))],
    );
    const message = fc
      .tuple(
        fc.array(fc.oneof(option, right), { maxLength: 8 }),
        fc.constantFrom(0, FIRST, 1),
        fc.nat(20),
        fc.nat(400),
      )
      .map(([options, ciaddr, mac, cut]) => {
        const octets = clientMessage({ ciaddr, mac: macOf(mac), options: {} });
        const tail = options.flatMap(([code, value]) => [code, value.length, ...value]);
        const all = new Uint8Array(240 + tail.length + 1);
        all.set(octets.subarray(0, 240));
        all.set([...tail, 255], 240);
        return all.subarray(0, Math.max(236, all.length - (cut > 300 ? cut - 300 : 0)));
      });
    const { server } = serve({
      rangeSize: 4,
      bootFile: "x".repeat(200),
      searchDomains: ["example.org", "a.example.org"],
    });
    let now = 0;
    fc.assert(
      fc.property(fc.oneof(message, fc.uint8Array({ maxLength: 600 })), (octets) => {
        now += 10;
        const outcome = server.handle(octets, now);
        expect(server.leases().length).toBeLessThanOrEqual(4);
        if (!isReply(outcome)) return;
        expect(outcome.reply[0]).toBe(2);
        expect(outcome.reply.length).toBeGreaterThanOrEqual(300);
        expect(outcome.reply.length).toBeLessThanOrEqual(1472);
      }),
      { numRuns: 3000 },
    );
  });

  it("is read by tshark as meant", (context) => {
    needs(context, { commands: ["tshark"] });
    const { ask } = serve({
      hostname: "guest1",
      domain: "example.org",
      searchDomains: ["eng.example.org", "example.org"],
      routes: [{ destination: ip("192.168.7.0"), prefixLength: 24, gateway: ip("10.0.2.9") }],
      nextServer: ip("10.0.2.4"),
      bootFile: "boot/ipxe.efi",
      mtu: 1400,
    });
    const messages: ClientMessage[] = [
      { type: DISCOVER },
      { type: REQUEST, requested: FIRST, serverId: SERVER },
      { type: REQUEST, requested: ip("192.0.2.1") },
      { type: INFORM, ciaddr: FIRST },
      {},
    ];
    const frames = messages.map((message) =>
      udpFrame({
        source: SERVER,
        sourcePort: 67,
        destination: -1,
        destinationPort: 68,
        payload: ask(message).sent.reply,
      }),
    );
    const readings = readWithTshark(frames, [
      "dhcp.option.dhcp",
      "dhcp.ip.your",
      "dhcp.ip.server",
      "dhcp.file",
      "dhcp.option.interface_mtu",
      "dhcp.option.dhcp_server_id",
      "dhcp.option.hostname",
      "dhcp.option.domain_name",
      "dhcp.option.ip_address_lease_time",
      "dhcp.option.renewal_time_value",
    ]);
    expect(readings.map(({ complaints }) => complaints)).toEqual([[], [], [], [], []]);
    expect(readings.map(({ fields }) => fields["dhcp.option.dhcp"])).toEqual([
      ["2"],
      ["5"],
      ["6"],
      ["5"],
      [],
    ]);
    for (const { fields } of readings.slice(0, 2)) {
      expect(fields).toMatchObject({
        "dhcp.ip.your": ["10.0.2.15"],
        "dhcp.ip.server": ["10.0.2.4"],
        "dhcp.file": ["boot/ipxe.efi"],
        "dhcp.option.interface_mtu": ["1400"],
        "dhcp.option.dhcp_server_id": ["10.0.2.2"],
        "dhcp.option.hostname": ["guest1"],
        "dhcp.option.domain_name": ["example.org"],
        "dhcp.option.ip_address_lease_time": ["86400"],
        "dhcp.option.renewal_time_value": ["43200"],
      });
    }
  });
});
