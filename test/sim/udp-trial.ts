/**
 * Datagrams from one guest port to several remotes, each answered some number of times. A datagram may be lost, but
 * what arrives is whole, from whom it should be, and meant for this port; and over a link and a host that lose
 * nothing, all of it arrives.
 */
import type { Guest } from "./guest-stack/guest.ts";
import type { SimulatedHost } from "./host-network/host-network.ts";
import { Pattern } from "./world/pattern.ts";
import type { Random } from "./world/random.ts";
import type { World } from "./world/world.ts";

const HEADER_OCTETS = 8;

export interface UdpTrialSettings {
  readonly id: number;
  readonly guestPort: number;
  readonly remotes: readonly { readonly ip: number; readonly port: number }[];
  readonly datagrams: number;
  readonly sizeMax: number;
  /** Nothing on the way may lose a datagram. */
  readonly lossless: boolean;
}

export class UdpTrial {
  sent = 0;
  reachedRemote = 0;
  answered = 0;
  answersReceived = 0;
  /** The host port this guest port is mapped to (RFC 4787 REQ-1: one for all remotes), 0 before it is known. */
  private mappedPort = 0;
  private readonly pattern: Pattern;
  private readonly random: Random;

  constructor(
    private readonly world: World,
    private readonly guest: Guest,
    host: SimulatedHost,
    private readonly settings: UdpTrialSettings,
  ) {
    this.random = world.random.fork();
    this.pattern = new Pattern(this.random.between(0, 1_000_000));
    guest.bindUdp(settings.guestPort, (payload, ip, port) => this.answerArrives(payload, ip, port));
    for (const { ip, port } of settings.remotes) {
      host.serveUdp(ip, port, (payload, fromPort, reply) => this.atRemote(payload, fromPort, reply));
    }
  }

  start(): void {
    this.world.after(this.random.between(0, 2000), () => this.sendNext());
  }

  private sendNext(): void {
    if (this.sent >= this.settings.datagrams) return;
    const remote = this.random.pick(this.settings.remotes);
    const size = this.random.chance(0.1) ? 0 : this.random.magnitude(1, this.settings.sizeMax);
    this.guest.sendUdp(this.settings.guestPort, remote.ip, remote.port, this.datagram(this.sent++, size));
    this.world.after(this.random.magnitude(1, 400), () => this.sendNext());
  }

  private datagram(number: number, size: number): Buffer {
    const header = Buffer.alloc(HEADER_OCTETS);
    header.writeUInt32BE(this.settings.id, 0);
    header.writeUInt32BE(number, 4);
    return Buffer.concat([header, this.pattern.slice(number * 1000, size)]);
  }

  private check(payload: Buffer, where: string): number {
    const { id } = this.settings;
    if (payload.length < HEADER_OCTETS || payload.readUInt32BE(0) !== id) {
      this.world.violation(`UDP ${id}: another flow's datagram at the ${where}`);
    }
    const number = payload.readUInt32BE(4);
    if (this.pattern.mismatch(number * 1000, payload.subarray(HEADER_OCTETS)) >= 0) {
      this.world.violation(`UDP ${id}: datagram ${number} changed on its way to the ${where}`);
    }
    return number;
  }

  private atRemote(
    payload: Buffer,
    fromPort: number,
    reply: (payload: Buffer, delayMs: number) => void,
  ): void {
    const number = this.check(payload, "remote");
    this.reachedRemote++;
    if (this.mappedPort !== 0 && this.mappedPort !== fromPort) {
      this.world.violation(`UDP ${this.settings.id}: mapped to port ${this.mappedPort}, then to ${fromPort}`);
    }
    this.mappedPort = fromPort;
    const answers = this.random.pick([0, 1, 1, 2]);
    for (let i = 0; i < answers; i++) {
      const size = this.random.magnitude(0, this.settings.sizeMax);
      this.answered++;
      reply(this.datagram(number, size), this.random.magnitude(0, 300));
    }
  }

  private answerArrives(payload: Buffer, ip: number, port: number): void {
    this.check(payload, "guest");
    if (!this.settings.remotes.some((remote) => remote.ip === ip && remote.port === port)) {
      this.world.violation(`UDP ${this.settings.id}: an answer from somebody who was not asked`);
    }
    this.answersReceived++;
  }

  get done(): boolean {
    return this.sent >= this.settings.datagrams;
  }

  verdict(): string | null {
    if (!this.settings.lossless) return null;
    if (this.reachedRemote !== this.sent) return `${this.sent} datagrams sent, ${this.reachedRemote} reached`;
    if (this.answersReceived !== this.answered) {
      return `${this.answered} answers sent, ${this.answersReceived} received`;
    }
    return null;
  }
}
