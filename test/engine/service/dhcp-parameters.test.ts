import { describe, expect, it } from "vitest";
import { readOptions } from "../../../src/engine/wire/dhcp-options.ts";
import { type PlainReply, quad } from "../../support/dhcp-client.ts";
import { base, FIRST, SERVER, serve } from "../../support/dhcp-server.ts";
import { ip } from "../../support/frames.ts";

const [DISCOVER, REQUEST, INFORM] = [1, 3, 8];
const text = (value: string): number[] => [...new TextEncoder().encode(value)];
const FULL = {
  hostname: "guest1",
  domain: "example.org",
  searchDomains: ["a.example.org", "example.org"],
  routes: [{ destination: ip("192.168.7.0"), prefixLength: 24, gateway: ip("10.0.2.9") }],
  nextServer: ip("10.0.2.4"),
  bootFile: "pxelinux.0",
  mtu: 1400,
};

/** Every option of a reply, also those in `file` and `sname`. */
function allOptions({ sent }: PlainReply): Record<number, number[]> {
  return Object.fromEntries(Array.from(readOptions(sent.reply) ?? [], ([code, value]) => [code, [...value]]));
}

describe("DHCP options given", () => {
  it("gives every option it has to a client without a request list", () => {
    const { ask } = serve(FULL);
    expect(ask({ type: DISCOVER }).options).toEqual({
      53: [2],
      54: quad(SERVER),
      51: quad(86_400),
      1: [255, 255, 255, 0],
      3: quad(SERVER),
      6: quad(ip("10.0.2.3")),
      12: text("guest1"),
      15: text("example.org"),
      26: [1400 >> 8, 1400 & 255],
      28: quad(ip("10.0.2.255")),
      121: [24, 192, 168, 7, 10, 0, 2, 9, 0, 10, 0, 2, 2],
      119: [1, 97, 7, ...text("example"), 3, ...text("org"), 0, 0xc0, 2],
      66: text("10.0.2.4"),
      67: text("pxelinux.0"),
      58: quad(43_200),
      59: quad(75_600),
    });
  });

  it("keeps to the request list's order, and adds what no guest can do without", () => {
    const { ask } = serve(FULL);
    expect(ask({ type: DISCOVER, options: { 55: [15, 12, 59, 15, 200] } }).codes).toEqual([
      53, 54, 51, 15, 12, 59, 1, 3, 6, 26,
    ]);
    expect(serve().ask({ type: DISCOVER, options: { 55: [6] } }).codes).toEqual([53, 54, 51, 6, 1, 3]);
  });

  it("puts the mask in front of the router, whatever the request list says (RFC 2132 section 3.3)", () => {
    expect(serve().ask({ type: DISCOVER, options: { 55: [6, 3, 1] } }).codes).toEqual([53, 54, 51, 6, 1, 3]);
  });

  it("gives the same options with the ACK as with the offer", () => {
    const { ask } = serve(FULL);
    const offer = ask({ type: DISCOVER });
    const ack = ask({ type: REQUEST, requested: FIRST, serverId: SERVER });
    expect(ack.codes).toEqual(offer.codes);
    expect({ ...ack.options, 53: [2] }).toEqual(offer.options);
  });

  it("leaves out what is not configured", () => {
    const { ask } = serve({ router: 0, dnsServers: [], mtu: 0, sendBroadcast: false });
    expect(ask({ type: DISCOVER }).codes).toEqual([53, 54, 51, 1, 58, 59]);
  });

  it("sends no routes without routes, and the default route last with them", () => {
    expect(serve().ask({ type: DISCOVER, options: { 55: [121] } }).codes).not.toContain(121);
    const routes = [
      { destination: 0, prefixLength: 0, gateway: ip("10.129.0.1") },
      { destination: ip("10.128.0.0"), prefixLength: 14, gateway: 0 },
      { destination: ip("224.0.0.0"), prefixLength: 4, gateway: 0 },
    ];
    const given = (config: object): readonly number[] => serve(config).ask({ type: DISCOVER }).options[121];
    const vector = [14, 10, 128, 0, 0, 0, 0, 4, 224, 0, 0, 0, 0, 0, 10, 129, 0, 1];
    expect(given({ routes })).toEqual(vector);
    expect(given({ routes: routes.slice(1), router: ip("10.129.0.1") })).toEqual(vector);
    expect(given({ routes: routes.slice(1), router: 0 })).toEqual(vector.slice(0, 13));
  });
});

