/**
 * The engine core: one guest's network. Sans-I/O: it reads frames from a FrameLink, talks to host sockets through
 * HostNetwork, and knows the time only from its caller.
 *
 * One turn, always in this order and each step bounded: timers; one batch of frames from the link (ARP answered,
 * datagrams handed up); what the batch gathered goes to host sockets, with one ACK per connection; new clients of
 * forwards; host sockets with octets for the guest; frames to the link.
 *
 * This file gives each layer its turn (layers.ts puts them together); what becomes of a frame is up to them.
 */
import {
  type EngineCore,
  type EnginePorts,
  type FlowRow,
  type LeaseRow,
  type RowCursor,
  type ServedPort,
  type TcpTally,
  TOKEN_DNS,
  TOKEN_FORWARD,
  TOKEN_INDEX_MASK,
  TOKEN_LINK,
  TOKEN_TCP_FLOW,
  TOKEN_UDP_FLOW,
} from "./api.ts";
import { type FrameLink, type FrameTap, LINK_CLOSED, READABLE, WRITABLE } from "./boundary.ts";
import type { EngineConfig, Ipv6Words, PolicyConfig, ResolverAddress } from "./config.ts";
import { Layers, type MakePolicyLayers } from "./layers.ts";
import { RX_BATCH_MAX } from "./limits.ts";
import { type FrameInput, TappedInput } from "./link/tapped.ts";
import type { Arena } from "./memory/arena.ts";
import { CHECKSUM_PARTIAL, CHECKSUM_VALID, FrameBatch } from "./memory/frame-batch.ts";
import { Packet } from "./memory/packet.ts";
import { Counters, counter } from "./metrics/counters.ts";
import { dropReason, HANDLED } from "./metrics/drop-reasons.ts";
import { type ControlPort, ControlPorts } from "./network/control-ports.ts";
import type { DenialRow, PolicyCounts } from "./policy/denials.ts";
import type { PinRow } from "./policy/pins.ts";
import type { AnswerResult, QuestionRow } from "./policy/questions.ts";
import { earlier } from "./time/earlier.ts";
import { NO_FLOW } from "./transport/flow-table.ts";
import { flowOfFrame } from "./transport/frame-flow.ts";
import { Recorder } from "./transport/recorder.ts";
import { formatIpv4, formatIpv6, formatMac } from "./wire/address-text.ts";
import type { FrameEnds } from "./wire/frame-ends.ts";
import { PROTOCOL_TCP } from "./wire/ipv4.ts";
import { ROW_OCTETS } from "./wire/record.ts";

const FRAMES_FROM_GUEST = counter("link-frames-from-guest");
const OCTETS_FROM_GUEST = counter("link-octets-from-guest");
const OVERSIZED = dropReason("frame-oversized");
const LINK_DOWN = dropReason("link-down");

/** Places of the flow table looked at in one turn. */
const ROWS_PER_TURN = 512;

/** `makePolicy`: needed where the configuration has a policy. */
export function createEngineCore(
  config: EngineConfig,
  ports: EnginePorts,
  nowMs: number,
  makePolicy: MakePolicyLayers | null = null,
): EngineCore {
  return new Engine(config, ports, nowMs, makePolicy);
}

class Engine implements EngineCore {
  readonly counters = new Counters();
  private readonly batch = new FrameBatch(RX_BATCH_MAX);
  private readonly packet = new Packet();
  private readonly layers: Layers;
  /** The link's layer, or who watches in front of it. */
  private input: FrameInput;
  private readonly arena: Arena;
  private linkReadable = false;
  private now: number;
  uptimeMs = 0;

  constructor(
    readonly config: EngineConfig,
    ports: EnginePorts,
    nowMs: number,
    makePolicy: MakePolicyLayers | null,
  ) {
    this.now = nowMs;
    this.arena = ports.arena;
    const clock = { now: () => this.now, uptimeMs: () => this.uptimeMs };
    this.layers = new Layers(config, ports, this.counters, clock, makePolicy);
    this.input = this.layers.ethernet;
    const { tcp, policy } = this.layers;
    policy?.attend({
      asked: ports.asked ?? (() => {}),
      over: ports.questionOver ?? null,
      decide: (ticket, isAllowed) => tcp.decide(ticket, isAllowed, this.now),
      waits: (ticket) => tcp.waits(ticket),
    });
  }

