/** What a guest sends over IPv6 before there is a flow: discovery, DHCPv6, chains of headers. */
import assert from "node:assert/strict";
import { NEIGHBOURS6_PER_MAC_MAX } from "../../src/engine/limits.ts";
import { NDP_FRAME_OCTETS, NeighbourDiscovery } from "../../src/engine/link/ndp.ts";
import { Neighbours6 } from "../../src/engine/link/neighbours6.ts";
import { Packet } from "../../src/engine/memory/packet.ts";
import { DROP_REASONS, HANDLED } from "../../src/engine/metrics/drop-reasons.ts";
import { Dhcp6Server } from "../../src/engine/service/dhcpv6.ts";
import { JavaScriptChecksum } from "../../src/engine/wire/checksum.ts";
import { ExtensionHeaders } from "../../src/engine/wire/ipv6.ts";
import {
  CLIENT_MAC,
  client6Message,
  OTHER_CLIENT_MAC,
  plain6,
  SERVER_DUID,
} from "../support/dhcp6-client.ts";
import { defaultDhcp6 } from "../support/dhcp6-server.ts";
import {
  checksum6,
  groupOf,
  icmp6,
  ip6,
  macOption,
  neighbourMessage,
  octets6,
  packet6,
  ROUTER6,
} from "../support/frames6.ts";
import { type FuzzTarget, join } from "./target.ts";

// --- Neighbour Discovery -------------------------------------------------------------------------------------------------

const PREFIX = "fd71:1ae0:d44d:2::";
const OWN = ["fe80::2", ROUTER6, `${PREFIX}3`];
const SOURCES = ["::", `${PREFIX}15`, "fe80::5054:ff:fe12:3456", ROUTER6, "2001:db8::9", `${PREFIX}16`];
const DESTINATIONS = ["ff02::1", groupOf(ROUTER6), ROUTER6, "ff02::2"];
const OVERRIDE = 0x20;
const RX_AT = 64;
const REPLY_AT = 4096;
const octets = new Uint8Array(8192);
const view = new DataView(octets.buffer);
const packet = new Packet();
let neighbours = new Neighbours6();
let discovery = makeDiscovery();

function makeDiscovery(): NeighbourDiscovery {
  return new NeighbourDiscovery({
    view,
    checksum: new JavaScriptChecksum(view),
    neighbours,
    listener: { routerSolicited: () => HANDLED, guestHeard: () => {} },
    ownAddresses: Int32Array.from(OWN.flatMap(ip6)),
    gatewayMac: defaultDhcp6.serverMac,
    prefix: Int32Array.from(ip6(PREFIX)),
  });
}

/** One message: | who to whom, and its frame's MAC | message |. Its checksum is made right. */
function runNdp(input: Uint8Array): void {
  const how = input[0] ?? 0;
  const message = [...input.subarray(1, 1400)];
  if (message.length < 4) return;
  const source = SOURCES[how % SOURCES.length];
  const destination = DESTINATIONS[(how >>> 3) % DESTINATIONS.length];
  const sent = icmp6({ source, destination, payload: message });
  octets.set(sent, RX_AT);
  octets.fill(0xee, REPLY_AT);
  packet.networkAt = RX_AT;
  packet.transportAt = RX_AT + 40;
  packet.transportOctets = message.length;
  packet.sourceHigh = 0x0200;
  packet.sourceLow = how >>> 6;
  packet.verify = true;
  packet.fragmented = false;
  packet.nowMs += 100;
  const result = discovery.handle(packet, REPLY_AT);
  assert.ok(octets.subarray(REPLY_AT + Math.max(result, 0)).every((octet) => octet === 0xee));
  if (result > 0) checkReply(result);
  else assert.ok(-result < DROP_REASONS.length);
  checkNeighbours();
}

/**
 * Nothing but an advertisement of an address of ours, from it, or of the routers' anycast address, which cannot be from it
 * and overrides nothing; with our MAC and a good checksum.
 */
function checkReply(length: number): void {
  assert.equal(length, NDP_FRAME_OCTETS);
  const frame = octets.slice(REPLY_AT, REPLY_AT + length);
  const target = [...frame.slice(62, 78)];
  const isAnycast = octets6(PREFIX).join() === target.join();
  assert.ok(isAnycast || OWN.some((address) => octets6(address).join() === target.join()));
  assert.deepEqual([...frame.slice(22, 38)], isAnycast ? octets6(ROUTER6) : target);
  assert.equal((frame[58] & OVERRIDE) !== 0, !isAnycast);
  assert.equal(frame[54], 136);
  assert.deepEqual(frame.slice(-6), defaultDhcp6.serverMac);
  const text = (at: number): string =>
    Array.from({ length: 8 }, (_, i) => ((frame[at + i * 2] << 8) | frame[at + i * 2 + 1]).toString(16)).join(
      ":",
    );
  const message = [...frame.slice(54)].fill(0, 2, 4);
  assert.equal((frame[56] << 8) | frame[57], checksum6(text(22), text(38), 58, message));
}

