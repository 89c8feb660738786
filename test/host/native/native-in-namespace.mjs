/**
 * Run by native-devices.test.ts in a network namespace of its own, as root: a TAP, a packet socket and a loopback
 * of MTU 1500. Prints what the calls gave as one JSON object. argv: the addon's path.
 */
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createRequire } from "node:module";

const native = createRequire(import.meta.url)(process.argv[2]);
const arena = new ArrayBuffer(1 << 22);
const octets = new Uint8Array(arena);
const view = new DataView(arena);
const ints = new Int32Array(arena);
const DESCRIPTORS = 4096;
const LENGTHS = 32_768;
const OUT = 65_536;
const IN = 1 << 20;
const STRIDE = 69_632;
const VNET = 10;
const BROADCAST = [255, 255, 255, 255, 255, 255];
const GUEST_MAC = [2, 0, 0, 0, 0, 9];
const HOST = [10, 77, 0, 1];
const GUEST = [10, 77, 0, 2];
const results = {};
native.registerArena(arena);

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "inherit"] });
const hex = (at, length) => Buffer.from(arena, at, length).toString("hex");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Reads frames until `accept` finds one at its offset, behind the vnet header. Returns [at, length] or undefined. */
async function frameWhere(fd, accept) {
  for (let i = 0; i < 100; i++) {
    const count = native.readFrames(fd, IN, STRIDE, STRIDE, 8, LENGTHS);
    for (let slot = 0; slot < count; slot++) {
      const at = IN + slot * STRIDE;
      if (accept(at + VNET)) return [at, ints[LENGTHS / 4 + slot]];
    }
    await pause(5);
  }
  return undefined;
}

function writeFrame(fd, header, payload) {
  octets.fill(0, OUT, OUT + VNET);
  octets.set(header, OUT + VNET);
  octets.set(payload, OUT + 4096);
  ints.set([OUT, VNET + header.length, OUT + 4096, payload.length], DESCRIPTORS / 4);
  return native.writeFrames(fd, DESCRIPTORS, 1);
}

async function tap() {
  const fd = native.tapOpen("slutest0", true, "");
  results.tapOpen = fd >= 0;
  results.tapName = native.tapName(fd);
  results.tapFlags = native.tapFlags(fd);
  results.offload = native.tapSetOffload(fd, 1 | 2 | 4 | 8);
  results.offloadUnknown = native.tapSetOffload(fd, 0x40000000);
  results.whileDown = native.writeFrames(fd, DESCRIPTORS, 0);
  octets.fill(0, OUT, OUT + 64);
  ints.set([OUT, 64, 0, 0], DESCRIPTORS / 4);
  results.writeWhileDown = native.writeFrames(fd, DESCRIPTORS, 1);
  results.busy = native.tapOpen("slutest0", true, "");
  results.index = native.deviceIndex("slutest0") > 0;
  ip("link", "set", "slutest0", "mtu", "1400", "up");
  ip("addr", "add", "10.77.0.1/24", "dev", "slutest0");

  // Who has 10.77.0.1? The kernel answers with its own address.
  const ethernet = [...BROADCAST, ...GUEST_MAC, 0x08, 0x06];
  const arp = [0, 1, 8, 0, 6, 4, 0, 1, ...GUEST_MAC, ...GUEST, 0, 0, 0, 0, 0, 0, ...HOST];
  results.written = writeFrame(fd, ethernet, arp);
  const answer = await frameWhere(
    fd,
    (at) => view.getUint16(at + 12) === 0x0806 && view.getUint16(at + 20) === 2,
  );
  results.arpReply = answer && hex(answer[0] + VNET + 28, 4) === "0a4d0001";

  // What the kernel sends to the guest carries a checksum that is still to be completed.
  ip("neigh", "replace", "10.77.0.2", "lladdr", "02:00:00:00:00:09", "dev", "slutest0");
  const socket = createSocket("udp4");
  socket.send(Buffer.alloc(100, 0x41), 5000, "10.77.0.2");
  const datagram = await frameWhere(fd, (at) => view.getUint16(at + 12) === 0x0800 && octets[at + 23] === 17);
  results.datagramOctets = datagram?.[1];
  results.partialChecksum = datagram && octets[datagram[0]];
  socket.close();
  native.close(fd);
  return fd;
}

async function queues() {
  ip("tuntap", "add", "slutest1", "mode", "tap", "multi_queue");
  const fd = native.tapOpen("slutest1", false, "/dev/net/tun");
  results.multiQueue = fd >= 0 && (native.tapFlags(fd) & 0x4100) === 0x0100;
  native.close(fd);
  results.badName = native.tapOpen("bad/name", false, "");
  results.longName = native.tapOpen("a-name-longer-than-fifteen", false, "");
  results.noDevice = native.tapOpen("x", false, "/nonexistent/tun");
}

async function packets() {
  ip("link", "set", "lo", "mtu", "1500", "up");
  const fd = native.packetSocket("lo");
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  socket.send(Buffer.alloc(200), socket.address().port, "127.0.0.1");
  await once(socket, "message");
  const lengths = [];
  for (let i = 0; i < 100 && lengths.length < 2; i++) {
    const count = native.receiveFrames(fd, IN, STRIDE, STRIDE, 8, LENGTHS);
    for (let slot = 0; slot < count; slot++) lengths.push(ints[LENGTHS / 4 + slot]);
    await pause(2);
  }
  results.packetLengths = lengths;
  socket.close();
  native.close(fd);
}

/** Segments over the path MTU: the kernel refuses the run, so they go as fragments, one datagram at a time. */
async function overPathMtu() {
  const [a, b] = [native.udpSocket(4), native.udpSocket(4)];
  native.bind(b, Int32Array.of(0, 0, 0xffff, 0x7f000001, 0), 4, false);
  const local = new Int32Array(5);
  native.localAddress(b, local);
  const lengths = [];
  results.refused = [];
  for (const size of [3000, 3000, 1400]) {
    for (let i = 0; i < 4; i++) ints.set([a, ...local, OUT, size], DESCRIPTORS / 4 + 8 * i);
    results.refused.push(native.udpSendBatch(DESCRIPTORS, 4, 0));
    await pause(10);
    const count = native.udpReceiveBatch(b, IN, STRIDE, 65_535, 16, LENGTHS, 0, 0, 0);
    for (let i = 0; i < count; i++) {
      const [length, , , , , , segment] = ints.subarray(LENGTHS / 4 + 8 * i, LENGTHS / 4 + 8 * i + 8);
      for (let left = length; left > 0; left -= segment || left)
        lengths.push(Math.min(left, segment || left));
    }
  }
  results.received = lengths;
}

await tap();
await queues();
await packets();
await overPathMtu();
process.stdout.write(JSON.stringify(results));
