/** Frames of IPv6 and what three stacks make of them; side-by-side6.test.ts asks them. */
import { client6Message } from "../support/dhcp6-client.ts";
import {
  GUEST6,
  groupOf,
  icmp6,
  macOption,
  neighbourMessage,
  packet6,
  ROUTER6,
  tcp6,
  udp6,
} from "../support/frames6.ts";

export const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const LINK_LOCAL = "fe80::5054:ff:fe12:3456";
const DNS6 = "fd71:1ae0:d44d:2::3";
const PREFIX = "fd71:1ae0:d44d:2::";
const SLLA = macOption(1, MAC);
const RS = [133, 0, 0, 0, 0, 0, 0, 0];

export interface Case {
  readonly name: string;
  readonly packet: Uint8Array;
  readonly sluice: string;
  /** "X or Y": as its host's kernel says. */
  readonly libslirp: string;
  readonly passt: string;
  /** Why ours is right where another differs. */
  readonly why?: string;
}

export const ns = (
  target: string,
  {
    source = GUEST6,
    destination = groupOf(target),
    hopLimit = 255,
    options = SLLA as readonly number[],
  } = {},
) => icmp6({ source, destination, hopLimit, payload: neighbourMessage(135, 0, target, options) });
const rs = ({ source = LINK_LOCAL, hopLimit = 255, payload = RS as readonly number[] } = {}) =>
  icmp6({ source, destination: "ff02::2", hopLimit, payload });
const dhcp = (message: Parameters<typeof client6Message>[0], destination = "ff02::1:2") =>
  udp6({ source: LINK_LOCAL, destination }, 546, 547, [...client6Message(message)]);
const bent = (packet: Uint8Array, at: number): Uint8Array => packet.with(at, packet[at] ^ 0x55);

/** A SYN to the router, a port nobody has, behind a header of this number. */
const behind = (next: number, header: readonly number[], from: number) => {
  const segment = tcp6({ destination: ROUTER6 }, { from, to: 1, sequence: 1, flags: 2 }).slice(40);
  return packet6({ destination: ROUTER6, next, payload: [...header, ...segment] });
};

