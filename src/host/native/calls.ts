/**
 * The shim's calls, typed. Arena offsets and ints in, ints out: a negative result is -errno. Nothing here decides
 * anything about a protocol. An offset, length or descriptor list that does not lie inside the arena, a record
 * offset that is not a multiple of 4, and an argument of the wrong kind give -EINVAL. EINTR is never seen.
 * One arena and one epoll set per process: the data path lives on one thread.
 */
export interface Native {
  // --- start ---------------------------------------------------------------------------------------------------
  /**
   * Every offset below is relative to this buffer, which stays alive until the process ends or another one is
   * registered. Throws unless it is an ArrayBuffer of less than 2 GiB.
   */
  registerArena(buffer: ArrayBuffer): void;
  /** CLOCK_MONOTONIC in milliseconds, wrapped to int32. */
  nowMs(): number;
  /** CLOCK_BOOTTIME in milliseconds, wrapped to int32 (jumps over a suspend). */
  bootMs(): number;
  randomInt32(): number;
  /**
   * Gives the whole pages among `length` octets at `at` back to the kernel (madvise(2), MADV_DONTNEED); they read as
   * zeros afterwards. Returns 0 or -errno.
   */
  discardPages(at: number, length: number): number;
  /**
   * This process gets `signal` when its parent ends, or the parent's thread that started it (PR_SET_PDEATHSIG); 0: none.
   * Of the thread that calls. 0 or -errno.
   */
  signalAtParentsEnd(signal: number): number;
  /**
   * From here on memory of `octets` and more is a mapping of its own (M_MMAP_THRESHOLD), of which only pages that are
   * touched cost something. glibc's own limit grows with the first large block that is freed. -ENOSYS with other libraries.
   */
  mapLargeBlocks(octets: number): number;
  /**
   * Has V8 collect all it can, make its heap as small as it goes and forget compiled scripts, and glibc give freed memory
   * back: tens of milliseconds. 0, or -ENOSYS where Node does not export what that takes.
   */
  releaseMemory(): number;
  /** Raises the soft RLIMIT_NOFILE to the hard one and returns it. */
  raiseFileLimit(): number;

  // --- readiness -----------------------------------------------------------------------------------------------
  /**
   * epoll_create1 + one uv_poll on it; `ready` is called when an event waits, and again until epollWait has taken
   * it. What it throws becomes an uncaught exception. One per process: -EBUSY while open. Returns the epoll fd.
   */
  epollOpen(ready: () => void): number;
  /** Stops the uv_poll (the process may then end) and closes the epoll fd. */
  epollClose(): void;
  /** `events` as in epoll_ctl(2), EPOLLET (-0x80000000) included by the caller. Returns 0 or -errno. */
  epollAdd(fd: number, events: number, token: number): number;
  epollModify(fd: number, events: number, token: number): number;
  epollRemove(fd: number): number;
  /**
   * Waits at most `timeoutMs` (0: polls; a signal ends the wait early); writes pairs of int32 (events, token) at
   * `at`. Returns the count, at most 512 however large `max`.
   */
  epollWait(at: number, max: number, timeoutMs: number): number;
  /** As epollWait, but asks again and again for `spinUs` instead of sleeping. At least once; 0 when nothing came. */
  epollSpin(at: number, max: number, spinUs: number): number;
  /**
   * The timerfd in the epoll set fires `token` once after `delayMs` (0 counts as 1; -1 disarms). There is one:
   * arming it again replaces what it was to do, and takes back an expiry that nobody has waited for yet.
   */
  timerArm(token: number, delayMs: number): number;

