/* TCP sockets, and the calls all sockets share. */
#include "shim.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <unistd.h>

#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

#define IOVECS_MAX 1024
#define V4_MAPPED 0xffff

socklen_t address_from_words(struct sockaddr_storage *to, const int32_t *words, uint32_t scope) {
  if (words[0] == 0 && words[1] == 0 && words[2] == V4_MAPPED) {
    struct sockaddr_in *in = (struct sockaddr_in *)to;
    memset(in, 0, sizeof *in);
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)words[4]);
    in->sin_addr.s_addr = htonl((uint32_t)words[3]);
    return sizeof *in;
  }
  struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;
  memset(in6, 0, sizeof *in6);
  in6->sin6_family = AF_INET6;
  in6->sin6_port = htons((uint16_t)words[4]);
  in6->sin6_scope_id = scope;
  for (int i = 0; i < 4; i++) {
    uint32_t word = htonl((uint32_t)words[i]);
    memcpy(&in6->sin6_addr.s6_addr[4 * i], &word, 4);
  }
  return sizeof *in6;
}

void words_from_address(int32_t *words, const struct sockaddr_storage *from) {
  memset(words, 0, 5 * sizeof *words);
  if (from->ss_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)from;
    words[2] = V4_MAPPED;
    words[3] = (int32_t)ntohl(in->sin_addr.s_addr);
    words[4] = ntohs(in->sin_port);
  } else if (from->ss_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
    for (int i = 0; i < 4; i++) {
      uint32_t word;
      memcpy(&word, &in6->sin6_addr.s6_addr[4 * i], 4);
      words[i] = (int32_t)ntohl(word);
    }
    words[4] = ntohs(in6->sin6_port);
  }
}

/** Fills `n` iovecs from pairs of offset and length. Returns the octets in all, or -1 when one is outside the arena. */
static int64_t fill_iovecs(struct iovec *iovecs, const int32_t *pair, int32_t n) {
  int64_t octets = 0;
  for (int32_t i = 0; i < n; i++, pair += 2) {
    if (!inside(pair[0], pair[1])) return -1;
    iovecs[i].iov_base = arena.data + pair[0];
    iovecs[i].iov_len = (size_t)pair[1];
    octets += pair[1];
  }
  return octets;
}

int32_t shim_send_gather(const struct arg *a) {
  static struct iovec iovecs[IOVECS_MAX];
  int32_t fd = a[0].i, count = a[2].i;
  const int32_t *pair = a[1].ints;
  int64_t total = 0;
  if (count < 0 || (size_t)count * 2 > a[1].length) return -EINVAL;
  for (int32_t i = 0, n; i < count; i += n, pair += 2 * n) {
    n = count - i < IOVECS_MAX ? count - i : IOVECS_MAX;
    int64_t octets = fill_iovecs(iovecs, pair, n);
    if (octets < 0) return total > 0 ? (int32_t)total : -EINVAL;
    if (total + octets > INT32_MAX) return total > 0 ? (int32_t)total : -EINVAL;
    struct msghdr message = {.msg_iov = iovecs, .msg_iovlen = (size_t)n};
    ssize_t r;
    RETRY(r, sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
    if (r < 0) return total > 0 ? (int32_t)total : -errno;
    total += r;
    if (r < octets) break;
  }
  return (int32_t)total;
}

int32_t shim_receive_scatter(const struct arg *a) {
  static struct iovec iovecs[IOVECS_MAX];
  int32_t fd = a[0].i, count = a[2].i;
  const int32_t *pair = a[1].ints;
  if (count < 0 || count > IOVECS_MAX || (size_t)count * 2 > a[1].length) return -EINVAL;
  if (fill_iovecs(iovecs, pair, count) < 0) return -EINVAL;
  struct msghdr message = {.msg_iov = iovecs, .msg_iovlen = (size_t)count};
  ssize_t r;
  RETRY(r, recvmsg(fd, &message, MSG_DONTWAIT));
  if (r < 0 && errno == ENOTSOCK) RETRY(r, readv(fd, iovecs, count));
  return result_of(r);
}

static int set_int(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value);
}

/** What every TCP socket has. Harmless failures (a Unix socket) are not reported. */
static void tcp_options(int fd) {
  set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1);
}

