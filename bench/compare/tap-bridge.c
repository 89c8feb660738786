// A kernel guest for engines that speak only QEMU's stream: makes a TAP in the namespace it is started in, gives it
// its address, and carries frames between it and a Unix stream socket (4-octet big-endian length, then the frame).
//
//   tap-bridge --tap NAME --mtu N --address A --gateway A (--listen PATH | --connect PATH) [--txqueuelen N]
//
// Says "ready" when the TAP is up (and, listening, the socket exists) and "connected" when the stream is. One thread
// per direction; up to BATCH octets of frames per system call on the stream. The TAP has no offload, so that every
// engine gets the same plain frames; a full stream makes the TAP's queue fill up and drop, which /proc/net/dev counts.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/un.h>

#include "device.h"

#define BATCH (256 * 1024)
#define LARGEST_FRAME 65553

static int tap, stream;

static void open_tap(int argc, char **argv) {
  struct device device = {
      .name = option(argc, argv, "--tap", NULL),
      .address = option(argc, argv, "--address", NULL),
      .gateway = option(argc, argv, "--gateway", NULL),
      .mtu = (int)number_option(argc, argv, "--mtu", "1500"),
      .queue = (int)number_option(argc, argv, "--txqueuelen", "1000"),
      .flags = IFF_TAP | IFF_NO_PI,
  };
  tap = open_device(&device);
}

static void open_stream(int argc, char **argv) {
  const char *path = option(argc, argv, "--listen", "");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int listening = path[0] != 0;
  strncpy(address.sun_path, listening ? path : option(argc, argv, "--connect", NULL), sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listening) {
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind %s: %s", path, strerror(errno));
    if (listen(fd, 1) < 0) die("listen: %s", strerror(errno));
    say("ready");
    stream = accept(fd, NULL, NULL);
    if (stream < 0) die("accept: %s", strerror(errno));
  } else {
    say("ready");
    stream = fd;
    for (int attempt = 0; connect(fd, (struct sockaddr *)&address, sizeof address) < 0; attempt++) {
      if (attempt == 60000) die("connect %s: %s", address.sun_path, strerror(errno));
      sleep_ns(500000);
    }
  }
  say("connected");
}

static void wait_for(int fd, short events) {
  struct pollfd p = {.fd = fd, .events = events};
  poll(&p, 1, -1);
}

static void write_all(const char *at, size_t length) {
  while (length > 0) {
    ssize_t n = write(stream, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) exit(0);
    at += n;
    length -= n;
  }
}

static void *guest_to_engine(void *unused) {
  static char buffer[BATCH + LARGEST_FRAME + 4];
  for (;;) {
    size_t used = 0;
    while (used < BATCH) {
      ssize_t n = read(tap, buffer + used + 4, LARGEST_FRAME);
      if (n <= 0) break;
      uint32_t length = htonl((uint32_t)n);
      memcpy(buffer + used, &length, 4);
      used += 4 + n;
    }
    if (used > 0) write_all(buffer, used);
    else wait_for(tap, POLLIN);
  }
  return unused;
}

static void engine_to_guest(void) {
  static char buffer[BATCH];
  size_t have = 0;
  for (;;) {
    ssize_t n = read(stream, buffer + have, BATCH - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) exit(0);
    have += n;
    size_t at = 0;
    while (have - at >= 4) {
      uint32_t length;
      memcpy(&length, buffer + at, 4);
      length = ntohl(length);
      if (length > LARGEST_FRAME) die("a frame of %u octets: longer than any legal one", length);
      if (have - at < 4 + length) break;
      if (write(tap, buffer + at + 4, length) < 0 && errno == EAGAIN) wait_for(tap, POLLOUT);
      at += 4 + length;
    }
    memmove(buffer, buffer + at, have - at);
    have -= at;
  }
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  open_tap(argc, argv);
  open_stream(argc, argv);
  pthread_t thread;
  if (pthread_create(&thread, NULL, guest_to_engine, NULL) != 0) die("no thread");
  engine_to_guest();
}
