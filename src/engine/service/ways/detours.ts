/**
 * Connections that do not go straight where the guest wants to (transport/tcp/ways.ts): to another target, by a proxy, or to
 * an address that a name of theirs has yet to be asked for.
 *
 *   SYN -> begin -> socket to target or proxy stands -> PROXY header, or the proxy's handshake -> SYN-ACK
 *               \-> a resolver is asked -> the floor and the rules for what it says -> a socket that goes there
 *
 * Until then nothing has been said to the guest, so that what the proxy says no to is "Connection refused" to it. No octet of
 * what lies behind the proxy is read before its handshake has ended. There is no other way in the end: a proxy that is not
 * there, is silent or talks nonsense is a reset.
 */
import {
  EACCES,
  EAGAIN,
  ECONNREFUSED,
  EHOSTUNREACH,
  ENETUNREACH,
  ENOBUFS,
  ETIMEDOUT,
} from "../../boundary.ts";
import type { PolicyWay } from "../../config.ts";
import { DETOURS_MAX } from "../../limits.ts";
import { dropReason } from "../../metrics/drop-reasons.ts";
import { GO } from "../../network/destinations.ts";
import type { Policy } from "../../policy/policy.ts";
import { NO_RULE } from "../../policy/rule-set.ts";
import { OVER_TCP } from "../../policy/targets.ts";
import { isSameWay } from "../../policy/ways.ts";
import { copyGuest, copyRemote } from "../../transport/path.ts";
import { CONNECTING, type TcpConnection } from "../../transport/tcp/connection.ts";
import type { TcpContext } from "../../transport/tcp/context.ts";
import { connectOutbound, failConnect } from "../../transport/tcp/open.ts";
import { PENDING, STRAIGHT, type Ways } from "../../transport/tcp/ways.ts";
import { ANSWER_ENDED, ANSWER_UNDER_WAY, writeConnectRequest } from "../../wire/http-connect.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_TCP } from "../../wire/ipv4.ts";
import { writeProxyHeader } from "../../wire/proxy-protocol.ts";
import {
  CHOICE_OCTETS,
  chosenMethod,
  isLoggedIn,
  METHOD_LOGIN,
  METHOD_NONE,
  NOT_A_REPLY,
  REPLY_HEAD_OCTETS,
  replyCode,
  replyOctets,
  writeConnect,
  writeGreeting,
  writeLogin,
} from "../../wire/socks5.ts";
import {
  Detour,
  DONE,
  FREE,
  HEAR_ANSWER,
  HEAR_CHOICE,
  HEAR_LOGIN,
  HEAR_REPLY,
  HEAR_REPLY_HEAD,
  RESOLVED,
  SAY_CONNECT,
  SAY_GREETING,
  SAY_HEADER,
  SAY_LOGIN,
  SAY_REQUEST,
  TO_CONNECT,
  TO_RESOLVE,
} from "./detour.ts";
import type { NameLookup } from "./name-lookup.ts";

/** How long a proxy may take from the socket on. */
const HANDSHAKE_MS = 30_000;

const CONTROL = dropReason("control-refused");
const UNREACHABLE = dropReason("proxy-unreachable");
const PROXY_REFUSED = dropReason("proxy-refused");

/** What the codes of SOCKS replies (RFC 1928 section 6) are to the host. */
const REPLY_ERRORS: Readonly<Record<number, number>> = {
  2: EACCES,
  3: ENETUNREACH,
  4: EHOSTUNREACH,
  5: ECONNREFUSED,
  6: ETIMEDOUT,
};

/** What `hear` found. */
const HEARD = 0;
const BLOCKED = 1;
const FAILED = 2;

export class Detours implements Ways {
  private readonly detours: Detour[] = [];
  /** Places that are free. */
  private readonly free = new Int32Array(DETOURS_MAX);
  private freeCount = 0;
  /** By flow: its place + 1, and its way, which stays. */
  private readonly placeOf: Int16Array;
  private readonly wayByFlow: (PolicyWay | null)[] = [];
  private earliestDue = 0;
  private readonly words = new Int32Array(4);
  private readonly texts = new TextEncoder();
  /** How many there are. */
  open = 0;

