/**
 * The shim's calls, typed. Arena offsets and ints in, ints out: a negative result is -errno. Nothing here decides
 * anything about a protocol.
 */
import { loadShim } from "./native-loader.ts";

export interface Native {
  // --- start ---------------------------------------------------------------------------------------------------
  /** Every offset below is relative to this buffer, which stays pinned until the process ends. */
  registerArena(buffer: ArrayBuffer): void;
  /** CLOCK_MONOTONIC in milliseconds, wrapped to int32. */
  nowMs(): number;
  /** CLOCK_BOOTTIME in milliseconds, wrapped to int32 (jumps over a suspend). */
  bootMs(): number;
  randomInt32(): number;
  /** Raises the soft RLIMIT_NOFILE to the hard one and returns it. */
  raiseFileLimit(): number;

  // --- readiness -----------------------------------------------------------------------------------------------
  /** epoll_create1 + one uv_poll on it; `ready` is called when an event waits. One per process. */
  epollOpen(ready: () => void): number;
  /** Stops the uv_poll (the process may then end) and closes the epoll fd. */
  epollClose(): void;
  /** `events` as in epoll_ctl(2), EPOLLET (-0x80000000) included by the caller. Returns 0 or -errno. */
  epollAdd(fd: number, events: number, token: number): number;
  epollModify(fd: number, events: number, token: number): number;
  epollRemove(fd: number): number;
  /** Waits at most `timeoutMs` (0: polls); writes pairs of int32 (events, token) at `at`. Returns the count. */
  epollWait(at: number, max: number, timeoutMs: number): number;
  /** A timerfd in the epoll set that fires `token` once after `delayMs` (at least 1; -1 disarms). */
  timerArm(token: number, delayMs: number): void;

  // --- frames --------------------------------------------------------------------------------------------------
  /**
   * Reads one frame per read(2) until EAGAIN or `max`: frame i goes to at + i*stride, at most `room` octets; its
   * length as int32 to lengthsAt + 4*i. Returns the count, or -errno when the first read fails; 0 when drained
   * (EAGAIN). A read that returns 0 octets (end of a SEQPACKET peer) gives -EPIPE (-32).
   */
  readFrames(fd: number, at: number, stride: number, room: number, max: number, lengthsAt: number): number;
  /** As readFrames but with one recvmmsg(2), for datagram sockets. MSG_TRUNC lengths show over-long ones. */
  receiveFrames(fd: number, at: number, stride: number, room: number, max: number, lengthsAt: number): number;
  /**
   * Writes one frame per writev(2): descriptor i is four int32 at descriptorsAt + 16*i: (a, aLength, b, bLength),
   * bLength may be 0. Returns frames written (fewer: EAGAIN came), or -errno when the first one fails.
   */
  writeFrames(fd: number, descriptorsAt: number, count: number): number;
  /** As writeFrames with one sendmmsg(2) on a connected datagram socket. */
  sendFrames(fd: number, descriptorsAt: number, count: number): number;
  /**
   * All descriptors (as above) in one sendmsg(2), MSG_NOSIGNAL | MSG_DONTWAIT: a byte stream. Falls back to
   * writev for a non-socket. Returns octets written, or -errno.
   */
  writeStream(fd: number, descriptorsAt: number, count: number): number;
  /** recv(2) or read(2). Returns octets, 0 at end of stream, or -errno. */
  receive(fd: number, at: number, length: number): number;

