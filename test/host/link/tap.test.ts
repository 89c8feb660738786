import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LINK_CLOSED } from "../../../src/engine/boundary.ts";
import { CHECKSUM_PARTIAL } from "../../../src/engine/memory/frame-batch.ts";
import {
  TX_CHECKSUM_PARTIAL,
  TX_TCP_SEGMENTS,
  TX_UDP_SEGMENTS,
} from "../../../src/engine/memory/transmit-queue.ts";
import { openTap, openTapDescriptor, type TapLink } from "../../../src/host/link/tap.ts";
import { native } from "../../../src/host/native/native.ts";
import {
  arpReply,
  ETHERNET_OCTETS,
  ipv4Frame,
  isArpRequest,
  isIpv4,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TRANSPORT_OFFSET,
  tcpSegment,
  udpSegment,
} from "../../support/gateway-frames.ts";
import { LinkRig, sampleFrame, until } from "../../support/link-rig.ts";
import { NetworkNamespace } from "../../support/network-namespace.ts";
import { missing, needs } from "../../support/requirements.ts";

const NEEDS = { root: true, tun: true, commands: ["ip"] };
const SYN = 2;
const ACK = 16;
const MSS = 1460;
const MSS_OPTION = [2, 4, MSS >> 8, MSS & 255];

let namespace: NetworkNamespace;
let link: TapLink | undefined;
let device = "";
let devices = 0;

beforeEach(() => {
  if (missing(NEEDS).length > 0) return;
  namespace = new NetworkNamespace();
  device = `gt${process.pid % 100_000}n${devices++}`;
});

afterEach(async () => {
  link?.close();
  link = undefined;
  if (missing(NEEDS).length === 0) await namespace.remove();
});

/** Opens a TAP here and moves it into the namespace, where the guest's kernel owns it. */
function open(rig: LinkRig): TapLink {
  const opened = openTap(device, rig);
  link = opened;
  namespace.adopt(device, "10.9.0.15/24");
  return opened;
}

interface Seen {
  frame: Uint8Array;
  flags: number;
  segmentSize: number;
  at: number;
}

/** Reads frames, answers ARP, and returns the first ones for which `wanted` holds. */
async function collect(
  rig: LinkRig,
  tap: TapLink,
  wanted: (seen: Seen) => boolean,
  count = 1,
): Promise<Seen[]> {
  const found: Seen[] = [];
  await until(() => {
    while (tap.receive(rig.batch) > 0) {
      rig.frames().forEach((frame, i) => {
        const { flags, segmentSize, at } = rig.batch;
        const seen = { frame, flags: flags[i], segmentSize: segmentSize[i], at: at[i] };
        if (isArpRequest(frame)) rig.queueFrame(arpReply(frame), 42);
        else if (wanted(seen)) found.push(seen);
      });
    }
    tap.transmit(rig.queue);
    return found.length >= count;
  }, `${count} frames`);
  return found;
}

const UDP_SENDER = `
  import dgram from "node:dgram";
  const socket = dgram.createSocket("udp4");
  setInterval(() => socket.send(Buffer.alloc(700, 0x5a), 7000, "10.9.0.2"), 20);
`;

/** Writes to standard output what arrives on UDP port 7001, a length in decimal and the first octet a line. */
const UDP_RECEIVER = `
  import dgram from "node:dgram";
  const socket = dgram.createSocket("udp4");
  socket.on("message", (m) => console.log(m.length, m[0], m.every((octet) => octet === m[0])));
  socket.bind(7001, () => { console.log("bound"); socket.send("x", 7000, "10.9.0.2"); });
`;

const isUdp = (seen: Seen): boolean => isIpv4(seen.frame, PROTOCOL_UDP);
const isTcp = (seen: Seen): boolean => isIpv4(seen.frame, PROTOCOL_TCP);

