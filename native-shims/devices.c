/* TAP devices (Documentation/networking/tuntap.rst), packet sockets (packet(7)) and netdevice(7) ioctls. */
#include "shim.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef TUNSETCARRIER
#define TUNSETCARRIER _IOW('T', 226, int)
#endif

/** struct virtio_net_hdr, without num_buffers. */
#define VNET_HEADER_OCTETS 10

/** Puts a device name into a request. Returns false if it does not fit. */
static bool name_device(struct ifreq *request, const struct arg *name) {
  memset(request, 0, sizeof *request);
  if (name->length >= IFNAMSIZ) return false;
  memcpy(request->ifr_name, name->s, name->length);
  return true;
}

int32_t shim_tap_open(const struct arg *a) {
  struct ifreq request;
  if (!name_device(&request, &a[0])) return -ENAMETOOLONG;
  int fd = open(a[2].length > 0 ? a[2].s : "/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (a[1].i ? IFF_VNET_HDR : 0));
  int r = ioctl(fd, TUNSETIFF, &request);
  if (r < 0 && errno == EINVAL) {
    /* A device made with several queues takes only openers that say so. */
    request.ifr_flags = (short)(request.ifr_flags | IFF_MULTI_QUEUE);
    r = ioctl(fd, TUNSETIFF, &request);
  }
  if (r < 0) {
    int32_t failure = -errno;
    close(fd);
    return failure;
  }
  return fd;
}

int32_t shim_tap_flags(const int32_t *a) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  if (ioctl(a[0], TUNGETIFF, &request) < 0) return -errno;
  return (uint16_t)request.ifr_flags;
}

napi_value shim_tap_name(napi_env env, napi_callback_info info) {
  struct ifreq request;
  napi_value value, name;
  size_t count = 1;
  int32_t fd;
  napi_get_cb_info(env, info, &count, &value, NULL, NULL);
  memset(&request, 0, sizeof request);
  if (napi_get_value_int32(env, value, &fd) != napi_ok || ioctl(fd, TUNGETIFF, &request) < 0)
    request.ifr_name[0] = '\0';
  request.ifr_name[IFNAMSIZ - 1] = '\0';
  napi_create_string_utf8(env, request.ifr_name, NAPI_AUTO_LENGTH, &name);
  return name;
}

int32_t shim_tap_set_offload(const int32_t *a) {
  int size = VNET_HEADER_OCTETS;
  if (ioctl(a[0], TUNSETVNETHDRSZ, &size) < 0) return -errno;
  return result_of(ioctl(a[0], TUNSETOFFLOAD, (unsigned long)(uint32_t)a[1]));
}

int32_t shim_tap_set_carrier(const int32_t *a) {
  int on = a[1] != 0;
  return result_of(ioctl(a[0], TUNSETCARRIER, &on));
}

int32_t shim_device_index(const struct arg *a) {
  struct ifreq request;
  if (!name_device(&request, &a[0])) return -ENODEV;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int32_t r = result_of(ioctl(fd, SIOCGIFINDEX, &request));
  close(fd);
  return r < 0 ? r : request.ifr_ifindex;
}

int32_t shim_packet_socket(const struct arg *a) {
  int32_t index = shim_device_index(a);
  if (index < 0) return index;
  /* Protocol 0 until bound: no frame of another device gets in. */
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    int32_t failure = -errno;
    close(fd);
    return failure;
  }
  return fd;
}