describe("DHCP options by number", () => {
  it("sends them with or without being asked, in place of its own", () => {
    const { ask } = serve({
      extraOptions: [
        { code: 42, value: Uint8Array.from(quad(SERVER)) },
        { code: 3, value: Uint8Array.from(quad(ip("10.0.2.9"))) },
        { code: 58, value: Uint8Array.from(quad(10)) },
      ],
    });
    for (const options of [undefined, { 55: [1, 58] }]) {
      const given = ask({ type: DISCOVER, ...(options ? { options } : {}) }).options;
      expect([given[42], given[3], given[58]]).toEqual([quad(SERVER), quad(ip("10.0.2.9")), quad(10)]);
    }
    expect(ask({ type: INFORM, ciaddr: FIRST }).codes).not.toContain(58);
  });

  it("takes an empty value as: do not send", () => {
    const { ask } = serve({ extraOptions: [{ code: 3, value: new Uint8Array(0) }] });
    expect(ask({ type: DISCOVER, options: { 55: [1, 3] } }).codes).not.toContain(3);
  });

  it("leases for the time of an option 51", () => {
    const { server, ask, lease } = serve({ extraOptions: [{ code: 51, value: Uint8Array.from(quad(120)) }] });
    expect(ask({ type: DISCOVER }).options).toMatchObject({ 51: quad(120), 58: quad(60), 59: quad(105) });
    lease();
    expect(server.leases()[0].expiresAt).toBe(120);
  });

  it.each([0, 50, 52, 53, 54, 55, 57, 61, 82, 255])("refuses %i, which the protocol sets", (code) => {
    expect(() => serve({ extraOptions: [{ code, value: Uint8Array.of(1) }] })).toThrow(RangeError);
  });

  it("refuses a lease time that is none", () => {
    expect(() => serve({ extraOptions: [{ code: 51, value: Uint8Array.of(1) }] })).toThrow(
      /four octets, not 1/,
    );
  });
});

describe("IPv6-only preferred (RFC 8925)", () => {
  it("N74 is told to who asks for it while it holds, without a time of ours, and to nobody else", () => {
    const { server, ask } = serve();
    const given = (list?: readonly number[]) =>
      ask({ type: DISCOVER, ...(list === undefined ? {} : { options: { 55: list } }) }).options[108];
    expect(given([1, 108])).toBeUndefined();
    server.preferIpv6Only(true);
    expect([given([1, 108]), given([1]), given()]).toEqual([quad(0), undefined, undefined]);
    expect(
      ask({ type: REQUEST, requested: FIRST, serverId: SERVER, options: { 55: [108] } }).options[108],
    ).toEqual(quad(0));
    server.preferIpv6Only(false);
    expect(given([1, 108])).toBeUndefined();
  });

  it("N74 is offered, not committed to, when the client would have an address in a hurry", () => {
    const { server, ask } = serve();
    server.preferIpv6Only(true);
    const hurried = (list: readonly number[]) => ask({ type: DISCOVER, options: { 55: list, 80: [] } }).type;
    expect(hurried([1, 108])).toBe(2);
    expect(server.leases()).toEqual([]);
    expect(hurried([1])).toBe(5);
  });

  it("an operator's own time holds always, and is told to who asks alone", () => {
    const { server, ask } = serve({ extraOptions: [{ code: 108, value: Uint8Array.from(quad(600)) }] });
    for (const isPreferred of [true, false]) {
      server.preferIpv6Only(isPreferred);
      expect(ask({ type: DISCOVER, options: { 55: [108] } }).options[108]).toEqual(quad(600));
      expect(ask({ type: DISCOVER, options: { 55: [1] } }).options[108]).toBeUndefined();
      expect(ask({ type: DISCOVER }).options[108]).toBeUndefined();
    }
  });
});

