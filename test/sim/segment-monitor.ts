/**
 * Watches the wire right at the engine: every frame it was handed and every frame it sent, in that order and before
 * the link does anything to them. So it may be stricter than any receiver: an acknowledgment may only cover what the
 * engine really was handed, the window may never shrink, data may never pass the edge the guest announced, a SACK
 * block may only name octets that came.
 */
import { type AddressPlan, type IpPacket, PLAN4 } from "./guest-stack/address-plan.ts";
import {
  ACK,
  describeTcp,
  FIN,
  formatIp,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseEthernet,
  parseTcp,
  parseUdp,
  RST,
  SYN,
  type TcpSegment,
} from "./guest-stack/codec.ts";
import type { SimFrame } from "./guest-stack/guest.ts";
import { Ranges } from "./guest-stack/ranges.ts";
import type { LinkObserver } from "./simulated-link.ts";
import type { World } from "./world/world.ts";

/** Positions count from the octet after the SYN; the SYN itself is -1. */
class MonitoredFlow {
  /** Of the guest's SYN and of the engine's. */
  guestIsn = -1;
  engineIsn = -1;
  guestMss = 536;
  guestScale = -1;
  engineScale = -1;
  guestStamps = false;
  engineStamps = false;
  guestSack = false;
  engineSack = false;
  /** What the engine was handed of the guest's stream, the FIN included. */
  readonly handed = new Ranges();
  /** The guest's acknowledgment and right edge, as far as the engine was told. */
  guestEdge = 0;
  guestAck = -1;
  /** What the engine has announced. */
  ack = -1;
  edge = Number.NEGATIVE_INFINITY;
  lastStamp = -1;
  sentEnd = 0;

  constructor(readonly name: string) {}

  get scaled(): boolean {
    return this.guestScale >= 0 && this.engineScale >= 0;
  }

  get contiguous(): number {
    return this.handed.endAround(0);
  }
}

export class SegmentMonitor implements LinkObserver {
  private readonly flows = new Map<string, MonitoredFlow>();
  dataSegments = 0;
  retransmittedOctets = 0;
  pureAcks = 0;

  constructor(
    private readonly world: World,
    private readonly plan: AddressPlan = PLAN4,
  ) {}

  handed(frame: SimFrame): void {
    const packet = this.packet(frame);
    if (packet === null) return;
    const segment = this.describe("guest >", packet, frame);
    if (segment === null) return;
    const key = `${segment.sourcePort} ${packet.destination >>> 0} ${segment.destinationPort}`;
    const flow = this.flow(key);
    // A guest that answers a late copy of the engine's SYN means a connection the engine does not have.
    const stale = segment.flags & ACK && flow.guestIsn >= 0 && flow.guestIsn !== segment.sequence;
    if (segment.flags & SYN && stale) return;
    if (segment.flags & SYN) this.guestSyn(flow, segment);
    if (flow.guestIsn < 0) return;
    const start = (segment.sequence + (segment.flags & SYN ? 1 : 0) - (flow.guestIsn + 1)) | 0;
    const end = start + segment.payload.length + (segment.flags & FIN ? 1 : 0);
    if (!(segment.flags & RST)) flow.handed.add(Math.max(0, start), end);
    if (segment.flags & ACK && flow.engineIsn >= 0) {
      const ack = (segment.acknowledgment - (flow.engineIsn + 1)) | 0;
      const window = segment.window << (segment.flags & SYN || !flow.scaled ? 0 : flow.guestScale);
      flow.guestAck = Math.max(flow.guestAck, ack);
      flow.guestEdge = Math.max(flow.guestEdge, ack + window);
    } else if (segment.flags & SYN) {
      flow.guestEdge = Math.max(flow.guestEdge, segment.window);
    }
  }

  sent(frame: SimFrame): void {
    const packet = this.packet(frame);
    if (packet === null) return;
    const segment = this.describe("engine >", packet, frame);
    if (segment === null) return;
    const key = `${segment.destinationPort} ${packet.source >>> 0} ${segment.sourcePort}`;
    const flow = this.flow(key);
    if (segment.flags & SYN) this.engineSyn(flow, segment);
    if (segment.flags & RST || flow.engineIsn < 0) return;
    this.checkAcknowledgment(flow, segment);
    this.checkData(flow, segment, frame);
    this.checkOptions(flow, segment);
  }

