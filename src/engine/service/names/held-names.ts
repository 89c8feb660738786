/**
 * Connections that have to show a name before their octets flow. The host's socket is kept aside, and until then the
 * connection is one that ends here (local.ts): what the guest sends waits in the backlog, nothing is read from the host,
 * and nothing on the packet path knows of it.
 *
 *   host answers -> hold -> guest's octets -> look: the name is allowed     -> release: an ordinary connection from now on
 *                                              it is not, or none came      -> told so in its own protocol, host side reset
 *
 * One that is refused in any case, and whose name has an address only so that it can be told why, ends here from its SYN on.
 *
 * Bounded in number and octets: the one that has waited longest gives way.
 */
import { DNS_STREAMS_MAX, HELD_NAME_OCTETS, HELD_NAMES_MAX, HELD_NAMES_OCTETS } from "../../limits.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { explain } from "../../policy/explain.ts";
import type { LetIn } from "../../policy/let-in.ts";
import type { Name } from "../../policy/name.ts";
import type { Policy } from "../../policy/policy.ts";
import { CHECK_TLS } from "../../policy/rule-set.ts";
import { OVER_TCP } from "../../policy/targets.ts";
import { copyRemote } from "../../transport/path.ts";
import type { TcpConnection } from "../../transport/tcp/connection.ts";
import type { TcpContext } from "../../transport/tcp/context.ts";
import { closeLocal, sendOctets } from "../../transport/tcp/local.ts";
import { LOCAL, type LocalService, type NameChecks } from "../../transport/tcp/local-service.ts";
import { abortBoth } from "../../transport/tcp/teardown.ts";
import { drainBacklog } from "../../transport/tcp/to-host.ts";
import { WINDOW_INITIAL } from "../../transport/tcp/window.ts";
import type { Detours } from "../ways/detours.ts";
import {
  FirstOctets,
  NEEDS_MORE,
  NO_NAME_SHOWN,
  NOT_THE_PROTOCOL,
  SHOWN_NAME,
  UNREADABLE,
} from "./first-octets.ts";
import { writeRefusal } from "./refusal.ts";

/** Numbers of local connections below are those of DNS. */
const HELD_FIRST = DNS_STREAMS_MAX;
/** How long a name may take to come: where there has to be one, and where its absence says nothing. */
const NAME_MS = 10_000;
const COURTESY_MS = 500;
/** How long the guest has to close its side after ours. */
const LINGER_MS = 10_000;

/** The host's side of one is closed, or never was: it is refused, whatever it shows. */
const NO_SOCKET = -1;

const FREE = 0;
/** Half open. */
const HELD = 1;
const WAITING = 2;
/** Told no; our FIN is sent, or follows. */
const CLOSING = 3;

/** Of `TcpConnection.check`, beside what is to be shown. */
const LENIENT = 4;
const SHOWS = 3;

const DENIED = flowEndBy("denied", "sluice");
const CHANGED = flowEndBy("policy-changed", "sluice");
const MISSING = dropReason("policy-name-missing");
const MALFORMED = dropReason("policy-name-malformed");
const ECH = dropReason("policy-ech");
const FULL = dropReason("policy-peek-full");

export class HeldNames implements LocalService, NameChecks {
  /** Connections there are. */
  open = 0;
  private readonly connections = new Array<TcpConnection | null>(HELD_NAMES_MAX).fill(null);
  private readonly state = new Uint8Array(HELD_NAMES_MAX);
  private readonly handle = new Int32Array(HELD_NAMES_MAX).fill(NO_SOCKET);
  private readonly since = new Int32Array(HELD_NAMES_MAX);
  private readonly dueAt = new Int32Array(HELD_NAMES_MAX);
  /** Octets of each that wait, as last looked at, and of all. */
  private readonly octets = new Int32Array(HELD_NAMES_MAX);
  private allOctets = 0;
  /** Those with something to look at, each once. */
  private readonly pending = new Int32Array(HELD_NAMES_MAX);
  private readonly isPending = new Uint8Array(HELD_NAMES_MAX);
  private pendingCount = 0;
  /** Nothing is due before; it may be early. Meaningless while there are none. */
  private earliestDue = 0;
  private readonly first: FirstOctets;
  private readonly words = new Int32Array(4);

  /** `scratchAt`: room for a refusal in the arena. */
  constructor(
    private readonly ctx: TcpContext,
    private readonly policy: Policy,
    private readonly letIn: LetIn,
    private readonly scratchAt: number,
    private readonly detours: Detours | null = null,
  ) {
    this.first = new FirstOctets(ctx, HELD_NAMES_MAX);
  }

  // --- the TCP layer's side ----------------------------------------------------------------------------------------

  begin(c: TcpConnection, isChecked: boolean): void {
    const { check, lenient, pinnedName, byName } = this.policy;
    this.noteName(c, byName ? pinnedName : null, false);
    if (!isChecked) return;
    c.check = check | (lenient ? LENIENT : 0);
    c.windowTarget = HELD_NAME_OCTETS;
  }

