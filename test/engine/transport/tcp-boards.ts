import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import { takeSackBlocks } from "../../../src/engine/transport/tcp/recovery.ts";
import { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { TcpLayer } from "./tcp-layer.ts";

/** Of every number here: the oldest octet that is not acknowledged. */
export const UNA = 0x7ffffff0;
export const MSS = 1000;
export type Range = readonly [left: number, right: number];

export interface Board {
  readonly flight?: number;
  readonly ranges?: readonly Range[];
  readonly lossUntil?: number;
  readonly retransmitNext?: number;
}

export function board({ flight = 100_000, ranges = [], lossUntil = 0, retransmitNext = 0 }: Board = {}) {
  const layer = new TcpLayer();
  const c = layer.opened();
  c.sack = true;
  c.sndUna = UNA;
  c.sndNxt = (UNA + flight) | 0;
  c.sndEnd = c.sndNxt;
  c.lossUntil = (UNA + lossUntil) | 0;
  c.retransmitNext = (UNA + retransmitNext) | 0;
  c.recover = (UNA - 1) | 0;
  tell(layer, c, ranges.toReversed());
  return { layer, c };
}

/** The guest acknowledges as far as before, with these blocks, the newest first. Returns whether they were news. */
export function tell(layer: TcpLayer, c: TcpConnection, blocks: readonly Range[], ack = 0): boolean {
  let news = false;
  for (let at = 0; at < blocks.length; at += 4) {
    const s = new Segment();
    s.acknowledgment = (UNA + ack) | 0;
    const some = blocks.slice(at, at + 4);
    s.options.sackBlocks = some.length;
    s.options.sackEdges.set(some.flat().map((edge) => (UNA + edge) | 0));
    news = takeSackBlocks(layer.ctx, c, s) || news;
  }
  return news;
}

export function rangesOf(c: TcpConnection): Range[] {
  const edges = c.sackEdges ?? new Int32Array();
  return Array.from({ length: c.sackCount }, (_, i) => [
    (edges[2 * i] - UNA) | 0,
    (edges[2 * i + 1] - UNA) | 0,
  ]);
}

export const many = (count: number, from = 1000): Range[] =>
  Array.from({ length: count }, (_, i) => [from + 200 * i, from + 200 * i + 100]);