int32_t shim_tcp_socket(const int32_t *a) {
  if (a[0] != 4 && a[0] != 6) return -EINVAL;
  int fd = socket(a[0] == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  tcp_options(fd);
  if (a[0] == 6) set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  return fd;
}

static int32_t connect_to(int fd, const int32_t *words, uint32_t scope) {
  struct sockaddr_storage to;
  socklen_t length = address_from_words(&to, words, scope);
  int r;
  RETRY(r, connect(fd, (struct sockaddr *)&to, length));
  return result_of(r);
}

int32_t shim_connect(const struct arg *a) { return connect_to(a[0].i, a[1].ints, 0); }

int32_t shim_connect_scoped(const struct arg *a) { return connect_to(a[0].i, a[1].ints, (uint32_t)a[2].i); }

int32_t shim_bind(const struct arg *a) {
  int fd = a[0].i, family = a[2].i, type = 0;
  int32_t words[5];
  struct sockaddr_storage to;
  socklen_t type_length = sizeof type;
  if (family != 4 && family != 6) return -EINVAL;
  memcpy(words, a[1].ints, sizeof words);
  if (family == 4) {
    words[0] = words[1] = 0;
    words[2] = V4_MAPPED;
  } else if (words[0] == 0 && words[1] == 0 && words[2] == V4_MAPPED) {
    return -EINVAL;
  }
  socklen_t length = address_from_words(&to, words, 0);
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) < 0) return -errno;
  /* A listener's port is free again at once after a restart; two UDP sockets must never share one. */
  if (type == SOCK_STREAM) set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (a[3].i) set_int(fd, family == 6 ? IPPROTO_IPV6 : IPPROTO_IP, family == 6 ? IPV6_FREEBIND : IP_FREEBIND, 1);
  return result_of(bind(fd, (struct sockaddr *)&to, length));
}

int32_t shim_listen(const int32_t *a) { return result_of(listen(a[0], a[1])); }

int32_t shim_accept(const struct arg *a) {
  struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
  socklen_t length = sizeof from;
  int fd;
  RETRY(fd, accept4(a[0].i, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd < 0) return -errno;
  if (from.ss_family == AF_INET || from.ss_family == AF_INET6) tcp_options(fd);
  words_from_address(a[1].ints, &from);
  return fd;
}

int32_t shim_local_address(const struct arg *a) {
  struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
  socklen_t length = sizeof address;
  if (getsockname(a[0].i, (struct sockaddr *)&address, &length) < 0) return -errno;
  words_from_address(a[1].ints, &address);
  return 0;
}

int32_t shim_socket_error(const int32_t *a) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(a[0], SOL_SOCKET, SO_ERROR, &error, &length) < 0) return -errno;
  return -error;
}

int32_t shim_is_connected(const int32_t *a) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  return result_of(getpeername(a[0], (struct sockaddr *)&address, &length));
}

int32_t shim_shutdown_write(const int32_t *a) { return result_of(shutdown(a[0], SHUT_WR)); }

/* A listener takes no more connections, and those in its queue are reset; it stays bound, and may listen again. */
int32_t shim_shutdown_read(const int32_t *a) { return result_of(shutdown(a[0], SHUT_RD)); }

/* close(2) is never repeated: after EINTR the descriptor is gone already. */
int32_t shim_close(const int32_t *a) { return result_of(close(a[0])); }

int32_t shim_close_reset(const int32_t *a) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(a[0], SOL_SOCKET, SO_LINGER, &now, sizeof now);
  return result_of(close(a[0]));
}

int32_t shim_set_option(const int32_t *a) { return result_of(set_int(a[0], a[1], a[2], a[3])); }

int32_t shim_get_option(const int32_t *a) {
  int value = 0;
  socklen_t length = sizeof value;
  if (getsockopt(a[0], a[1], a[2], &value, &length) < 0) return -errno;
  return value;
}

/* The kernel cuts the structure to what it knows; fields it does not know stay 0. */
int32_t shim_tcp_info(const struct arg *a) {
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  if (a[1].length < 5) return -EINVAL;
  if (getsockopt(a[0].i, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return -errno;
  a[1].ints[0] = (int32_t)info.tcpi_last_data_recv;
  a[1].ints[1] = (int32_t)info.tcpi_last_ack_recv;
  a[1].ints[2] = (int32_t)info.tcpi_unacked;
  a[1].ints[3] = (int32_t)info.tcpi_notsent_bytes;
  a[1].ints[4] = (int32_t)info.tcpi_segs_in;
  return 0;
}

int32_t shim_set_non_blocking(const int32_t *a) {
  int flags = fcntl(a[0], F_GETFL);
  if (flags < 0) return -errno;
  return result_of(fcntl(a[0], F_SETFL, flags | O_NONBLOCK));
}
