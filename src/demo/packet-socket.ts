/** Ethernet frames on a network device, for the demo's own DHCP client and ping: a few frames, no hurry. */
import { setTimeout as sleep } from "node:timers/promises";
import { EAGAIN } from "../engine/boundary.ts";
import { native } from "../host/native/native.ts";
import { describeErrno } from "../host/start-error.ts";

const FRAME_ROOM = 2048;
const DESCRIPTOR_AT = 64;
const LENGTH_AT = 96;
const SEND_AT = 4096;
const RECEIVE_AT = 8192;
const BUFFER_OCTETS = 12_288;
const POLL_MS = 5;

export class PacketSocket {
  private readonly fd: number;
  private readonly buffer = new ArrayBuffer(BUFFER_OCTETS);
  private readonly octets = new Uint8Array(this.buffer);
  private readonly ints = new Int32Array(this.buffer);

  /** Needs CAP_NET_RAW in the device's namespace. One per process: the shim has one buffer. */
  constructor(device: string) {
    native.registerArena(this.buffer);
    this.fd = native.packetSocket(device);
    if (this.fd < 0) throw new Error(`a packet socket on ${device}: ${describeErrno(this.fd)}`);
  }

  send(frame: Uint8Array): void {
    this.octets.set(frame, SEND_AT);
    this.ints.set([SEND_AT, frame.length, 0, 0], DESCRIPTOR_AT / 4);
    const sent = native.writeFrames(this.fd, DESCRIPTOR_AT, 1);
    if (sent < 0) throw new Error(`sending a frame: ${describeErrno(sent)}`);
  }

  /** The first frame within `timeoutMs` that `wanted` makes something of; undefined when there is none. */
  async receive<T>(timeoutMs: number, wanted: (frame: DataView) => T | undefined): Promise<T | undefined> {
    for (const end = performance.now() + timeoutMs; performance.now() < end; ) {
      const count = native.readFrames(this.fd, RECEIVE_AT, FRAME_ROOM, FRAME_ROOM, 1, LENGTH_AT);
      if (count < 0 && count !== EAGAIN) throw new Error(`receiving a frame: ${describeErrno(count)}`);
      if (count <= 0) {
        await sleep(POLL_MS);
        continue;
      }
      const found = wanted(new DataView(this.buffer, RECEIVE_AT, this.ints[LENGTH_AT / 4]));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  close(): void {
    native.close(this.fd);
  }
}
