// The guest's side of the request/response and scale cases, against tcp-echo.
//
//   tcp-request pingpong --connect A:P --warmup MS --window MS     1 octet there and back; percentiles in us
//   tcp-request crr      --connect A:P --ports N --warmup MS --window MS   connect, exchange 1 octet, close
//                        --send FILE                           exchange what FILE holds instead
//   tcp-request first    --connect A:P                             when the first SYN is answered (CLOCK_MONOTONIC)
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include "load.h"

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static int connect_to(const union address *to) {
  int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket: %s", strerror(errno));
  struct timeval limit = {5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, &to->any, size_of(to)) < 0) die("connect: %s", strerror(errno));
  set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  return fd;
}

static char message[16384] = "x";
static size_t message_octets = 1;

static void read_message(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, message, sizeof message);
  if (n <= 0) die("%s: %s", path, n == 0 ? "empty" : strerror(errno));
  message_octets = (size_t)n;
  close(fd);
}

static void exchange(int fd) {
  static char answer[sizeof message];
  if (send(fd, message, message_octets, MSG_NOSIGNAL) != (ssize_t)message_octets) die("send: %s", strerror(errno));
  ssize_t n = recv(fd, answer, message_octets, MSG_WAITALL);
  if (n != (ssize_t)message_octets) die("no answer within 5 s: %s", n < 0 ? strerror(errno) : "closed");
}

static void pingpong(const union address *to, int64_t warmup_ns, int64_t window_ns) {
  static uint32_t samples[4000000];
  size_t count = 0;
  int fd = connect_to(to);
  int64_t until = now_ns() + warmup_ns;
  while (now_ns() < until) exchange(fd);
  say("{\"event\":\"window\"}");
  int64_t from = now_ns(), before = from;
  while (before - from < window_ns && count < sizeof samples / sizeof samples[0]) {
    exchange(fd);
    int64_t after = now_ns();
    samples[count++] = (uint32_t)(after - before);
    before = after;
  }
  qsort(samples, count, sizeof samples[0], by_value);
  say("{\"event\":\"result\",\"count\":%zu,\"nanoseconds\":%lld,\"p50Us\":%.2f,\"p99Us\":%.2f,\"maxUs\":%.1f}", count,
      (long long)(before - from), samples[count / 2] / 1e3, samples[count * 99 / 100] / 1e3, samples[count - 1] / 1e3);
}

// Rotates over the server's ports, so that TIME_WAIT on this side cannot run out of port pairs.
static void crr(union address to, int ports, int64_t warmup_ns, int64_t window_ns) {
  int first = ntohs(to.v4.sin_port);
  long count = 0;
  int64_t start = now_ns(), from = 0, at = start;
  while (from == 0 || at - from < window_ns) {
    to.v4.sin_port = htons((uint16_t)(first + count % ports));
    int fd = connect_to(&to);
    exchange(fd);
    close(fd);
    count++;
    at = now_ns();
    if (from == 0 && at - start >= warmup_ns) {
      say("{\"event\":\"window\"}");
      from = at;
      count = 0;
    }
  }
  say("{\"event\":\"result\",\"count\":%ld,\"nanoseconds\":%lld}", count, (long long)(at - from));
}

// Tries from before the engine exists: each millisecond while there is no route; then a SYN usually waits in the
// TAP's queue for the engine, but it may be lost, and the kernel would send it again only after a second: so a new
// attempt each ten milliseconds. The first that is answered gives the time; the others end in a reset.
static void first(const union address *to) {
  static struct pollfd waiting[2000];
  int count = 0;
  say("{\"event\":\"ready\"}");
  while (count < 2000) {
    int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    struct linger at_once = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    int refused = connect(fd, &to->any, size_of(to)) < 0 && errno != EINPROGRESS;
    if (refused) close(fd);
    else waiting[count++] = (struct pollfd){.fd = fd, .events = POLLOUT};
    if (poll(waiting, count, refused ? 1 : 10) <= 0) continue;
    for (int i = 0; i < count; i++) {
      int error = 0;
      socklen_t length = sizeof error;
      if (waiting[i].revents == 0) continue;
      getsockopt(waiting[i].fd, SOL_SOCKET, SO_ERROR, &error, &length);
      if (error == 0) {
        say("{\"event\":\"result\",\"at\":%lld}", (long long)now_ns());
        return;
      }
      close(waiting[i].fd);
      waiting[i].fd = -1;
    }
  }
  die("no SYN was answered");
}

int main(int argc, char **argv) {
  if (argc < 2) die("usage: tcp-request pingpong|crr|first ...");
  union address to = address_of(option(argc, argv, "--connect", NULL));
  int64_t warmup_ns = number_option(argc, argv, "--warmup", "500") * 1000000;
  int64_t window_ns = number_option(argc, argv, "--window", "2000") * 1000000;
  const char *path = option(argc, argv, "--send", "");
  if (*path != 0) read_message(path);
  if (strcmp(argv[1], "pingpong") == 0) pingpong(&to, warmup_ns, window_ns);
  else if (strcmp(argv[1], "crr") == 0) crr(to, (int)number_option(argc, argv, "--ports", "1"), warmup_ns, window_ns);
  else if (strcmp(argv[1], "first") == 0) first(&to);
  else die("tcp-request: unknown case %s", argv[1]);
  return 0;
}
