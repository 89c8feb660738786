/**
 * The host's sockets as a policy with limits lets them be used: what is over the rate is not read and not taken, as if the
 * kernel had nothing and no room, and the flow is woken when there is some again. Nothing is lost: the peer's window fills, and the
 * guest's does. Datagrams over the rate are dropped.
 *
 * It stands between the transports and the host, so that nothing on the packet path knows of limits.
 */
import { TOKEN_INDEX_MASK } from "../api.ts";
import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  type AddressWords,
  EAGAIN,
  type HostNetwork,
  type UdpBatch,
} from "../boundary.ts";
import type { OperatorTarget } from "../config.ts";
import { datagramsOf } from "../memory/udp-batch.ts";
import type { Counters } from "../metrics/counters.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { flowEndBy } from "../metrics/flow-end.ts";
import { FROM_GUEST, type RuleLimit, TO_GUEST } from "../policy/limits.ts";
import type { Policy } from "../policy/policy.ts";
import { CLOSED, type TcpConnection } from "../transport/tcp/connection.ts";
import type { TcpContext } from "../transport/tcp/context.ts";
import { stopPeeking } from "../transport/tcp/peek.ts";
import { abortBoth } from "../transport/tcp/teardown.ts";
import { setMapped } from "../wire/mapped-address.ts";

const RATE = dropReason("policy-rate");
const BUDGET = dropReason("policy-budget");
const SPENT = flowEndBy("denied", "sluice");
const NO_FLOW = -1;
const HANDLES_FIRST = 1024;
/** Bits of what a flow waits for, by direction. */
const WAITS_FOR = [1, 2];

export class MeteredNetwork implements HostNetwork {
  /** By handle. */
  private flows = new Int32Array(HANDLES_FIRST).fill(NO_FLOW);
  /** Flows that wait for tokens, each once, and for what. */
  private readonly waiting: number[] = [];
  private readonly waits = new Map<number, number>();
  /** Since when each does. */
  private readonly since = new Map<number, number>();
  private dueAt = 0;
  /** What the call in hand may take, where that is less than it would. */
  private granted = Number.POSITIVE_INFINITY;
  private ctx: TcpContext | null = null;
  private readonly inside = new Int32Array(4);

  constructor(
    private readonly inner: HostNetwork,
    private readonly policy: Policy,
    private readonly counters: Counters,
  ) {}

  // --- flows -------------------------------------------------------------------------------------------------------

  private opened(handle: number, token: number): number {
    if (handle < 0) return handle;
    if (handle >= this.flows.length) {
      const more = new Int32Array(Math.max(this.flows.length * 2, handle + 1)).fill(NO_FLOW);
      more.set(this.flows);
      this.flows = more;
    }
    const flow = token & TOKEN_INDEX_MASK;
    this.flows[handle] = flow;
    const limit = this.policy.limits.ofFlow(flow);
    if (limit !== null) limit.open++;
    return handle;
  }

  private limitOf(handle: number): RuleLimit | null {
    const flow = handle < this.flows.length ? this.flows[handle] : NO_FLOW;
    return flow === NO_FLOW ? null : this.policy.limits.ofFlow(flow);
  }

  /** Limits are others: those that wait may have nothing to wait for. */
  limitsChanged(): void {
    this.dueAt = this.policy.uptimeMs();
  }

  /** An open connection counts for this rule from now on. */
  countFor(ctx: TcpContext, c: TcpConnection, rule: number): void {
    const { limits } = this.policy;
    if (limits.isNone || c.handle >= this.flows.length || this.flows[c.handle] !== c.id) return;
    const old = limits.ofFlow(c.id);
    const next = limits.ofRule(rule);
    limits.bind(c.id, rule);
    if (old === next) return;
    if (old !== null) old.open--;
    if (next === null) return;
    next.open++;
    if (next.left <= 0) limits.spent = true;
    if (c.peeking) stopPeeking(ctx, c);
  }

  tcpConnect(token: number, to: AddressWords): number {
    return this.opened(this.inner.tcpConnect(token, to), token);
  }

  tcpConnectService(token: number, index: number): number {
    return this.inner.tcpConnectService(token, index);
  }

  tcpConnectOperator(token: number, target: OperatorTarget): number {
    return this.opened(this.inner.tcpConnectOperator(token, target), token);
  }

  tcpClose(handle: number, reset: boolean): void {
    const limit = this.limitOf(handle);
    if (limit !== null) limit.open--;
    if (handle < this.flows.length) this.flows[handle] = NO_FLOW;
    this.inner.tcpClose(handle, reset);
  }

  tcpReceive(handle: number, scatter: Int32Array, count: number): number {
    const limit = this.limitOf(handle);
    if (limit === null || this.hasBeenRead(handle)) return this.inner.tcpReceive(handle, scatter, count);
    const entries = this.clamp(limit, TO_GUEST, scatter, count);
    const got = entries === 0 ? 0 : this.inner.tcpReceive(handle, scatter, entries);
    if (got > 0) this.took(limit, TO_GUEST, got);
    if (got >= this.granted) this.wait(this.flows[handle], TO_GUEST);
    return entries === 0 ? EAGAIN : got;
  }

