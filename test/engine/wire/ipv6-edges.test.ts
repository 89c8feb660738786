/** Chains of extension headers and Neighbour Discovery's checks, wherever the packet stands and where it just ends. */
import { describe, expect, it } from "vitest";
import { EXTENSION_HEADERS_MAX, EXTENSION_OCTETS_MAX } from "../../../src/engine/limits.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import * as ipv6 from "../../../src/engine/wire/ipv6.ts";
import * as ndp from "../../../src/engine/wire/ndp.ts";
import {
  GUEST6,
  groupOf,
  icmp6,
  macOption,
  neighbourMessage,
  packet6,
  ROUTER6,
} from "../../support/frames6.ts";

const AT = 6;

/** The packet at AT; behind it octets that would go on with it if they were read. */
function place(octets: Uint8Array, behind = 1): DataView {
  const around = (length: number) => new Array<number>(length).fill(behind);
  return new DataView(Uint8Array.of(...around(AT), ...octets, ...around(80)).buffer);
}

/** An extension header of `octets` octets, padded. */
const extension = (next: number, body: readonly number[] = [], octets = 8): number[] => {
  const header = [next, octets / 8 - 1, ...body];
  return [...header, ...new Array<number>(octets - header.length).fill(0)];
};
const TCP = new Array<number>(20).fill(0);

interface Walked {
  readonly result: string;
  /** Relative to the packet. */
  readonly protocol: number;
  readonly protocolAt: number;
  readonly fragmentAt: number;
}

function walk(next: number, payload: readonly number[], headers = new ipv6.ExtensionHeaders()): Walked {
  const packet = packet6({ next, payload });
  const result = DROP_REASONS[headers.walk(place(packet), AT, AT + packet.length)];
  return found(result, headers);
}
function found(result: string, { protocol, protocolAt, fragmentAt }: ipv6.ExtensionHeaders): Walked {
  return {
    result,
    protocol,
    protocolAt: protocolAt - AT,
    fragmentAt: fragmentAt === 0 ? 0 : fragmentAt - AT,
  };
}

