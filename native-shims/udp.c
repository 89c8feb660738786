/*
 * UDP in batches.
 *
 * Sending. A batch is cut at each change of descriptor into parts of at most MESSAGES_MAX messages, each part one
 * sendmmsg(2). Datagrams in a row to the same address and of the same length become one message with a
 * UDP_SEGMENT control message (udp(7)), which the kernel cuts again as late as it can. The kernel refuses this for a
 * segment over the path MTU (EINVAL, EMSGSIZE) and on a device without checksum offload (EIO); then the datagrams
 * of that message go out one by one, and the refusal is remembered for this socket and size, because a refused
 * attempt costs a copy of all its octets.
 *
 * A socket bound to all addresses answers from the one it was asked on: a socket with IP_PKTINFO (ip(7)) or
 * IPV6_RECVPKTINFO (ipv6(7)) tells where each datagram was sent to, and a datagram may name its source the same way.
 * Both are tables beside the descriptors, which sockets without a use for them never touch. What is answered at or from a
 * link-local address goes by the interface it came by (RFC 4007 section 6), whose index stands in the place of the port.
 *
 * Receiving is one recvmmsg(2); a UDP_GRO control message tells the segment size of a run the kernel merged. The kernel
 * merges what arrives as a run (from a card, or from a sender with UDP_SEGMENT), not what one program sends one by one.
 * So datagrams are received end to end where their size can be guessed, each of the size of the last one seen, and
 * those from one sender that proved to be of it are told as one run, as if the kernel had merged them.
 */
#include "shim.h"

#include <netinet/in.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define MESSAGES_MAX 64
/** The kernel's own limit is 64 before Linux 6.9, 128 since. */
#define SEGMENTS_MAX 64
#define IOVECS_MAX 1024
/** Largest UDP payload in IPv4: 65535 - 20 - 8. */
#define PAYLOAD_MAX 65507
/** Asked for in both directions; the kernel clamps it to net.core.[rw]mem_max. */
#define SOCKET_BUFFER_OCTETS (1 << 20)
#define REFUSALS 64
/** Larger datagrams are rare enough to go to their slots. */
#define RUN_DATAGRAM_MAX 2048

/** A bit above the port: the datagram leaves from the address in its record of the table of sources. */
#define HAS_SOURCE 0x10000

/** One datagram to send, as JavaScript lays it out: eight int32. */
struct datagram {
  int32_t fd;
  int32_t words[5];
  int32_t at;
  int32_t length;
};

/** Room for a segment size and an address. */
union control {
  struct cmsghdr header;
  char octets[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static struct mmsghdr messages[MESSAGES_MAX];
static struct sockaddr_storage names[MESSAGES_MAX];
static union control controls[MESSAGES_MAX];
static struct iovec iovecs[IOVECS_MAX];
/** The descriptors message i carries: `segments[i]` of them from `first[i]` on. */
static const struct datagram *first[MESSAGES_MAX];
static int segments[MESSAGES_MAX];
/** The batch being sent and its table of sources, a record of five int32 for each descriptor. */
static const struct datagram *batch;
static const int32_t *sources;

/** Smallest segment size a socket is known to refuse, by descriptor modulo REFUSALS; 0: none known. */
static struct {
  int fd;
  int size;
} refusals[REFUSALS];
static int segmentation = -1;

/** Whether the kernel knows UDP_SEGMENT (Linux 4.18). */
static bool probe_segmentation(int fd) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &length) == 0;
}

