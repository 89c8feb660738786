import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import { encodeDomainList } from "../../../src/engine/wire/domain-list.ts";
import { finishIcmpv6, icmpv6Sum, isMld } from "../../../src/engine/wire/icmpv6.ts";
import { SOURCE, writeAddress, writeIpv6 } from "../../../src/engine/wire/ipv6.ts";
import * as ndp from "../../../src/engine/wire/ndp.ts";
import {
  frame6,
  GUEST6,
  groupOf,
  icmp6,
  ip6,
  macOption,
  neighbourMessage,
  ROUTER6,
} from "../../support/frames6.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const GROUP = groupOf(ROUTER6);
const RS = [133, 0, 0, 0, 0, 0, 0, 0];

function check(packet: Uint8Array): string {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  return DROP_REASONS[ndp.checkNdp(view, 0, 40, packet.length - 40)];
}

const solicitation = (options: readonly number[] = []) => neighbourMessage(135, 0, ROUTER6, options);
const advertisement = (flags = 0x60, options: readonly number[] = []) =>
  neighbourMessage(136, flags, GUEST6, options);

describe("Neighbour Discovery messages", () => {
  it.each([
    ["RS", { payload: [...RS, ...macOption(1, MAC)] }],
    ["RS without an address", { source: "::", payload: RS }],
    ["RS with an option nobody knows", { payload: [...RS, 200, 2, ...new Array<number>(14).fill(9)] }],
    ["NS", { destination: GROUP, payload: solicitation(macOption(1, MAC)) }],
    ["unicast NS", { destination: ROUTER6, payload: solicitation() }],
    ["DAD probe", { source: "::", destination: GROUP, payload: solicitation() }],
    [
      "DAD probe with a nonce",
      { source: "::", destination: GROUP, payload: solicitation([14, 1, 1, 2, 3, 4, 5, 6]) },
    ],
    ["NA", { destination: ROUTER6, payload: advertisement(0x60, macOption(2, MAC)) }],
    ["unsolicited NA", { destination: "ff02::1", payload: advertisement(0x20, macOption(2, MAC)) }],
  ])("takes %s", (_name, packet) => {
    expect(check(icmp6(packet))).toBe("handled");
  });

  it.each([
    ["hop limit 254", { hopLimit: 254, payload: RS }],
    ["a code", { payload: [133, 1, 0, 0, 0, 0, 0, 0] }],
    ["7 octets", { payload: RS.slice(0, 7) }],
    ["an option of length 0", { payload: [...RS, 1, 0, 0, 0, 0, 0, 0, 0] }],
    ["an option beyond the end", { payload: [...RS, 1, 2, ...MAC] }],
    ["half an option header", { payload: [...RS, 1] }],
    ["option 1 from ::", { source: "::", payload: [...RS, ...macOption(1, MAC)] }],
    [
      "no address and option 1 in second place",
      { source: "::", payload: [...RS, 14, 1, 0, 0, 0, 0, 0, 0, ...macOption(1, MAC)] },
    ],
  ])("N3 refuses an RS with %s", (_name, packet) => {
    expect(check(icmp6(packet))).toBe("ndp-malformed");
  });

  it.each([
    ["NS for a multicast target", { destination: GROUP, payload: neighbourMessage(135, 0, "ff02::1") }],
    ["NS of 23 octets", { destination: GROUP, payload: solicitation().slice(0, 23) }],
    ["NS with hop limit 64", { hopLimit: 64, destination: GROUP, payload: solicitation() }],
    ["NS with a code", { destination: GROUP, payload: solicitation().with(1, 3) }],
    ["DAD probe to a unicast address", { source: "::", destination: ROUTER6, payload: solicitation() }],
    ["DAD probe to all nodes", { source: "::", destination: "ff02::1", payload: solicitation() }],
    [
      "DAD probe with option 1",
      { source: "::", destination: GROUP, payload: solicitation(macOption(1, MAC)) },
    ],
    ["NA for a multicast target", { destination: ROUTER6, payload: neighbourMessage(136, 0x60, "ff02::1") }],
    ["solicited NA to a multicast address", { destination: "ff02::1", payload: advertisement(0x60) }],
    ["NA from ::", { source: "::", destination: "ff02::1", payload: advertisement(0x20) }],
    ["NA of 20 octets", { destination: ROUTER6, payload: advertisement().slice(0, 20) }],
    [
      "NA with an option of length 0",
      { destination: ROUTER6, payload: advertisement(0x60, [2, 0, 0, 0, 0, 0, 0, 0]) },
    ],
  ])("N15 refuses an %s", (_name, packet) => {
    expect(check(icmp6(packet))).toBe("ndp-malformed");
  });

  it("finds the link-layer address, and none of another length", () => {
    const of = (options: readonly number[]): number => {
      const packet = icmp6({ destination: GROUP, payload: solicitation(options) });
      return ndp.linkLayerOption(new DataView(packet.buffer), 40, packet.length - 40, 1);
    };
    expect(of([...macOption(2, MAC), ...macOption(1, MAC)])).toBe(40 + 24 + 8 + 2);
    expect(of([])).toBe(0);
    expect(of([1, 2, ...new Array<number>(14).fill(0)])).toBe(0);
  });

  it("N23 tells MLD of both versions from the rest", () => {
    expect(Array.from({ length: 256 }, (_, type) => type).filter(isMld)).toEqual([130, 131, 132, 143]);
  });

  it("never reads beyond the message, whatever comes", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(133, 134, 135, 136, 137, 0),
        fc.array(fc.nat(255), { maxLength: 60 }),
        (type, rest) => {
          const packet = icmp6({ payload: [type, 0, 0, 0, ...rest] });
          if (check(packet) !== "handled") return;
          ndp.linkLayerOption(new DataView(packet.buffer), 40, packet.length - 40, 1);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it("checks and writes the checksum", () => {
    const packet = icmp6({ payload: [...RS, ...macOption(1, MAC)] });
    const view = new DataView(packet.buffer);
    const kernel = new JavaScriptChecksum(view);
    expect(icmpv6Sum(kernel, view, 0, 40, 16)).toBe(0xffff);
    const broken = packet.slice();
    broken[60 - 5] ^= 1;
    const brokenView = new DataView(broken.buffer);
    expect(icmpv6Sum(new JavaScriptChecksum(brokenView), brokenView, 0, 40, 16)).not.toBe(0xffff);
    const again = packet.slice().fill(0xaa, 42, 44);
    const againView = new DataView(again.buffer);
    finishIcmpv6(new JavaScriptChecksum(againView), againView, 0, 40, 16);
    expect(again).toEqual(packet);
  });

  it("writes messages and options that tshark reads", (context) => {
    needs(context, { commands: ["tshark"] });
    const octets = new Uint8Array(1024);
    const view = new DataView(octets.buffer);
    const kernel = new JavaScriptChecksum(view);
    const words = Int32Array.of(...ip6("fe80::2"), ...ip6(ROUTER6), ...ip6("ff02::1"));
    const prefix = Int32Array.from(ip6("fd71:1ae0:d44d:2::ffff"));
    const packet = (write: (at: number) => number, hops = 255): Uint8Array => {
      const end = write(40);
      writeIpv6(view, 0, end - 40, 58, hops, 0);
      writeAddress(view, SOURCE, words, 0);
      writeAddress(view, SOURCE + 16, words, 8);
      finishIcmpv6(kernel, view, 0, 40, end - 40);
      return frame6(octets.slice(0, end), [0x33, 0x33, 0, 0, 0, 1], [0x52, 0x55, 10, 0, 2, 2]);
    };
    const advert = packet((start) => {
      let at = ndp.writeRouterAdvertisement(view, start, 64, ndp.MANAGED | ndp.OTHER, 1800);
      at = ndp.writeLinkLayer(view, at, ndp.SOURCE_LINK_LAYER, 0x5255, 0x0a000202);
      at = ndp.writeMtu(view, at, 1500);
      at = ndp.writePrefix(view, at, ndp.ON_LINK | ndp.AUTONOMOUS, 86_400, 14_400, prefix);
      at = ndp.writeRdnss(view, at, 1800, words.subarray(4, 8));
      at = ndp.writeDnssl(view, at, 1800, encodeDomainList(["example.org", "a.test"]));
      return ndp.writePref64(view, at, 1800, Int32Array.from(ip6("64:ff9b::")), 96);
    });
    const neighbour = packet((at) =>
      ndp.writeLinkLayer(
        view,
        ndp.writeNeighbourMessage(view, at, 136, ndp.FROM_ROUTER | ndp.OVERRIDE, words, 4),
        ndp.TARGET_LINK_LAYER,
        0x5255,
        0x0a000202,
      ),
    );
    const fields = [
      "icmpv6.nd.ra.router_lifetime",
      "icmpv6.nd.ra.flag",
      "icmpv6.opt.prefix",
      "icmpv6.opt.prefix.length",
      "icmpv6.opt.prefix.valid_lifetime",
      "icmpv6.opt.mtu",
      "icmpv6.opt.rdnss",
      "icmpv6.opt.dnssl",
      "icmpv6.opt.pref64.scaled_lifetime",
      "icmpv6.nd.na.flag.r",
      "icmpv6.nd.na.target_address",
      "icmpv6.opt.linkaddr",
    ];
    const [ra, na] = readWithTshark([advert, neighbour], fields);
    expect(ra.complaints).toEqual([]);
    expect(na.complaints).toEqual([]);
    expect(ra.fields["icmpv6.nd.ra.router_lifetime"]).toEqual(["1800"]);
    expect(ra.fields["icmpv6.nd.ra.flag"]).toEqual(["0xc0"]);
    expect(ra.fields["icmpv6.opt.prefix"]).toEqual(["fd71:1ae0:d44d:2::"]);
    expect(ra.fields["icmpv6.opt.prefix.length"]).toEqual(["64"]);
    expect(ra.fields["icmpv6.opt.prefix.valid_lifetime"]).toEqual(["86400"]);
    expect(ra.fields["icmpv6.opt.mtu"]).toEqual(["1500"]);
    expect(ra.fields["icmpv6.opt.rdnss"]).toEqual([ROUTER6]);
    expect(ra.fields["icmpv6.opt.dnssl"]).toEqual(["example.org", "a.test"]);
    expect(ra.fields["icmpv6.opt.pref64.scaled_lifetime"]).toEqual(["225"]);
    expect(na.fields["icmpv6.nd.na.target_address"]).toEqual([ROUTER6]);
    expect(na.fields["icmpv6.opt.linkaddr"]).toEqual(["52:55:0a:00:02:02"]);
  });
});
