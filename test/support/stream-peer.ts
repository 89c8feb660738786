/** A QEMU of a few lines: the far end of a framed stream, which sends frames and keeps what comes. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { ETHERTYPE_IPV6 } from "../../src/engine/wire/ethernet.ts";

const ETHERTYPE_AT = 12;

export class StreamPeer {
  /** What the engine sent, but for IPv6: router advertisements come unasked, when they like. */
  readonly frames: Buffer[] = [];
  /** The engine has closed the stream. */
  closed = false;
  private pending = Buffer.alloc(0);

  private constructor(readonly socket: Socket) {
    socket.on("error", () => {});
    socket.once("close", () => {
      this.closed = true;
    });
    socket.on("data", (octets: Buffer) => this.take(octets));
  }

  static async connect(path: string): Promise<StreamPeer> {
    const socket = connect(path);
    await once(socket, "connect");
    return new StreamPeer(socket);
  }

  private take(octets: Buffer): void {
    this.pending = Buffer.concat([this.pending, octets]);
    while (this.pending.length >= 4) {
      const length = this.pending.readUInt32BE(0);
      if (this.pending.length < 4 + length) return;
      const frame = this.pending.subarray(4, 4 + length);
      if (frame.readUInt16BE(ETHERTYPE_AT) !== ETHERTYPE_IPV6) this.frames.push(frame);
      this.pending = this.pending.subarray(4 + length);
    }
  }

  send(frame: Uint8Array): void {
    this.sendStart(frame.length, frame);
  }

  /** The header of a frame of `length` octets, and as many of them as are given. */
  sendStart(length: number, octets: Uint8Array): void {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(length);
    this.socket.write(Buffer.concat([head, octets]));
  }

  /** Goes away as a killed QEMU does, once what was sent has left. */
  async vanish(): Promise<void> {
    await new Promise<void>((resolve) => this.socket.write("", () => resolve()));
    this.socket.destroy();
  }
}