describe("without offload", () => {
  it("carries plain frames from another namespace, IP headers on a 4-octet boundary", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig();
    const tap = open(rig);
    expect([tap.tcpOffload, tap.udpOffload, tap.queueFrames]).toEqual([false, false, 1000]);
    namespace.script(UDP_SENDER);
    const [seen] = await collect(rig, tap, isUdp);
    expect(seen.frame.length).toBe(ETHERNET_OCTETS + 28 + 700);
    expect((seen.at + ETHERNET_OCTETS) % 4).toBe(0);
    expect([seen.flags, seen.segmentSize]).toEqual([0, 0]);
  });

  it("delivers header and payload that lie apart", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig();
    const tap = open(rig);
    const receiver = namespace.script(UDP_RECEIVER);
    const [{ frame }] = await collect(rig, tap, isUdp);
    const reply = ipv4Frame(
      frame.slice(6, 12),
      PROTOCOL_UDP,
      udpSegment(9, 7001, new Uint8Array(500).fill(7)),
      false,
    );
    rig.queueFrame(reply, 42);
    expect(tap.transmit(rig.queue)).toBe(1);
    let output = "";
    receiver.stdout?.on("data", (data) => {
      output += data;
    });
    await until(() => output.includes("500 7 true"), "the datagram");
  });

  it("counts frames over the MTU as oversized", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig({ mtu: 600 });
    const tap = open(rig);
    namespace.script(UDP_SENDER);
    let oversized = 0;
    await until(() => {
      tap.receive(rig.batch);
      oversized += rig.batch.oversized;
      rig
        .frames()
        .filter(isArpRequest)
        .forEach((frame) => {
          rig.queueFrame(arpReply(frame), 42);
        });
      tap.transmit(rig.queue);
      return oversized > 0;
    }, "an oversized frame");
    expect(tap.failure).toBe("");
  });

  it("drops and counts frames while the device is down, and goes on when it is up", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig();
    const tap = open(rig);
    namespace.ip("link", "set", device, "down");
    rig.queueFrame(sampleFrame(60, 1), 14);
    rig.queueFrame(sampleFrame(60, 2), 14);
    expect(tap.transmit(rig.queue)).toBe(2);
    expect(rig.counters.dropped("link-down")).toBe(2);
    expect(tap.failure).toBe("");
    namespace.ip("link", "set", device, "up");
    rig.queueFrame(sampleFrame(60, 3), 14);
    expect(tap.transmit(rig.queue)).toBe(1);
    expect(rig.counters.dropped("link-down")).toBe(2);
  });

  it("drops and counts a frame the kernel refuses, and sends those around it", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig();
    const tap = open(rig);
    rig.queueFrame(sampleFrame(60, 1), 14);
    rig.queueFrame(sampleFrame(10, 2), 10);
    rig.queueFrame(sampleFrame(60, 3), 14);
    expect(tap.transmit(rig.queue)).toBe(3);
    expect(rig.counters.dropped("link-refused")).toBe(1);
    expect(rig.queue.length).toBe(0);
  });

  it("closes when the device is removed", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig();
    const tap = open(rig);
    namespace.ip("link", "del", device);
    expect(rig.readAll(tap).result).toBe(LINK_CLOSED);
    expect(tap.failure).toBe(`tap ${device} was removed`);
    rig.queueFrame(sampleFrame(60, 1), 14);
    expect(tap.transmit(rig.queue)).toBe(LINK_CLOSED);
  });
});

