/** Linux's numbers that the host side needs beside those the core tells apart (boundary.ts). Errnos are negative. */

export { EACCES, ENOENT } from "../../engine/boundary.ts";

/** errno(3), asm-generic/errno.h. */
export const EPERM = -1;
export const EIO = -5;
export const EBADF = -9;
export const EFAULT = -14;
export const EBUSY = -16;
export const EEXIST = -17;
export const ENODEV = -19;
export const EFBIG = -27;
export const EBADMSG = -74;
export const EBADFD = -77;
export const ENOTSOCK = -88;
export const EDESTADDRREQ = -89;
export const EMSGSIZE = -90;
/** socket(2): this kernel has no IPv6. */
export const EAFNOSUPPORT = -97;
/** accept(2): the client gave up while it waited. */
export const ECONNABORTED = -103;

/** open(2), asm-generic/fcntl.h: a place in the tree of files, with nothing of the file opened. */
export const O_PATH = 0o10000000;

/** EPOLLET (epoll_ctl(2)). */
export const EDGE_TRIGGERED = -0x80000000;

/** socket(7), and asm-generic/socket.h for the numbers. */
export const SOL_SOCKET = 1;
export const SO_TYPE = 3;
export const SO_SNDBUF = 7;
/** Who made the other end of a Unix socket; read as an int, its process. */
export const SO_PEERCRED = 17;
export const SO_REUSEADDR = 2;
export const SO_KEEPALIVE = 9;
export const SO_ACCEPTCONN = 30;
export const SO_PROTOCOL = 38;
export const SO_DOMAIN = 39;
export const SO_PEEK_OFF = 42;
export const SO_BINDTOIFINDEX = 62;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const AF_UNIX = 1;

/** ip(7). IP_PKTINFO: each datagram tells which address of the host it was sent to. */
export const IPPROTO_IP = 0;
export const IP_PKTINFO = 8;
export const IP_BIND_ADDRESS_NO_PORT = 24;
export const IP_MULTICAST_TTL = 33;
export const IP_MULTICAST_ALL = 49;

/** ipv6(7), and linux/in6.h. IPV6_RECVPKTINFO: as IP_PKTINFO. */
export const IPPROTO_IPV6 = 41;
export const IPV6_MULTICAST_ALL = 29;
export const IPV6_RECVPKTINFO = 49;

/** tcp(7), and linux/tcp.h for the numbers. */
export const IPPROTO_TCP = 6;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;

/** The uid and gid that own nothing (the overflow ids, `nobody` in most distributions). */
export const NOBODY = 65534;

/** linux/capability.h */
export const CAP_NET_BIND_SERVICE = 10n;
export const CAP_NET_ADMIN = 12n;
export const CAP_SYS_ADMIN = 21n;