  // --- frames --------------------------------------------------------------------------------------------------
  /**
   * Reads one frame per read(2) until EAGAIN or `max`: frame i goes to at + i*stride, at most `room` octets; its
   * length as int32 to lengthsAt + 4*i. Returns the count, or -errno when the first read fails; 0 when drained
   * (EAGAIN). A read that returns 0 octets (end of a SEQPACKET peer) gives -EPIPE (-32). A frame longer than
   * `room` is cut there without notice, so `room` is more than the longest legal frame.
   */
  readFrames(fd: number, at: number, stride: number, room: number, max: number, lengthsAt: number): number;
  /**
   * As readFrames but with one recvmmsg(2) of at most 256 messages, for sockets. Lengths are those on the wire
   * (MSG_TRUNC): one above `room` tells of a frame that was cut. An empty datagram has length 0.
   */
  receiveFrames(fd: number, at: number, stride: number, room: number, max: number, lengthsAt: number): number;
  /**
   * Writes one frame per writev(2): descriptor i is four int32 at descriptorsAt + 16*i: (a, aLength, b, bLength),
   * bLength may be 0. Returns frames written, fewer (or 0) when EAGAIN came; -errno when the first one fails.
   * When a later one fails its error is the first of the next call.
   */
  writeFrames(fd: number, descriptorsAt: number, count: number): number;
  /** As writeFrames with one sendmmsg(2) on a connected datagram socket. */
  sendFrames(fd: number, descriptorsAt: number, count: number): number;
  /**
   * All descriptors (as above) in one sendmsg(2), MSG_NOSIGNAL | MSG_DONTWAIT: a byte stream. Split over IOV_MAX
   * (1024 pieces); writev(2) for a non-socket. Returns octets written, or -errno (-EAGAIN when full).
   */
  writeStream(fd: number, descriptorsAt: number, count: number): number;
  /** recv(2), or read(2) for a non-socket. Returns octets, 0 at end of stream, or -errno (-EAGAIN when drained). */
  receive(fd: number, at: number, length: number): number;

  /** Takes octets out of a TCP socket's queue, uncopied (MSG_TRUNC, tcp(7)). Returns how many, or -errno. */
  discard(fd: number, octets: number): number;

  // --- TCP and Unix stream sockets -----------------------------------------------------------------------------
  /**
   * sendmsg(2) of `count` pairs (offset, length) given in an Int32Array; split over IOV_MAX (1024). Returns octets
   * taken or -errno (-EAGAIN when full).
   */
  sendGather(fd: number, gather: Int32Array, count: number): number;
  /**
   * recvmsg(2), or readv(2) for a non-socket, into `count` pairs (offset, length), at most IOV_MAX. Returns octets, 0
   * at end of stream, or -errno (-EAGAIN when drained).
   */
  receiveScatter(fd: number, scatter: Int32Array, count: number): number;
  /**
   * A non-blocking TCP socket with TCP_NODELAY and SO_OOBINLINE; IPv6 ones are IPV6_V6ONLY, so that v4 and v6
   * listeners share a port. `family` 4 or 6. Returns fd or -errno.
   */
  tcpSocket(family: 4 | 6): number;
  /**
   * Starts connecting (TCP), or fixes the remote (UDP); `words` as AddressWords (v4-mapped goes out as AF_INET,
   * so the socket is of family 4). 0, -EINPROGRESS or -errno.
   */
  connect(fd: number, words: Int32Array): number;
  /**
   * As connect, with the interface index (`deviceIndex`) a link-local fe80::/10 address needs. Words carry no
   * scope: a UDP socket to such an address is connected by this, then sends with port 0 (see udpSendBatch).
   */
  connectScoped(fd: number, words: Int32Array, scope: number): number;
  /**
   * bind(2); family 4 uses words[3] and words[4] only. SO_REUSEADDR for stream sockets; `freebind` sets
   * IP_FREEBIND (an address the host does not have yet). Returns 0 or -errno.
   */
  bind(fd: number, words: Int32Array, family: 4 | 6, freebind: boolean): number;
  listen(fd: number, backlog: number): number;
  /** accept4(2), non-blocking, with the options of tcpSocket. Fills `words` (zeros for a Unix peer). */
  accept(fd: number, words: Int32Array): number;
  /** getsockname(2). Fills `words`; returns 0 or -errno. */
  localAddress(fd: number, words: Int32Array): number;
  /** getsockopt(SO_ERROR), which clears it: 0 or -errno. */
  socketError(fd: number): number;
  /** 0 when connected, -ENOTCONN otherwise (getpeername). */
  isConnected(fd: number): number;
  shutdownWrite(fd: number): number;
  /** shutdown(2) of a listening socket's reading side: it listens no more and stays bound (Linux). 0 or -errno. */
  shutdownRead(fd: number): number;
  close(fd: number): number;
  /** SO_LINGER 0, then close: the peer gets a RST. */
  closeReset(fd: number): number;
  /** setsockopt(2) and getsockopt(2) of an int. 0 or the value; -errno. */
  setOption(fd: number, level: number, name: number, value: number): number;
  getOption(fd: number, level: number, name: number): number;
  /**
   * What TCP_INFO says (tcp(7)): milliseconds since octets and since an acknowledgment came, segments under way, octets
   * not sent yet, segments that came. Fills the first five of `info`; 0 or -errno (-EOPNOTSUPP for a Unix socket).
   */
  tcpInfo(fd: number, info: Int32Array): number;
  /**
   * Non-blocking Unix sockets. A path that begins with NUL is an abstract name; one over 107 octets gives
   * -ENAMETOOLONG. An existing file is not removed (-EADDRINUSE). "dgram" is bound only. Return fd or -errno
   * (connect: -EAGAIN when the listener's queue is full).
   */
  unixListen(path: string, type: "stream" | "dgram" | "seqpacket"): number;
  unixConnect(path: string, type: "stream" | "dgram" | "seqpacket"): number;
  /** Connects a bound Unix datagram socket, also anew when the far end was bound again. 0 or -errno. */
  connectUnixDatagram(fd: number, remote: string): number;
  /** Two connected, non-blocking Unix sockets; on failure both are -errno. */
  socketPair(type: "stream" | "dgram" | "seqpacket"): [number, number];
  setNonBlocking(fd: number): number;
  /** dup2(2): from now on `target` is what `fd` is; what it was is closed. Programs inherit it. 0 or -errno. */
  replaceDescriptor(fd: number, target: number): number;

