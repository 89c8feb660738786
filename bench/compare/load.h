// What the load programs share: the clock, the arguments, addresses. Each program is one .c file and this header,
// compiled by plain `cc -D_GNU_SOURCE` at run time. Results leave as one JSON object per line on stdout; errors as one sentence
// on stderr with exit code 1.
#ifndef SLUICE_BENCH_LOAD_H
#define SLUICE_BENCH_LOAD_H
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void sleep_ns(int64_t ns) {
  struct timespec t = {ns / 1000000000, ns % 1000000000};
  while (nanosleep(&t, &t) < 0 && errno == EINTR) {
  }
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
  va_list list;
  va_start(list, format);
  vfprintf(stderr, format, list);
  va_end(list);
  fputc('\n', stderr);
  exit(1);
}

// The value after `name`, or `fallback`; a missing value without a fallback ends the program.
static inline const char *option(int argc, char **argv, const char *name, const char *fallback) {
  for (int i = 1; i + 1 < argc; i++)
    if (strcmp(argv[i], name) == 0) return argv[i + 1];
  if (fallback == NULL) die("%s: option %s is required", argv[0], name);
  return fallback;
}

static inline long number_option(int argc, char **argv, const char *name, const char *fallback) {
  return strtol(option(argc, argv, name, fallback), NULL, 10);
}

static inline int flag(int argc, char **argv, const char *name) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], name) == 0) return 1;
  return 0;
}

// Of either family; the port is in the same place in both.
union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

// "198.18.0.1:5000" or "[2001:db8::1]:5000" as a socket address.
static inline union address address_of(const char *text) {
  union address address = {.v6 = {.sin6_family = AF_INET6}};
  char host[64];
  int port;
  if (sscanf(text, "[%63[^]]]:%d", host, &port) == 2) {
    if (inet_pton(AF_INET6, host, &address.v6.sin6_addr) != 1) die("not an [ADDRESS]:PORT: %s", text);
  } else {
    address.v4.sin_family = AF_INET;
    if (sscanf(text, "%63[^:]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &address.v4.sin_addr) != 1)
      die("not an ADDRESS:PORT: %s", text);
  }
  address.v4.sin_port = htons((uint16_t)port);
  return address;
}

static inline socklen_t size_of(const union address *address) {
  return address->any.sa_family == AF_INET ? sizeof address->v4 : sizeof address->v6;
}

static inline void set_int(int fd, int level, int name, int value) {
  if (setsockopt(fd, level, name, &value, sizeof value) < 0) die("setsockopt %d/%d: %s", level, name, strerror(errno));
}

static inline int listen_tcp(const union address *address, int backlog) {
  int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket: %s", strerror(errno));
  set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(fd, &address->any, size_of(address)) < 0) die("bind: %s", strerror(errno));
  if (listen(fd, backlog) < 0) die("listen: %s", strerror(errno));
  return fd;
}

// Prints the line and makes sure that a reader on a pipe sees it now.
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
  va_list list;
  va_start(list, format);
  vprintf(format, list);
  va_end(list);
  putchar('\n');
  fflush(stdout);
}
#endif