  /** `scratchAt`: 8 KiB of the arena, free within a call. */
  constructor(
    private readonly ctx: TcpContext,
    private readonly policy: Policy,
    private readonly scratchAt: number,
    private readonly lookup: NameLookup,
  ) {
    this.placeOf = new Int16Array(ctx.flows.capacity);
    lookup.found = () => {
      this.earliestDue = ctx.now;
    };
  }

  /** By what way a connection left; null: straight. */
  wayOf(c: TcpConnection): PolicyWay | null {
    return this.wayByFlow[c.id] ?? null;
  }

  /** Whether it left by the way that the flow which was judged last would leave by. */
  isOnItsWay(c: TcpConnection): boolean {
    return isSameWay(
      this.wayOf(c),
      this.policy.takeWay(c.ipOctets === IPV4_HEADER_OCTETS ? c.remoteAddress : 0),
    );
  }

  // --- the TCP layer's side ----------------------------------------------------------------------------------------

  begin(c: TcpConnection): void {
    const { policy } = this;
    const { way } = policy;
    while (this.wayByFlow.length <= c.id) this.wayByFlow.push(null);
    this.wayByFlow[c.id] = way;
    policy.limits.bind(c.id, c.check === 0 || policy.lenient ? policy.rule : NO_RULE);
    this.placeOf[c.id] = 0;
    const { words } = this;
    copyRemote(c, words);
    const isNamed = policy.standIns?.has(words, 0) === true;
    if (way === null && !isNamed) return;
    const n = this.place();
    if (n < 0) {
      this.placeOf[c.id] = NO_PLACE;
      return;
    }
    const detour = this.detours[n];
    const { end } = detour;
    this.placeOf[c.id] = n + 1;
    this.open++;
    detour.connection = c;
    detour.iss = c.iss;
    detour.way = way;
    detour.begin(way === null ? TO_RESOLVE : TO_CONNECT);
    detour.asksIpv6 = false;
    detour.foundCount = 0;
    end.words.set(words);
    end.port = c.remotePort;
    end.nameOctets = policy.byName ? policy.pinnedName.length : 0;
    for (let i = 0; i < end.nameOctets; i++) end.name[i] = policy.pinnedName.octets[i];
    this.schedule(n);
  }

  connect(token: number, c: TcpConnection): number {
    const n = this.find(c);
    if (this.isFull(c)) {
      if (n >= 0) this.release(n);
      return ECONNREFUSED;
    }
    if (n === NO_PLACE) return ENOBUFS;
    if (n < 0) return STRAIGHT;
    const detour = this.detours[n];
    if (detour.way !== null) {
      if (this.lookup.isForbidden(detour.way)) return ECONNREFUSED;
      this.showTarget(c, detour.way);
      return this.ctx.network.tcpConnectOperator(token, detour.way.target);
    }
    if (detour.step === TO_RESOLVE) {
      this.lookup.ask(n, detour, this.ctx.now);
      return PENDING;
    }
    this.release(n);
    return STRAIGHT;
  }

  /** Whether its rule has no room for it any more: others may have begun while it waited for an answer or an address. */
  private isFull(c: TcpConnection): boolean {
    const { policy, words } = this;
    const { limits, counts } = policy;
    const reason = limits.ofFlow(c.id)?.room(true) ?? 0;
    if (reason === 0) return false;
    const rule = limits.ruleOf(c.id);
    counts.takeBack(rule);
    copyRemote(c, words);
    policy.name.labels = 0;
    policy.refusedFlow(words, c.remotePort, OVER_TCP, reason, rule);
    this.ctx.counters.drop(reason);
    this.ctx.ledger.recorder?.denied(reason, PROTOCOL_TCP, c);
    return true;
  }