  private flow(key: string): MonitoredFlow {
    let flow = this.flows.get(key);
    if (flow === undefined) {
      flow = new MonitoredFlow(key);
      this.flows.set(key, flow);
    }
    return flow;
  }

  private packet(frame: SimFrame): IpPacket | null {
    const ethernet = parseEthernet(frame.octets);
    if (typeof ethernet === "string" || ethernet.type !== this.plan.etherType) {
      this.world.note(
        "frame",
        [],
        () => `not IPv${this.plan.family}: ${frame.octets.toString("hex", 0, 42)}`,
      );
      return null;
    }
    const packet = this.plan.parse(ethernet.payload);
    return typeof packet === "string" ? null : packet;
  }

  /** Puts a frame into the trace; the segment, if it holds an intact one. */
  private describe(direction: string, packet: IpPacket, frame: SimFrame): TcpSegment | null {
    const { source, destination, payload } = packet;
    const ends = [this.plan.address(source), this.plan.address(destination)] as const;
    this.world.trace.octets(payload, 60);
    const addresses = (from: number, to: number): string =>
      `${formatIp(source)}:${from} > ${formatIp(destination)}:${to}`;
    if (packet.protocol === PROTOCOL_TCP) {
      const segment = parseTcp(payload, ...ends, frame.partialChecksum);
      if (typeof segment === "string") {
        this.world.note("frame", [], () => `${direction} damaged: ${segment}`);
        return null;
      }
      this.world.note("frame", [], () => {
        const size = frame.segmentSize > 0 ? ` super ${frame.segmentSize}` : "";
        return `${direction} ${addresses(segment.sourcePort, segment.destinationPort)} ${describeTcp(segment)}${size}`;
      });
      return segment;
    }
    if (packet.protocol === PROTOCOL_UDP && packet.fragmentOffset === 0 && !packet.moreFragments) {
      const datagram = parseUdp(payload, ...ends, frame.partialChecksum);
      this.world.note("frame", [], () =>
        typeof datagram === "string"
          ? `${direction} damaged: ${datagram}`
          : `${direction} ${addresses(datagram.sourcePort, datagram.destinationPort)} UDP ${datagram.payload.length}`,
      );
      return null;
    }
    this.world.note(
      "frame",
      [],
      () =>
        `${direction} ${formatIp(source)} > ${formatIp(destination)} protocol ${packet.protocol} ` +
        `id ${packet.id} offset ${packet.fragmentOffset}${packet.moreFragments ? "+" : ""} len ${payload.length}`,
    );
    return null;
  }

  private guestSyn(flow: MonitoredFlow, segment: TcpSegment): void {
    if (flow.guestIsn === segment.sequence) return;
    if (flow.guestIsn >= 0) {
      // Another connection on the same ports.
      Object.assign(flow, new MonitoredFlow(flow.name), { handed: flow.handed });
      flow.handed.clear();
    }
    flow.guestIsn = segment.sequence;
    flow.guestMss = segment.options.mss ?? 536;
    flow.guestScale = Math.min(14, segment.options.windowScale ?? -1);
    flow.guestStamps = segment.options.timestamp !== undefined;
    flow.guestSack = segment.options.sackPermitted === true;
  }

  private engineSyn(flow: MonitoredFlow, segment: TcpSegment): void {
    if (flow.engineIsn === segment.sequence) return;
    if (!(segment.flags & ACK)) {
      // An active open begins a connection; what was known of an older one is void.
      Object.assign(flow, new MonitoredFlow(flow.name), { handed: flow.handed });
      flow.handed.clear();
    }
    if (segment.flags & ACK && flow.engineIsn >= 0) {
      // Another answer to the same SYN: a late copy of it came after the first connection had ended.
      const { guestIsn, guestMss, guestScale, guestStamps, guestSack } = flow;
      const known = { guestIsn, guestMss, guestScale, guestStamps, guestSack };
      Object.assign(flow, new MonitoredFlow(flow.name), known, { handed: flow.handed });
      flow.handed.clear();
    }
    flow.engineIsn = segment.sequence;
    flow.engineScale = segment.options.windowScale ?? -1;
    flow.engineStamps = segment.options.timestamp !== undefined;
    flow.engineSack = segment.options.sackPermitted === true;
    const answered = segment.flags & ACK;
    if (answered && flow.engineScale >= 0 && flow.guestScale < 0)
      this.broken(flow, "scales a window unasked", segment);
    if (answered && flow.engineStamps && !flow.guestStamps) this.broken(flow, "timestamps unasked", segment);
    if (answered && flow.engineSack && !flow.guestSack) this.broken(flow, "permits SACK unasked", segment);
    if (segment.options.mss === undefined) this.broken(flow, "SYN without MSS", segment);
  }

