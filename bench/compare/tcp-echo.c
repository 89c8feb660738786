// The host's side of every request/response case: an echo server on one port or several.
//
//   tcp-echo --listen A:P [--ports N]
//
// Says {"event":"ready"} and serves until killed. One thread, epoll.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "load.h"

#define EVENTS 256

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  union address address = address_of(option(argc, argv, "--listen", NULL));
  int ports = (int)number_option(argc, argv, "--ports", "1");
  int first = ntohs(address.v4.sin_port);
  int poller = epoll_create1(EPOLL_CLOEXEC);
  int highest_listener = 0;
  for (int i = 0; i < ports; i++) {
    address.v4.sin_port = htons((uint16_t)(first + i));
    int fd = listen_tcp(&address, 65535);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    if (fd > highest_listener) highest_listener = fd;
  }
  say("{\"event\":\"ready\"}");
  static struct epoll_event events[EVENTS];
  static char buffer[65536];
  for (;;) {
    int count = epoll_wait(poller, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd <= highest_listener) {
        int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accepted < 0) continue;
        set_int(accepted, IPPROTO_TCP, TCP_NODELAY, 1);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = accepted};
        epoll_ctl(poller, EPOLL_CTL_ADD, accepted, &event);
        continue;
      }
      ssize_t n = recv(fd, buffer, sizeof buffer, 0);
      if (n > 0) n = send(fd, buffer, n, MSG_NOSIGNAL);
      if (n == 0 || (n < 0 && errno != EAGAIN)) close(fd);
    }
  }
}
