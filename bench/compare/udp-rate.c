// UDP at a fixed rate, every datagram numbered, so that loss is measured and not guessed.
//
//   udp-rate flood (--connect A:P | --bind A:P) --rate N --size OCTETS --window MS   N datagrams per second at most
//   udp-rate sink  (--bind A:P | --connect A:P)                                      counts until they stop
//
// Bound, flood waits for a first datagram and answers to where it came from; connected, sink sends that datagram
// every 50 ms until an answer arrives. So both directions begin in the guest, as NAT wants it. The sink's own
// receive buffer is 8 MiB: loss there would be the meter's.
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "load.h"

#define BURST 32
#define MOST_DUE 128
#define LARGEST 2048

static int open_socket(int argc, char **argv, int *bound) {
  const char *where = option(argc, argv, "--bind", "");
  *bound = where[0] != 0;
  union address address = address_of(*bound ? where : option(argc, argv, "--connect", NULL));
  int fd = socket(address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int size = 8 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0) set_int(fd, SOL_SOCKET, SO_RCVBUF, size);
  if (*bound ? bind(fd, &address.any, size_of(&address))
             : connect(fd, &address.any, size_of(&address)))
    die("%s: %s", *bound ? "bind" : "connect", strerror(errno));
  say("{\"event\":\"ready\"}");
  return fd;
}

static void flood(int argc, char **argv) {
  static char data[BURST][LARGEST];
  int bound, fd = open_socket(argc, argv, &bound);
  long rate = number_option(argc, argv, "--rate", NULL), size = number_option(argc, argv, "--size", NULL);
  int64_t window_ns = number_option(argc, argv, "--window", "1000") * 1000000;
  if (size < 8 || size > LARGEST) die("--size: 8 to %d", LARGEST);
  if (bound) {
    union address from;
    socklen_t length = sizeof from;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, 5000) != 1) die("no datagram came from the guest in 5 s");
    recvfrom(fd, data[0], LARGEST, 0, &from.any, &length);
    connect(fd, &from.any, size_of(&from));
  }
  struct mmsghdr messages[BURST];
  struct iovec vectors[BURST];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BURST; i++) {
    vectors[i] = (struct iovec){data[i], size};
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  prctl(PR_SET_TIMERSLACK, 1);
  uint64_t sequence = 0, refused = 0;
  int64_t from = now_ns(), at = from, forgiven = 0;
  while ((at = now_ns()) - from < window_ns) {
    int64_t due = (int64_t)((double)(at - from) * rate / 1e9) - (int64_t)sequence - forgiven;
    // A sender that was not given its time must not make up for it in one flood.
    if (due > MOST_DUE) {
      forgiven += due - MOST_DUE;
      due = MOST_DUE;
    }
    if (due <= 0) {
      sleep_ns(20000);
      continue;
    }
    int burst = due > BURST ? BURST : (int)due;
    for (int i = 0; i < burst; i++) {
      uint64_t value = sequence + i;
      memcpy(data[i], &value, sizeof value);
    }
    int sent = sendmmsg(fd, messages, burst, 0);
    // A refused datagram (ENOBUFS, an ICMP error that came back) counts as sent and lost.
    if (sent <= 0) {
      refused++;
      sent = 1;
    }
    sequence += sent;
  }
  say("{\"event\":\"result\",\"sent\":%llu,\"refused\":%llu,\"nanoseconds\":%lld}", (unsigned long long)sequence,
      (unsigned long long)refused, (long long)(at - from));
}

static void sink(int argc, char **argv) {
  static char data[BURST][LARGEST];
  int bound, fd = open_socket(argc, argv, &bound);
  struct mmsghdr messages[BURST];
  struct iovec vectors[BURST];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BURST; i++) {
    vectors[i] = (struct iovec){data[i], LARGEST};
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  prctl(PR_SET_TIMERSLACK, 1);
  uint64_t received = 0, octets = 0, next = 0, disordered = 0;
  int64_t started = now_ns(), first = 0, last = 0;
  for (;;) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, received == 0 ? 50 : 400) == 0) {
      if (received > 0) break;
      if (now_ns() - started > 5000000000) break;
      if (!bound && send(fd, "hello", 5, 0) < 0 && errno != ECONNREFUSED) die("send: %s", strerror(errno));
      continue;
    }
    int count = recvmmsg(fd, messages, BURST, MSG_DONTWAIT, NULL);
    if (count <= 0) continue;
    last = now_ns();
    if (first == 0) first = last;
    for (int i = 0; i < count; i++) {
      uint64_t value;
      memcpy(&value, data[i], sizeof value);
      if (value < next) disordered++;
      else next = value + 1;
      octets += messages[i].msg_len;
    }
    received += count;
    // Being woken for each datagram would cost the cores more than the datagram; the buffer holds this and more.
    if (count < BURST) sleep_ns(100000);
  }
  say("{\"event\":\"result\",\"received\":%llu,\"octets\":%llu,\"disordered\":%llu,\"nanoseconds\":%lld}",
      (unsigned long long)received, (unsigned long long)octets, (unsigned long long)disordered,
      (long long)(last - first));
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "flood") == 0) flood(argc, argv);
  else if (argc > 1 && strcmp(argv[1], "sink") == 0) sink(argc, argv);
  else die("usage: udp-rate flood|sink ...");
  return 0;
}