  // --- outside ---------------------------------------------------------------------------------------------------

  attach(link: FrameLink | null, nowMs: number): void {
    this.setTime(nowMs);
    this.layers.egress.attach(link);
    this.layers.inbound.linkAttached();
    this.layers.v6?.linkChanged(link !== null, nowMs);
    this.linkReadable = link !== null;
    if (link !== null) this.layers.tcp.guestHeard();
  }

  /** The clock stands at `nowMs`. */
  private setTime(nowMs: number): void {
    this.uptimeMs += (nowMs - this.now) | 0;
    this.now = nowMs;
    this.layers.tcp.ctx.now = nowMs;
  }

  openForward(slot: number, handle: number, port: ServedPort): void {
    this.layers.inbound.open(slot, handle, port);
  }

  closeForward(id: number, cut: boolean, nowMs: number): void {
    this.setTime(nowMs);
    this.layers.inbound.close(id);
    this.layers.udp.forwardRemoved(id);
    if (cut) this.layers.tcp.cutForward(id);
  }

  setUplinks(hasIpv4: boolean, hasIpv6: boolean, nowMs: number): void {
    this.setTime(nowMs);
    this.layers.v6?.setUplink(hasIpv6);
    this.layers.nat64?.setUplinks(hasIpv4, hasIpv6, nowMs);
  }

  setResolvers(resolvers: readonly ResolverAddress[]): void {
    this.layers.dns.setResolvers(resolvers);
    this.layers.nat64?.resolversChanged(this.now);
  }

  handleEvent(token: number, events: number, _nowMs: number): void {
    const index = token & TOKEN_INDEX_MASK;
    switch (token & ~TOKEN_INDEX_MASK) {
      case TOKEN_LINK:
        if ((events & ~WRITABLE) !== 0) this.linkReadable = true;
        if ((events & WRITABLE) !== 0) this.layers.egress.unblock();
        return;
      case TOKEN_TCP_FLOW:
        this.layers.tcp.hostEvent(index, events);
        return;
      case TOKEN_UDP_FLOW:
        this.layers.udp.hostEvent(index);
        return;
      case TOKEN_DNS:
        this.layers.dns.hostEvent(index);
        return;
      case TOKEN_FORWARD:
        if ((events & READABLE) !== 0) this.layers.inbound.ready(index);
    }
  }

  turn(nowMs: number): boolean {
    const { tcp, udp, services, dhcp, tftp, inbound, egress, reassembly, arp, v6, nat64, idleMemory } =
      this.layers;
    this.setTime(nowMs);
    tcp.advance(nowMs);
    udp.advance(nowMs);
    reassembly.poll(nowMs);
    dhcp.poll(this.uptimeMs);
    v6?.poll(nowMs, this.uptimeMs);
    nat64?.poll(nowMs);
    let more = this.receiveFrames();
    tcp.countReceivers(nowMs);
    if (!egress.blocked) {
      if (inbound.work(nowMs)) more = true;
      // Sockets are read only while no frame points into the receive slots.
      if (udp.slotsFree()) services.work(nowMs);
      if (tftp?.work(nowMs)) more = true;
      if (tcp.work()) more = true;
      if (udp.work()) more = true;
    }
    egress.flush();
    arp.ask(nowMs);
    v6?.ask(nowMs);
    idleMemory.tend(nowMs);
    return more;
  }

