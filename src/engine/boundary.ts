/**
 * Every edge of the core. The core (everything below `engine.ts`) is sans-I/O: it knows the world only through
 * these interfaces, so that a simulation can stand in for the kernel. `host/` implements them with real devices
 * and sockets, `test/sim` with simulated ones.
 *
 * Conventions: octets of packets live in the arena and are named by absolute offsets (`...At`) and lengths in
 * octets. IPv4 addresses are int32 in host order (10.0.2.2 = 0x0a000202). An address of the host side is four
 * int32 words, IPv4 held as v4-mapped (0, 0, 0x0000ffff, a). Ports are 0-65535. Times are int32 milliseconds of
 * a monotonic clock that wraps; compare them by signed difference. Kernel errors are negative errno ints.
 */

import type { OperatorTarget } from "./config.ts";
import type { FrameBatch } from "./memory/frame-batch.ts";
import type { TransmitQueue } from "./memory/transmit-queue.ts";

/** Readiness bits, as epoll has them (epoll_ctl(2)). They are hints: a stale one costs one EAGAIN. */
export const READABLE = 0x001;
/** An urgent mark lies ahead: a read ends in front of it, so a short one does not mean drained (tcp(7)). */
export const URGENT = 0x002;
export const WRITABLE = 0x004;
export const FAILED = 0x008;
export const HANGUP = 0x010;
export const PEER_CLOSED = 0x2000;

/** The errnos the core tells apart (Linux numbers, negative as the host returns them). */
export const EAGAIN = -11;
export const EINPROGRESS = -115;
export const ECONNREFUSED = -111;
export const ECONNRESET = -104;
export const ETIMEDOUT = -110;
export const EHOSTUNREACH = -113;
export const ENETUNREACH = -101;
export const EPIPE = -32;
export const EMFILE = -24;
export const ENFILE = -23;
export const ENOBUFS = -105;
export const ENOMEM = -12;
export const EADDRINUSE = -98;
export const EADDRNOTAVAIL = -99;
export const EINVAL = -22;
export const ENOENT = -2;
export const EACCES = -13;
export const ENOTCONN = -107;

/** `FrameLink.receive` returned this: the other side is gone and will not come back by itself. */
export const LINK_CLOSED = -0x1000;

/**
 * A link that carries Ethernet frames to and from the guest: TAP, QEMU stream, QEMU datagram, pcap replay, or a
 * wrapper of one of these (capture, fault injection).
 */
export interface FrameLink {
  /** Name for logs and counters, such as `tap sluice0`. */
  readonly name: string;
  /** Largest IP packet the link carries as one plain frame, octets. */
  readonly mtu: number;
  /** The link takes and gives TCP super-frames and packets whose checksum is still to be completed. */
  readonly tcpOffload: boolean;
  /** The link takes UDP super-frames (USO). */
  readonly udpOffload: boolean;
  /**
   * Plain frames the far end can queue before it drops, or 0 if the link pushes back instead of dropping
   * (a stream). The sum of advertised windows is bounded by it.
   */
  readonly queueFrames: number;
  /**
   * Reads a batch of frames into the link's own window and describes them in `batch` (which it resets first).
   * Returns the number of frames, 0 when there is nothing now, LINK_CLOSED, or -errno. The octets stay valid
   * until the next call.
   */
  receive(batch: FrameBatch): number;
  /**
   * Takes frames from the head of the queue, oldest first, and removes those taken. Returns the number taken;
   * fewer than queued means the link is full and a writable event will follow. -errno if the link broke.
   * Each frame has at least 16 octets of headroom in front for the link's own prefix.
   */
  transmit(queue: TransmitQueue): number;
  /** The link is into the guest's own memory, and has the next two. */
  readonly canPeek?: boolean;
  /**
   * Reads at most `octets` of a host's TCP socket, which keeps them
   * (`tcpStartPeeking`), straight into frames for the guest of at most `each` octets of payload, in front of which
   * `headerOctets` from the Ethernet header on are left free. Fills `frames` with pairs of offset and length, for the
   * transmit queue. Where the link has room for fewer, these are full. Returns the octets of all, 0 at the peer's FIN, ENOBUFS
   * when the link is full, or -errno.
   */
  peek?(handle: number, headerOctets: number, each: number, octets: number, frames: Int32Array): number;
  /** A frame that `peek` gave will not be queued. */
  releasePeeked?(at: number): void;
  /** Frees what the link holds. */
  close(): void;
}

/** Where `HostNetwork` calls put an address: four words, then the port. Index constants below. */
export type AddressWords = Int32Array;
export const ADDRESS_WORDS = 5;
export const ADDRESS_PORT = 4;
/** The third word of an IPv4 address held as v4-mapped; the two before it are 0 (RFC 4291 section 2.5.5.2). */
export const V4_MAPPED = 0xffff;

