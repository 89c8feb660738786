/**
 * A million packets through the real thing, for heap.test.ts: QEMU's stream link over a socket pair, the engine, kernel
 * sockets on loopback. The guest and the servers are in this process too and allocate nothing either: they work on
 * octets of the arena through the same shim.
 *
 * The guest keeps three conversations going: a download of which it loses a segment now and then (SACK recovery by the
 * engine), an upload that skips a segment now and then (out-of-order store, duplicate ACKs), and a UDP echo. Beside them it
 * asks names, some twice at a time.
 *
 * Usage: node --expose-gc heap-load.mjs PACKETS FAMILY. FAMILY is 4 or 6: what all of it goes over. Prints one line of JSON.
 */
import { PerformanceObserver } from "node:perf_hooks";
import { getHeapStatistics } from "node:v8";
import { defaultEngineConfig, defaultIpv6Config } from "../../dist/src/engine/config.js";
import { createEngineCore } from "../../dist/src/engine/engine.js";
import { LARGE_CHUNK_OCTETS, LARGE_CHUNKS } from "../../dist/src/engine/limits.js";
import { Arena } from "../../dist/src/engine/memory/arena.js";
import { REASSEMBLY_REGION_OCTETS } from "../../dist/src/engine/network/reassembly.js";
import { EventLoop } from "../../dist/src/host/event-loop.js";
import { QemuStreamLink } from "../../dist/src/host/link/qemu-stream.js";
import { native } from "../../dist/src/host/native/native.js";
import { partitionDescriptors } from "../../dist/src/host/native/shim-tables.js";
import { KernelNetwork, OUTBOUND_ANY } from "../../dist/src/host/sockets.js";

const PACKETS = Number(process.argv[2]);
const FAMILY = Number(process.argv[3]);
const IS_IPV6 = FAMILY === 6;
/** Octets of a frame in front of its transport header. */
const HEADERS = IS_IPV6 ? 54 : 34;
const GUEST = 0x0a00020f;
const GATEWAY = 0x0a000202;
const DNS = 0x0a000203;
const LOOPBACK = 0x7f000001;
const MSS = IS_IPV6 ? 1428 : 1448;
/** Of the guest's IPv6 addresses, which end as those of IPv4 do; the guest's in 15. */
const PREFIX = new Int32Array([0xfd711ae0, 0xd44d0002]);
const GUEST_LOW = 0x15;
const EAGAIN = -11;
const [FIN, SYN, RST, ACK] = [1, 2, 4, 16];

const arena = new Arena(REASSEMBLY_REGION_OCTETS);
native.registerArena(arena.buffer);
const { view, octets, ints } = arena;
const descriptors = partitionDescriptors(arena);

// The pool hands out low chunks first; the last ones are never reached here and serve the guest and the servers.
const SPARE_CHUNKS = 16;
let spare = arena.largeChunksAt + (LARGE_CHUNKS - SPARE_CHUNKS) * LARGE_CHUNK_OCTETS;
const region = (length) => {
  const at = spare;
  spare += (length + 63) & ~63;
  return at;
};
const inAt = region(4 * LARGE_CHUNK_OCTETS);
const outAt = region(128 * 2048);
const tableAt = region(128 * 16);
const serverAt = region(LARGE_CHUNK_OCTETS);
const udpSlotsAt = region(64 * 2048);
const udpTableAt = region(64 * 32);

// --- servers -----------------------------------------------------------------------------------------------------------

const words = new Int32Array(5);
function loopback(port) {
  words.set(IS_IPV6 ? [0, 0, 0, 1, port] : [0, 0, 0xffff, LOOPBACK, port]);
  return words;
}
function checked(result, what) {
  if (result < 0) throw new Error(`${what}: errno ${-result}`);
  return result;
}
const listener = checked(native.tcpSocket(FAMILY), "socket");
checked(native.bind(listener, loopback(0), FAMILY, false), "bind");
checked(native.listen(listener, 16), "listen");
native.localAddress(listener, words);
const tcpPort = words[4];
const udp = checked(native.udpSocket(FAMILY), "socket");
checked(native.bind(udp, loopback(0), FAMILY, false), "bind");
native.localAddress(udp, words);
const udpPort = words[4];
const resolver = checked(native.udpSocket(FAMILY), "socket");
checked(native.bind(resolver, loopback(0), FAMILY, false), "bind");
native.localAddress(resolver, words);
const resolverPort = words[4];
const gather = new Int32Array([serverAt, LARGE_CHUNK_OCTETS]);
let sourceFd = -1;
let sinkFd = -1;