describe("DHCP for network boot", () => {
  it("gives next server and boot file as fields and as options", () => {
    const offer = serve({ ...FULL, tftpServerName: "boot.example.org" }).ask({ type: DISCOVER });
    expect([offer.siaddr, offer.sname, offer.file]).toEqual([
      ip("10.0.2.4"),
      "boot.example.org",
      "pxelinux.0",
    ]);
    expect([offer.options[66], offer.options[67]]).toEqual([text("boot.example.org"), text("pxelinux.0")]);
  });

  it("fills the fields from options 66 and 67 given by number", () => {
    const extraOptions = [
      { code: 66, value: Uint8Array.from(text("10.0.2.9")) },
      { code: 67, value: Uint8Array.from(text("boot/x.efi")) },
    ];
    const offer = serve({ extraOptions }).ask({ type: DISCOVER });
    expect([offer.siaddr, offer.sname, offer.file]).toEqual([ip("10.0.2.9"), "10.0.2.9", "boot/x.efi"]);
    const named = serve({ extraOptions: [{ code: 66, value: Uint8Array.from(text("10.0.2.999")) }] });
    expect(named.ask({ type: DISCOVER }).siaddr).toBe(0);
  });

  it("gives a boot file too long for the field as option 67 alone", () => {
    const given = (bootFile: string): PlainReply => serve({ bootFile }).ask({ type: DISCOVER });
    expect(given("x".repeat(127)).file).toBe("x".repeat(127));
    expect(given("x".repeat(128)).file).toBe("");
    expect(given("x".repeat(128)).options[67]).toHaveLength(128);
  });
});

describe("DHCP message size", () => {
  const searchDomains = Array.from({ length: 20 }, (_, i) => `department-${i}.example.org`);

  it("stays in 548 octets for a client that says nothing, with file and sname in use", () => {
    const offer = serve({ searchDomains }).ask({ type: DISCOVER });
    expect(offer.sent.reply.length).toBeLessThanOrEqual(548);
    expect(offer.options[52]).toBeDefined();
    expect(allOptions(offer)[119].length).toBeGreaterThan(255);
    expect(allOptions(offer)[6]).toEqual(quad(ip("10.0.2.3")));
  });

  it("uses the size the client takes, up to the link's", () => {
    const { ask } = serve({ searchDomains });
    const offer = ask({ type: DISCOVER, options: { 57: [5, 220] } });
    expect(offer.options[52]).toBeUndefined();
    expect(offer.options[119].length).toBeGreaterThan(255);
    const large = Array.from({ length: 200 }, (_, i) => `department-${i}.example.org`);
    const huge = serve({ searchDomains: large, mtu: 1500 }).ask({
      type: DISCOVER,
      options: { 57: [255, 255] },
    });
    expect(huge.sent.reply.length).toBeLessThanOrEqual(1472);
    expect(allOptions(huge)[119]).toBeUndefined();
    const jumbo = serve({ searchDomains: large, mtu: 9000 }).ask({
      type: DISCOVER,
      options: { 57: [255, 255] },
    });
    expect(allOptions(jumbo)[119].length).toBeGreaterThan(1472);
  });

  it("takes a size under the minimum for the minimum", () => {
    const offer = serve({ searchDomains }).ask({ type: DISCOVER, options: { 57: [0, 0] } });
    expect(offer.sent.reply.length).toBeGreaterThan(500);
  });

  it("leaves boot fields alone when options do not fit", () => {
    const offer = serve({ ...FULL, tftpServerName: "t", searchDomains }).ask({ type: DISCOVER });
    expect([offer.file, offer.sname]).toEqual(["pxelinux.0", "t"]);
    expect(offer.options[119]).toBeUndefined();
    expect(offer.options[67]).toEqual(text("pxelinux.0"));
  });

  it("reads a client's options out of file and sname", () => {
    const { server } = serve();
    const message = new Uint8Array(300);
    message.set([1, 1, 6, 0, 0, 0, 0, 1]);
    message.set([0x52, 0x54, 0, 1, 2, 3], 28);
    message.set([0x63, 0x82, 0x53, 0x63, 52, 1, 3, 255], 236);
    message.set([53, 1, DISCOVER, 255], 108);
    message.set([50, 4, ...quad(FIRST + 3), 255], 44);
    const outcome = server.handle(message, 0);
    expect("address" in outcome && outcome.address).toBe(FIRST + 3);
    expect(base.rangeSize).toBeGreaterThan(3);
  });
});