/** What `HostNetwork.tcpStatus` fills in. */
export const PEER_STATUS_WORDS = 3;
/** Milliseconds since the peer was last heard: an octet, or an acknowledgment. */
export const PEER_QUIET_MS = 0;
/** Not 0 while the kernel has octets or a FIN that the peer has not acknowledged. */
export const PEER_UNACKNOWLEDGED = 1;
/** Segments the peer has sent so far, its keepalive's among them; they wrap. */
export const PEER_SEGMENTS = 2;

/**
 * The host's sockets. `token` is an int the readiness event will carry back. Handles are ints >= 0. All sockets
 * are non-blocking; TCP ones have SO_OOBINLINE and TCP_NODELAY set, and readiness is edge-triggered.
 */
export interface HostNetwork {
  /**
   * Starts a TCP connection to `to`. Returns a handle, or -errno when it fails at once. A WRITABLE, FAILED or
   * HANGUP event follows; then `connectResult` tells.
   */
  tcpConnect(token: number, to: AddressWords): number;
  /** Starts a connection to the service behind guest-forward number `index` (TCP, Unix socket or command). */
  tcpConnectService(token: number, index: number): number;
  /**
   * Starts a connection to something of the operator's own, which may be this host's loopback or a Unix socket. Returns a
   * handle, or -errno.
   */
  tcpConnectOperator(token: number, target: OperatorTarget): number;
  /** 0 once connected, EINPROGRESS while not, else the -errno the connection failed with. */
  connectResult(handle: number): number;
  /**
   * Has a bound handle of a forward take clients, or none any more: they are refused then. Returns 0 or -errno. Optional:
   * where it is not there every forward takes clients from its start.
   */
  tcpListen?(handle: number, on: boolean): number;
  /** Accepts one connection of a listening handle; fills `from`. Returns a handle or -errno. */
  tcpAccept(listener: number, token: number, from: AddressWords): number;
  /**
   * Reads into the first `count` entries of the scatter list (pairs of offset and length), filling one after the other,
   * in one call. Returns octets, 0 at the peer's FIN, or -errno.
   */
  tcpReceive(handle: number, scatter: Int32Array, count: number): number;
  /**
   * Sends the first `count` entries of the gather list (pairs of offset and length) in one call. Returns the
   * octets the kernel took (maybe fewer), or -errno.
   */
  tcpSend(handle: number, gather: Int32Array, count: number): number;
  /**
   * From now on reads by `FrameLink.peek` go on where the last one ended, and octets stay until `tcpDiscard`. False where
   * the kernel or the socket has no such thing.
   */
  tcpStartPeeking?(handle: number): boolean;
  /** The next read is of the first octet that has not been discarded. */
  tcpStopPeeking?(handle: number): void;
  /** Lets the kernel forget the first octets of its queue. Returns how many it did, or -errno. */
  tcpDiscard?(handle: number, octets: number): number;
  /** Sends FIN, keeps receiving. */
  tcpShutdown(handle: number): void;
  /** How the connection to the peer stands. Returns 0, or -errno for what is not TCP (a Unix socket). */
  tcpStatus(handle: number, status: Int32Array): number;
  /**
   * Has the kernel ask a peer that has been quiet for a second for a sign of life, once, now. The answer shows in
   * `tcpStatus`; a peer that knows nothing of the connection ends it. Returns 0, or -errno as `tcpStatus`.
   */
  tcpProbe(handle: number): number;
  /** Closes; with `reset` the peer sees a RST (SO_LINGER 0). */
  tcpClose(handle: number, reset: boolean): void;

  /**
   * Opens a UDP socket for a guest's `port`: bound to that port or, as the host's user chose, to another of the same
   * parity; 0: to any. `family` 4 or 6. Returns a handle or -errno: EADDRINUSE when no port is to be had.
   */
  udpOpen(token: number, family: 4 | 6, port: number): number;
  /**
   * Queues one datagram from arena octets. They must stay in place until `udpFlush`. When the internal batch is
   * full it flushes by itself.
   */
  udpSend(handle: number, to: AddressWords, at: number, length: number): void;
  /**
   * As `udpSend`, from this address of the host, for a socket bound to all of them. In the place of its port: the
   * interface by which link-local addresses are reached. The datagram is refused when the host has the address no more.
   */
  udpSendFrom(handle: number, from: AddressWords, to: AddressWords, at: number, length: number): void;
  /** Sends what `udpSend` queued. Returns datagrams the kernel refused (to be counted as drops). */
  udpFlush(): number;
  /**
   * Receives up to `batch.capacity` datagrams. Returns how many entries, 0 when there was none, or -errno (such as
   * ECONNREFUSED from an ICMP error on a connected socket).
   */
  udpReceive(handle: number, batch: UdpBatch): number;
  /** As `udpReceive`, and fills `batch.local`: which address of the host each datagram was sent to. */
  udpReceiveLocal(handle: number, batch: UdpBatch): number;
  /** Fixes the remote of a socket, so that ICMP errors arrive and others cannot answer. Returns 0 or -errno. */
  udpConnect(handle: number, to: AddressWords): number;
  /**
   * Datagrams to groups leave this socket with this TTL from now on; those already queued keep theirs. It hears no group
   * that others of the host have joined.
   */
  udpToGroups(handle: number, ttl: number): void;
  udpClose(handle: number): void;
}

