/** The socket of a service manager (sd_notify(3)), which keeps what arrives. */
import { readSync } from "node:fs";
import { native } from "../../src/host/native/native.ts";

const MESSAGE_MAX = 4096;

export class NotifySocket {
  readonly #fd: number;

  /** `address` as in NOTIFY_SOCKET: a path, or @ and an abstract name. */
  constructor(readonly address: string) {
    this.#fd = native.unixListen(address.replace(/^@/, "\0"), "dgram");
    if (this.#fd < 0) throw new Error(`${address}: error ${-this.#fd}`);
  }

  /** What has arrived since the last call, a text per datagram. */
  heard(): string[] {
    const messages: string[] = [];
    const message = Buffer.alloc(MESSAGE_MAX);
    for (;;) {
      try {
        messages.push(message.toString("utf8", 0, readSync(this.#fd, message)));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EAGAIN") return messages;
        throw error;
      }
    }
  }

  close(): void {
    native.close(this.#fd);
  }
}
