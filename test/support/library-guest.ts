/** A guest of the library's engine, on a link in QEMU's framing. */
import type { Socket } from "node:net";
import { ip, udpFrame } from "./frames.ts";

/** A datagram of the guest, by default to the gateway's address. */
export function sendDatagram(guest: Socket, destinationPort: number, destination = "10.0.2.2"): void {
  const frame = udpFrame({
    source: ip("10.0.2.15"),
    sourcePort: 4000,
    destination: ip(destination),
    destinationPort,
    payload: Buffer.from("hello"),
  });
  frame.set([0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56], 0);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(frame.length);
  guest.write(Buffer.concat([head, frame]));
}