  // --- UDP -----------------------------------------------------------------------------------------------------
  /**
   * A non-blocking UDP socket, UDP_GRO on where the kernel has it, buffers of 1 MiB asked for (the kernel clamps
   * that); IPv6 ones are IPV6_V6ONLY. Returns fd or -errno.
   */
  udpSocket(family: 4 | 6): number;
  /**
   * Gives back the port that the kernel chose at a bind to port 0, so that the socket can be bound again (connect(2) to
   * AF_UNSPEC). The socket's interface (SO_BINDTOIFINDEX) is forgotten with it. 0 or -errno.
   */
  udpUnbind(fd: number): number;
  /**
   * Sends `count` datagrams: descriptor i is eight int32 at descriptorsAt + 32*i:
   * (fd, a0, a1, a2, a3, port, at, length). Runs with the same fd go out by sendmmsg(2), runs with the same fd,
   * address and length as one UDP_SEGMENT super-datagram where the kernel has it (at most 64 segments and 65507
   * octets; the last may be shorter). Port 0 sends to the connected remote. A datagram the kernel refuses
   * (-ECONNREFUSED, -EMSGSIZE, ...) is skipped and the rest goes on; when a socket's buffer is full (EAGAIN, ENOBUFS)
   * the rest of that socket's run is refused. A port with bit 16 set has the datagram leave from the address in record
   * i of five int32 at sourcesAt + 20*i (the last: the interface, where either end is link-local); it is refused when
   * that is not the host's any more.
   * `sourcesAt` is 0 when no datagram has one. Returns how many were refused, or -EINVAL with none sent.
   */
  udpSendBatch(descriptorsAt: number, count: number, sourcesAt: number): number;
  /**
   * One recvmmsg(2) of at most `max` (64) messages. Entry i is eight int32 at outAt + 32*i:
   * (length, a0, a1, a2, a3, port, segmentSize, at). It lies in a slot, at + j*stride, of `room` octets, which holds
   * a whole run, so `room` is 65535; or, of datagrams that have the size of the one received last, in the run area of
   * `runOctets` at `runAt`, end to end. segmentSize is from the UDP_GRO cmsg, or the size of datagrams in a row from
   * one sender there (the last may be shorter): the first entry has them all, the others a length of -1; else 0.
   * `localsAt` other than 0: record i of five int32 there gets the address datagram i was sent to, of a socket with
   * IP_PKTINFO or IPV6_RECVPKTINFO (the last: the interface, where either end is link-local, or 0); zeros else. Returns entries or -errno (-EAGAIN when drained).
   */
  udpReceiveBatch(
    fd: number,
    at: number,
    stride: number,
    room: number,
    max: number,
    outAt: number,
    runAt: number,
    runOctets: number,
    localsAt: number,
  ): number;