  nextDeadlineMs(nowMs: number): number {
    const { tcp, udp, services, dhcp, tftp, inbound, egress, reassembly, v6, nat64, idleMemory } =
      this.layers;
    let soonest = tcp.nextDeadlineMs(nowMs);
    soonest = earlier(soonest, udp.nextDeadlineMs(nowMs));
    // While the link is full these wait for its writable event, not for the clock.
    if (!egress.blocked) {
      soonest = earlier(soonest, services.nextDeadlineMs(nowMs));
      soonest = earlier(soonest, inbound.nextDeadlineMs(nowMs));
      if (tftp !== null) soonest = earlier(soonest, tftp.nextDeadlineMs(nowMs));
    }
    soonest = earlier(soonest, dhcp.nextDeadlineMs());
    if (v6 !== null) soonest = earlier(soonest, v6.nextDeadlineMs(nowMs));
    if (nat64 !== null) soonest = earlier(soonest, nat64.nextDeadlineMs(nowMs));
    soonest = earlier(soonest, idleMemory.nextDeadlineMs(nowMs));
    return earlier(soonest, reassembly.nextDeadlineMs(nowMs));
  }

  /** One batch of frames from the guest. True when the link most likely has more. */
  private receiveFrames(): boolean {
    const { batch, counters, packet, input } = this;
    const { tcp, udp } = this.layers;
    const { link } = this.layers.egress;
    if (link === null || !this.linkReadable) return false;
    const count = link.receive(batch);
    for (let i = batch.oversized; i > 0; i--) counters.drop(OVERSIZED);
    if (count < 0 || (count === 0 && batch.oversized === 0)) {
      this.linkReadable = false;
      if (count === LINK_CLOSED) counters.drop(LINK_DOWN);
      return false;
    }
    let octets = 0;
    packet.nowMs = this.now;
    const { recorder } = this.layers.tcp.ctx.ledger;
    for (let i = 0; i < count; i++) {
      octets += batch.length[i];
      packet.frameAt = batch.at[i];
      packet.frameOctets = batch.length[i];
      packet.verify = (batch.flags[i] & (CHECKSUM_PARTIAL | CHECKSUM_VALID)) === 0;
      packet.segmentSize = batch.segmentSize[i];
      const reason = input.frame(packet);
      counters.drop(reason);
      if (reason !== HANDLED && recorder !== null) recorder.dropped(reason, packet);
    }
    counters.add(FRAMES_FROM_GUEST, count);
    counters.add(OCTETS_FROM_GUEST, octets);
    tcp.endOfBatch();
    udp.endOfBatch();
    if (count > 0) tcp.guestHeard();
    if (batch.drained) this.linkReadable = false;
    return !batch.drained;
  }

  // --- for people ------------------------------------------------------------------------------------------------

  flows(nowMs: number): FlowRow[] {
    return [...this.layers.tcp.rows(nowMs), ...this.layers.udp.rows(nowMs)];
  }

  decide(ticket: number, isAllowed: boolean, nowMs: number): void {
    this.setTime(nowMs);
    this.layers.tcp.decide(ticket, isAllowed, nowMs);
  }

  denials(): DenialRow[] {
    return this.layers.policy?.denials() ?? [];
  }

  setPolicy(policy: PolicyConfig, before: readonly number[], keepOpen: boolean, nowMs: number): void {
    this.setTime(nowMs);
    this.layers.policy?.replace(policy, before, keepOpen);
  }

  pins(): PinRow[] {
    return this.layers.policy?.pins() ?? [];
  }

  questions(): QuestionRow[] {
    return this.layers.policy?.questions() ?? [];
  }

  answerQuestion(
    id: number,
    isAllowed: boolean,
    forMs: number | null,
    nowMs: number,
    hasFailed = false,
  ): AnswerResult {
    this.setTime(nowMs);
    return this.layers.policy?.answer(id, isAllowed, forMs, hasFailed) ?? "unknown";
  }

  leaveQuestion(id: number, nowMs: number): boolean {
    this.setTime(nowMs);
    return this.layers.policy?.judge.asking.leave(id) === true;
  }

  setAttended(isAttended: boolean): void {
    if (this.layers.policy !== null) this.layers.policy.judge.asking.isAttended = isAttended;
  }

  resetBudget(rule: number): boolean {
    return this.layers.policy?.resetBudget(rule) === true;
  }

  policyCounts(): PolicyCounts | null {
    return this.layers.policy?.counts() ?? null;
  }

  limitWaits(): readonly number[] | null {
    return this.layers.policy?.limitWaits() ?? null;
  }

  setHostAddresses(addresses: readonly Ipv6Words[]): void {
    this.layers.policy?.setHostAddresses(addresses);
  }