  explain(c: TcpConnection): void {
    this.noteName(c, null, false);
    c.check = this.policy.check;
    c.windowTarget = HELD_NAME_OCTETS;
    c.handle = NO_SOCKET;
    this.hold(c);
  }

  /** By which name it was let in. */
  private noteName(c: TcpConnection, name: Name | null, isShown: boolean): void {
    const { ledger } = this.ctx;
    this.letIn.note(c.id, ledger.serial[c.id], name, isShown, ledger.uptimeMs());
  }

  hold(c: TcpConnection): void {
    let n = this.state.indexOf(FREE);
    if (n < 0) n = this.giveWay(0);
    this.connections[n] = c;
    this.state[n] = HELD;
    this.handle[n] = c.handle;
    this.since[n] = this.ctx.now;
    this.octets[n] = 0;
    this.first.begin(n, (c.check & SHOWS) === CHECK_TLS);
    this.open++;
    c.handle = LOCAL - HELD_FIRST - n;
    c.hostWritable = false;
    c.hostReadable = false;
  }

  opened(c: TcpConnection): number {
    const number = LOCAL - c.handle;
    const n = number - HELD_FIRST;
    this.state[n] = WAITING;
    this.since[n] = this.ctx.now;
    this.schedule(n, (c.check & LENIENT) !== 0 ? COURTESY_MS : NAME_MS);
    return number;
  }

  arrived(number: number): void {
    const n = number - HELD_FIRST;
    if (this.isPending[n] !== 0) return;
    this.isPending[n] = 1;
    this.pending[this.pendingCount++] = n;
  }

  gone(number: number): void {
    const n = number - HELD_FIRST;
    this.closeHost(n);
    this.free(n);
  }

  private free(n: number): void {
    this.connections[n] = null;
    this.state[n] = FREE;
    this.allOctets -= this.octets[n];
    this.octets[n] = 0;
    this.open--;
  }

  private closeHost(n: number): void {
    if (this.handle[n] >= 0) this.ctx.network.tcpClose(this.handle[n], true);
    this.handle[n] = NO_SOCKET;
  }

  private schedule(n: number, ms: number): void {
    this.dueAt[n] = (this.ctx.now + ms) | 0;
    if (this.open === 1 || ((this.dueAt[n] - this.earliestDue) | 0) < 0) this.earliestDue = this.dueAt[n];
  }

  /** Of those that have so many octets the one that has been here longest ends. Returns its place. */
  private giveWay(leastOctets: number): number {
    let oldest = -1;
    for (let n = 0; n < HELD_NAMES_MAX; n++) {
      if (this.state[n] === FREE || this.octets[n] < leastOctets) continue;
      if (oldest < 0 || ((this.since[n] - this.since[oldest]) | 0) < 0) oldest = n;
    }
    const c = this.connections[oldest];
    if (c !== null) {
      if (this.state[oldest] !== CLOSING) this.count(c, FULL);
      abortBoth(this.ctx, c, DENIED);
    }
    return oldest;
  }

  // --- a step of the turn ------------------------------------------------------------------------------------------

  /** Looks at what has come, and ends what is due. */
  work(nowMs: number): void {
    for (let i = 0; i < this.pendingCount; i++) {
      const n = this.pending[i];
      this.isPending[n] = 0;
      const c = this.connections[n];
      if (c !== null) this.serve(n, c);
    }
    this.pendingCount = 0;
    while (this.allOctets > HELD_NAMES_OCTETS) this.giveWay(1);
    if (this.open > 0 && ((nowMs - this.earliestDue) | 0) >= 0) this.expire(nowMs);
  }

  private serve(n: number, c: TcpConnection): void {
    if (this.state[n] === CLOSING) {
      closeLocal(this.ctx, c);
      return;
    }
    if (this.state[n] !== WAITING) return;
    this.allOctets += c.backlogOctets - this.octets[n];
    this.octets[n] = c.backlogOctets;
    const found = this.first.look(n, c);
    if (found === NEEDS_MORE) {
      // Its FIN came, or the window is full: no more will.
      if (c.guestFinTaken || c.backlogOctets >= HELD_NAME_OCTETS) this.decide(n, c, NO_NAME_SHOWN);
      return;
    }
    this.decide(n, c, found);
  }

  private decide(n: number, c: TcpConnection, found: number): void {
    const { policy } = this;
    const isLenient = (c.check & LENIENT) !== 0;
    const isNamed = found === SHOWN_NAME && this.first.readName(policy.name);
    if (isNamed && !(policy.config.refuseEch && this.first.isEncrypted)) {
      const reason = this.judge(n, c);
      if (reason === HANDLED) {
        this.noteName(c, policy.name, true);
        this.release(n, c);
      } else {
        this.ctx.counters.drop(reason);
        this.refuse(n, c, reason);
      }
      return;
    }
    if (isLenient && !isNamed) {
      this.releaseUnnamed(n, c);
      return;
    }
    const isMalformed = found === UNREADABLE || found === SHOWN_NAME;
    const reason = isNamed ? ECH : isMalformed ? MALFORMED : MISSING;
    this.count(c, reason);
    if (found === NOT_THE_PROTOCOL || c.backlogOctets === 0) abortBoth(this.ctx, c, DENIED);
    else this.refuse(n, c, reason);
  }