  // --- devices and descriptors ---------------------------------------------------------------------------------
  /**
   * Opens /dev/net/tun (or `device`) and attaches to TAP `name` (IFF_TAP | IFF_NO_PI [| IFF_VNET_HDR]), non-blocking.
   * A device made with several queues is attached to as one queue of it. Returns fd or -errno.
   */
  tapOpen(name: string, vnetHeader: boolean, device: string): number;
  /** TUNGETIFF: flags (IFF_TAP = 2, IFF_NO_PI = 0x1000, IFF_VNET_HDR = 0x4000 ...) or -errno. */
  tapFlags(fd: number): number;
  /** The device's name, "" if `fd` is not a TUN or TAP. */
  tapName(fd: number): string;
  /**
   * TUNSETVNETHDRSZ 10 and TUNSETOFFLOAD(flags): CSUM 1, TSO4 2, TSO6 4, TSO_ECN 8, USO4 0x20, USO6 0x40. Returns
   * 0 or -errno; -EINVAL for a flag this kernel does not know.
   */
  tapSetOffload(fd: number, flags: number): number;
  /** TUNSETCARRIER (Linux 5.0): whether the device's owner sees a cable. 0 or -errno. */
  tapSetCarrier(fd: number, on: 0 | 1): number;
  /**
   * sendmsg of one octet with SCM_RIGHTS / its counterpart. Return 0 / the fd, or -errno: -EPIPE when the peer
   * closed, -EBADMSG when the octet came without a descriptor. They wait if the socket is a blocking one.
   */
  sendDescriptor(socket: number, fd: number): number;
  receiveDescriptor(socket: number): number;
  /**
   * A netlink socket that hears of changes to devices, IPv6 addresses and IPv6 routes of this namespace (rtnetlink(7)),
   * non-blocking. fd or -errno.
   */
  routeSocket(): number;
  /**
   * Takes what has come off such a socket, unread. Returns how many changes there were (at most 1024 at a time; 0: none
   * is left), or -errno.
   */
  routeChanges(fd: number): number;
  /** Index of a network device in this namespace or -errno (SIOCGIFINDEX). */
  deviceIndex(name: string): number;
  /** A packet socket (AF_PACKET, SOCK_RAW, all protocols, non-blocking) bound to a device. fd or -errno. */
  packetSocket(device: string): number;
  /**
   * FD_CLOEXEC, which Node sets at start on descriptors it inherited, up to the first number over 15 that is free. 0
   * or -errno. The tests leak a descriptor with it, to prove that none gets into a confined process.
   */
  setCloseOnExec(fd: number, on: boolean): number;
  /**
   * Sets no_new_privs and a seccomp filter on every thread, for good: no programs, no other processes, no namespaces
   * or mounts, no keys, bpf, modules, clocks (native-shims/seccomp.c). 0, -ENOSYS on an architecture it does not
   * know, -EBUSY when a thread has a filter of its own already, or -errno.
   */
  applySeccomp(): number;