int32_t shim_udp_socket(const int32_t *a) {
  const int on = 1, buffer = SOCKET_BUFFER_OCTETS;
  if (a[0] != 4 && a[0] != 6) return -EINVAL;
  int fd = socket(a[0] == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (segmentation < 0) segmentation = probe_segmentation(fd);
  setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  if (a[0] == 6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (refusals[fd % REFUSALS].fd == fd) refusals[fd % REFUSALS].size = 0;
  return fd;
}

int32_t shim_udp_unbind(const int32_t *a) {
  const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
  return result_of(connect(a[0], &nowhere, sizeof nowhere));
}

static bool may_segment(int fd, int size) {
  int i = fd % REFUSALS;
  if (segmentation != 1) return false;
  return refusals[i].fd != fd || refusals[i].size == 0 || size < refusals[i].size;
}

static void remember_refusal(int fd, int size) {
  int i = fd % REFUSALS;
  if (refusals[i].fd != fd || refusals[i].size == 0 || size < refusals[i].size) refusals[i].size = size;
  refusals[i].fd = fd;
}

static const int32_t *source_of(const struct datagram *d) { return sources + 5 * (d - batch); }

/** Whether `next` leaves by the same socket as `d`, from the same address and to the same one. */
static bool same_way(const struct datagram *d, const struct datagram *next) {
  if (next->fd != d->fd || memcmp(next->words, d->words, sizeof d->words) != 0) return false;
  return !(d->words[4] & HAS_SOURCE) || memcmp(source_of(next), source_of(d), 5 * sizeof(int32_t)) == 0;
}

/** How many datagrams from `d` on can leave as one message. */
static int run_length(const struct datagram *d, int left) {
  int size = d->length, n = 1;
  int64_t total = size;
  if (size == 0 || !may_segment(d->fd, size)) return 1;
  while (n < left && n < SEGMENTS_MAX) {
    const struct datagram *next = &d[n];
    if (!same_way(d, next)) break;
    if (next->length > size || next->length == 0 || total + next->length > PAYLOAD_MAX) break;
    total += next->length;
    n++;
    if (next->length < size) break;
  }
  return n;
}

/** Adds a control message; `header` has its buffer, with room for all it may get, once it has the first. */
static void add_control(struct msghdr *header, union control *room, int level, int type, const void *data, size_t length) {
  struct cmsghdr *c = (struct cmsghdr *)(void *)(room->octets + header->msg_controllen);
  memset(c, 0, CMSG_SPACE(length));
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(length);
  memcpy(CMSG_DATA(c), data, length);
  header->msg_control = room->octets;
  header->msg_controllen += CMSG_SPACE(length);
}

/** Has the message leave from one of the host's addresses; routing chooses the interface unless it is link-local. */
static void add_source(struct msghdr *header, union control *room, const int32_t *words) {
  struct sockaddr_storage from;
  address_from_words(&from, words, 0);
  if (from.ss_family == AF_INET) {
    struct in_pktinfo info = {.ipi_spec_dst = ((const struct sockaddr_in *)&from)->sin_addr};
    add_control(header, room, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
  } else {
    struct in6_pktinfo info = {.ipi6_addr = ((const struct sockaddr_in6 *)&from)->sin6_addr};
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = (unsigned)words[4];
    add_control(header, room, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
  }
}

/** Where a message goes, and from which address if that matters. */
static void direct(struct msghdr *header, struct sockaddr_storage *name, union control *room, const struct datagram *d) {
  const int32_t *source = d->words[4] & HAS_SOURCE ? source_of(d) : NULL;
  if ((uint16_t)d->words[4] != 0) {
    header->msg_name = name;
    /* The kernel looks at the interface for link-local addresses alone. */
    header->msg_namelen = address_from_words(name, d->words, source == NULL ? 0 : (uint32_t)source[4]);
  }
  if (source != NULL) add_source(header, room, source);
}

/** Fills message `m` with `n` datagrams from `d` on, iovecs from `iov` on. Returns the iovecs used. */
static int fill(int m, const struct datagram *d, int n, struct iovec *iov) {
  struct msghdr *header = &messages[m].msg_hdr;
  int used = 0;
  memset(header, 0, sizeof *header);
  for (int i = 0; i < n; i++) {
    uint8_t *at = arena.data + d[i].at;
    if (used > 0 && (uint8_t *)iov[used - 1].iov_base + iov[used - 1].iov_len == at) {
      iov[used - 1].iov_len += (size_t)d[i].length;
    } else {
      iov[used].iov_base = at;
      iov[used++].iov_len = (size_t)d[i].length;
    }
  }
  header->msg_iov = iov;
  header->msg_iovlen = (size_t)used;
  direct(header, &names[m], &controls[m], d);
  if (n > 1) {
    uint16_t size = (uint16_t)d->length;
    add_control(header, &controls[m], IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
  }
  first[m] = d;
  segments[m] = n;
  return used;
}

static int count_segments(int from, int to) {
  int n = 0;
  for (int i = from; i < to; i++) n += segments[i];
  return n;
}

/** Sends `n` datagrams one by one, with a message header of their own. Returns how many were refused. */
static int send_singly(const struct datagram *d, int n) {
  int refused = 0;
  for (int i = 0; i < n; i++) {
    struct sockaddr_storage name;
    union control room;
    struct iovec part = {arena.data + d[i].at, (size_t)d[i].length};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    direct(&header, &name, &room, &d[i]);
    ssize_t r;
    RETRY(r, sendmsg(d[i].fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL));
    if (r < 0) refused++;
  }
  return refused;
}

/** Sends the first `count` messages. Returns how many datagrams were refused. */
static int send_messages(int fd, int count) {
  int done = 0, refused = 0;
  while (done < count) {
    int r;
    RETRY(r, sendmmsg(fd, messages + done, (unsigned)(count - done), MSG_DONTWAIT | MSG_NOSIGNAL));
    if (r > 0) {
      done += r;
    } else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
      return refused + count_segments(done, count);
    } else {
      /*
       * The error belongs to the message at `done`; those after it have not been tried. It may also be an earlier
       * datagram's ICMP error, which must not cost a whole run. Where each alone is refused too (the source is not the
       * host's any more), it is not for being segments.
       */
      if (segments[done] > 1) {
        int error = errno, lost = send_singly(first[done], segments[done]);
        if (lost < segments[done] && (error == EIO || error == EINVAL || error == EMSGSIZE))
          remember_refusal(fd, error == EIO ? 1 : first[done]->length);
        refused += lost;
      } else {
        refused++;
      }
      done++;
    }
  }
  return refused;
}

int32_t shim_udp_send_batch(const int32_t *a) {
  int32_t count = a[1];
  const struct datagram *d = (const struct datagram *)(const void *)records(a[0], 8, count);
  int refused = 0;
  batch = d;
  sources = a[2] == 0 ? NULL : records(a[2], 5, count);
  if (d == NULL || (a[2] != 0 && sources == NULL)) return -EINVAL;
  for (int32_t i = 0; i < count; i++)
    if (!inside(d[i].at, d[i].length) || ((d[i].words[4] & HAS_SOURCE) && sources == NULL)) return -EINVAL;
  for (int32_t i = 0; i < count;) {
    int fd = d[i].fd, m = 0, used = 0;
    while (i < count && d[i].fd == fd && m < MESSAGES_MAX && used + SEGMENTS_MAX <= IOVECS_MAX) {
      int n = fd < 0 ? 1 : run_length(&d[i], count - i);
      used += fill(m++, &d[i], n, &iovecs[used]);
      i += n;
    }
    refused += send_messages(fd, m);
  }
  return refused;
}

/**
 * The address a datagram was sent to, from its control message, as words; zeros for a group's. In the place of the port:
 * the interface of a link-local one.
 */
static void read_local(const struct cmsghdr *c, int32_t *local) {
  struct sockaddr_storage to = {.ss_family = AF_UNSPEC};
  int32_t interface = 0;
  if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    /* The interface's own address where the datagram was sent to a group or to everybody. */
    struct sockaddr_in *in = (struct sockaddr_in *)&to;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = info.ipi_spec_dst};
  } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(c), sizeof info);
    if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) return;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&to;
    *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = info.ipi6_addr};
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) interface = (int32_t)info.ipi6_ifindex;
  } else {
    return;
  }
  words_from_address(local, &to);
  local[4] = interface;
}

