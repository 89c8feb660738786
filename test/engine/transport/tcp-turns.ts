import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS, type DropReasonName } from "../../../src/engine/metrics/drop-reasons.ts";
import { GO } from "../../../src/engine/network/destinations.ts";
import type { TcpParts } from "../../../src/engine/transport/tcp/context.ts";
import { Tcp } from "../../../src/engine/transport/tcp/tcp.ts";
import { ACK, buildTcp, type TcpSegment } from "../../sim/guest-stack/codec.ts";
import { GUEST_IP, REMOTE_IP, REMOTE_PORT, TcpLayer } from "./tcp-layer.ts";

export type Over = { -readonly [K in keyof TcpParts]?: unknown };
export const PAIR = [0xfd711ae0 | 0, 1, 2, 0x15, 0x20010db8, 5, 6, 7];

export class Turn extends TcpLayer {
  readonly tcp: Tcp;
  /** What is said of a destination. */
  verdict = GO;

  constructor(over: Over = {}) {
    super();
    const destinations = {
      tcp: (_packet: Packet, to: Int32Array): number => {
        to.set([0, 0, 0xffff, REMOTE_IP, REMOTE_PORT]);
        return this.verdict;
      },
    };
    const parts = { ...this.parts, destinations, destinations6: destinations, ...over } as TcpParts;
    this.tcp = new Tcp(parts, 0);
    this.ctx = this.tcp.ctx;
  }

  packet(
    segment: Partial<TcpSegment>,
    over: Partial<Packet> = {},
    spoil?: (octets: Buffer) => void,
  ): DropReasonName {
    const packet = new Packet();
    const isIpv6 = over.ipOctets === 40;
    const octets = buildTcp(
      {
        sourcePort: 40_000,
        destinationPort: REMOTE_PORT,
        sequence: 100,
        acknowledgment: 0,
        flags: ACK,
        window: 1000,
        urgentPointer: 0,
        options: {},
        payload: Buffer.alloc(0),
        ...segment,
      },
      isIpv6 ? [PAIR[0], PAIR[1], PAIR[2], PAIR[3]] : GUEST_IP,
      isIpv6 ? [PAIR[4], PAIR[5], PAIR[6], PAIR[7]] : REMOTE_IP,
      "full",
    );
    spoil?.(octets);
    Object.assign(packet, {
      verify: true,
      guestAddress: isIpv6 ? 0 : GUEST_IP,
      remoteAddress: isIpv6 ? 0 : REMOTE_IP,
      transportAt: this.arena.rxWindowAt + 54,
      transportOctets: octets.length,
      ...over,
    });
    if (isIpv6) {
      packet.pair.set(PAIR);
      this.ends(1, PAIR);
    }
    this.arena.octets.set(octets, packet.transportAt);
    return DROP_REASONS[isIpv6 ? this.tcp.packet6(packet) : this.tcp.packet(packet)];
  }

  answers(): { flags: number; sequence: number; acknowledgment: number }[] {
    return this.sent().map(({ flags, sequence, acknowledgment }) => ({ flags, sequence, acknowledgment }));
  }
}