  connected(c: TcpConnection): boolean {
    const n = this.find(c);
    if (n < 0) return true;
    const detour = this.detours[n];
    if (detour.step === TO_CONNECT) this.firstStep(n, detour);
    while (detour.step !== DONE) if (!this.goOn(n, detour, c)) return false;
    this.release(n);
    return true;
  }

  failed(c: TcpConnection): void {
    const n = this.find(c);
    if (n < 0) return;
    const { way } = this.detours[n];
    if (way !== null) this.note(n, this.lookup.isForbidden(way) ? CONTROL : UNREACHABLE);
    this.release(n);
  }

  /** The flow table shows where the socket goes. */
  private showTarget(c: TcpConnection, { target }: PolicyWay): void {
    if (target.kind !== "tcp") return;
    const { to } = this.ctx;
    to.set(target.words);
    to[4] = target.port;
    c.setTarget(to);
  }

  // --- places ------------------------------------------------------------------------------------------------------

  /** A place for one more, or NO_PLACE. */
  private place(): number {
    if (this.freeCount === 0) this.collect();
    if (this.freeCount > 0) return this.free[--this.freeCount];
    if (this.detours.length === DETOURS_MAX) return NO_PLACE;
    this.detours.push(new Detour());
    return this.detours.length - 1;
  }

  /** Takes back the places of connections that are gone. */
  private collect(): void {
    for (let n = 0; n < this.detours.length; n++) {
      const detour = this.detours[n];
      if (detour.step !== FREE && !detour.isLive(CONNECTING)) this.release(n);
    }
  }

  private find(c: TcpConnection): number {
    const n = this.placeOf[c.id] - 1;
    if (n < 0) return this.placeOf[c.id] === NO_PLACE ? NO_PLACE : NOWHERE;
    return this.detours[n].connection === c && this.detours[n].iss === c.iss ? n : NOWHERE;
  }

  private release(n: number): void {
    const detour = this.detours[n];
    if (detour.connection !== null && this.placeOf[detour.connection.id] === n + 1) {
      this.placeOf[detour.connection.id] = 0;
    }
    detour.step = FREE;
    detour.connection = null;
    detour.way = null;
    this.free[this.freeCount++] = n;
    this.open--;
  }

  // --- handshakes --------------------------------------------------------------------------------------------------

  private firstStep(n: number, detour: Detour): void {
    const { way } = detour;
    if (way === null || (way.kind === "to" && !way.proxyHeader)) detour.begin(DONE);
    else if (way.kind === "to") detour.begin(SAY_HEADER);
    else if (way.kind === "socks5") detour.begin(SAY_GREETING);
    else detour.begin(SAY_CONNECT);
    detour.answer.begin();
    this.schedule(n);
  }

  /** Takes one step. False when it has to wait, or it is over. */
  private goOn(n: number, detour: Detour, c: TcpConnection): boolean {
    const heard = detour.step === HEAR_ANSWER ? this.hearAnswer(n, detour, c) : this.talk(detour, c);
    if (heard === BLOCKED) return false;
    if (heard === FAILED) {
      this.fail(n, c, UNREACHABLE, ECONNREFUSED);
      return false;
    }
    return this.next(n, detour, c);
  }

  private talk(detour: Detour, c: TcpConnection): number {
    return detour.wantedOctets > 0 ? this.hear(detour, c) : this.say(detour, c);
  }