  /** What the kernel kept of a flow that had no limit yet is in the guest already (transport/tcp/peek.ts). */
  private hasBeenRead(handle: number): boolean {
    return this.ctx?.connections[this.flows[handle]]?.peekEnds === true;
  }

  tcpSend(handle: number, gather: Int32Array, count: number): number {
    const limit = this.limitOf(handle);
    if (limit === null) return this.inner.tcpSend(handle, gather, count);
    const entries = this.clamp(limit, FROM_GUEST, gather, count);
    const taken = entries === 0 ? 0 : this.inner.tcpSend(handle, gather, entries);
    if (taken > 0) this.took(limit, FROM_GUEST, taken);
    if (taken >= this.granted) this.wait(this.flows[handle], FROM_GUEST);
    return entries === 0 ? EAGAIN : taken;
  }

  /**
   * Shortens the entries of a list to what may pass now. Returns how many are left. A flow that takes all it is granted, and would
   * have more, waits for tokens; one that takes less waits for its socket.
   */
  private clamp(limit: RuleLimit, direction: number, list: Int32Array, count: number): number {
    const allowance = Math.max(0, limit.allowance(direction, this.policy.uptimeMs()));
    let left = allowance;
    let entries = 0;
    for (let i = 0; i < count; i++) {
      const wanted = list[2 * i + 1];
      const length = Math.max(0, Math.min(wanted, left));
      list[2 * i + 1] = length;
      left -= wanted;
      if (length > 0) entries++;
    }
    this.granted = left < 0 ? allowance : Number.POSITIVE_INFINITY;
    return entries;
  }

  private took(limit: RuleLimit, direction: number, octets: number): void {
    limit.take(direction, octets);
    if (limit.left <= 0) this.policy.limits.spent = true;
  }

  private wait(flow: number, direction: number): void {
    const bits = this.waits.get(flow) ?? 0;
    this.dueAt = this.policy.uptimeMs();
    if (bits === 0) {
      this.waiting.push(flow);
      this.since.set(flow, this.dueAt);
    }
    this.waits.set(flow, bits | WAITS_FOR[direction]);
  }

  // --- a step of the turn ------------------------------------------------------------------------------------------

  over(ctx: TcpContext): void {
    this.ctx = ctx;
  }

  /** Wakes those for whom there are tokens again, and ends those of rules that are used up. */
  work(): void {
    const { limits } = this.policy;
    if (limits.spent) this.endSpent();
    const nowMs = this.policy.uptimeMs();
    if (this.waiting.length === 0 || nowMs < this.dueAt) return;
    const flows = this.waiting.splice(0);
    const counts = new Map<RuleLimit, number>();
    for (const flow of flows) {
      const limit = limits.ofFlow(flow);
      if (limit !== null) counts.set(limit, (counts.get(limit) ?? 0) + 1);
    }
    let soonestMs = Number.POSITIVE_INFINITY;
    for (const flow of flows) {
      const limit = limits.ofFlow(flow);
      const bits = this.waits.get(flow) ?? 0;
      let left = 0;
      for (const direction of [FROM_GUEST, TO_GUEST]) {
        if ((bits & WAITS_FOR[direction]) === 0) continue;
        const waitMs = limit?.waitMs(direction, nowMs) ?? 0;
        if (waitMs > 0) {
          left |= WAITS_FOR[direction];
          soonestMs = Math.min(soonestMs, waitMs);
        } else {
          if (limit !== null) this.setShare(limit, direction, counts.get(limit) ?? 1);
          this.wake(flow, direction);
        }
      }
      if (left === 0) {
        if (limit !== null) limit.waitedMs += nowMs - (this.since.get(flow) ?? nowMs);
        this.waits.delete(flow);
        this.since.delete(flow);
      } else {
        this.waits.set(flow, left);
        this.waiting.push(flow);
      }
    }
    this.dueAt = nowMs + soonestMs;
  }

  /** Those that wait share what there is. */
  private setShare(limit: RuleLimit, direction: number, waiting: number): void {
    const bucket = limit.rate[direction];
    if (bucket === undefined) return;
    const each = Math.ceil(bucket.tokens / waiting);
    limit.share[direction] = waiting > 1 ? Math.max(each, 1) : Number.POSITIVE_INFINITY;
  }

  private wake(flow: number, direction: number): void {
    const c = this.ctx?.connections[flow] ?? null;
    if (c === null || c.state === CLOSED || c.handle < 0) return;
    if (direction === TO_GUEST) c.hostReadable = true;
    else c.hostWritable = true;
    this.ctx?.makeReady(c);
  }