  usage(): ReturnType<EngineCore["usage"]> {
    const pool = this.layers.tcp.ctx.pool;
    return {
      tcp: this.layers.tcp.ctx.open,
      udp: this.layers.udp.open,
      dns: this.layers.dns.inUse,
      tftp: this.layers.tftp?.open ?? 0,
      smallChunks: pool.smallInUse,
      largeChunks: pool.largeInUse,
      queuedFrames: this.layers.egress.queue.length,
      reassembly: this.layers.reassembly.inUse,
    };
  }

  // --- for whoever steers it -------------------------------------------------------------------------------------

  record(): Recorder {
    const { ledger } = this.layers.tcp.ctx;
    ledger.recorder ??= new Recorder(this.arena, ledger);
    return ledger.recorder;
  }

  setControlPorts(ports: readonly ControlPort[]): void {
    this.layers.setControlPorts(ports.length === 0 ? null : new ControlPorts(ports));
  }

  setTap(tap: FrameTap | null): void {
    const { ethernet, egress } = this.layers;
    this.input = tap === null ? ethernet : new TappedInput(ethernet, tap);
    egress.setTap(tap);
  }

  flowOf(ends: FrameEnds): number {
    const { flows, ledger } = this.layers.tcp.ctx;
    const id = flowOfFrame(flows, this.layers.udp.keys, ends);
    return id === NO_FLOW ? 0 : ledger.serial[id];
  }

  recordRows(cursor: RowCursor, nowMs: number): void {
    const { tcp, udp } = this.layers;
    const { flows, ledger } = tcp.ctx;
    const { recorder } = ledger;
    this.setTime(nowMs);
    for (let looks = 0; looks < ROWS_PER_TURN; looks++) {
      if (recorder === null || cursor.from >= flows.end) {
        cursor.from = -1;
        return;
      }
      if (cursor.places === 0 || cursor.rows === 0 || !recorder.events.hasRoom(ROW_OCTETS)) return;
      const id = cursor.from++;
      cursor.places--;
      const protocol = flows.protocolOf(id);
      if (protocol === 0) continue;
      cursor.rows--;
      if (protocol === PROTOCOL_TCP) tcp.tellRow(cursor.call, id, nowMs);
      else udp.tellRow(cursor.call, id, nowMs);
    }
  }

  killFlows(ids: readonly number[], nowMs: number): number {
    const { tcp, udp } = this.layers;
    const { flows, ledger } = tcp.ctx;
    this.setTime(nowMs);
    const wanted = new Set(ids);
    let killed = 0;
    for (let id = 0; id < flows.end; id++) {
      const protocol = flows.protocolOf(id);
      if (protocol === 0 || !wanted.has(ledger.serial[id])) continue;
      if (protocol === PROTOCOL_TCP) tcp.kill(id);
      else udp.kill(id);
      killed++;
    }
    return killed;
  }

  tcpTally(): TcpTally {
    const { tcp } = this.layers;
    const { connects, connectedMs } = tcp.ctx.ledger;
    return { states: tcp.states(), connects: [...connects], connectedMs };
  }

  leases(): LeaseRow[] {
    const { dhcp, v6 } = this.layers;
    const left = (expiresAt: number): number | null =>
      expiresAt === Number.POSITIVE_INFINITY ? null : Math.max(0, expiresAt * 1000 - this.uptimeMs);
    return [
      ...dhcp.leases().map(({ address, mac, expiresAt }) => ({
        address: formatIpv4(address),
        mac: formatMac(mac),
        expiresInMs: left(expiresAt),
      })),
      ...(v6?.leases() ?? []).map(({ address, mac, expiresAt }) => ({
        address: formatIpv6(address),
        mac: formatMac(mac),
        expiresInMs: left(expiresAt),
      })),
    ];
  }

  close(nowMs: number): void {
    this.setTime(nowMs);
    this.layers.tcp.close();
    this.layers.udp.close();
    this.layers.dns.close();
    this.layers.tftp?.close();
    this.layers.v6?.close();
    this.layers.egress.flush();
  }
}