describe("a chain of extension headers", () => {
  it("leads to what is behind it", () => {
    expect(walk(6, TCP)).toEqual({ result: "handled", protocol: 6, protocolAt: 40, fragmentAt: 0 });
    const all = [...extension(60), ...extension(43), ...extension(44, [], 16), ...extension(6), ...TCP];
    expect(walk(0, all)).toEqual({ result: "handled", protocol: 44, protocolAt: 40 + 32, fragmentAt: 72 });
    // Whatever header comes before or behind it, its own next header and length are at its place.
    expect(walk(60, [...extension(43, [], 24), ...extension(17, [1, 0], 16), ...TCP])).toMatchObject({
      protocol: 17,
      protocolAt: 80,
    });
  });

  it("may end with the packet", () => {
    for (const next of [0, 43, 60])
      expect(walk(next, extension(59))).toMatchObject({ result: "handled", protocol: 59, protocolAt: 48 });
    expect(walk(44, extension(6))).toMatchObject({ result: "handled", protocol: 44, fragmentAt: 40 });
    for (const next of [0, 43, 44, 60])
      expect(walk(next, extension(59).slice(0, 7)).result).toBe("ipv6-malformed");
    expect(walk(60, extension(59, [], 16).slice(0, 15)).result).toBe("ipv6-malformed");
    expect(walk(60, extension(59, [], 16)).result).toBe("handled");
  });

  it("is malformed where it ends in a header, whatever length that says it has", () => {
    expect(walk(60, [59, 255, 0, 0]).result).toBe("ipv6-malformed");
    // A fragment header has none: that octet is reserved.
    expect(walk(44, [...extension(6).with(1, 255), ...TCP])).toMatchObject({
      result: "handled",
      protocol: 44,
    });
  });

  it("says nothing of the packet before", () => {
    const headers = new ipv6.ExtensionHeaders();
    const full = Array.from({ length: EXTENSION_HEADERS_MAX - 1 }, () => extension(60)).flat();
    for (let i = 0; i < 3; i++) {
      expect(walk(60, [...full, ...extension(44), ...TCP], headers).result).toBe("ipv6-extension-header");
      expect(walk(60, [...full, ...extension(6), ...TCP], headers)).toMatchObject({
        result: "handled",
        fragmentAt: 0,
      });
      expect(walk(44, [...extension(6), ...TCP], headers)).toMatchObject({ protocol: 44, fragmentAt: 40 });
      expect(walk(60, [...extension(6, [], EXTENSION_OCTETS_MAX), ...TCP], headers).result).toBe("handled");
    }
  });

  it("has so many octets in all", () => {
    const two = (first: number, second: number) =>
      walk(60, [...extension(60, [], first), ...extension(6, [], second), ...TCP]).result;
    expect(two(EXTENSION_OCTETS_MAX - 8, 8)).toBe("handled");
    expect(two(EXTENSION_OCTETS_MAX - 8, 16)).toBe("ipv6-extension-header");
    expect(two(8, EXTENSION_OCTETS_MAX)).toBe("ipv6-extension-header");
  });

  it("has routing headers whose segments are in their fourth octet", () => {
    expect(walk(43, [...extension(6, [9, 0, 9, 9]), ...TCP]).result).toBe("handled");
    for (const left of [1, 255])
      expect(walk(43, [...extension(6, [9, left]), ...TCP]).result).toBe("ipv6-routing-header");
    // They have no options.
    expect(walk(43, [...extension(6, [0xc2, 0, 0xc2, 99]), ...TCP]).result).toBe("handled");
  });

  it("has hop-by-hop options in its first place only", () => {
    expect(walk(0, [...extension(6), ...TCP]).result).toBe("handled");
    for (const next of [0, 43, 60])
      expect(walk(next, [...extension(0), ...extension(6), ...TCP]).result).toBe("ipv6-extension-header");
  });

  it.each<[string, number[], number, string]>([
    ["PAD1 alone", [0, 0, 0, 0, 0, 0], 8, "handled"],
    ["PAD1 in front of PADN", [0, 1, 3, 0xc0, 0xc0, 0xc0], 8, "handled"],
    ["PADN up to the end", [1, 4, 9, 9, 9, 9], 8, "handled"],
    ["PADN one octet over the end", [1, 5, 0, 0, 0, 0], 8, "ipv6-malformed"],
    ["an option whose kind is the last octet", [0, 0, 0, 0, 0, 1], 8, "ipv6-malformed"],
    ["an option without octets at the end", [0, 0, 0, 0, 1, 0], 8, "handled"],
    ["an option that is not known behind another", [1, 1, 0, 0x40, 1, 0], 8, "ipv6-option"],
    ["an option that may be left out behind another", [1, 1, 0, 0x3f, 1, 0], 8, "handled"],
    ["an option that is not known in the last octet", [0, 0, 0, 0, 0, 0xc0], 8, "ipv6-malformed"],
    ["what would be an option inside another", [5, 4, 0xc0, 0xc0, 0xc0, 0xc0], 8, "handled"],
    ["PADN in a longer header", [1, 12, ...new Array<number>(12).fill(0xc0)], 16, "handled"],
  ])("has options: %s", (_name, body, octets, result) => {
    for (const next of [0, 60])
      expect(walk(next, [...extension(6, body, octets), ...TCP]).result).toBe(result);
  });

  describe("behind a fragment header", () => {
    function behind(payload: readonly number[], next = 44): Walked {
      const packet = packet6({ next, payload });
      const headers = new ipv6.ExtensionHeaders();
      expect(DROP_REASONS[headers.walk(place(packet), AT, AT + packet.length)]).toBe("handled");
      return found(DROP_REASONS[headers.behindFragment(place(packet), AT + packet.length)], headers);
    }

    it("is gone on with", () => {
      expect(behind([...extension(17), ...TCP])).toMatchObject({
        result: "handled",
        protocol: 17,
        protocolAt: 48,
      });
      expect(behind([...extension(60), ...extension(6, [], 16), ...TCP])).toEqual({
        ...{ result: "handled", protocol: 6, protocolAt: 64, fragmentAt: 40 },
      });
    });

    it("may have no other fragment header, no hop-by-hop options, and nothing that is not whole", () => {
      expect(behind([...extension(44), ...extension(6), ...TCP]).result).toBe("ipv6-extension-header");
      expect(behind([...extension(60), ...extension(44), ...extension(6)]).result).toBe(
        "ipv6-extension-header",
      );
      expect(behind([...extension(0), ...extension(6), ...TCP]).result).toBe("ipv6-extension-header");
      expect(behind([...extension(60), 6, 1, 0, 0, 0, 0, 0, 0]).result).toBe("ipv6-malformed");
      expect(behind([...extension(43), ...extension(6, [0, 1])]).result).toBe("ipv6-routing-header");
    });

    it("counts with what was in front of it", () => {
      const many = (count: number) => Array.from({ length: count }, () => extension(60)).flat();
      const chain = (before: number, after: number) => [
        ...[...many(before - 1), ...(before > 0 ? extension(44) : [])],
        ...[...extension(60), ...many(after - 1), ...extension(6), ...TCP],
      ];
      const most = EXTENSION_HEADERS_MAX;
      expect(behind(chain(1, most - 2), 60).result).toBe("handled");
      expect(behind(chain(1, most - 1), 60).result).toBe("ipv6-extension-header");
    });
  });
});