  /** What was to be said is said, or what was to be heard is there. False when that ends it. */
  private next(n: number, detour: Detour, c: TcpConnection): boolean {
    const { heard, way } = detour;
    switch (detour.step) {
      case SAY_GREETING:
        detour.begin(HEAR_CHOICE, CHOICE_OCTETS);
        return true;
      case HEAR_CHOICE: {
        const method = chosenMethod(heard, 0);
        const hasLogin = way?.kind === "socks5" && way.login !== undefined;
        if (method !== METHOD_NONE && !(method === METHOD_LOGIN && hasLogin))
          return this.refused(n, c, EACCES);
        detour.begin(method === METHOD_NONE ? SAY_REQUEST : SAY_LOGIN);
        return true;
      }
      case SAY_LOGIN:
        detour.begin(HEAR_LOGIN, CHOICE_OCTETS);
        return true;
      case HEAR_LOGIN:
        if (!isLoggedIn(heard, 0)) return this.refused(n, c, EACCES);
        detour.begin(SAY_REQUEST);
        return true;
      case SAY_REQUEST:
        detour.begin(HEAR_REPLY_HEAD, REPLY_HEAD_OCTETS);
        return true;
      case HEAR_REPLY_HEAD: {
        const octets = replyOctets(heard, 0);
        if (octets === NOT_A_REPLY) return this.refused(n, c, ECONNREFUSED);
        if (replyCode(heard, 0) !== 0) {
          return this.refused(n, c, REPLY_ERRORS[replyCode(heard, 0)] ?? ECONNREFUSED);
        }
        detour.step = HEAR_REPLY;
        detour.wantedOctets = octets;
        return true;
      }
      case SAY_CONNECT:
        detour.begin(HEAR_ANSWER);
        return true;
      default:
        detour.begin(DONE);
        return true;
    }
  }

  /** Says what is to be said, or the rest of it. */
  private say(detour: Detour, c: TcpConnection): number {
    const { ctx, scratchAt } = this;
    const length = this.write(detour, c);
    ctx.sendList[0] = scratchAt + detour.said;
    ctx.sendList[1] = length - detour.said;
    const taken = ctx.network.tcpSend(c.handle, ctx.sendList, 1);
    if (taken < 0) return taken === EAGAIN || taken === ENOBUFS ? BLOCKED : FAILED;
    detour.said += taken;
    return detour.said < length ? BLOCKED : HEARD;
  }

  private write(detour: Detour, c: TcpConnection): number {
    const { octets } = this.ctx.arena;
    const { view } = this.ctx;
    const { way, end } = detour;
    const at = this.scratchAt;
    switch (detour.step) {
      case SAY_GREETING:
        return writeGreeting(octets, at, way?.kind === "socks5" && way.login !== undefined);
      case SAY_LOGIN: {
        const { user = "", password = "" } = (way?.kind === "socks5" ? way.login : undefined) ?? {};
        return writeLogin(octets, at, this.texts.encode(user), this.texts.encode(password));
      }
      case SAY_REQUEST:
        return writeConnect(octets, view, at, end);
      case SAY_CONNECT:
        return writeConnectRequest(octets, at, end, (way?.kind === "http" ? way.credentials : null) ?? null);
      default:
        copyGuest(c, this.words);
        return writeProxyHeader(octets, view, at, this.words, c.guestPort, end);
    }
  }

  /** Hears what is wanted and no octet more. */
  private hear(detour: Detour, c: TcpConnection): number {
    const { ctx, scratchAt } = this;
    while (detour.heardOctets < detour.wantedOctets) {
      const got = this.receive(c, detour.wantedOctets - detour.heardOctets);
      if (got <= 0) return got === EAGAIN ? BLOCKED : FAILED;
      for (let i = 0; i < got; i++) detour.heard[detour.heardOctets++] = ctx.arena.octets[scratchAt + i];
    }
    return HEARD;
  }

  private hearAnswer(n: number, { answer }: Detour, c: TcpConnection): number {
    const { ctx, scratchAt } = this;
    for (;;) {
      const got = this.receive(c, answer.expected);
      if (got <= 0) return got === EAGAIN ? BLOCKED : FAILED;
      const result = answer.take(ctx.arena.octets, scratchAt, got);
      if (result === ANSWER_UNDER_WAY) continue;
      const { status } = answer;
      const isConnected = result === ANSWER_ENDED && status >= 200 && status < 300;
      if (isConnected) return HEARD;
      this.refused(n, c, status === 403 || status === 407 ? EACCES : ECONNREFUSED);
      return BLOCKED;
    }
  }

