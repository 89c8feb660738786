/**
 * Which ports of the guest are open, for forwards that take clients only then (`Forward.whenOpen`). Each port is asked every
 * second by a SYN from the gateway; the guest's SYN-ACK is answered with a reset, so that no program of its hears of it. A
 * socket of the host is bound from its start and listens while its port is open.
 */
import type { ServedPort } from "../api.ts";
import type { HostNetwork } from "../boundary.ts";
import { SYN } from "../wire/tcp.ts";
import { type Ends, Path } from "./path.ts";
import type { PortAnswers, TcpContext } from "./tcp/context.ts";
import { sendUnconnected } from "./tcp/output.ts";

const ROUND_MS = 1000;
/** Ports asked one after the other rather than all at once, when they are many: the link queues 512 frames. */
const STEPS = 20;
const FEW_PORTS = 32;
/** Rounds without an answer until a port counts as closed. */
const SILENT_ROUNDS = 2;
/** Where questions come from: tcpmux, which no client of a forward has. */
const ASKING_PORT = 1;

interface AskedPort {
  readonly slot: number;
  readonly handle: number;
  readonly port: ServedPort;
  isOpen: boolean;
  /** Rounds since the last answer. */
  silent: number;
  /** Another with the same port of the guest, by its place; or NONE. */
  another: number;
}

const NONE = -1;
const PORTS = 65_536;

export class OpenPorts implements PortAnswers {
  private asked: AskedPort[] = [];
  /** By port of the guest: the place of the one that was added last, or NONE. */
  private readonly byGuestPort = new Int32Array(PORTS).fill(NONE);
  private readonly path = new Path();
  /** Changes with every walk through the ports: answers to older questions do not count. */
  private sequence = 1;
  private next = 0;
  private dueMs = 0;

  constructor(
    private readonly ctx: TcpContext,
    private readonly network: HostNetwork,
    private readonly guestOf: (port: ServedPort) => number,
  ) {
    this.path.remoteAddress = ctx.gateway;
    this.path.remotePort = ASKING_PORT;
    ctx.openPorts = this;
  }

  add(slot: number, handle: number, port: ServedPort, nowMs: number): void {
    if (this.asked.length === 0) this.dueMs = nowMs;
    this.place({ slot, handle, port, isOpen: false, silent: 0, another: NONE });
  }

  private place(one: AskedPort): void {
    const { guestPort } = one.port;
    one.another = this.byGuestPort[guestPort];
    this.byGuestPort[guestPort] = this.asked.length;
    this.asked.push(one);
  }

  /** Forgets the ports of forward `id`. */
  remove(id: number): void {
    const before = this.asked;
    this.asked = [];
    this.byGuestPort.fill(NONE);
    for (const one of before) if (one.port.id !== id) this.place(one);
  }

  /** Whether the socket in `slot`, whose clients go to `guestPort`, listens. */
  isOpen(slot: number, guestPort: number): boolean {
    for (let at = this.byGuestPort[guestPort]; at !== NONE; at = this.asked[at].another) {
      if (this.asked[at].slot === slot) return this.asked[at].isOpen;
    }
    return false;
  }

  /** Asks those whose turn it is. */
  work(nowMs: number): void {
    const { asked } = this;
    if (asked.length === 0 || ((nowMs - this.dueMs) | 0) < 0) return;
    const steps = asked.length <= FEW_PORTS ? 1 : STEPS;
    this.dueMs = (nowMs + ROUND_MS / steps) | 0;
    for (let n = Math.ceil(asked.length / steps); n > 0; n--) {
      if (this.next >= asked.length) this.next = 0;
      if (this.next === 0) this.sequence = (this.sequence + 1) | 0;
      this.ask(asked[this.next++]);
    }
  }

  nextDeadlineMs(nowMs: number): number {
    return this.asked.length === 0 ? -1 : Math.max((this.dueMs - nowMs) | 0, 0);
  }

  private ask(one: AskedPort): void {
    if (one.silent++ >= SILENT_ROUNDS) this.set(one, false);
    const { path } = this;
    path.guestAddress = this.guestOf(one.port);
    path.guestPort = one.port.guestPort;
    if (path.guestAddress !== 0) sendUnconnected(this.ctx, path, this.sequence, 0, SYN);
  }

  answered(ends: Ends, isOpen: boolean, acknowledgment: number): boolean {
    const { path, sequence } = this;
    if (ends.remotePort !== ASKING_PORT || ends.remoteAddress !== path.remoteAddress) return false;
    if (ends.ipOctets !== path.ipOctets || acknowledgment !== ((sequence + 1) | 0)) return false;
    let isOurs = false;
    for (let at = this.byGuestPort[ends.guestPort]; at !== NONE; at = this.asked[at].another) {
      const one = this.asked[at];
      if (this.guestOf(one.port) !== ends.guestAddress) continue;
      isOurs = true;
      one.silent = 0;
      this.set(one, isOpen);
    }
    return isOurs;
  }

  refused(guestPort: number): void {
    for (let at = this.byGuestPort[guestPort]; at !== NONE; at = this.asked[at].another) {
      this.set(this.asked[at], false);
    }
  }

  private set(one: AskedPort, isOpen: boolean): void {
    if (one.isOpen === isOpen) return;
    // One that cannot listen is asked about again, and tries again.
    if ((this.network.tcpListen?.(one.handle, isOpen) ?? 0) < 0) return;
    one.isOpen = isOpen;
  }
}
