/**
 * A bad cable: carries frames between a TAP of this namespace, which it makes, and a Unix socket with QEMU's stream
 * framing; loses, repeats, overtakes and delays them on the way, each direction alike.
 *
 *   relay.mjs '{"tap","tunDevice","connect"|"listen","loss","duplicate","reorder","delayMs","seed"}'
 *
 * Chances are 0 to 1. A frame that is overtaken comes REORDER_MS late. Says "ready" when frames flow.
 */
import { once } from "node:events";
import { connect, createServer } from "node:net";

const { native } = await import("../../../dist/src/host/native/native.js");

const REORDER_MS = 4;
const STRIDE = 2048;
const BATCH = 64;
const LENGTHS_AT = STRIDE * BATCH;
const OUT_AT = LENGTHS_AT + 4 * BATCH;
const DESCRIPTOR_AT = OUT_AT + STRIDE;
/** Frames on their way in one direction: what a device of this kind queues before it drops. */
const QUEUE_MAX = 2000;
const SOCKET_OCTETS_MAX = 4_000_000;
const IDLE_POLL_MS = 1;

const options = { loss: 0, duplicate: 0, reorder: 0, delayMs: 0, seed: 1, ...JSON.parse(process.argv[2]) };
const buffer = new ArrayBuffer(DESCRIPTOR_AT + 64);
const octets = Buffer.from(buffer);
const ints = new Int32Array(buffer);
native.registerArena(buffer);
const tap = native.tapOpen(options.tap, false, options.tunDevice);
if (tap < 0) throw new Error(`the TAP ${options.tap}: ${tap}`);

let state = options.seed | 0;
/** Mulberry32, 0 to 1. */
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
}

/** One direction. */
class Cable {
  /** In order of `due`, but for those that are overtaken. */
  queue = [];
  late = [];

  constructor(send) {
    this.send = send;
  }

  take(frame) {
    if (random() < options.loss) return;
    const due = performance.now() + options.delayMs;
    const copies = random() < options.duplicate ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (options.delayMs === 0 && random() >= options.reorder) this.send(frame);
      else if (random() < options.reorder) this.late.push({ due: due + REORDER_MS, frame });
      else if (this.queue.length < QUEUE_MAX) this.queue.push({ due, frame });
    }
  }

  /** Delivers what is due; tells whether more waits. */
  deliver(now) {
    for (const waiting of [this.queue, this.late]) {
      let count = 0;
      while (count < waiting.length && waiting[count].due <= now) this.send(waiting[count++].frame);
      waiting.splice(0, count);
    }
    return this.queue.length + this.late.length > 0;
  }
}

async function openSocket() {
  if (options.connect) {
    const socket = connect(options.connect);
    await once(socket, "connect");
    return socket;
  }
  const server = createServer();
  server.listen(options.listen);
  await once(server, "listening");
  process.stdout.write("listening\n");
  const [socket] = await once(server, "connection");
  server.close();
  return socket;
}

const socket = await openSocket();
socket.on("close", () => process.exit(0)).on("error", () => process.exit(0));

const toSocket = new Cable((frame) => {
  if (socket.writableLength > SOCKET_OCTETS_MAX) return;
  const head = Buffer.allocUnsafe(4);
  head.writeUInt32BE(frame.length);
  socket.write(head);
  socket.write(frame);
});
const toTap = new Cable((frame) => {
  octets.set(frame, OUT_AT);
  ints.set([OUT_AT, frame.length, 0, 0], DESCRIPTOR_AT / 4);
  native.writeFrames(tap, DESCRIPTOR_AT, 1);
});

let received = Buffer.alloc(0);
socket.on("data", (chunk) => {
  received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
  let at = 0;
  while (received.length - at >= 4) {
    const length = received.readUInt32BE(at);
    if (received.length - at - 4 < length) break;
    toTap.take(received.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  received = received.subarray(at);
});

function turn() {
  socket.cork();
  const count = native.readFrames(tap, 0, STRIDE, STRIDE, BATCH, LENGTHS_AT);
  for (let i = 0; i < count; i++) {
    const length = ints[LENGTHS_AT / 4 + i];
    toSocket.take(Buffer.from(octets.subarray(i * STRIDE, i * STRIDE + length)));
  }
  const now = performance.now();
  const waits = toSocket.deliver(now) | toTap.deliver(now);
  socket.uncork();
  if (count > 0) setImmediate(turn);
  else setTimeout(turn, waits ? 0 : IDLE_POLL_MS);
}
turn();
process.stdout.write("ready\n");