/** What came with a message: the segment size of a run (0: one datagram), and where it was sent to if that is asked. */
static int32_t read_controls(struct msghdr *header, int32_t *local) {
  int size = 0;
  if (local != NULL) memset(local, 0, 5 * sizeof *local);
  for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) memcpy(&size, CMSG_DATA(c), sizeof size);
    else if (local != NULL) read_local(c, local);
  }
  /* The kernel gives the interface of link-local senders alone. */
  const struct sockaddr_in6 *from = header->msg_name;
  if (local != NULL && from->sin6_family == AF_INET6 && from->sin6_scope_id != 0) local[4] = (int32_t)from->sin6_scope_id;
  return size;
}

/** Size of the datagram received last, the guess for the next; 0 when it was too large for the run area. */
static int32_t expected;

/** Where message `i` goes: its first `expected` octets next to its neighbours', what is more into its slot. */
static int place(int i, uint8_t *slot, int32_t room, uint8_t *run, struct iovec *iov) {
  if (expected == 0) {
    iov[0] = (struct iovec){slot, (size_t)room};
    return 1;
  }
  iov[0] = (struct iovec){run + (size_t)i * (size_t)expected, (size_t)expected};
  iov[1] = (struct iovec){slot + expected, (size_t)(room - expected)};
  return 2;
}