/** The first connection is the download's, the second the upload's. */
function serve() {
  if (sinkFd < 0) {
    const fd = native.accept(listener, words);
    if (fd >= 0 && sourceFd < 0) sourceFd = fd;
    else if (fd >= 0) sinkFd = fd;
  }
  if (sourceFd >= 0) native.sendGather(sourceFd, gather, 1);
  if (sinkFd >= 0) while (native.receive(sinkFd, serverAt, LARGE_CHUNK_OCTETS) > 0);
  returnDatagrams(udp, 0);
  // A response is the query with the QR bit.
  returnDatagrams(resolver, 0x80);
}

/** Sends what came in back to where it came from, with `bits` set in the third octet. */
function returnDatagrams(fd, bits) {
  const count = native.udpReceiveBatch(fd, udpSlotsAt, 2048, 2048, 64, udpTableAt, 0, 0, 0);
  let replies = 0;
  for (let i = 0; i < count; i++) {
    const from = (udpTableAt >> 2) + i * 8;
    const length = ints[from];
    // An entry with a segment size is a run of datagrams (UDP_GRO).
    const step = ints[from + 6] || length;
    for (let offset = 0; offset < length; offset += step) {
      const to = (descriptors.udpOutAt >> 2) + replies++ * 8;
      ints[to] = fd;
      octets[ints[from + 7] + offset + 2] |= bits;
      for (let word = 1; word <= 5; word++) ints[to + word] = ints[from + word];
      ints[to + 6] = ints[from + 7] + offset;
      ints[to + 7] = Math.min(step, length - offset);
    }
  }
  if (replies > 0) native.udpSendBatch(descriptors.udpOutAt, replies, 0);
}

// --- the engine --------------------------------------------------------------------------------------------------------

const loop = new EventLoop(arena, descriptors, false, {
  linkFailed: (link) => {
    throw new Error(link.failure);
  },
  resumed: () => {},
});
const network = new KernelNetwork({
  arena,
  descriptors,
  guestForwards: [],
  outbound: OUTBOUND_ANY,
  spawnCommand: () => EAGAIN,
});
const core = createEngineCore(
  {
    ...defaultEngineConfig(),
    ipv6: IS_IPV6 ? defaultIpv6Config(defaultEngineConfig().gatewayMac) : null,
    allowHostLoopback: true,
    resolvers: [{ words: [...loopback(resolverPort).slice(0, 4)], port: resolverPort, scope: 0 }],
  },
  {
    arena,
    network,
    log: console,
    entropy: { int32: native.randomInt32 },
    checksum: { sum: native.checksum },
  },
  native.nowMs(),
);
const [engineFd, guestFd] = native.socketPair("stream");
const link = new QemuStreamLink(engineFd, "heap", { arena, descriptors, mtu: 1500 });
loop.start(core);
loop.attach(link);

// --- the guest ---------------------------------------------------------------------------------------------------------

let outCount = 0;
let outOwed = 0;
/** Octets of `outOwed` frames that the socket did not take are sent first. */
let outFrom = 0;

/** The next frame of the batch, headers up to IP's written; returns where its Ethernet header is. */
function nextFrame(protocol, total, to = GATEWAY) {
  const at = outAt + outCount * 2048;
  view.setUint32(at, total);
  writeHeaders(at, protocol, total, to);
  const i = (tableAt >> 2) + outCount * 4;
  ints[i] = at;
  ints[i + 1] = total + 4;
  ints[i + 2] = 0;
  ints[i + 3] = 0;
  outCount++;
  return at + 4;
}

/** Sum of an address of the guest's prefix. */
function sumOf(low) {
  let sum = low;
  for (let i = 0; i < 2; i++) sum += (PREFIX[i] >>> 16) + (PREFIX[i] & 0xffff);
  return sum;
}

/** Of a pseudo-header. */
function pseudoSum(protocol, octetCount, to) {
  const addresses = IS_IPV6
    ? sumOf(GUEST_LOW) + sumOf(to & 0xff)
    : (GUEST >>> 16) + (GUEST & 0xffff) + (to >>> 16) + (to & 0xffff);
  return addresses + protocol + octetCount;
}