/** Sees frames as they pass between the link and the core. Offsets and lengths are of arena octets. */
export interface FrameTap {
  /** A frame of the guest is about to be handled; its octets may be written over meanwhile. */
  arriving(at: number, octets: number): void;
  /** What became of it: HANDLED or a drop reason. */
  arrived(reason: number): void;
  /** The link took a frame, which lies in two pieces. */
  sent(at: number, octets: number, restAt: number, restOctets: number): void;
}

/**
 * Datagrams read in one call. Entry `i` lies at `at[i]`, `length[i]` octets, from `words[i*5..]`. When
 * `segment[i]` is not 0 the entry is a run of datagrams of that size, the last one maybe shorter.
 */
export interface UdpBatch {
  readonly capacity: number;
  /** Nothing more was waiting. Set before the call, which clears it where there may be more, whatever it has given. */
  drained: boolean;
  readonly at: Int32Array;
  readonly length: Int32Array;
  readonly segment: Int32Array;
  readonly words: Int32Array;
  /**
   * After `udpReceiveLocal`: the address of the host, as `words`, and what `udpSendFrom` wants in the place of the port;
   * zeros when the socket is bound to one.
   */
  readonly local: Int32Array;
}

/** The files of one folder of the host's, to read: those that TFTP serves. */
export interface ServedFiles {
  /**
   * Opens a regular file by the names on the way to it, at least one and none of them empty, `.` or `..`. Returns a
   * handle or -errno: ENOENT where there is none, EACCES for one that may not be read, or is no regular file or none of
   * the folder's.
   */
  open(names: readonly string[]): number;
  /** Octets it has. */
  size(handle: number): number;
  /**
   * Reads `length` octets from `position` on to arena offset `at`. Returns how many there were, fewer at the end only, or
   * -errno.
   */
  read(handle: number, at: number, length: number, position: number): number;
  close(handle: number): void;
}

/** How the keys of one end's Initial packets lie: an AES-128-GCM key, its IV, and the key of the header's protection. */
export const QUIC_IV_AT = 16;
export const QUIC_HEADER_KEY_AT = 28;
export const QUIC_KEYS_OCTETS = 44;
/** Octets of an IV and of what is encrypted for a header's mask, and those that the AEAD's tag takes. */
export const QUIC_IV_OCTETS = 12;
export const QUIC_SAMPLE_OCTETS = 16;
export const QUIC_TAG_OCTETS = 16;

/**
 * The cryptography of QUIC's Initial packets (RFC 9001 section 5, RFC 9369 section 3.3), whose keys anybody can derive who sees
 * them. Given where there is a policy.
 */
export interface QuicKeys {
  /** Fills `keys`: those of the client that chose `id`, in version 2 or 1. */
  derive(isVersion2: boolean, id: Uint8Array, keys: Uint8Array): void;
  /** Fills `mask`, 16 octets, of which a header is protected by the first five. */
  headerMask(keys: Uint8Array, sample: Uint8Array, mask: Uint8Array): void;
  /** Puts what `sealed` says, tag and all, into `opened`. False, and `opened` as it was, where the tag is not right. */
  open(
    keys: Uint8Array,
    nonce: Uint8Array,
    header: Uint8Array,
    sealed: Uint8Array,
    opened: Uint8Array,
  ): boolean;
}

/** Secrets and randomness. Seeded in simulations. */
export interface Entropy {
  /** A random int32. */
  int32(): number;
}

/** One line for people. Never called per packet. */
export interface Logger {
  /** Something of the program or of the host is broken. */
  error(message: string): void;
  /** What somebody should do something about. */
  warn(message: string): void;
  /** What happens seldom, such as a guest that comes or goes. */
  info(message: string): void;
  /** What only somebody who looks for a fault wants to know. */
  debug(message: string): void;
}

/** Ones' complement sum over arena octets; the shim's C kernel or the JavaScript fallback. */
export interface ChecksumKernel {
  /** Folded 16-bit ones' complement sum (not complemented) of `length` octets at `at`, added to `initial`. */
  sum(at: number, length: number, initial: number): number;
}
