// Many connections at once, against tcp-echo: opens them all, sends each its own data, checks what comes back.
//
//   tcp-hold --connect A:P --count N [--ports N] [--batch N] [--limit MS] [--keep]
//
// --batch N opens at most N at a time (0: all at once). The result says how many were opened and checked and how
// long it took. With --keep the connections stay open; after each line on stdin all are checked again and another
// result is printed, until stdin closes.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "load.h"

enum { CLOSED, CONNECTING, SENT, CHECKED };
struct connection {
  int fd;
  int state;
};

static struct connection *connections;
static int count, poller, opened, checked, failed, in_flight;
static uint64_t round_number;

static uint64_t message_of(int i) { return ((uint64_t)i << 20 | round_number) * 0x9e3779b97f4a7c15u; }

static void give_up(struct connection *c) {
  close(c->fd);
  c->state = CLOSED;
  failed++;
  in_flight--;
}

static void start(int i, union address to, int ports) {
  struct connection *c = &connections[i];
  to.v4.sin_port = htons((uint16_t)(ntohs(to.v4.sin_port) + i % ports));
  c->fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (c->fd < 0) die("socket %d: %s", i, strerror(errno));
  in_flight++;
  c->state = CONNECTING;
  if (connect(c->fd, &to.any, size_of(&to)) < 0 && errno != EINPROGRESS) {
    give_up(c);
    return;
  }
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = (uint32_t)i};
  epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
}

static void send_message(int i) {
  uint64_t message = message_of(i);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
  epoll_ctl(poller, EPOLL_CTL_MOD, connections[i].fd, &event);
  connections[i].state = SENT;
  if (send(connections[i].fd, &message, sizeof message, MSG_NOSIGNAL) != sizeof message) give_up(&connections[i]);
}

static void serve(int i) {
  struct connection *c = &connections[i];
  if (c->state == CONNECTING) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
      give_up(c);
      return;
    }
    opened++;
    send_message(i);
  } else if (c->state == SENT) {
    uint64_t answer = 0;
    ssize_t n = recv(c->fd, &answer, sizeof answer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n != sizeof answer || answer != message_of(i)) {
      give_up(c);
      return;
    }
    c->state = CHECKED;
    checked++;
    in_flight--;
  } else if (c->state == CHECKED) {
    in_flight++;
    checked--;
    give_up(c);
  }
}

// Runs until all are checked or failed, or the limit is over.
static void run(union address to, int ports, int batch, int64_t limit_ns) {
  static struct epoll_event events[256];
  int64_t from = now_ns();
  int next = round_number == 0 ? 0 : count;
  opened = round_number == 0 ? 0 : opened;
  checked = failed = in_flight = 0;
  for (int i = 0; round_number > 0 && i < count; i++) {
    if (connections[i].state == CLOSED) {
      failed++;
      continue;
    }
    in_flight++;
    send_message(i);
  }
  while (checked + failed < count && now_ns() - from < limit_ns) {
    while (next < count && (batch == 0 || in_flight < batch)) start(next++, to, ports);
    int ready = epoll_wait(poller, events, 256, 100);
    for (int i = 0; i < ready; i++) serve((int)events[i].data.u32);
  }
  say("{\"event\":\"result\",\"opened\":%d,\"checked\":%d,\"failed\":%d,\"ms\":%.2f}", opened, checked, failed,
      (now_ns() - from) / 1e6);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  union address to = address_of(option(argc, argv, "--connect", NULL));
  count = (int)number_option(argc, argv, "--count", NULL);
  int ports = (int)number_option(argc, argv, "--ports", "1");
  int batch = (int)number_option(argc, argv, "--batch", "0");
  int64_t limit_ns = number_option(argc, argv, "--limit", "20000") * 1000000;
  connections = calloc(count, sizeof *connections);
  poller = epoll_create1(EPOLL_CLOEXEC);
  run(to, ports, batch, limit_ns);
  char line[64];
  while (flag(argc, argv, "--keep") && fgets(line, sizeof line, stdin) != NULL) {
    round_number++;
    run(to, ports, batch, limit_ns);
  }
  return 0;
}