  // --- vhost-user (one front-end per process) ---------------------------------------------------------------------
  /**
   * recvmsg(2) of at most `octets` into `into`, `at` octets from its start. Descriptors that come are added to
   * `descriptors`: how many, then eight of them at most. Returns octets, 0 at the end, or -errno: -EMSGSIZE when there
   * were more descriptors than fit (the ones that did are there).
   */
  vhostReceive(fd: number, into: Int32Array, at: number, octets: number, descriptors: Int32Array): number;
  /** Sends the first `octets` of `from` without waiting. Returns octets, or -errno. */
  vhostReply(fd: number, from: Int32Array, octets: number): number;
  /**
   * Makes `fd` non-blocking and tells whether it is an eventfd or, where that is allowed, a pipe or socket: 0, or -errno (-EBADF
   * for another kind).
   */
  vhostCheckEvent(fd: number, orPipe: number): number;
  /**
   * Maps a region of the guest's memory, read and write: `region` has its guest address, size, front-end address and
   * offset in the file, each as low and high word. Returns 1 when the file cannot shrink any more (F_SEAL_SHRINK), else 0;
   * -EBADF for what is no regular file, -EFBIG for one that is too short, -EEXIST when it overlaps another region, -ENOSPC
   * for one over 32.
   */
  vhostMap(fd: number, region: Int32Array): number;
  /** Takes one region out (its first three fields tell which); the rings stop. 0, or -ENOENT. */
  vhostUnmap(region: Int32Array): number;
  /** Stops the rings and unmaps all of the guest's memory. */
  vhostUnmapAll(): number;
  /** The same, and unmaps the log. */
  vhostReset(): number;
  /** Maps the log of pages that were written: `record` has its size and offset as two words each. 0 or -errno. */
  vhostLog(fd: number, record: Int32Array): number;
  /** From now on writes are noted in the log, or not. -EINVAL without a log. */
  vhostSetLogging(on: number): number;
  /**
   * Starts ring 0 (to the guest) or 1 (from it). `record`: entries, first available index, flags (1 event index, 2
   * indirect, 4 log writes to the used ring, 8 mergeable buffers, 16 the header has num_buffers), 0; then the front-end's
   * addresses of descriptors, available and used ring and the guest address for the log, two words each. -EFAULT when a
   * part does not lie in one region, -EINVAL when it is not aligned.
   */
  vhostRing(index: number, record: Int32Array): number;
  /** Stops a ring. Returns its next available index. */
  vhostStop(index: number): number;
  /** The eventfd that calls the driver, or -1; it is called once at once. */
  vhostCall(index: number, fd: number): number;
  /** Asks the driver to kick. 1 when something was added since the ring was last looked at, else 0; -EINVAL if stopped. */
  vhostWant(index: number): number;
  /**
   * Copies at most `max` frames with their virtio headers to `at`, one behind the other within `octets`, each on an
   * offset that is `skew` modulo 4, and gives their buffers back. Pairs of offset and length to outAt + 8*i. Returns the
   * count; -EBADMSG for a ring that makes no sense, -EFAULT when its memory is gone: stop the rings then.
   */
  vhostTake(at: number, octets: number, skew: number, max: number, outAt: number): number;
  /**
   * Copies frames to the guest: descriptors as those of writeFrames, the first piece with a virtio header in front, whose
   * num_buffers is filled in. Returns frames taken, fewer (or 0) when the guest has no more buffers; -EMSGSIZE when the
   * first does not fit into one buffer and may not have two, or lost those it had; -EBADMSG and -EFAULT as vhostTake. The
   * second piece may be what vhostPeek gave: then only the first is copied.
   */
  vhostSend(descriptorsAt: number, count: number): number;
  /**
   * Reads at most `octets` of a TCP socket, which stay in its queue (MSG_PEEK; SO_PEEK_OFF says from where), into receive
   * buffers of the guest, `each` octets a frame at most with `header` octets left in front. Pairs of offset (beyond the
   * arena, for vhostSend) and length to outAt + 8*i, `max` at most and never more than eight, together what is returned:
   * octets, 0 at end of stream, -ENOBUFS without buffers, or -errno. `header` is that of the frame later sent, virtio's included.
   */
  vhostPeek(fd: number, header: number, each: number, octets: number, outAt: number, max: number): number;
  /** A frame that vhostPeek gave will not be sent: its buffers go back empty. 0, or -EINVAL for what is none. */
  vhostRelease(at: number): number;

  // --- checksums -----------------------------------------------------------------------------------------------
  /**
   * Folded 16-bit ones' complement sum of big-endian words, not complemented, plus `initial` (an unsigned sum that
   * need not be folded). An odd last octet counts as the high one. 0 only if all octets and `initial` are.
   */
  checksum(at: number, length: number, initial: number): number;
}
