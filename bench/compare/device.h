// A TUN or TAP device with its address, MTU, queue and default route, in the namespace of the caller. /24 always.
#ifndef SLUICE_BENCH_DEVICE_H
#define SLUICE_BENCH_DEVICE_H
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <sys/ioctl.h>

#include "load.h"

struct device {
  const char *name, *address, *gateway;
  int mtu, queue;
  short flags;  // IFF_TUN or IFF_TAP, and IFF_NO_PI
};

static inline struct sockaddr device_address(const char *text) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  struct sockaddr plain;
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1) die("not an address: %s", text);
  memcpy(&plain, &address, sizeof plain);
  return plain;
}

static inline void device_request(int fd, unsigned long code, void *what, const char *name) {
  if (ioctl(fd, code, what) < 0) die("%s: %s", name, strerror(errno));
}

// Returns the non-blocking fd; the device lives as long as it is open.
static inline int open_device(const struct device *d) {
  struct ifreq r = {.ifr_flags = d->flags};
  snprintf(r.ifr_name, IFNAMSIZ, "%s", d->name);
  int device = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (device < 0) die("/dev/net/tun: %s", strerror(errno));
  device_request(device, TUNSETIFF, &r, "TUNSETIFF");
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  r.ifr_mtu = d->mtu;
  device_request(fd, SIOCSIFMTU, &r, "SIOCSIFMTU");
  r.ifr_addr = device_address(d->address);
  device_request(fd, SIOCSIFADDR, &r, "SIOCSIFADDR");
  r.ifr_netmask = device_address("255.255.255.0");
  device_request(fd, SIOCSIFNETMASK, &r, "SIOCSIFNETMASK");
  r.ifr_qlen = d->queue;
  device_request(fd, SIOCSIFTXQLEN, &r, "SIOCSIFTXQLEN");
  r.ifr_flags = IFF_UP | IFF_RUNNING;
  device_request(fd, SIOCSIFFLAGS, &r, "SIOCSIFFLAGS");
  struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
  route.rt_dst = device_address("0.0.0.0");
  route.rt_genmask = device_address("0.0.0.0");
  route.rt_gateway = device_address(d->gateway);
  device_request(fd, SIOCADDRT, &route, "default route");
  close(fd);
  return device;
}
#endif
