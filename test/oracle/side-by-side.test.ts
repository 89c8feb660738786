/**
 * The same frames into our engine, libslirp and passt, and what each makes of them, in one table. Where we differ from
 * either, the row says why, by the line of the RFC; a stack that starts to behave otherwise breaks its row.
 *
 * The peers are Debian 12's: libslirp 4.7.0 (QEMU 7.2), passt of 2023.
 */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  asIpv4,
  asTcp,
  GATEWAY,
  GUEST,
  GUEST_MAC,
  packet,
  tcp,
  udp,
  udpPayload,
} from "../hostile/guest-packets.ts";
import { clientMessage } from "../support/dhcp-client.ts";
import { ip } from "../support/frames.ts";
import { needs } from "../support/requirements.ts";
import { PATIENCE_MS, SILENCE_MS, STACK_COMMANDS, Stack, type StackName } from "./stacks.ts";

const [SYN, RST, ACK] = [2, 4, 16];
const [ICMP, TCP, UDP] = [1, 6, 17];
const NAMES: readonly StackName[] = ["sluice", "libslirp", "passt"];

interface Case {
  readonly name: string;
  /** The frames, sent one after the other; the answers to all of them count. */
  readonly frames: () => Uint8Array[];
  readonly sluice: string;
  readonly libslirp: string;
  /** "nothing or X": X where the machine lets it open ping sockets (net.ipv4.ping_group_range). */
  readonly passt: string;
  /** Why ours is right where another differs. */
  readonly why?: string;
}

let directory = "";
let tcpServer: Server;
let udpServer: UdpSocket;
let openPort = 0;
let echoPort = 0;
let closedPort = 0;
/** Datagrams that reached the server. */
let heard = 0;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "sluice-oracle-"));
  tcpServer = createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
  await once(tcpServer, "listening");
  openPort = (tcpServer.address() as AddressInfo).port;
  const shortLived = createServer().listen(0, "127.0.0.1");
  await once(shortLived, "listening");
  closedPort = (shortLived.address() as AddressInfo).port;
  shortLived.close();
  udpServer = createSocket("udp4");
  udpServer.on("message", (octets, { address, port }) => {
    heard++;
    udpServer.send(octets, port, address);
  });
  udpServer.bind(0, "127.0.0.1");
  await once(udpServer, "listening");
  echoPort = udpServer.address().port;
});

afterAll(() => {
  tcpServer.close();
  udpServer.close();
  rmSync(directory, { recursive: true });
});

// --- frames ------------------------------------------------------------------------------------------------------------

function arp(target: number, sender = GUEST): Uint8Array {
  const frame = new Uint8Array(42);
  frame.set([255, 255, 255, 255, 255, 255, ...GUEST_MAC, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, ...GUEST_MAC]);
  const view = new DataView(frame.buffer);
  view.setInt32(28, sender);
  view.setInt32(38, target);
  return frame;
}

function dhcp(message: Parameters<typeof clientMessage>[0]): Uint8Array {
  const frame = udp({
    from: 0,
    to: -1,
    sourcePort: 68,
    destinationPort: 67,
    payload: clientMessage(message),
  });
  frame.fill(255, 0, 6);
  return frame;
}

let nextPort = 20_000;

function echo(fields: { ttl?: number; from?: number } = {}, payload = Buffer.from("echo")): Buffer {
  const from = fields.from ?? GUEST;
  const datagram = udpPayload({
    from,
    to: GATEWAY,
    sourcePort: ++nextPort,
    destinationPort: echoPort,
    payload,
  });
  return packet({ to: GATEWAY, protocol: UDP, payload: datagram, ...fields });
}

function pieces(): Buffer[] {
  const payload = udpPayload({
    to: GATEWAY,
    sourcePort: ++nextPort,
    destinationPort: echoPort,
    payload: Buffer.alloc(2000, 0x61),
  });
  const cut = (from: number, to: number) =>
    packet({
      to: GATEWAY,
      protocol: UDP,
      id: nextPort,
      fragmentOffset: from,
      moreFragments: to < payload.length,
      payload: payload.subarray(from, to),
    });
  return [cut(0, 1008), cut(1008, payload.length)];
}

function bent(frame: Buffer, at: number): Buffer {
  frame[at] ^= 0x55;
  return frame;
}

function ping(): Buffer {
  return packet({ to: GATEWAY, protocol: ICMP, payload: Buffer.from([8, 0, 0xf7, 0xfd, 0, 1, 0, 1]) });
}

// --- answers in words --------------------------------------------------------------------------------------------------