describe("Neighbour Discovery's check", () => {
  const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
  const RS = [133, 0, 0, 0, 0, 0, 0, 0];
  const RA = [134, ...new Array<number>(15).fill(0)];
  const GROUP = groupOf(ROUTER6);
  type Packet = Parameters<typeof icmp6>[0];
  const check = (fields: Packet, octets?: number): string => {
    const packet = icmp6(fields);
    return DROP_REASONS[ndp.checkNdp(place(packet), AT, AT + 40, octets ?? packet.length - 40)];
  };
  const ns = (options: readonly number[] = [], target = ROUTER6) => neighbourMessage(135, 0, target, options);
  const na = (flags: number, options: readonly number[] = [], target = GUEST6) =>
    neighbourMessage(136, flags, target, options);

  it.each<[string, Packet]>([
    ["an RS", { payload: RS }],
    ["an RA", { payload: RA }],
    ["an NS", { destination: GROUP, payload: ns() }],
    ["an NA", { destination: ROUTER6, payload: na(0x40) }],
  ])("takes %s from its octets on, with options or without", (_name, fields) => {
    const { length } = fields.payload;
    expect(check(fields)).toBe("handled");
    for (let octets = 0; octets < length; octets++)
      expect([octets, check(fields, octets)]).toEqual([octets, "ndp-malformed"]);
    const longer = (...more: readonly number[]) =>
      check({ ...fields, payload: [...fields.payload, ...more] });
    expect(longer(...macOption(1, MAC))).toBe("handled");
    expect(longer(...macOption(1, MAC), 200, 2, ...new Array<number>(14).fill(0))).toBe("handled");
    for (let octets = 1; octets < 8; octets++)
      expect([octets, longer(...macOption(1, MAC).slice(0, octets))]).toEqual([octets, "ndp-malformed"]);
    expect(longer(...macOption(1, MAC), 200, 2, ...new Array<number>(13).fill(0))).toBe("ndp-malformed");
    expect(longer(200, 0, 0, 0, 0, 0, 0, 0)).toBe("ndp-malformed");
  });

  it("reads nothing of a message without octets", () => {
    const packet = icmp6({ payload: RS }).subarray(0, 40);
    const view = new DataView(Uint8Array.from(packet).buffer);
    expect(DROP_REASONS[ndp.checkNdp(view, 0, 40, 0)]).toBe("ndp-malformed");
  });

  it("takes no other message, code or hop limit", () => {
    const whole = new Array<number>(40).fill(1);
    for (const type of [0, 128, 129, 132, 137, 255])
      expect([type, check({ payload: [type, 0, ...whole] })]).toEqual([type, "ndp-malformed"]);
    for (const payload of [RS, RA, ns(), na(0)]) {
      expect(check({ destination: GROUP, payload: payload.with(1, 1) })).toBe("ndp-malformed");
      for (const hopLimit of [0, 64, 254])
        expect(check({ destination: GROUP, payload, hopLimit })).toBe("ndp-malformed");
    }
  });

  it("takes nothing with its sender's MAC from nobody", () => {
    for (const payload of [RS, RA]) {
      expect(check({ source: "::", payload })).toBe("handled");
      expect(check({ source: "::", payload: [...payload, ...macOption(1, MAC)] })).toBe("ndp-malformed");
      expect(check({ source: "::", payload: [...payload, ...macOption(2, MAC)] })).toBe("handled");
      expect(check({ source: "::", payload: [...payload, ...macOption(2, MAC), ...macOption(1, MAC)] })).toBe(
        "ndp-malformed",
      );
    }
    expect(check({ source: "::1", payload: [...RS, ...macOption(1, MAC)] })).toBe("handled");
  });

  it("takes a probe of nobody to its own group alone, and an NS of anybody to any address", () => {
    expect(check({ source: "::", destination: GROUP, payload: ns() })).toBe("handled");
    expect(check({ source: "::", destination: "ff02::1", payload: ns() })).toBe("ndp-malformed");
    expect(check({ destination: "ff02::1", payload: ns() })).toBe("handled");
    expect(check({ destination: ROUTER6, payload: ns([], "ff02::1") })).toBe("ndp-malformed");
  });

  it("takes an NA of somebody, solicited to one address only", () => {
    expect(check({ destination: "ff02::1", payload: na(0xa0) })).toBe("handled");
    expect(check({ destination: "ff02::1", payload: na(0x40) })).toBe("ndp-malformed");
    expect(check({ destination: ROUTER6, payload: na(0xe0) })).toBe("handled");
    expect(check({ source: "::", destination: ROUTER6, payload: na(0) })).toBe("ndp-malformed");
    expect(check({ destination: ROUTER6, payload: na(0, [], "ff02::1") })).toBe("ndp-malformed");
    // To a target that is a group nobody is asked; an RS or RA has none.
    expect(check({ payload: [...RS, 200, 3, ...new Array<number>(22).fill(0xff)] })).toBe("handled");
  });

  it("finds a MAC behind the fixed part of each message", () => {
    for (const payload of [RS, RA, ns(), na(0)]) {
      const find = (type: number, ...options: readonly number[]) => {
        const packet = icmp6({ payload: [...payload, ...options] });
        const at = ndp.linkLayerOption(place(packet), AT + 40, packet.length - 40, type);
        return at === 0 ? 0 : at - AT - 40 - payload.length;
      };
      expect(find(1)).toBe(0);
      expect(find(1, ...macOption(1, MAC))).toBe(2);
      expect(find(2, ...macOption(1, MAC))).toBe(0);
      expect(find(2, ...macOption(1, MAC), ...macOption(2, MAC))).toBe(10);
      expect(find(1, 200, 2, ...new Array<number>(14).fill(1), ...macOption(1, MAC))).toBe(18);
      expect(find(1, 1, 2, ...new Array<number>(14).fill(0))).toBe(0);
      // Behind the message stand ones, which are no option of it.
      expect(find(1, ...macOption(2, MAC))).toBe(0);
    }
  });
});