  private broken(flow: MonitoredFlow, what: string, segment: TcpSegment): never {
    return this.world.violation(`engine, flow ${flow.name}: ${what}: ${describeTcp(segment)}`);
  }

  private checkAcknowledgment(flow: MonitoredFlow, segment: TcpSegment): void {
    if (!(segment.flags & ACK)) {
      if (!(segment.flags & SYN)) this.broken(flow, "a segment without ACK", segment);
      return;
    }
    if (flow.guestIsn < 0) return;
    const ack = (segment.acknowledgment - (flow.guestIsn + 1)) | 0;
    if (ack > flow.contiguous) {
      this.broken(flow, `acknowledges position ${ack}, was handed ${flow.contiguous}`, segment);
    }
    if (ack < flow.ack) this.broken(flow, `acknowledges ${ack} after ${flow.ack}`, segment);
    flow.ack = ack;
    const scale = segment.flags & SYN || !flow.scaled ? 0 : flow.engineScale;
    const edge = ack + (segment.window << scale);
    // With a scaled window, an edge can only be told to within one unit.
    const grain = flow.scaled ? 1 << flow.engineScale : 1;
    if (edge <= flow.edge - grain)
      this.broken(flow, `window edge moved back from ${flow.edge} to ${edge}`, segment);
    flow.edge = Math.max(flow.edge, edge);
  }

  private checkData(flow: MonitoredFlow, segment: TcpSegment, frame: SimFrame): void {
    const { payload } = segment;
    if (segment.flags & SYN) {
      if (payload.length > 0) this.broken(flow, "data in a SYN", segment);
      return;
    }
    const start = (segment.sequence - (flow.engineIsn + 1)) | 0;
    const end = start + payload.length;
    const fin = segment.flags & FIN ? 1 : 0;
    if (payload.length === 0 && fin === 0) {
      this.pureAcks++;
      return;
    }
    this.dataSegments++;
    if (flow.guestAck < 0) this.broken(flow, "data before the handshake was complete", segment);
    const probe = flow.guestEdge <= start && payload.length + fin === 1 ? 1 : 0;
    if (end + fin > flow.guestEdge + probe) {
      this.broken(flow, `data up to ${end + fin} beyond the window edge ${flow.guestEdge}`, segment);
    }
    const optionOctets = frame.octets.length - 14 - this.plan.headerOctets - 20 - payload.length;
    const size = frame.segmentSize > 0 ? frame.segmentSize : payload.length;
    if (size + optionOctets > flow.guestMss) {
      this.broken(flow, `${size} octets and ${optionOctets} of options, MSS is ${flow.guestMss}`, segment);
    }
    this.retransmittedOctets += Math.max(0, Math.min(end, flow.sentEnd) - start);
    flow.sentEnd = Math.max(flow.sentEnd, end);
  }

  private checkOptions(flow: MonitoredFlow, segment: TcpSegment): void {
    const { timestamp, sack } = segment.options;
    if (!(segment.flags & SYN)) {
      const stamped = flow.guestStamps && flow.engineStamps;
      if (stamped !== (timestamp !== undefined))
        this.broken(flow, "timestamp option against the agreement", segment);
      if (segment.options.mss !== undefined) this.broken(flow, "MSS outside a SYN", segment);
    }
    if (timestamp !== undefined) {
      if (flow.lastStamp >= 0 && ((timestamp[0] - flow.lastStamp) | 0) < 0) {
        this.broken(flow, `timestamp went back from ${flow.lastStamp}`, segment);
      }
      flow.lastStamp = timestamp[0];
    }
    if (sack === undefined) return;
    if (!flow.guestSack || !flow.engineSack) this.broken(flow, "SACK without permission", segment);
    for (const [left, right] of sack) {
      const start = (left - (flow.guestIsn + 1)) | 0;
      const end = (right - (flow.guestIsn + 1)) | 0;
      const known = flow.handed.list.some((range) => range.start <= start && end <= range.end);
      if (end <= start || !known)
        this.broken(flow, `SACK block ${start}-${end} was never handed over`, segment);
    }
  }
}