  private receive(c: TcpConnection, most: number): number {
    const { ctx } = this;
    ctx.receiveList[0] = this.scratchAt;
    ctx.receiveList[1] = most;
    return ctx.network.tcpReceive(c.handle, ctx.receiveList, 1);
  }

  private refused(n: number, c: TcpConnection, error: number): false {
    this.fail(n, c, PROXY_REFUSED, error);
    return false;
  }

  private fail(n: number, c: TcpConnection, reason: number, error: number): void {
    this.note(n, reason);
    this.release(n);
    failConnect(this.ctx, c, error);
  }

  /** Counts and notes what ends a connection. */
  private note(n: number, reason: number): void {
    const { policy, ctx } = this;
    const { end, connection } = this.detours[n];
    if (end.nameOctets === 0 || !policy.name.readText(end.name, 0, end.nameOctets)) policy.name.labels = 0;
    policy.refusedFlow(end.words, end.port, OVER_TCP, reason);
    ctx.counters.drop(reason);
    if (connection !== null) ctx.ledger.recorder?.denied(reason, PROTOCOL_TCP, connection);
  }

  // --- names that are asked for ------------------------------------------------------------------------------------

  /** A resolver's answer is there: its addresses are in `found`, should there be any the guest may reach. */
  private settle(n: number, detour: Detour, c: TcpConnection): void {
    const { lookup, ctx } = this;
    const reason = lookup.choose(detour, ctx.to);
    if (reason === 0) {
      c.setTarget(ctx.to);
      connectOutbound(ctx, c, GO);
    } else if (!detour.asksIpv6) {
      detour.asksIpv6 = true;
      detour.foundCount = 0;
      detour.step = TO_RESOLVE;
      lookup.ask(n, detour, ctx.now);
    } else {
      if (reason > 0) this.note(n, reason);
      this.release(n);
      failConnect(ctx, c, EHOSTUNREACH);
    }
  }

  /** An answer to question `n` of ours. */
  answered(at: number, length: number): boolean {
    return this.lookup.answered(this.detours, at, length);
  }

  // --- a step of the turn ------------------------------------------------------------------------------------------

  private schedule(n: number): void {
    const { ctx } = this;
    this.detours[n].dueAt = (ctx.now + HANDSHAKE_MS) | 0;
    if (this.open === 1) this.earliestDue = this.detours[n].dueAt;
  }

  /** Ends what has taken too long, and goes on with what has been resolved. */
  work(nowMs: number): void {
    if (this.open === 0 || ((nowMs - this.earliestDue) | 0) < 0) return;
    let earliest = (nowMs + HANDSHAKE_MS) | 0;
    for (let n = 0; n < this.detours.length; n++) {
      const detour = this.detours[n];
      if (detour.step === FREE) continue;
      const c = detour.connection;
      if (c === null || !detour.isLive(CONNECTING)) {
        this.release(n);
        continue;
      }
      if (detour.step === RESOLVED) this.settle(n, detour, c);
      else if (((nowMs - detour.dueAt) | 0) >= 0) this.expire(n, detour, c);
      if (detour.step !== FREE && ((detour.dueAt - earliest) | 0) < 0) earliest = detour.dueAt;
    }
    this.earliestDue = earliest;
  }

  private expire(n: number, { way }: Detour, c: TcpConnection): void {
    if (way !== null) this.note(n, UNREACHABLE);
    this.release(n);
    failConnect(this.ctx, c, ETIMEDOUT);
  }

  /** Milliseconds from `nowMs` until `work` has something to do by itself, or -1. */
  nextDeadlineMs(nowMs: number): number {
    return this.open === 0 ? -1 : Math.max(0, (this.earliestDue - nowMs) | 0);
  }
}

/** There was no place for it. */
const NO_PLACE = -1;
/** It has none, and needs none. */
const NOWHERE = -2;