/** Whether `next` continues the run of `entry`, which has `n` datagrams of `size` octets. */
static bool continues(const int32_t *entry, const int32_t *next, int32_t size, int n) {
  return n < SEGMENTS_MAX && entry[0] == n * size && next[0] > 0 && next[0] <= size && next[6] == 0 &&
         entry[0] + next[0] <= PAYLOAD_MAX && memcmp(entry + 1, next + 1, 5 * sizeof *next) == 0;
}

/** Whether two entries were sent to the same address; all were where there is no table of them. */
static bool same_local(const int32_t *locals, int i, int j) {
  return locals == NULL || memcmp(locals + 5 * i, locals + 5 * j, 5 * sizeof *locals) == 0;
}

/** Joins entries that lie end to end, `size` octets each: the first has them all, the others get a length of -1. */
static void join_runs(int32_t *entries, const int32_t *locals, int count, int32_t size) {
  for (int i = 0; i < count;) {
    const int at = i;
    int32_t *entry = entries + 8 * i++;
    if (entry[0] != size || entry[6] != 0) continue;
    for (int n = 1; i < count && continues(entry, entries + 8 * i, size, n) && same_local(locals, at, i); n++, i++) {
      entry[0] += entries[8 * i];
      entry[6] = size;
      entries[8 * i] = -1;
    }
  }
}

int32_t shim_udp_receive_batch(const int32_t *a) {
  int32_t fd = a[0], at = a[1], stride = a[2], room = a[3], max = a[4] > MESSAGES_MAX ? MESSAGES_MAX : a[4];
  int32_t *out = records(a[5], 8, max), run_at = a[6], run_octets = a[7];
  int32_t *locals = a[8] == 0 ? NULL : records(a[8], 5, max);
  if (out == NULL || (a[8] != 0 && locals == NULL) || !slots_inside(at, stride, room, max) || !inside(run_at, run_octets)) return -EINVAL;
  if (expected > room || (int64_t)expected * max > run_octets) expected = 0;
  const int32_t size = expected;
  for (int32_t i = 0; i < max; i++) {
    struct msghdr *header = &messages[i].msg_hdr;
    memset(header, 0, sizeof *header);
    names[i].ss_family = AF_UNSPEC;
    header->msg_name = &names[i];
    header->msg_namelen = sizeof names[i];
    header->msg_iov = &iovecs[2 * i];
    header->msg_iovlen =
        (size_t)place(i, arena.data + at + (size_t)i * (size_t)stride, room, arena.data + run_at, &iovecs[2 * i]);
    header->msg_control = controls[i].octets;
    header->msg_controllen = sizeof controls[i].octets;
  }
  int r;
  RETRY(r, recvmmsg(fd, messages, (unsigned)max, MSG_DONTWAIT, NULL));
  if (r < 0) return -errno;
  int32_t *entry = out;
  for (int i = 0; i < r; i++, entry += 8) {
    entry[0] = (int32_t)messages[i].msg_len;
    words_from_address(&entry[1], &names[i]);
    entry[6] = read_controls(&messages[i].msg_hdr, locals == NULL ? NULL : locals + 5 * i);
    entry[7] = run_at + i * size;
    if (size == 0 || entry[0] > size) {
      entry[7] = at + i * stride;
      memcpy(arena.data + entry[7], arena.data + run_at + (size_t)i * (size_t)size, (size_t)size);
    }
  }
  expected = r > 0 ? entry[-8] : expected;
  if (expected > RUN_DATAGRAM_MAX) expected = 0;
  if (size > 0) join_runs(out, locals, r, size);
  return r;
}