function writeHeaders6(frame, protocol, total, to) {
  view.setInt32(frame, 0x52550a00);
  view.setInt32(frame + 4, 0x02025254);
  view.setInt32(frame + 8, 0x00123456);
  view.setUint16(frame + 12, 0x86dd);
  view.setInt32(frame + 14, 0x60000000);
  view.setUint16(frame + 18, total - HEADERS);
  view.setUint16(frame + 20, (protocol << 8) | 64);
  for (let i = 0; i < 2; i++) {
    view.setInt32(frame + 22 + 4 * i, PREFIX[i]);
    view.setInt32(frame + 38 + 4 * i, PREFIX[i]);
  }
  view.setInt32(frame + 30, 0);
  view.setInt32(frame + 34, GUEST_LOW);
  view.setInt32(frame + 46, 0);
  view.setInt32(frame + 50, to & 0xff);
}

function writeHeaders(at, protocol, total, to) {
  const frame = at + 4;
  if (IS_IPV6) {
    writeHeaders6(frame, protocol, total, to);
    return;
  }
  view.setInt32(frame, 0x52550a00);
  view.setInt32(frame + 4, 0x02025254);
  view.setInt32(frame + 8, 0x00123456);
  view.setInt32(frame + 12, 0x08004500);
  view.setUint16(frame + 16, total - 14);
  view.setInt32(frame + 18, 0x00004000);
  view.setUint16(frame + 22, 0x4000 | protocol);
  view.setUint16(frame + 24, 0);
  view.setInt32(frame + 26, GUEST);
  view.setInt32(frame + 30, to);
  view.setUint16(frame + 24, ~native.checksum(frame + 14, 20, 0));
}

function room() {
  return outOwed === 0 && outCount < 120;
}

/** Sends what is gathered; a cut stream goes on where it stopped. */
function send() {
  if (outOwed === 0) {
    if (outCount === 0) return;
    outOwed = outCount;
    outFrom = 0;
  }
  const written = native.writeStream(guestFd, tableAt + outFrom * 16, outOwed - outFrom);
  if (written === EAGAIN) return;
  checked(written, "write");
  let left = written;
  while (outFrom < outOwed && left >= ints[(tableAt >> 2) + outFrom * 4 + 1]) {
    left -= ints[(tableAt >> 2) + outFrom * 4 + 1];
    outFrom++;
  }
  if (outFrom < outOwed) {
    ints[(tableAt >> 2) + outFrom * 4] += left;
    ints[(tableAt >> 2) + outFrom * 4 + 1] -= left;
    return;
  }
  outOwed = 0;
  outCount = 0;
}

class GuestTcp {
  constructor(port, uploads) {
    this.port = port;
    this.uploads = uploads;
    this.una = 0x7fffff00;
    this.next = this.una;
    this.most = this.una;
    this.window = 65_535;
    this.shift = 0;
    this.rcvNxt = 0;
    this.holeEnd = 0;
    this.hasHole = false;
    this.holeAt = 0;
    this.peerStamp = 0;
    this.open = false;
    this.unacked = 0;
    this.duplicates = 0;
    this.segments = 0;
    this.retransmits = 0;
    this.lost = 0;
    this.heardMs = 0;
  }

  segment(flags, sequence, length) {
    const sack = flags === ACK && length === 0 && this.hasHole;
    const syn = (flags & SYN) !== 0;
    const options = syn ? 20 : sack ? 24 : 12;
    const frame = nextFrame(6, HEADERS + 20 + options + length);
    const tcp = frame + HEADERS;
    view.setUint16(tcp, this.port);
    view.setUint16(tcp + 2, tcpPort);
    view.setInt32(tcp + 4, sequence);
    view.setInt32(tcp + 8, syn ? 0 : this.rcvNxt);
    view.setUint16(tcp + 12, (((20 + options) >> 2) << 12) | flags);
    view.setUint16(tcp + 14, syn ? 65_535 : 4096);
    view.setInt32(tcp + 16, 0);
    if (syn) {
      view.setInt32(tcp + 20, 0x020405b4);
      view.setInt32(tcp + 24, 0x01030307);
      view.setInt32(tcp + 28, 0x0402080a);
      view.setInt32(tcp + 32, native.nowMs());
      view.setInt32(tcp + 36, 0);
    } else {
      view.setInt32(tcp + 20, 0x0101080a);
      view.setInt32(tcp + 24, native.nowMs());
      view.setInt32(tcp + 28, this.peerStamp);
      if (sack) {
        view.setInt32(tcp + 32, 0x0101050a);
        view.setInt32(tcp + 36, this.holeAt);
        view.setInt32(tcp + 40, this.holeEnd);
      }
    }
    const octetCount = 20 + options + length;
    view.setUint16(tcp + 16, ~native.checksum(tcp, octetCount, pseudoSum(6, octetCount, GATEWAY)));
  }