  /** What rules say of the name that was shown, and then the limits of the one that allows it. HANDLED, or the drop reason. */
  private judge(n: number, c: TcpConnection): number {
    const { policy } = this;
    const words = this.wordsOf(c);
    if (this.handle[n] === NO_SOCKET) return explain(policy, words, c.remotePort);
    const shown = policy.shown(words, 0, c.remotePort, this.detours?.wayOf(c) ?? null);
    return shown === HANDLED ? this.limit(c, words) : shown;
  }

  /** Counts and notes a connection that ends without a name that could be judged. */
  private count(c: TcpConnection, reason: number): void {
    this.policy.name.labels = 0;
    this.policy.refusedFlow(this.wordsOf(c), c.remotePort, OVER_TCP, reason);
    this.ctx.counters.drop(reason);
  }

  /**
   * It need not show a name, and counts for the rule that lets it go now. The policy may be another since it began: one that
   * says no, or another way, has not looked at it yet (policy-review.ts).
   */
  private releaseUnnamed(n: number, c: TcpConnection): void {
    const { policy } = this;
    const words = this.wordsOf(c);
    policy.name.labels = 0;
    const holds = policy.holds(words, 0, c.remotePort, OVER_TCP, false);
    if (!holds || this.detours?.isOnItsWay(c) === false) {
      abortBoth(this.ctx, c, CHANGED);
      return;
    }
    const limited = this.limit(c, words);
    if (limited === HANDLED) {
      this.release(n, c);
      return;
    }
    this.ctx.counters.drop(limited);
    abortBoth(this.ctx, c, DENIED);
  }

  /** What the limits of the rule that decided say: HANDLED, and it is counted as let through, or the drop reason. */
  private limit(c: TcpConnection, words: Int32Array): number {
    const { policy } = this;
    const { rule, limits, counts } = policy;
    const limited = limits.rebind(c.id, rule, policy.uptimeMs());
    if (limited === HANDLED) counts.allow(rule);
    else policy.refusedFlow(words, c.remotePort, OVER_TCP, limited, rule);
    return limited;
  }

  /** The name is allowed: an ordinary connection from now on. */
  private release(n: number, c: TcpConnection): void {
    const { ctx } = this;
    c.handle = this.handle[n];
    this.handle[n] = NO_SOCKET;
    this.free(n);
    c.check = 0;
    c.windowTarget = WINDOW_INITIAL;
    c.hostWritable = true;
    c.hostReadable = true;
    // Events of the meantime went unheard: the first short read says nothing.
    c.hostUrgent = true;
    drainBacklog(ctx, c);
    if (c.handle >= 0) ctx.makeReady(c);
  }

  /** Says no in the connection's own protocol. The host has seen a handshake and no octet. */
  private refuse(n: number, c: TcpConnection, reason: number): void {
    const { ctx, scratchAt } = this;
    this.closeHost(n);
    const isTls = (c.check & SHOWS) === CHECK_TLS;
    const length = writeRefusal(ctx.arena.octets, scratchAt, isTls, reason, this.policy);
    if (!sendOctets(ctx, c, scratchAt, length)) {
      abortBoth(ctx, c, DENIED);
      return;
    }
    this.state[n] = CLOSING;
    closeLocal(ctx, c);
    this.allOctets -= this.octets[n];
    this.octets[n] = 0;
    this.schedule(n, LINGER_MS);
  }

  private expire(nowMs: number): void {
    let isFirst = true;
    for (let n = 0; n < HELD_NAMES_MAX; n++) {
      const c = this.connections[n];
      if (c === null || this.state[n] === HELD) continue;
      if (((nowMs - this.dueAt[n]) | 0) >= 0) {
        if (this.state[n] === CLOSING) abortBoth(this.ctx, c, DENIED);
        else this.decide(n, c, NO_NAME_SHOWN);
      }
      if (this.connections[n] !== c) continue;
      if (isFirst || ((this.dueAt[n] - this.earliestDue) | 0) < 0) this.earliestDue = this.dueAt[n];
      isFirst = false;
    }
    if (isFirst) this.earliestDue = (nowMs + NAME_MS) | 0;
  }

  /** Milliseconds from `nowMs` until `work` has something to do by itself, or -1. */
  nextDeadlineMs(nowMs: number): number {
    if (this.open === 0) return -1;
    return this.pendingCount > 0 ? 0 : Math.max(0, (this.earliestDue - nowMs) | 0);
  }

  /** The guest's name for where the connection goes. */
  private wordsOf(c: TcpConnection): Int32Array {
    const { words } = this;
    copyRemote(c, words);
    return words;
  }
}
