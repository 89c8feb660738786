/* Frames and byte streams between the arena and a descriptor: TAP, packet socket, Unix or UDP socket. */
#include "shim.h"

#include <limits.h>
#include <unistd.h>

/** RX_BATCH_MAX of limits.ts. A call that asks for more gets this many. */
#define BATCH_MAX 256
/** IOV_MAX on Linux. */
#define IOVECS_MAX 1024

static struct iovec iovecs[IOVECS_MAX];
static struct mmsghdr messages[BATCH_MAX];

int32_t shim_read_frames(const int32_t *a) {
  int32_t fd = a[0], at = a[1], stride = a[2], room = a[3], max = a[4];
  int32_t *lengths = records(a[5], 1, max);
  if (lengths == NULL || !slots_inside(at, stride, room, max)) return -EINVAL;
  uint8_t *slot = arena.data + at;
  for (int32_t i = 0; i < max; i++, slot += stride) {
    ssize_t r;
    RETRY(r, read(fd, slot, (size_t)room));
    if (r <= 0) {
      if (i > 0 || (r < 0 && errno == EAGAIN)) return i;
      return r == 0 ? -EPIPE : -errno;
    }
    lengths[i] = (int32_t)r;
  }
  return max;
}

/** Whether an empty message means the end: on a SOCK_SEQPACKET socket, but not on a datagram one. */
static bool is_sequenced(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
}

int32_t shim_receive_frames(const int32_t *a) {
  int32_t fd = a[0], at = a[1], stride = a[2], room = a[3], max = a[4] > BATCH_MAX ? BATCH_MAX : a[4];
  int32_t *lengths = records(a[5], 1, max);
  if (lengths == NULL || !slots_inside(at, stride, room, max)) return -EINVAL;
  for (int32_t i = 0; i < max; i++) {
    iovecs[i].iov_base = arena.data + at + (size_t)i * (size_t)stride;
    iovecs[i].iov_len = (size_t)room;
    memset(&messages[i].msg_hdr, 0, sizeof messages[i].msg_hdr);
    messages[i].msg_hdr.msg_iov = &iovecs[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  int r;
  RETRY(r, recvmmsg(fd, messages, (unsigned)max, MSG_DONTWAIT | MSG_TRUNC, NULL));
  if (r < 0) return errno == EAGAIN ? 0 : -errno;
  for (int i = 0; i < r; i++) {
    if (messages[i].msg_len == 0 && is_sequenced(fd)) return i > 0 ? i : -EPIPE;
    lengths[i] = (int32_t)messages[i].msg_len;
  }
  return r;
}

/** One descriptor (a, aLength, b, bLength) as one or two iovecs at `out`. Returns how many, or 0 if it is not inside. */
static int describe(const int32_t *d, struct iovec *out) {
  if (!inside(d[0], d[1]) || !inside(d[2], d[3])) return 0;
  out[0].iov_base = arena.data + d[0];
  out[0].iov_len = (size_t)d[1];
  if (d[3] == 0) return 1;
  out[1].iov_base = arena.data + d[2];
  out[1].iov_len = (size_t)d[3];
  return 2;
}

int32_t shim_write_frames(const int32_t *a) {
  int32_t fd = a[0], count = a[2];
  const int32_t *d = records(a[1], 4, count);
  if (d == NULL) return -EINVAL;
  for (int32_t i = 0; i < count; i++, d += 4) {
    struct iovec parts[2];
    int n = describe(d, parts);
    ssize_t r = -1;
    if (n == 0)
      errno = EINVAL;
    else
      RETRY(r, writev(fd, parts, n));
    if (r < 0) return i > 0 || errno == EAGAIN ? i : -errno;
  }
  return count;
}

int32_t shim_send_frames(const int32_t *a) {
  int32_t fd = a[0], count = a[2], sent = 0;
  const int32_t *d = records(a[1], 4, count);
  if (d == NULL) return -EINVAL;
  while (sent < count) {
    int32_t batch = count - sent > BATCH_MAX ? BATCH_MAX : count - sent;
    for (int32_t i = 0; i < batch; i++, d += 4) {
      int n = describe(d, &iovecs[2 * i]);
      if (n == 0) return -EINVAL;
      memset(&messages[i].msg_hdr, 0, sizeof messages[i].msg_hdr);
      messages[i].msg_hdr.msg_iov = &iovecs[2 * i];
      messages[i].msg_hdr.msg_iovlen = (size_t)n;
    }
    int r;
    RETRY(r, sendmmsg(fd, messages, (unsigned)batch, MSG_DONTWAIT | MSG_NOSIGNAL));
    if (r < 0) return sent > 0 || errno == EAGAIN ? sent : -errno;
    sent += r;
    if (r < batch) break;
  }
  return sent;
}

/** Sends the first `count` iovecs as one piece of a stream. Returns octets taken or -1 with errno. */
static ssize_t stream_out(int fd, int count) {
  struct msghdr message = {.msg_iov = iovecs, .msg_iovlen = (size_t)count};
  ssize_t r;
  RETRY(r, sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
  if (r < 0 && errno == ENOTSOCK) RETRY(r, writev(fd, iovecs, count));
  return r;
}

int32_t shim_write_stream(const int32_t *a) {
  int32_t fd = a[0], count = a[2];
  const int32_t *d = records(a[1], 4, count);
  int64_t total = 0;
  if (d == NULL) return -EINVAL;
  for (int32_t i = 0; i < count;) {
    int n = 0;
    int64_t octets = 0;
    for (; i < count && n + 2 <= IOVECS_MAX; i++, d += 4) {
      int parts = describe(d, &iovecs[n]);
      if (parts == 0) return total > 0 ? (int32_t)total : -EINVAL;
      n += parts;
      octets += (int64_t)d[1] + d[3];
    }
    if (total + octets > INT32_MAX) return total > 0 ? (int32_t)total : -EINVAL;
    ssize_t r = stream_out(fd, n);
    if (r < 0) return total > 0 ? (int32_t)total : -errno;
    total += r;
    if (r < octets) break;
  }
  return (int32_t)total;
}

int32_t shim_receive(const int32_t *a) {
  int32_t fd = a[0], at = a[1], length = a[2];
  if (!inside(at, length)) return -EINVAL;
  ssize_t r;
  RETRY(r, recv(fd, arena.data + at, (size_t)length, MSG_DONTWAIT));
  if (r < 0 && errno == ENOTSOCK) RETRY(r, read(fd, arena.data + at, (size_t)length));
  return result_of(r);
}

int32_t shim_discard(const int32_t *a) {
  ssize_t r;
  if (a[1] < 0) return -EINVAL;
  RETRY(r, recv(a[0], NULL, (size_t)a[1], MSG_DONTWAIT | MSG_TRUNC));
  return result_of(r);
}