  connect() {
    this.segment(SYN, this.una, 0);
    this.next = (this.una + 1) | 0;
    this.most = this.next;
  }

  take(tcp, end) {
    const flags = view.getUint8(tcp + 13);
    if ((flags & (RST | FIN)) !== 0) throw new Error("the engine ended a connection");
    const header = (view.getUint8(tcp + 12) >>> 4) << 2;
    const length = end - tcp - header;
    const sequence = view.getInt32(tcp + 4);
    const acknowledgment = view.getInt32(tcp + 8);
    this.heardMs = native.nowMs();
    if ((flags & SYN) !== 0) {
      this.una = acknowledgment;
      this.rcvNxt = (sequence + 1) | 0;
      this.shift = view.getUint8(tcp + header - 1);
      this.open = true;
      this.segment(ACK, this.next, 0);
      return;
    }
    if (view.getInt32(tcp + 20) === 0x0101080a) this.peerStamp = view.getInt32(tcp + 24);
    this.window = view.getUint16(tcp + 14) << 7;
    if (((acknowledgment - this.una) | 0) > 0) {
      this.una = acknowledgment;
      this.duplicates = 0;
      if (((this.next - this.una) | 0) < 0) this.next = this.una;
    } else if (length === 0 && this.una !== this.most && ++this.duplicates === 3) {
      this.next = this.una;
      this.retransmits++;
    }
    if (length > 0) this.data(sequence, length);
  }

  data(sequence, length) {
    if (++this.segments % 997 === 0) {
      this.lost++;
      return;
    }
    const end = (sequence + length) | 0;
    if (sequence === this.rcvNxt) {
      this.rcvNxt = end;
      if (this.hasHole && ((this.rcvNxt - this.holeAt) | 0) >= 0) {
        this.rcvNxt = this.holeEnd;
        this.hasHole = false;
        this.unacked = 1;
      }
      if (++this.unacked >= 2) this.acknowledge();
    } else if (((sequence - this.rcvNxt) | 0) > 0) {
      if (!this.hasHole) {
        this.hasHole = true;
        this.holeAt = sequence;
        this.holeEnd = end;
      } else if (sequence === this.holeEnd) {
        this.holeEnd = end;
      }
      this.acknowledge();
    } else {
      this.acknowledge();
    }
  }

  acknowledge() {
    this.unacked = 0;
    if (room()) this.segment(ACK, this.next, 0);
  }

  upload() {
    if (!this.open || !this.uploads) return;
    if (this.una !== this.most && ((native.nowMs() - this.heardMs) | 0) > 300) {
      this.next = this.una;
      this.heardMs = native.nowMs();
    }
    const limit = (this.una + Math.min(this.window, 131_072)) | 0;
    for (let n = 0; n < 24 && room() && ((limit - this.next) | 0) >= MSS; n++) {
      // Left out on purpose, once: the engine keeps what follows and says so.
      if (this.next === this.most && ++this.segments % 499 === 0) this.lost++;
      else this.segment(ACK, this.next, MSS);
      this.next = (this.next + MSS) | 0;
      if (((this.next - this.most) | 0) > 0) this.most = this.next;
    }
  }
}

const download = new GuestTcp(40_001, false);
const upload = new GuestTcp(40_002, true);
let echoesAwaited = 0;
let echoes = 0;
let echoesMs = 0;

/** IPv4 does without a checksum. */
function finishUdp(udpAt, octetCount, to) {
  view.setUint16(udpAt + 6, 0);
  if (!IS_IPV6) return;
  const sum = ~native.checksum(udpAt, octetCount, pseudoSum(17, octetCount, to)) & 0xffff;
  // Zero would be no checksum, which IPv6 does not allow (RFC 8200 section 8.1).
  view.setUint16(udpAt + 6, sum === 0 ? 0xffff : sum);
}

function datagrams() {
  if (echoesAwaited > 0 && ((native.nowMs() - echoesMs) | 0) < 100) return;
  echoesAwaited = 0;
  echoesMs = native.nowMs();
  for (let i = 0; i < 16 && room(); i++) {
    const udpAt = nextFrame(17, HEADERS + 8 + 100) + HEADERS;
    view.setUint16(udpAt, 40_003);
    view.setUint16(udpAt + 2, udpPort);
    view.setUint16(udpAt + 4, 108);
    finishUdp(udpAt, 108, GATEWAY);
    echoesAwaited++;
  }
}

