/**
 * Honest conversations that begin while a flood goes on, one after the other: each opens, asks, is answered and ends, and
 * how long that took is noted. Their guest repeats nothing, so that what the engine drops or gives up is never served.
 */
import { asTcp, asUdp, tcp, udp } from "./guest-packets.ts";

const [SYN, RST, ACK, PSH] = [2, 4, 16, 8];
/** Ports no flood uses. */
const PORT_FIRST = 100;
const PORTS = 800;
/** An echo service far away: its host answers a connection after FAR_MS. */
export const FAR_ECHO_PORT = 8;
export const FAR_MS = 20;
const ASK = Buffer.from("is anybody there?");

export class Newcomers {
  served = 0;
  /** The longest any of them took, the one under way included. */
  longestMs = 0;
  private begun = 0;
  private sinceMs = -1;

  constructor(
    private readonly protocol: "tcp" | "udp",
    private readonly say: (frame: Buffer) => void,
  ) {}

  private get ports(): { readonly sourcePort: number; readonly destinationPort: number } {
    return { sourcePort: PORT_FIRST + (this.begun % PORTS), destinationPort: FAR_ECHO_PORT };
  }

  /** Once a turn. */
  step(nowMs: number): void {
    if (this.sinceMs >= 0) {
      this.longestMs = Math.max(this.longestMs, nowMs - this.sinceMs);
      return;
    }
    this.begun++;
    this.sinceMs = nowMs;
    this.say(
      this.protocol === "udp"
        ? udp({ ...this.ports, payload: ASK })
        : tcp({ ...this.ports, flags: SYN, sequence: this.begun, options: { mss: 1460 } }),
    );
  }

  /** What the engine sent to one of them. */
  answer(frame: Uint8Array): void {
    const { sourcePort } = this.ports;
    if (this.protocol === "udp") {
      if (asUdp(frame).destinationPort === sourcePort) this.done();
      return;
    }
    const segment = asTcp(frame);
    if (segment.destinationPort !== sourcePort) return;
    if ((segment.flags & RST) !== 0) throw new Error("a newcomer was reset");
    const acknowledgment = (segment.sequence + segment.payload.length + ((segment.flags & SYN) >> 1)) | 0;
    const sequence = (this.begun + 1) | 0;
    if ((segment.flags & SYN) !== 0) {
      this.say(tcp({ ...this.ports, flags: ACK | PSH, sequence, acknowledgment, payload: ASK }));
    } else if (segment.payload.length > 0) {
      this.say(tcp({ ...this.ports, flags: RST, sequence: sequence + ASK.length }));
      this.done();
    }
  }

  private done(): void {
    this.served++;
    this.sinceMs = -1;
  }
}