function checkNeighbours(): void {
  const perMac = new Map<string, number>();
  for (const address of OWN) assert.equal(neighbours.find(Int32Array.from(ip6(address)), 0), -1);
  for (let i = 0; i < neighbours.size; i++) {
    const mac = `${neighbours.macHigh[i]} ${neighbours.macLow[i]}`;
    perMac.set(mac, (perMac.get(mac) ?? 0) + 1);
  }
  for (const count of perMac.values()) assert.ok(count <= NEIGHBOURS6_PER_MAC_MAX);
}

export const ndpTarget: FuzzTarget = {
  name: "ndp",
  seeds: () => [
    join([1, 133, 0, 0, 0, 0, 0, 0, 0], macOption(1, CLIENT_MAC)),
    join([9], neighbourMessage(135, 0, ROUTER6, macOption(1, CLIENT_MAC))),
    join([8], neighbourMessage(135, 0, ROUTER6)),
    join([9], neighbourMessage(135, 0, PREFIX, macOption(1, CLIENT_MAC))),
    join([3], neighbourMessage(136, 0x20, ROUTER6, macOption(2, CLIENT_MAC))),
    join([2], neighbourMessage(136, 0x60, `${PREFIX}15`, macOption(2, CLIENT_MAC))),
    join([2, 143, 0, 0, 0, 0, 0, 0, 1]),
  ],
  dictionary: [
    Uint8Array.from(macOption(1, CLIENT_MAC)),
    Uint8Array.from(octets6(ROUTER6)),
    Uint8Array.from(octets6(`${PREFIX}15`)),
    Uint8Array.of(14, 1, 1, 2, 3, 4, 5, 6),
  ],
  lengthMax: 400,
  run: runNdp,
  reset: () => {
    neighbours = new Neighbours6();
    discovery = makeDiscovery();
    packet.nowMs = 0;
  },
};

// --- DHCPv6 --------------------------------------------------------------------------------------------------------------

const dhcp6Config = {
  ...defaultDhcp6,
  hostname: "vm",
  searchDomains: ["example.org"],
  bootUrl: "http://a/b",
};
const REPLY_OCTETS_MAX = 1232;
let server = new Dhcp6Server(dhcp6Config);
let seconds = 0;

/** One message; of the first octet: minutes that have passed, whose frame, whether to the group. */
function runDhcp6(input: Uint8Array): void {
  const how = input[0] ?? 0;
  seconds += (how & 0x3f) * 60;
  const mac = Uint8Array.from(how & 0x40 ? CLIENT_MAC : OTHER_CLIENT_MAC);
  const outcome = server.handle(input.subarray(1), mac, (how & 0x80) === 0, seconds);
  if ("drop" in outcome) {
    assert.ok(DROP_REASONS.includes(outcome.drop), outcome.drop);
    return;
  }
  assert.ok(outcome.reply.length <= REPLY_OCTETS_MAX, `a reply of ${outcome.reply.length} octets`);
  const reply = plain6(outcome.reply);
  assert.ok(reply.type === 2 || reply.type === 7, `type ${reply.type}`);
  assert.deepEqual(reply.transaction, [...input.slice(2, 5)]);
  assert.deepEqual(reply.options[2], SERVER_DUID);
  const leased = reply.ias.flatMap(({ addresses }) => addresses.filter(({ valid }) => valid > 0));
  assert.ok(leased.length <= 1, "two addresses at once");
  for (const { address } of leased) assert.match(address, /^fd71:1ae0:d44d:2:0:0:0:(1[5-9a-f]|2[0-4])$/);
}