export const CASES: readonly Case[] = [
  {
    name: "a solicitation for the router",
    packet: ns(ROUTER6),
    sluice: "NA RSO",
    libslirp: "NA RSO",
    passt: "NA RSO",
  },
  {
    name: "one for the resolver",
    packet: ns(DNS6),
    sluice: "NA SO",
    libslirp: "NA RSO",
    passt: "NA RSO",
    why: "RFC 4861 section 4.4: R says that the sender is a router; the resolver's address is a host's",
  },
  {
    name: "a unicast one, for the router",
    packet: ns(ROUTER6, { destination: ROUTER6 }),
    sluice: "NA RSO",
    libslirp: "NA RSO",
    passt: "NA RSO",
  },
  {
    name: "one without the link-layer address",
    packet: ns(ROUTER6, { options: [] }),
    sluice: "NA RSO",
    libslirp: "NA RSO",
    passt: "NA RSO",
  },
  {
    name: "one for the router's link-local address",
    packet: ns("fe80::2"),
    sluice: "NA RSO",
    libslirp: "NA RSO",
    passt: "NA RSO",
  },
  {
    name: "one for the routers' anycast address",
    packet: ns(PREFIX),
    sluice: "NA RS",
    libslirp: "nothing",
    passt: "NA RSO",
    why: "RFC 4291 section 2.6.1: all routers have it; RFC 4861 section 7.2.7: its advertisement does not override",
  },
  {
    name: "one for the guest's own address",
    packet: ns(GUEST6),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "NA RSO",
    why: "RFC 4861 section 7.2.3: a solicitation for an address that is not one's own is discarded in silence",
  },
  {
    name: "one for an address nobody has",
    packet: ns(`${PREFIX}77`),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "NA RSO",
    why: "RFC 4861 section 7.2.3: the same",
  },
  {
    name: "one for an address outside",
    packet: ns("2001:db8::9"),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "NA RSO",
    why: "RFC 4861 section 7.2.3: the same",
  },
  {
    name: "a duplicate address probe for the guest's own address",
    packet: ns(GUEST6, { source: "::", options: [] }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "a duplicate address probe for the router's",
    packet: ns(ROUTER6, { source: "::", options: [] }),
    sluice: "NA RO to all",
    libslirp: "NA RO to all",
    passt: "nothing",
    why: "RFC 4862 section 5.4.3: whoever has the address says so, or the guest takes it too",
  },
  {
    name: "one with hop limit 64",
    packet: ns(ROUTER6, { hopLimit: 64 }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "NA RSO",
    why: "RFC 4861 section 7.1.1: the hop limit is 255, or a router forwarded it",
  },
  {
    name: "one with a wrong checksum",
    packet: bent(ns(ROUTER6), 42),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "NA RSO",
    why: "RFC 4861 section 7.1.1: the ICMP checksum is valid",
  },
  {
    name: "one with an option of length 0",
    packet: ns(ROUTER6, { options: [1, 0, ...MAC] }),
    sluice: "nothing",
    libslirp: "NA RSO",
    passt: "NA RSO",
    why: "RFC 4861 section 7.1.1: all included options have a length greater than zero",
  },
  {
    name: "one with an option beyond its end",
    packet: ns(ROUTER6, { options: [1, 2, ...MAC] }),
    sluice: "nothing",
    libslirp: "NA RSO",
    passt: "NA RSO",
    why: "RFC 4861 section 4.6: an option ends within its message",
  },
  {
    name: "one of 20 octets",
    packet: icmp6({ destination: groupOf(ROUTER6), payload: neighbourMessage(135, 0, ROUTER6).slice(0, 20) }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "NA RSO",
    why: "RFC 4861 section 7.1.1: the ICMP length is 24 octets or more",
  },
  {
    name: "one from :: with a link-layer address",
    packet: ns(ROUTER6, { source: "::" }),
    sluice: "nothing",
    libslirp: "NA RO to all",
    passt: "nothing",
    why: "RFC 4861 section 7.1.1: from the unspecified address there is no such option",
  },
  {
    name: "one from off the link",
    packet: ns(ROUTER6, { source: "2001:db8::9" }),
    sluice: "nothing",
    libslirp: "NA RSO",
    passt: "NA RSO",
    why: "RFC 4861 section 7.2.3 and RFC 2827 section 3: such a source is not the guest's",
  },
  {
    name: "one that is sent to somebody else",
    packet: ns(ROUTER6, { destination: "2001:db8::9" }),
    sluice: "nothing",
    libslirp: "NA RSO",
    passt: "NA RSO",
    why: "RFC 8200 section 3: the destination is who it is for; a message of the link that is for somebody else is not ours",
  },
  {
    name: "one with code 1",
    packet: icmp6({
      destination: groupOf(ROUTER6),
      payload: neighbourMessage(135, 0, ROUTER6, SLLA).with(1, 1),
    }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "NA RSO",
    why: "RFC 4861 section 7.1.1: the ICMP code is 0",
  },
  {
    name: "an advertisement that claims the router's address",
    packet: icmp6({
      source: LINK_LOCAL,
      destination: "ff02::1",
      payload: neighbourMessage(136, 0x20, ROUTER6, macOption(2, MAC)),
    }),
    sluice: "NA RO to all",
    libslirp: "nothing",
    passt: "nothing",
    why: "RFC 4862 section 5.4.4 and RFC 4861 section 7.2.5: the claim is contradicted, so that the guest hears of it",
  },
  {
    name: "a router solicitation",
    packet: rs(),
    sluice: "RA",
    libslirp: "RA to all",
    passt: "RA",
    why: "RFC 4861 section 6.2.6: the answer may be unicast; then nobody else is woken, and the limit of section 10 is not used up",
  },
  {
    name: "a router solicitation from ::",
    packet: rs({ source: "::" }),
    sluice: "RA to all",
    libslirp: "RA to all",
    passt: "RA",
    why: "RFC 4861 section 6.2.6: an answer to who has no address yet goes to all nodes",
  },
  {
    name: "a router solicitation with hop limit 64",
    packet: rs({ hopLimit: 64 }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "RA",
    why: "RFC 4861 section 6.1.1: the hop limit is 255",
  },
  {
    name: "a router solicitation with a wrong checksum",
    packet: bent(rs(), 42),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "RA",
    why: "RFC 4861 section 6.1.1: the ICMP checksum is valid",
  },
  {
    name: "a router solicitation with an option of length 0",
    packet: rs({ payload: [...RS, 1, 0, ...MAC] }),
    sluice: "nothing",
    libslirp: "RA to all",
    passt: "RA",
    why: "RFC 4861 section 6.1.1: all included options have a length greater than zero",
  },
  {
    name: "a router solicitation from :: with a link-layer address",
    packet: rs({ source: "::", payload: [...RS, ...SLLA] }),
    sluice: "nothing",
    libslirp: "RA to all",
    passt: "RA",
    why: "RFC 4861 section 6.1.1: from the unspecified address there is no such option",
  },
  {
    name: "a router solicitation from off the link",
    packet: rs({ source: "2001:db8::9" }),
    sluice: "nothing",
    libslirp: "RA to all",
    passt: "RA",
    why: "RFC 2827 section 3: such a source is not the guest's",
  },
  {
    name: "an echo request to the router",
    packet: icmp6({ destination: ROUTER6, hopLimit: 64, payload: [128, 0, 0, 0, 0, 1, 0, 1, 1, 2] }),
    sluice: "nothing",
    libslirp: "ICMPv6 129/0",
    passt: "nothing",
    why: "RFC 4443 section 4.2 asks nodes to answer; here ICMPv6 but Neighbour Discovery is dropped and counted, and nothing is forged",
  },
  {
    name: "a packet too big",
    packet: icmp6({
      destination: ROUTER6,
      hopLimit: 64,
      payload: [2, 0, 0, 0, 0, 0, 5, 0, ...new Array<number>(40).fill(0)],
    }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "SOLICIT",
    packet: dhcp({ type: 1, ias: [{}] }),
    sluice: "DHCPv6 ADVERTISE",
    libslirp: "nothing",
    passt: "DHCPv6 ADVERTISE",
    why: "RFC 9915 section 18.3.1: a server that has addresses advertises one; libslirp has none to give",
  },
  {
    name: "SOLICIT with rapid commit",
    packet: dhcp({ type: 1, ias: [{}], options: [[14, []]] }),
    sluice: "DHCPv6 REPLY",
    libslirp: "nothing",
    passt: "DHCPv6 ADVERTISE",
    why: "RFC 9915 section 18.3.1: with the option the server may lease at once",
  },
  {
    name: "SOLICIT without a client's identifier",
    packet: dhcp({ type: 1, ias: [{}], duid: null }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "SOLICIT to the router alone",
    packet: dhcp({ type: 1, ias: [{}] }, "fe80::2"),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "REQUEST to another server",
    packet: dhcp({ type: 3, ias: [{}], server: [0, 3, 0, 1, 2, 0, 0, 0, 0, 1] }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "CONFIRM for an address of another link",
    packet: dhcp({ type: 4, ias: [{ addresses: ["2001:db8::9"] }] }),
    sluice: "DHCPv6 REPLY",
    libslirp: "nothing",
    passt: "DHCPv6 REPLY",
    why: "RFC 9915 section 18.3.3: NotOnLink, so that the client starts over at once",
  },
  {
    name: "REBIND",
    packet: dhcp({ type: 6, ias: [{ addresses: [GUEST6] }] }),
    sluice: "DHCPv6 REPLY",
    libslirp: "nothing",
    passt: "nothing",
    why: "RFC 9915 section 18.3.5: the server extends the leases it knows, or could have given",
  },
  {
    name: "INFORMATION-REQUEST",
    packet: dhcp({ type: 11, request: [23] }),
    sluice: "DHCPv6 REPLY",
    libslirp: "UDP",
    passt: "DHCPv6 REPLY",
    why: "RFC 9915 section 7.2: servers answer from port 547; libslirp's answer comes from another",
  },
  {
    name: "INFORMATION-REQUEST with an association",
    packet: dhcp({ type: 11, ias: [{}] }),
    sluice: "nothing",
    libslirp: "UDP",
    passt: "nothing",
    why: "RFC 9915 section 16.12: a message with an IA option is discarded",
  },
  {
    name: "a message of a server",
    packet: dhcp({ type: 7, ias: [{}] }),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "a SYN to the router, a port nobody has",
    packet: tcp6({ destination: ROUTER6 }, { from: 40_001, to: 1, sequence: 1, flags: 2 }),
    sluice: "RST",
    libslirp: "RST",
    passt: "nothing",
    why: "RFC 9293 section 3.10.7.1: a closed port answers with RST; passt has its host's loopback at its gateway's address, and its gateway is fe80::2",
  },
  {
    name: "the same behind destination options",
    packet: behind(60, [6, 0, 1, 4, 0, 0, 0, 0], 40_002),
    sluice: "RST",
    libslirp: "nothing",
    passt: "nothing",
    why: "RFC 8200 section 4: headers are taken in the order in which they come, and these are skipped",
  },
  {
    name: "the same behind hop-by-hop options",
    packet: behind(0, [6, 0, 1, 4, 0, 0, 0, 0], 40_003),
    sluice: "RST",
    libslirp: "nothing",
    passt: "nothing",
    why: "RFC 8200 section 4.3: the same",
  },
  {
    name: "the same behind an option that forbids it",
    packet: behind(60, [6, 0, 0xde, 4, 0, 0, 0, 0], 40_004),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "the same behind a routing header with one segment left",
    packet: behind(43, [6, 0, 0, 1, 0, 0, 0, 0], 40_005),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "the same in an atomic fragment",
    packet: behind(44, [6, 0, 0, 0, 0, 0, 0, 9], 40_006),
    sluice: "RST",
    libslirp: "nothing",
    passt: "nothing",
    why: "RFC 6946 section 4: a fragment that is the whole datagram is the datagram",
  },
  {
    name: "the same with a wrong checksum",
    packet: bent(tcp6({ destination: ROUTER6 }, { from: 40_007, to: 1, sequence: 1, flags: 2 }), 56),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "the same with version 4",
    packet: tcp6({ destination: ROUTER6 }, { from: 40_008, to: 1, sequence: 1, flags: 2 }).with(0, 0x40),
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "the same from a multicast address",
    packet: tcp6({ source: "ff02::1", destination: ROUTER6 }, { from: 40_009, to: 1, sequence: 1, flags: 2 }),
    sluice: "nothing",
    libslirp: "RST",
    passt: "nothing",
    why: "RFC 4291 section 2.7: a group is no source",
  },
  {
    name: "the same from an address off the link",
    packet: tcp6(
      { source: "2001:db8::9", destination: ROUTER6 },
      { from: 40_010, to: 1, sequence: 1, flags: 2 },
    ),
    sluice: "nothing",
    libslirp: "RST",
    passt: "nothing",
    why: "RFC 2827 section 3: what did not come from the network behind is not let out, and gets no answer",
  },
  {
    name: "a SYN to all nodes",
    packet: tcp6({ destination: "ff02::1" }, { from: 40_011, to: 1, sequence: 1, flags: 2 }),
    sluice: "nothing",
    libslirp: "RST or RST, ICMPv6 1/3",
    passt: "RST",
    why: "RFC 9293 section 3.9.2.3: a SYN to a group is discarded in silence",
  },
  {
    name: "a SYN to ::1",
    packet: tcp6({ destination: "::1" }, { from: 40_012, to: 1, sequence: 1, flags: 2 }),
    sluice: "nothing",
    libslirp: "RST",
    passt: "RST",
    why: "RFC 4291 section 2.5.3: what is for the loopback address and comes from a link is dropped",
  },
];
