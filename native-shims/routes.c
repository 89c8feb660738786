/* Word from the kernel that addresses or routes of this namespace have changed (rtnetlink(7)). */
#include "shim.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <unistd.h>

int32_t shim_route_socket(const int32_t *a) {
  (void)a;
  struct sockaddr_nl address = {
      .nl_family = AF_NETLINK,
      .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE,
  };
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -errno;
  if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int32_t failure = -errno;
  close(fd);
  return failure;
}

int32_t shim_route_changes(const int32_t *a) {
  /* What has changed does not matter: MSG_TRUNC cuts each message and takes it off the queue. */
  enum { CHANGES_MAX = 1024 };
  char octet;
  for (int32_t count = 0; count < CHANGES_MAX; count++) {
    ssize_t r;
    RETRY(r, recv(a[0], &octet, 1, MSG_DONTWAIT | MSG_TRUNC));
    if (r >= 0) continue;
    if (errno == EAGAIN) return count;
    /* ENOBUFS: there were more than the queue could hold. */
    if (errno != ENOBUFS) return -errno;
  }
  return CHANGES_MAX;
}