export const dhcp6Target: FuzzTarget = {
  name: "dhcp6",
  seeds: () => [
    ...[1, 4, 6].map((type) =>
      join([1], client6Message({ type, ias: [{ addresses: [`${PREFIX}15`] }], request: [23, 24, 39, 59] })),
    ),
    ...[3, 5, 8, 9].map((type) =>
      join([0x41], client6Message({ type, server: SERVER_DUID, ias: [{ addresses: [`${PREFIX}15`] }] })),
    ),
    join([0], client6Message({ type: 11, request: [23, 32] })),
    join([0], client6Message({ type: 1, ias: [{}, { code: 25 }], options: [[14, []]] })),
  ],
  dictionary: [
    Uint8Array.of(0, 2, 0, 10, ...SERVER_DUID),
    Uint8Array.of(0, 14, 0, 0),
    Uint8Array.of(0, 39, 0, 4, 1, 2, 118, 109),
    Uint8Array.of(0, 16, 0, 16, 0, 0, 1, 0x57, 0, 10, ...Buffer.from("HTTPClient")),
    client6Message({ type: 1, duid: null, ias: [{ iaid: 2, addresses: [`${PREFIX}16`] }] }).slice(4),
  ],
  lengthMax: 1200,
  run: runDhcp6,
  reset: () => {
    server = new Dhcp6Server(dhcp6Config);
    seconds = 0;
  },
};

// --- extension headers ---------------------------------------------------------------------------------------------------

interface Walked {
  readonly result: string;
  readonly protocol?: number;
  readonly at?: number;
}

/** RFC 8200 section 4 read again, plainly, over the octets behind the fixed header. */
function plainWalk(first: number, payload: Uint8Array, from = 0, headers = 0, octetsBefore = 0): Walked {
  const isFirstPlace = from === 0;
  if (![0, 43, 44, 60].includes(first)) return { result: "handled", protocol: first, at: from };
  const rest = payload.subarray(from);
  if (rest.length < 8) return { result: "ipv6-malformed" };
  const length = first === 44 ? 8 : (rest[1] + 1) * 8;
  if (headers === 8 || octetsBefore + length > 512) return { result: "ipv6-extension-header" };
  if (length > rest.length) return { result: "ipv6-malformed" };
  if (first === 44) return { result: "handled", protocol: 44, at: from };
  if (first === 43 && rest[3] !== 0) return { result: "ipv6-routing-header" };
  if (first === 0 && !isFirstPlace) return { result: "ipv6-extension-header" };
  if (first !== 43) {
    const bad = plainOptions(rest.subarray(2, length));
    if (bad !== "handled") return { result: bad };
  }
  return plainWalk(rest[0], payload, from + length, headers + 1, octetsBefore + length);
}

function plainOptions(list: Uint8Array): string {
  if (list.length === 0) return "handled";
  if (list[0] === 0) return plainOptions(list.subarray(1));
  if (list.length === 1) return "ipv6-malformed";
  if (list[0] >= 0x40) return "ipv6-option";
  if (2 + list[1] > list.length) return "ipv6-malformed";
  return plainOptions(list.subarray(2 + list[1]));
}

const walker = new ExtensionHeaders();

/** | first next header | everything behind the fixed header |. The view ends with the packet. */
function runHeaders(input: Uint8Array): void {
  const payload = input.slice(1);
  const whole = packet6({ next: input[0] ?? 59, payload: [...payload] });
  const reader = new DataView(whole.buffer);
  const result = DROP_REASONS[walker.walk(reader, 0, whole.length)];
  const walked: Walked =
    result === "handled" ? { result, protocol: walker.protocol, at: walker.protocolAt - 40 } : { result };
  assert.deepEqual(walked, plainWalk(input[0] ?? 59, payload));
  if (result === "handled" && walker.fragmentAt > 0) {
    const behind = DROP_REASONS[walker.behindFragment(reader, whole.length)];
    if (behind === "handled") assert.ok(walker.protocolAt <= whole.length && walker.protocol !== 44);
  }
}

export const ipv6HeadersTarget: FuzzTarget = {
  name: "ipv6-headers",
  seeds: () => [
    join(
      [0],
      [60, 0, 5, 2, 0, 0, 1, 0],
      [43, 0, 1, 4, 0, 0, 0, 0],
      [6, 0, 4, 0, 0, 0, 0, 0],
      new Array(20).fill(0),
    ),
    join([44], [17, 0, 0, 1, 0, 0, 0, 7], new Array(16).fill(0)),
    join([60], ...Array.from({ length: 9 }, () => [60, 0, 1, 4, 0, 0, 0, 0])),
    join([60], [6, 63], [1, 255], new Array(255).fill(0), [1, 251], new Array(251).fill(0)),
    join([0], [6, 0, 0xc2, 4, 0, 1, 0, 0]),
  ],
  dictionary: [
    Uint8Array.of(60, 0, 1, 4, 0, 0, 0, 0),
    Uint8Array.of(43, 0, 4, 1, 0, 0, 0, 0),
    Uint8Array.of(44, 0, 1, 4, 0, 0, 0, 0),
    Uint8Array.of(0x05, 2, 0, 0),
    Uint8Array.of(0xc2, 4),
  ],
  lengthMax: 1200,
  run: runHeaders,
  reset: () => {},
};
