import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { GO } from "../../../src/engine/network/destinations.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import { openOutbound } from "../../../src/engine/transport/tcp/open.ts";
import { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { SYN } from "../../sim/guest-stack/codec.ts";
import { REMOTE_IP, type TcpLayer } from "./tcp-layer.ts";

export const PAIR = [0xfd711ae0 | 0, 1, 2, 0x15, 0x20010db8, 5, 6, 7];
export const TO = Int32Array.of(0, 0, 0xffff, REMOTE_IP, 81);
export const PROTOCOL_TCP = 6;

export function syn(
  over: { mss?: number; shift?: number; sack?: boolean; stamp?: number; window?: number } = {},
): Segment {
  const s = new Segment();
  s.sequence = 0x7fffffff;
  s.flags = SYN;
  s.window = over.window ?? 5000;
  s.options.mss = over.mss ?? 1400;
  s.options.windowShift = over.shift ?? -1;
  s.options.sackPermitted = over.sack ?? false;
  s.options.hasTimestamps = over.stamp !== undefined;
  s.options.timestampValue = over.stamp ?? 0;
  return s;
}

/** The guest's SYN from this port. */
export function open(
  layer: TcpLayer,
  port = 40_000,
  service = GO,
): { c: TcpConnection | undefined; result: string } {
  const result = openOutbound(layer.ctx, layer.ends(port), syn(), TO, service);
  const c = layer.ctx.connections.find(
    (some) => some !== null && some.guestPort === port && some.state !== 0,
  );
  return { c: c ?? undefined, result: DROP_REASONS[result] };
}