const DHCP_TYPES = ["", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK"];

function describeDhcp(message: Uint8Array): string {
  let type = 0;
  for (let at = 240; at < message.length && message[at] !== 255; ) {
    if (message[at] === 53) type = message[at + 2];
    at += message[at] === 0 ? 1 : 2 + message[at + 1];
  }
  return `DHCP ${DHCP_TYPES[type]} ${message.slice(16, 20).join(".")}`;
}

function describeTcp(frame: Buffer): string {
  const segment = asTcp(frame);
  const flags = [
    [SYN, "SYN"],
    [RST, "RST"],
    [ACK, "ACK"],
  ].filter(([bit]) => segment.flags & Number(bit));
  const options = Object.keys(segment.options).sort().join(" ");
  return `TCP ${flags.map(([, name]) => name).join("+")}${options && ` (${options})`}`;
}

/** One answer in a few words. Requests of the stack's own (who is the guest?) are no answers. */
function describe1(frame: Buffer): string {
  if (frame.readUInt16BE(12) === 0x0806)
    return frame[21] === 2 ? `ARP ${frame.subarray(28, 32).join(".")}` : "";
  if (frame.readUInt16BE(12) !== 0x0800) return "";
  const inner = asIpv4(frame);
  if (inner.protocol === TCP) return describeTcp(frame);
  if (inner.protocol === ICMP) return `ICMP ${inner.payload[0]}/${inner.payload[1]}`;
  if (inner.moreFragments || inner.fragmentOffset > 0) return `fragment ${inner.fragmentOffset}`;
  if (inner.payload.readUInt16BE(0) === 67) return describeDhcp(inner.payload.subarray(8));
  return `UDP ${inner.payload.length - 8}`;
}

/** Resets a connection that nobody wants, or its SYN-ACK would come again. */
async function giveUp(stack: Stack, synAck: Buffer): Promise<void> {
  const { destinationPort, acknowledgment } = asTcp(synAck);
  const ports = { sourcePort: destinationPort, destinationPort: openPort };
  await stack.exchange(tcp({ to: GATEWAY, ...ports, flags: RST, sequence: acknowledgment }), SILENCE_MS);
}

async function outcome(stack: Stack, frames: readonly Uint8Array[], answered: boolean): Promise<string> {
  const answers: string[] = [];
  const heardBefore = heard;
  for (const frame of frames) {
    const patience = answered && frame === frames.at(-1) ? PATIENCE_MS : SILENCE_MS;
    for (const reply of await stack.exchange(frame, patience)) {
      answers.push(describe1(reply));
      if (answers.at(-1)?.startsWith("TCP SYN+ACK")) await giveUp(stack, reply);
    }
  }
  if (stack.gone) return "dies";
  const words = answers.filter(Boolean).join(", ");
  return words || (heard > heardBefore ? "goes out, no answer" : "nothing");
}

// --- the table ---------------------------------------------------------------------------------------------------------

const CASES: readonly Case[] = [
  {
    name: "ARP for the gateway",
    frames: () => [arp(GATEWAY)],
    sluice: "ARP 10.0.2.2",
    libslirp: "ARP 10.0.2.2",
    passt: "ARP 10.0.2.2",
  },
  {
    name: "ARP for the guest's own address",
    frames: () => [arp(GUEST, 0)],
    sluice: "nothing",
    libslirp: "nothing",
    passt: "nothing",
  },
  {
    name: "ARP for an address nobody has",
    frames: () => [arp(ip("10.0.2.77"))],
    sluice: "nothing",
    libslirp: "nothing",
    passt: "ARP 10.0.2.77",
    why: "RFC 826: a reply is for the target's own address; passt is a proxy for all of them (RFC 1027)",
  },
  {
    name: "DHCPDISCOVER",
    frames: () => [dhcp({ type: 1 })],
    sluice: "DHCP OFFER 10.0.2.15",
    libslirp: "DHCP OFFER 10.0.2.15",
    passt: "DHCP OFFER 10.0.2.15",
  },
  {
    name: "DHCPREQUEST for the offer",
    frames: () => [dhcp({ type: 3, requested: GUEST, serverId: GATEWAY })],
    sluice: "DHCP ACK 10.0.2.15",
    libslirp: "DHCP ACK 10.0.2.15",
    passt: "DHCP ACK 10.0.2.15",
  },
  {
    name: "DHCPREQUEST for an address of another network",
    frames: () => [dhcp({ type: 3, requested: ip("192.168.7.7") })],
    sluice: "DHCP NAK 0.0.0.0",
    libslirp: "DHCP NAK 255.255.255.255",
    passt: "DHCP ACK 10.0.2.15",
    why: "RFC 2131 section 4.3.2: a client in INIT-REBOOT on the wrong network SHOULD get a DHCPNAK; table 3: its yiaddr is 0",
  },
  {
    name: "SYN to an open port",
    frames: () => [
      tcp({
        to: GATEWAY,
        destinationPort: openPort,
        sourcePort: ++nextPort,
        flags: SYN,
        sequence: 7,
        options: { mss: 1460, windowScale: 7, sackPermitted: true, timestamp: [1, 0] },
      }),
    ],
    sluice: "TCP SYN+ACK (mss sackPermitted timestamp windowScale)",
    libslirp: "TCP SYN+ACK (mss)",
    passt: "TCP SYN+ACK (mss windowScale)",
    why: "RFC 7323 sections 2.2 and 3.2, RFC 2018 section 2: each option is offered and may be agreed to",
  },
  {
    name: "SYN to a closed port",
    frames: () => [
      tcp({ to: GATEWAY, destinationPort: closedPort, sourcePort: ++nextPort, flags: SYN, sequence: 7 }),
    ],
    sluice: "TCP RST+ACK",
    libslirp: "TCP RST+ACK",
    passt: "TCP RST",
    why: "RFC 9293 section 3.10.7.3: in SYN-SENT a RST counts only if it acknowledges the SYN",
  },
  {
    name: "a segment of no connection",
    frames: () => [
      tcp({
        to: GATEWAY,
        destinationPort: openPort,
        sourcePort: ++nextPort,
        flags: ACK,
        sequence: 9,
        acknowledgment: 9,
      }),
    ],
    sluice: "TCP RST",
    libslirp: "TCP RST",
    passt: "nothing",
    why: "RFC 9293 section 3.10.7.1: an incoming segment to CLOSED causes a RST",
  },
  {
    name: "a datagram that is echoed",
    frames: () => [echo()],
    sluice: "UDP 4",
    libslirp: "UDP 4",
    passt: "UDP 4",
  },
  {
    name: "a datagram to a closed port",
    frames: () => [udp({ to: GATEWAY, destinationPort: closedPort, sourcePort: ++nextPort })],
    sluice: "nothing",
    libslirp: "ICMP 3/3",
    passt: "nothing",
    why: "RFC 792 is not spoken here, in either direction (docs/nat.md); RFC 4787 REQ-12 asks to relay ICMP, not to make it",
  },
  {
    name: "a datagram in two fragments",
    frames: pieces,
    sluice: "fragment 0, fragment 1480",
    libslirp: "fragment 0, fragment 1480",
    passt: "UDP 1000, UDP 992",
    why: "RFC 1122 section 3.3.2: a host MUST reassemble; passt sends each fragment as a datagram of its own",
  },
  {
    name: "a wrong IPv4 header checksum",
    frames: () => [bent(echo(), 24)],
    sluice: "nothing",
    libslirp: "nothing",
    passt: "UDP 4",
    why: "RFC 1122 section 3.2.1.2: a host MUST verify it and silently discard",
  },
  {
    name: "a wrong UDP checksum",
    frames: () => [bent(echo(), 40)],
    sluice: "nothing",
    libslirp: "nothing",
    passt: "UDP 4",
    why: "RFC 1122 section 4.1.3.4: a datagram with a wrong checksum MUST be silently discarded",
  },
  {
    name: "a TTL of 1, to the gateway itself",
    frames: () => [echo({ ttl: 1 })],
    sluice: "UDP 4",
    libslirp: "ICMP 11/0",
    passt: "UDP 4",
    why: "RFC 1122 section 3.2.1.7: a host MUST NOT discard a datagram for having a TTL below 2",
  },
  {
    name: "a source address that is not the guest's",
    frames: () => [echo({ from: ip("10.9.9.9") })],
    sluice: "nothing",
    libslirp: "goes out, no answer",
    passt: "UDP 4",
    why: "RFC 2827 section 3: what did not come from the network behind is not let out",
  },
  {
    name: "an ICMP echo request to the gateway",
    frames: () => [ping()],
    sluice: "nothing",
    libslirp: "ICMP 0/0",
    passt: "nothing or ICMP 0/0",
    why: "RFC 1122 section 3.2.2.6 asks hosts to answer; here ICMP is dropped and counted, and nothing is forged",
  },
  // Last: what this one does to Debian's libslirp ends it.
  {
    name: "a datagram in two fragments, the last one first",
    frames: () => pieces().reverse(),
    sluice: "fragment 0, fragment 1480",
    libslirp: "dies",
    passt: "UDP 992, UDP 1000",
    why: "RFC 791 section 3.2: fragments may arrive in any order",
  },
];

describe("side by side", () => {
  for (const name of NAMES) {
    it(`${name} answers as the table says`, async (context) => {
      needs(context, { commands: STACK_COMMANDS[name] });
      const stack = await Stack.start(name, directory);
      try {
        const differences: string[] = [];
        for (const row of CASES) {
          const found = await outcome(stack, row.frames(), !/nothing|no answer/.test(row[name]));
          if (!row[name].split(" or ").includes(found))
            differences.push(`${row.name}: ${row[name]}, but ${found}`);
        }
        expect(differences).toEqual([]);
      } finally {
        await stack.close();
      }
    }, 60_000);
  }

  it("gives a reason, with a number of an RFC, for every row in which we stand alone or differ", () => {
    for (const { sluice, libslirp, passt, why, name } of CASES) {
      if (sluice === libslirp && sluice === passt) continue;
      expect([name, why]).toEqual([name, expect.stringMatching(/RFC \d+/)]);
    }
  });
});