describe("with offload", () => {
  it("takes packets whose checksum nobody computed", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig({ offload: true });
    const tap = open(rig);
    expect(tap.tcpOffload).toBe(true);
    namespace.script(UDP_SENDER);
    const [seen] = await collect(rig, tap, isUdp);
    expect(seen.flags).toBe(CHECKSUM_PARTIAL);
    expect(seen.segmentSize).toBe(0);
    expect((seen.at + ETHERNET_OCTETS) % 4).toBe(0);
  });

  it("hands over datagrams whose checksum the guest's kernel completes", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig({ offload: true });
    const tap = open(rig);
    const receiver = namespace.script(UDP_RECEIVER);
    const [{ frame }] = await collect(rig, tap, isUdp);
    const segment = udpSegment(9, 7001, new Uint8Array(501).fill(8));
    rig.queueFrame(
      ipv4Frame(frame.slice(6, 12), PROTOCOL_UDP, segment, true),
      42,
      TX_CHECKSUM_PARTIAL,
      0,
      TRANSPORT_OFFSET,
    );
    expect(tap.transmit(rig.queue)).toBe(1);
    let output = "";
    receiver.stdout?.on("data", (data) => {
      output += data;
    });
    await until(() => output.includes("501 8 true"), "the datagram");
  });

  it("hands over a UDP super-frame that arrives as datagrams", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig({ offload: true });
    const tap = open(rig);
    if (!tap.udpOffload) return expect(tap.tcpOffload).toBe(true); // USO came with Linux 6.2.
    const receiver = namespace.script(UDP_RECEIVER);
    const [{ frame }] = await collect(rig, tap, isUdp);
    const payload = new Uint8Array(1000 * 6 + 300);
    for (let i = 0; i < payload.length; i++) payload[i] = 65 + Math.floor(i / 1000);
    rig.queueFrame(
      ipv4Frame(frame.slice(6, 12), PROTOCOL_UDP, udpSegment(9, 7001, payload), true),
      42,
      TX_CHECKSUM_PARTIAL | TX_UDP_SEGMENTS,
      1000,
      TRANSPORT_OFFSET,
    );
    expect(tap.transmit(rig.queue)).toBe(1);
    let output = "";
    receiver.stdout?.on("data", (data) => {
      output += data;
    });
    await until(() => output.includes("300 71 true"), "seven datagrams");
    expect(output.match(/^1000 \d+ true$/gm)).toHaveLength(6);
  });

  it("takes and gives TCP super-frames", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig({ offload: true });
    const tap = open(rig);
    const client = namespace.script(`
      import net from "node:net";
      const socket = net.connect(7002, "10.9.0.2");
      socket.write(Buffer.alloc(60_000, 0x41));
      let got = 0, good = true;
      socket.on("data", (data) => {
        got += data.length;
        good = good && data.every((octet) => octet === 0x42);
        if (got === ${MSS * 20}) console.log("received", good);
      });
    `);
    let output = "";
    client.stdout?.on("data", (data) => {
      output += data;
    });
    const [{ frame: syn }] = await collect(rig, tap, isTcp);
    const synView = new DataView(syn.buffer);
    const ports = { sourcePort: 7002, destinationPort: synView.getUint16(34) };
    const guestSequence = synView.getUint32(38);
    const guestMac = syn.slice(6, 12);
    const send = (
      fields: { sequence: number; acknowledgment: number; flags: number },
      payload?: Uint8Array,
    ): void => {
      const options = fields.flags & SYN ? MSS_OPTION : [];
      const segment = tcpSegment({ ...ports, ...fields, options }, payload);
      const length = TRANSPORT_OFFSET + 20 + options.length;
      const gso = payload === undefined ? 0 : TX_TCP_SEGMENTS;
      const flags = TX_CHECKSUM_PARTIAL | gso;
      const segmentSize = gso === 0 ? 0 : MSS;
      const frame = ipv4Frame(guestMac, PROTOCOL_TCP, segment, true);
      rig.queueFrame(frame, length, flags, segmentSize, TRANSPORT_OFFSET);
      tap.transmit(rig.queue);
    };
    send({ sequence: 1000, acknowledgment: guestSequence + 1, flags: SYN | ACK });
    const data = await collect(rig, tap, (seen) => isTcp(seen) && seen.frame.length > 1600);
    expect(data[0].segmentSize).toBe(MSS);
    expect(data[0].flags).toBe(CHECKSUM_PARTIAL);
    expect(data[0].frame.at(-1)).toBe(0x41);

    send(
      { sequence: 1001, acknowledgment: guestSequence + 1, flags: ACK },
      new Uint8Array(MSS * 20).fill(0x42),
    );
    await until(() => output.includes("received true"), "20 segments' worth of data");
    expect(rig.counters.dropped("link-refused")).toBe(0);
  });
});

describe("opening", () => {
  it("finds out whether an inherited descriptor has a virtio header", async (context) => {
    needs(context, NEEDS);
    for (const vnetHeader of [true, false]) {
      const rig = new LinkRig({ offload: true });
      const fd = native.tapOpen(device, vnetHeader, "/dev/net/tun");
      link = openTapDescriptor(fd, rig);
      expect(link.device).toBe(device);
      expect(link.tcpOffload).toBe(vnetHeader);
      link.close();
      link = undefined;
    }
  });

  it("keeps the virtio header of an inherited descriptor though no offload is wanted", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig({ offload: false });
    link = openTapDescriptor(native.tapOpen(device, true, "/dev/net/tun"), rig);
    expect(link.tcpOffload).toBe(false);
    namespace.adopt(device, "10.9.0.15/24");
    namespace.script(UDP_SENDER);
    const [seen] = await collect(rig, link, isUdp);
    expect(seen.frame.length).toBe(ETHERNET_OCTETS + 28 + 700);
    expect([seen.flags, (seen.at + ETHERNET_OCTETS) % 4]).toEqual([0, 0]);
  });

  it("says what is wrong with a descriptor that is no TAP", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig();
    const [a, b] = native.socketPair("stream");
    expect(() => openTapDescriptor(a, rig)).toThrow(/fd \d+: not an open TAP/);
    native.close(a);
    native.close(b);
  });

  it("tells what the kernel said about a name it does not take", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig();
    const other = openTap(device, rig);
    expect(() => openTap(device, rig)).toThrow(`tap ${device}: resource busy or locked (EBUSY)`);
    other.close();
    expect(() => openTap(device, rig, "/dev/null-tun")).toThrow("/dev/null-tun there?");
  });

  it("removes a device it created when it closes", async (context) => {
    needs(context, NEEDS);
    const rig = new LinkRig();
    openTap(device, rig).close();
    const listed = execFileSync("ip", ["-o", "link"], { encoding: "utf8" });
    expect(listed).not.toContain(device);
  });
});