  private endSpent(): void {
    const { ctx } = this;
    const { limits } = this.policy;
    limits.spent = false;
    if (ctx === null) return;
    for (const c of ctx.connections) {
      if (c === null || c.state === CLOSED || !c.outbound) continue;
      const limit = limits.ofFlow(c.id);
      if (limit === null || limit.left > 0) continue;
      this.counters.drop(BUDGET);
      abortBoth(ctx, c, SPENT);
    }
  }

  /** Milliseconds until `work` has something to do by itself, or -1. */
  nextDeadlineMs(): number {
    if (this.policy.limits.spent) return 0;
    return this.waiting.length === 0 ? -1 : Math.max(0, this.dueAt - this.policy.uptimeMs());
  }

  // --- datagrams ---------------------------------------------------------------------------------------------------

  udpSend(handle: number, to: AddressWords, at: number, length: number): void {
    if (this.passes(to, 0, FROM_GUEST, length, 1)) this.inner.udpSend(handle, to, at, length);
  }

  udpReceive(handle: number, batch: UdpBatch): number {
    return this.filter(batch, this.inner.udpReceive(handle, batch));
  }

  private filter(batch: UdpBatch, count: number): number {
    if (count <= 0 || this.policy.limits.isNone) return count;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const words = i * ADDRESS_WORDS;
      if (!this.passes(batch.words, words, TO_GUEST, batch.length[i], datagramsOf(batch, i))) continue;
      batch.at[kept] = batch.at[i];
      batch.length[kept] = batch.length[i];
      batch.segment[kept] = batch.segment[i];
      for (let word = 0; word < ADDRESS_WORDS; word++)
        batch.words[kept * ADDRESS_WORDS + word] = batch.words[words + word];
      kept++;
    }
    return kept;
  }

  /** Whether so many datagrams, of `length` octets together, may pass to or from the address at `words[at]`. */
  private passes(
    words: Int32Array,
    at: number,
    direction: number,
    length: number,
    datagrams: number,
  ): boolean {
    if (this.policy.limits.isNone) return true;
    const limit = this.limitOfRemote(words, at, words[at + ADDRESS_PORT]);
    if (limit === null) return true;
    if (limit.allowance(direction, this.policy.uptimeMs()) < length) {
      this.counters.drops[limit.left < length ? BUDGET : RATE] += datagrams;
      return false;
    }
    this.took(limit, direction, length);
    return true;
  }

  /** What the flows of a remote may take, or null. A translated address is known by the one inside. */
  private limitOfRemote(words: Int32Array, at: number, port: number): RuleLimit | null {
    const { remotes, limits, flow } = this.policy;
    const rule = remotes.ruleOf(words, at, port);
    if (rule >= 0 || flow.inner(words, at) !== 1) return limits.ofRule(rule);
    setMapped(this.inside, 0, flow.embedded[0]);
    return limits.ofRule(remotes.ruleOf(this.inside, 0, port));
  }

  // --- as they are -------------------------------------------------------------------------------------------------

  connectResult(handle: number): number {
    return this.inner.connectResult(handle);
  }
  tcpListen(handle: number, on: boolean): number {
    return this.inner.tcpListen?.(handle, on) ?? 0;
  }
  tcpAccept(listener: number, token: number, from: AddressWords): number {
    return this.inner.tcpAccept(listener, token, from);
  }
  tcpStartPeeking(handle: number): boolean {
    // What is peeked at is read past us.
    return this.limitOf(handle) === null && this.inner.tcpStartPeeking?.(handle) === true;
  }
  tcpStopPeeking(handle: number): void {
    this.inner.tcpStopPeeking?.(handle);
  }
  tcpDiscard(handle: number, octets: number): number {
    return this.inner.tcpDiscard?.(handle, octets) ?? 0;
  }
  tcpShutdown(handle: number): void {
    this.inner.tcpShutdown(handle);
  }
  tcpStatus(handle: number, status: Int32Array): number {
    return this.inner.tcpStatus(handle, status);
  }
  tcpProbe(handle: number): number {
    return this.inner.tcpProbe(handle);
  }
  udpOpen(token: number, family: 4 | 6, port: number): number {
    return this.inner.udpOpen(token, family, port);
  }
  udpSendFrom(handle: number, from: AddressWords, to: AddressWords, at: number, length: number): void {
    this.inner.udpSendFrom(handle, from, to, at, length);
  }
  udpFlush(): number {
    return this.inner.udpFlush();
  }
  udpReceiveLocal(handle: number, batch: UdpBatch): number {
    return this.inner.udpReceiveLocal(handle, batch);
  }
  udpConnect(handle: number, to: AddressWords): number {
    return this.inner.udpConnect(handle, to);
  }
  udpToGroups(handle: number, ttl: number): void {
    this.inner.udpToGroups(handle, ttl);
  }
  udpClose(handle: number): void {
    this.inner.udpClose(handle);
  }
}
