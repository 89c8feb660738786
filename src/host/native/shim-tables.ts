/**
 * Who uses which part of the arena's descriptor region: the int32 tables the shim reads and writes. One call at a
 * time uses each, so nothing here is ever in flight across two calls, except the UDP queue, which fills until its
 * flush.
 */
import { RX_BATCH_MAX, TX_QUEUE_MAX, UDP_RX_SLOTS } from "../../engine/limits.ts";
import type { Arena } from "../../engine/memory/arena.ts";

/** Octets of one writeFrames/writeStream descriptor: four int32. */
export const FRAME_DESCRIPTOR_OCTETS = 16;
/** Octets of one udpSendBatch/udpReceiveBatch entry: eight int32. */
export const DATAGRAM_DESCRIPTOR_OCTETS = 32;
/** Octets of one frame that vhostTake describes: two int32. */
export const RECEIVED_FRAME_OCTETS = 8;
/** Frames that one vhostPeek tells of. */
export const PEEKED_FRAMES_MAX = 8;
/** Octets of one address of the host beside such an entry: five int32. */
const LOCAL_ADDRESS_OCTETS = 20;
/** Frames a link hands to the kernel in one call; with one more for what a stream still owes: 1024 iovecs. */
export const TX_BATCH_MAX = TX_QUEUE_MAX - 1;
/** Readiness events taken in one epoll_wait. */
export const EVENTS_MAX = 256;
/** Datagrams queued for one udpSendBatch: 4 reads of the guest's window of plain frames. */
export const UDP_TX_MAX = 1024;

/** Arena offsets of the tables. */
export interface Descriptors {
  /** RX_BATCH_MAX int32: lengths of frames read. */
  readonly rxLengthsAt: number;
  /** TX_QUEUE_MAX frame descriptors. */
  readonly txAt: number;
  /** EVENTS_MAX pairs (events, token). */
  readonly eventsAt: number;
  /** UDP_TX_MAX datagram descriptors. */
  readonly udpOutAt: number;
  /** UDP_TX_MAX local addresses, for the datagrams that leave from one they were asked on. */
  readonly udpSourcesAt: number;
  /** UDP_RX_SLOTS datagram descriptors. */
  readonly udpInAt: number;
  /** UDP_RX_SLOTS local addresses, for sockets that tell what they were asked on. */
  readonly udpLocalsAt: number;
  /** RX_BATCH_MAX pairs of offset and length: frames copied out of a guest's memory. */
  readonly rxFramesAt: number;
  /** PEEKED_FRAMES_MAX pairs of offset and length: payload that was read into a guest's memory. */
  readonly peekedAt: number;
}

const EVENT_OCTETS = 8;

export function partitionDescriptors(arena: Arena): Descriptors {
  let end = arena.descriptorsAt;
  const table = (octets: number): number => {
    const at = end;
    end += octets;
    return at;
  };
  const descriptors = {
    rxLengthsAt: table(RX_BATCH_MAX * 4),
    txAt: table(TX_QUEUE_MAX * FRAME_DESCRIPTOR_OCTETS),
    eventsAt: table(EVENTS_MAX * EVENT_OCTETS),
    udpOutAt: table(UDP_TX_MAX * DATAGRAM_DESCRIPTOR_OCTETS),
    udpSourcesAt: table(UDP_TX_MAX * LOCAL_ADDRESS_OCTETS),
    udpInAt: table(UDP_RX_SLOTS * DATAGRAM_DESCRIPTOR_OCTETS),
    udpLocalsAt: table(UDP_RX_SLOTS * LOCAL_ADDRESS_OCTETS),
    rxFramesAt: table(RX_BATCH_MAX * RECEIVED_FRAME_OCTETS),
    peekedAt: table(PEEKED_FRAMES_MAX * RECEIVED_FRAME_OCTETS),
  };
  if (end > arena.descriptorsAt + arena.descriptorsLength) {
    throw new Error(
      `descriptor tables need ${end - arena.descriptorsAt} octets of ${arena.descriptorsLength}`,
    );
  }
  return descriptors;
}