  // --- TCP and Unix stream sockets -----------------------------------------------------------------------------
  /**
   * sendmsg(2) of `count` pairs (offset, length) given in an Int32Array; splits over IOV_MAX. Returns octets taken
   * or -errno.
   */
  sendGather(fd: number, gather: Int32Array, count: number): number;
  /** A non-blocking TCP socket with TCP_NODELAY and SO_OOBINLINE. `family` 4 or 6. Returns fd or -errno. */
  tcpSocket(family: 4 | 6): number;
  /** Starts connecting; `words` as AddressWords (v4-mapped goes out as AF_INET). 0, -EINPROGRESS or -errno. */
  connect(fd: number, words: Int32Array): number;
  bind(fd: number, words: Int32Array, family: 4 | 6, freebind: boolean): number;
  listen(fd: number, backlog: number): number;
  /** accept4(2), non-blocking, with the options of tcpSocket. Fills `words` (zeros for a Unix peer). */
  accept(fd: number, words: Int32Array): number;
  localAddress(fd: number, words: Int32Array): number;
  peerAddress(fd: number, words: Int32Array): number;
  /** getsockopt(SO_ERROR): 0 or -errno. */
  socketError(fd: number): number;
  /** 0 when connected, -ENOTCONN otherwise (getpeername). */
  isConnected(fd: number): number;
  shutdownWrite(fd: number): number;
  close(fd: number): number;
  /** SO_LINGER 0, then close: the peer gets a RST. */
  closeReset(fd: number): number;
  setOption(fd: number, level: number, name: number, value: number): number;
  getOption(fd: number, level: number, name: number): number;
  /** Octets the kernel has not sent or had acknowledged (SIOCOUTQ). */
  unsentOctets(fd: number): number;
  unixListen(path: string, type: "stream" | "dgram" | "seqpacket"): number;
  unixConnect(path: string, type: "stream" | "dgram" | "seqpacket"): number;
  /** A Unix datagram socket bound to `local`, connected to `remote` (which may not exist yet: then -ENOENT). */
  unixDatagram(local: string, remote: string): number;
  connectUnixDatagram(fd: number, remote: string): number;
  socketPair(type: "stream" | "dgram" | "seqpacket"): [number, number];
  setNonBlocking(fd: number): number;

  // --- UDP -----------------------------------------------------------------------------------------------------
  /** A non-blocking UDP socket, UDP_GRO on where the kernel has it. Returns fd or -errno. */
  udpSocket(family: 4 | 6): number;
  /**
   * Sends `count` datagrams: descriptor i is eight int32 at descriptorsAt + 32*i:
   * (fd, a0, a1, a2, a3, port, at, length). Runs with the same fd go out by sendmmsg(2), runs with the same fd,
   * address and length as one UDP_SEGMENT super-datagram where the kernel has it (at most 64 segments and 65507
   * octets; the last may be shorter). Returns how many the kernel refused for good.
   */
  udpSendBatch(descriptorsAt: number, count: number): number;
  /**
   * One recvmmsg(2) into slots at + i*stride of `room` octets. Entry i is eight int32 at outAt + 32*i:
   * (length, a0, a1, a2, a3, port, segmentSize, 0); segmentSize from the UDP_GRO cmsg, else 0. Returns count or
   * -errno (-EAGAIN when drained).
   */
  udpReceiveBatch(fd: number, at: number, stride: number, room: number, max: number, outAt: number): number;

  // --- devices and descriptors ---------------------------------------------------------------------------------
  /**
   * Opens /dev/net/tun (or `device`) and attaches to TAP `name` (IFF_TAP | IFF_NO_PI [| IFF_VNET_HDR]), non-blocking.
   * Returns fd or -errno.
   */
  tapOpen(name: string, vnetHeader: boolean, device: string): number;
  /** TUNGETIFF: flags (IFF_VNET_HDR = 0x4000 ...) or -errno; the name through `tapName`. */
  tapFlags(fd: number): number;
  tapName(fd: number): string;
  /** TUNSETVNETHDRSZ 10 and TUNSETOFFLOAD(flags). Returns 0 or -errno. */
  tapSetOffload(fd: number, flags: number): number;
  /** sendmsg of one octet with SCM_RIGHTS / its counterpart. Returns 0 / the fd, or -errno. */
  sendDescriptor(socket: number, fd: number): number;
  receiveDescriptor(socket: number): number;
  /** Index of a network device in this namespace or -errno; its MTU; its flags (SIOCGIF*). */
  deviceIndex(name: string): number;
  deviceMtu(name: string): number;
  /** A packet socket (AF_PACKET, SOCK_RAW, all protocols, non-blocking) bound to a device. fd or -errno. */
  packetSocket(device: string): number;
  /** prctl(PR_SET_PDEATHSIG). */
  setParentDeathSignal(signal: number): number;
  /** execve(2): replaces this process. Returns -errno if it fails. */
  exec(path: string, argv: string[], env: string[]): number;

  // --- checksums -----------------------------------------------------------------------------------------------
  /** Folded 16-bit ones' complement sum, not complemented, as big-endian words, plus `initial`. */
  checksum(at: number, length: number, initial: number): number;
}

export const native: Native = loadShim();