let answersAwaited = 0;
let answers = 0;
let answersMs = 0;
let names = 0;

/** Sixteen questions, the same name asked from two ports each time. */
function questions() {
  if (answersAwaited > 0 && ((native.nowMs() - answersMs) | 0) < 100) return;
  answersAwaited = 0;
  answersMs = native.nowMs();
  for (let i = 0; i < 16 && room(); i++) {
    if ((i & 1) === 0) names++;
    const udpAt = nextFrame(17, HEADERS + 8 + 22, DNS) + HEADERS;
    view.setUint16(udpAt, 40_010 + i);
    view.setUint16(udpAt + 2, 53);
    view.setUint16(udpAt + 4, 30);
    // Header, a name of one label of four letters, type A, class IN.
    view.setInt32(udpAt + 8, (names << 16) | 0x0100);
    view.setInt32(udpAt + 12, 0x00010000);
    view.setInt32(udpAt + 16, 0);
    view.setUint8(udpAt + 20, 4);
    view.setInt32(udpAt + 21, 0x61616161 + (names & 0x0f0f0f0f));
    view.setUint8(udpAt + 25, 0);
    view.setInt32(udpAt + 26, 0x00010001);
    finishUdp(udpAt, 30, DNS);
    answersAwaited++;
  }
}

let inFrom = 0;
let inTo = 0;

function receive() {
  for (let reads = 0; reads < 4 && room(); reads++) {
    if (inFrom > 0) {
      octets.copyWithin(inAt, inAt + inFrom, inAt + inTo);
      inTo -= inFrom;
      inFrom = 0;
    }
    const got = native.receive(guestFd, inAt + inTo, 65_536);
    if (got > 0) inTo += got;
    while (inTo - inFrom >= 4 && room()) {
      const length = view.getUint32(inAt + inFrom);
      if (inTo - inFrom - 4 < length) break;
      frame(inAt + inFrom + 4);
      inFrom += 4 + length;
    }
    if (got <= 0) return;
  }
}

function frame(at) {
  if (view.getUint16(at + 12) !== (IS_IPV6 ? 0x86dd : 0x0800)) return;
  const transport = at + HEADERS;
  const protocol = view.getUint8(at + (IS_IPV6 ? 20 : 23));
  // The router's advertisements.
  if (protocol === 58) return;
  if (protocol === 17) {
    if (view.getUint16(transport) === 53) {
      answers++;
      answersAwaited--;
      return;
    }
    echoes++;
    echoesAwaited--;
    return;
  }
  const guest = view.getUint16(transport + 2) === download.port ? download : upload;
  guest.take(transport, IS_IPV6 ? transport + view.getUint16(at + 18) : at + 14 + view.getUint16(at + 16));
}

function packets() {
  return core.counters.value("link-frames-from-guest") + core.counters.value("link-frames-to-guest");
}

/** Everything takes turns until so many packets have passed. */
function runUntil(count) {
  for (let turns = 0; ; turns++) {
    serve();
    loop.drain();
    receive();
    upload.upload();
    datagrams();
    if ((turns & 15) === 0) questions();
    send();
    if ((turns & 63) === 0 && packets() >= count) return;
  }
}

// --- measurement -------------------------------------------------------------------------------------------------------

let collections = 0;
let from = Number.POSITIVE_INFINITY;
let to = Number.POSITIVE_INFINITY;
new PerformanceObserver((list) => {
  for (const { startTime } of list.getEntries()) if (startTime > from && startTime < to) collections++;
}).observe({ entryTypes: ["gc"] });

download.connect();
upload.connect();
send();
runUntil(PACKETS / 2);
globalThis.gc();
runUntil(PACKETS / 2 + 1000);
from = performance.now();
const heapBefore = getHeapStatistics().used_heap_size;
const packetsBefore = packets();
runUntil(PACKETS);
const heapAfter = getHeapStatistics().used_heap_size;
const measured = packets() - packetsBefore;
to = performance.now();

await new Promise((resolve) => setTimeout(resolve, 50));
const { counters, drops } = core.counters.snapshot();
console.log(
  JSON.stringify({
    packets: measured,
    octetsPerPacket: (heapAfter - heapBefore) / measured,
    collections,
    seconds: (to - from) / 1000,
    lost: download.lost + upload.lost,
    guestRetransmits: upload.retransmits,
    echoes,
    answers,
    counters,
    drops,
  }),
);
process.exit(0);
