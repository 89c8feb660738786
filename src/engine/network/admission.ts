/**
 * What an embedding program says of each flow: asked once per TCP connection and once per remote of UDP, whose verdict
 * stands for as long as a mapping would. Exists only where a program wants to be asked.
 */

/** The program's own say. Addresses are int32 in host order. */
export type Admit = (
  protocol: "tcp" | "udp",
  guestAddress: number,
  remoteAddress: number,
  remotePort: number,
) => boolean;

/** What is asked about. */
interface Wish {
  readonly guestAddress: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
}

/** Verdicts remembered: a power of two. Two remotes that share a place are asked about in turn, no more. */
const VERDICTS_MAX = 8192;
const UNKNOWN = 0;
const ALLOWED = 1;
const REFUSED = 2;

export class Admission {
  private readonly guest = new Int32Array(VERDICTS_MAX);
  private readonly remote = new Int32Array(VERDICTS_MAX);
  private readonly port = new Int32Array(VERDICTS_MAX);
  private readonly verdict = new Uint8Array(VERDICTS_MAX);
  private readonly askedAtMs = new Int32Array(VERDICTS_MAX);

  constructor(
    private readonly admit: Admit,
    private readonly udpTimeoutMs: number,
  ) {}

  tcp(wish: Wish): boolean {
    return this.admit("tcp", wish.guestAddress, wish.remoteAddress, wish.remotePort);
  }

  udp(wish: Wish, nowMs: number): boolean {
    const { guestAddress, remoteAddress, remotePort } = wish;
    const mixed = Math.imul(remoteAddress ^ Math.imul(remotePort, 0x9e3779b1) ^ guestAddress, 0x85ebca6b);
    const i = (mixed >>> 16) & (VERDICTS_MAX - 1);
    if (
      this.verdict[i] !== UNKNOWN &&
      this.remote[i] === remoteAddress &&
      this.port[i] === remotePort &&
      this.guest[i] === guestAddress &&
      ((nowMs - this.askedAtMs[i]) | 0) < this.udpTimeoutMs
    ) {
      return this.verdict[i] === ALLOWED;
    }
    const allowed = this.admit("udp", guestAddress, remoteAddress, remotePort);
    this.guest[i] = guestAddress;
    this.remote[i] = remoteAddress;
    this.port[i] = remotePort;
    this.verdict[i] = allowed ? ALLOWED : REFUSED;
    this.askedAtMs[i] = nowMs;
    return allowed;
  }
}
