/*
 * The TAP, and its configuration by rtnetlink(7). A TAP belongs to the network namespace its /dev/net/tun was
 * opened in, and stays usable through its descriptor from any other.
 *
 * rtnetlink rather than ioctl: SIOCSIFTXQLEN is refused in a user namespace, IFLA_TXQLEN is not.
 */
#include "helper-device.h"

#include "helper-report.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- rtnetlink ------------------------------------------------------------------------------------------------- */

struct request {
  struct nlmsghdr header;
  union {
    struct ifinfomsg link;
    struct ifaddrmsg address;
    struct rtmsg route;
  } body;
  char attributes[256];
};

static void add_attribute(struct request *request, unsigned short type, const void *value, size_t length) {
  struct rtattr *attribute = (void *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
  attribute->rta_type = type;
  attribute->rta_len = (unsigned short)RTA_LENGTH(length);
  memcpy(RTA_DATA(attribute), value, length);
  request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

static struct request new_request(unsigned short type, unsigned short flags, size_t body) {
  return (struct request){.header = {
                              .nlmsg_len = (uint32_t)NLMSG_LENGTH(body),
                              .nlmsg_type = type,
                              .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags,
                          }};
}

/* The kernel's own words for what was wrong (NLMSGERR_ATTR_MSG), if it sent any. */
static const char *kernel_words(const struct nlmsghdr *header) {
  const struct nlmsgerr *error = NLMSG_DATA(header);
  if (!(header->nlmsg_flags & NLM_F_ACK_TLVS)) return NULL;
  size_t skip = sizeof *error;
  if (!(header->nlmsg_flags & NLM_F_CAPPED)) skip += error->msg.nlmsg_len - sizeof error->msg;
  int left = (int)(NLMSG_PAYLOAD(header, 0) - NLMSG_ALIGN(skip));
  struct rtattr *attribute = (void *)((char *)error + NLMSG_ALIGN(skip));
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
    if (attribute->rta_type == NLMSGERR_ATTR_MSG) return RTA_DATA(attribute);
  return NULL;
}

/* Sends and waits for the ACK; `what` names it in the error. */
static void transact(struct request *request, const char *what) {
  static char answer[4096] __attribute__((aligned(8)));
  int on = 1;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) fail("configure", "rtnetlink: %s", strerror(errno));
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  if (send(fd, request, request->header.nlmsg_len, 0) < 0) fail("configure", "%s: %s", what, strerror(errno));
  ssize_t got = recv(fd, answer, sizeof answer - 1, 0);
  if (got < 0) fail("configure", "%s: %s", what, strerror(errno));
  close(fd);
  answer[got] = '\0';
  const struct nlmsghdr *header = (void *)answer;
  if (!NLMSG_OK(header, (size_t)got) || header->nlmsg_type != NLMSG_ERROR)
    fail("configure", "%s: the kernel gave no answer that rtnetlink(7) knows", what);
  int error = -((const struct nlmsgerr *)NLMSG_DATA(header))->error;
  if (error == 0) return;
  const char *words = kernel_words(header);
  fail("configure", "%s: %s%s%s%s", what, strerror(error), words ? " (" : "", words ? words : "", words ? ")" : "");
}

static struct request link_request(unsigned index) {
  struct request request = new_request(RTM_NEWLINK, 0, sizeof request.body.link);
  request.body.link.ifi_family = AF_UNSPEC;
  request.body.link.ifi_index = (int)index;
  return request;
}

static void set_link_number(unsigned index, unsigned short attribute, uint32_t value, const char *what) {
  struct request request = link_request(index);
  add_attribute(&request, attribute, &value, sizeof value);
  transact(&request, what);
}

static void set_up(unsigned index, const char *what) {
  struct request request = link_request(index);
  request.body.link.ifi_flags = IFF_UP;
  request.body.link.ifi_change = IFF_UP;
  transact(&request, what);
}

static struct in_addr subnet_mask(int prefix_length) {
  return (struct in_addr){htonl(prefix_length == 0 ? 0 : UINT32_MAX << (32 - prefix_length))};
}

static void add_address(unsigned index, const struct options *options) {
  struct request request = new_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof request.body.address);
  request.body.address = (struct ifaddrmsg){
      .ifa_family = AF_INET,
      .ifa_prefixlen = (unsigned char)options->prefix_length,
      .ifa_scope = RT_SCOPE_UNIVERSE,
      .ifa_index = index,
  };
  add_attribute(&request, IFA_LOCAL, &options->address, sizeof options->address);
  add_attribute(&request, IFA_ADDRESS, &options->address, sizeof options->address);
  if (options->prefix_length < 31) {
    struct in_addr broadcast = {options->address.s_addr | ~subnet_mask(options->prefix_length).s_addr};
    add_attribute(&request, IFA_BROADCAST, &broadcast, sizeof broadcast);
  }
  transact(&request, "setting the address");
}

static void add_default_route(unsigned index, const struct options *options) {
  struct request request = new_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof request.body.route);
  uint32_t outside = (options->address.s_addr ^ options->gateway.s_addr) & subnet_mask(options->prefix_length).s_addr;
  request.body.route = (struct rtmsg){
      .rtm_family = AF_INET,
      .rtm_table = RT_TABLE_MAIN,
      .rtm_protocol = RTPROT_BOOT,
      .rtm_scope = RT_SCOPE_UNIVERSE,
      .rtm_type = RTN_UNICAST,
      /* A gateway outside the subnet (a /32, say) is taken as a neighbour on the link. */
      .rtm_flags = outside != 0 ? RTNH_F_ONLINK : 0,
  };
  add_attribute(&request, RTA_GATEWAY, &options->gateway, sizeof options->gateway);
  add_attribute(&request, RTA_OIF, &index, sizeof index);
  transact(&request, "setting the default route");
}

/* Writes a setting of a device's IPv6 stack. Returns whether the kernel took it; errno says why not. */
static bool set_ipv6(const char *device, const char *setting, const char *value) {
  char path[128];
  snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", device, setting);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool written = write(fd, value, 1) == 1;
  int failure = errno;
  close(fd);
  errno = failure;
  return written;
}

/* Whether a setting that is "0" or "1" reads "0"; false where there is no IPv6. */
static bool is_ipv6_zero(const char *device, const char *setting) {
  char path[128], value = '1';
  snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", device, setting);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  if (read(fd, &value, 1) != 1) value = '1';
  close(fd);
  return value == '0';
}

static void add_address6(unsigned index, const struct options *options) {
  struct request request = new_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof request.body.address);
  request.body.address = (struct ifaddrmsg){
      .ifa_family = AF_INET6,
      .ifa_prefixlen = (unsigned char)options->prefix_length6,
      /* Nobody else can have it, and a command that starts now would wait a second for the proof. */
      .ifa_flags = IFA_F_NODAD,
      .ifa_scope = RT_SCOPE_UNIVERSE,
      .ifa_index = index,
  };
  add_attribute(&request, IFA_LOCAL, &options->address6, sizeof options->address6);
  add_attribute(&request, IFA_ADDRESS, &options->address6, sizeof options->address6);
  transact(&request, "setting the IPv6 address");
}

static void add_default_route6(unsigned index, const struct options *options) {
  struct request request = new_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof request.body.route);
  request.body.route = (struct rtmsg){
      .rtm_family = AF_INET6,
      .rtm_table = RT_TABLE_MAIN,
      .rtm_protocol = RTPROT_BOOT,
      .rtm_scope = RT_SCOPE_UNIVERSE,
      .rtm_type = RTN_UNICAST,
  };
  add_attribute(&request, RTA_GATEWAY, &options->gateway6, sizeof options->gateway6);
  add_attribute(&request, RTA_OIF, &index, sizeof index);
  transact(&request, "setting the IPv6 default route");
}

/* Has the device take router advertisements for the default route, or not at all; an address is not made of them. */
static void choose_route_source(const char *device, bool advertised) {
  /* 2: also where the namespace forwards between its devices. */
  if (!set_ipv6(device, "accept_ra", advertised ? "2" : "0") || (advertised && !set_ipv6(device, "autoconf", "0")))
    note("router-advertisements", "%s takes router advertisements as it did: %s", device, strerror(errno));
}

/*
 * The address that is set is the only one. The default route is the one that is set, or else what the router says, which
 * takes it back when it has no way out. Returns whether there is IPv6.
 */
static bool prepare_ipv6(const char *device, bool has_route) {
  if (!is_ipv6_zero(device, "disable_ipv6") && !set_ipv6(device, "disable_ipv6", "0")) {
    note("no-ipv6", "%s stays without IPv6: disable_ipv6: %s", device, strerror(errno));
    return false;
  }
  choose_route_source(device, !has_route);
  /* Nobody probes for the address: once the device is up the router is told of it (RFC 9131). */
  if (!set_ipv6(device, "ndisc_notify", "1"))
    note("neighbours", "%s is known to the router when it is asked for: ndisc_notify: %s", device, strerror(errno));
  return true;
}

void loopback_up(void) {
  unsigned index = if_nametoindex("lo");
  if (index == 0) fail("configure", "lo: %s", strerror(errno));
  set_up(index, "bringing lo up");
}

void open_low_ports(void) {
  /* Where /proc/sys cannot be written (a container's), the namespace keeps the kernel's 1024. */
  int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0\n", 2) != 2)
    note("low-ports", "ports under 1024 stay closed to the command: ip_unprivileged_port_start: %s", strerror(errno));
  if (fd >= 0) close(fd);
}

static void configure(unsigned index, const char *device, bool created, const struct options *options) {
  bool has_ipv6 = options->prefix_length6 >= 0 && prepare_ipv6(device, options->has_gateway6);
  if (options->has_mac) {
    struct request request = link_request(index);
    add_attribute(&request, IFLA_ADDRESS, options->mac, sizeof options->mac);
    transact(&request, "setting the MAC address");
  }
  if (options->mtu != 0) set_link_number(index, IFLA_MTU, options->mtu, "setting the MTU");
  if (created && options->queue_length != 0)
    set_link_number(index, IFLA_TXQLEN, options->queue_length, "setting the queue length");
  if (options->prefix_length >= 0) add_address(index, options);
  if (has_ipv6) add_address6(index, options);
  if (options->device_up) set_up(index, "bringing the TAP up");
  if (options->has_gateway) add_default_route(index, options);
  if (has_ipv6 && options->has_gateway6) add_default_route6(index, options);
}

/* --- the TAP --------------------------------------------------------------------------------------------------- */

static int open_tun_device(const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0) return fd;
  switch (errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      fail("tun-missing", "%s: %s; the kernel module \"tun\" is not loaded, or a container hides the device", path,
           strerror(errno));
    case EACCES:
    case EPERM:
      fail("tun-denied",
           "%s: not allowed for this user; the usual mode is 0666 (chmod, or --tun-device with a node that this "
           "user may open)", path);
    default: fail("tun-missing", "%s: %s", path, strerror(errno));
  }
}

static int attach(int fd, const char *name, short flags) {
  struct ifreq request = {.ifr_flags = flags};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  return ioctl(fd, TUNSETIFF, &request);
}

/*
 * With a vnet header if it is wanted and to be had; a device that was made with several queues (ip tuntap ...
 * multi_queue) is EINVAL until asked for that way. Returns whether there is a vnet header.
 */
static bool attach_any(int fd, const char *name, bool want_header) {
  const short plain = IFF_TAP | IFF_NO_PI;
  for (int header = want_header; header >= 0; header--) {
    short flags = header ? plain | IFF_VNET_HDR : plain;
    if (attach(fd, name, flags) == 0) return header;
    if (errno == EINVAL && attach(fd, name, flags | IFF_MULTI_QUEUE) == 0) return header;
    if (errno != EINVAL) break;
  }
  switch (errno) {
    case EBUSY: fail("tap-busy", "%s: another process has this TAP open", name);
    case EPERM:
      fail("tap-denied", "%s: not allowed; making a TAP takes CAP_NET_ADMIN in its network namespace, opening one "
           "that exists its owner's uid (ip tuntap add %s mode tap user NAME)", name, name);
    case EINVAL: fail("tap-wrong", "%s is a device that is not a TAP", name);
    default: fail("tap-refused", "%s: %s", name, strerror(errno));
  }
}

int open_device(const struct options *options) {
  bool created = if_nametoindex(options->tap) == 0;
  int fd = open_tun_device(options->tun_device);
  bool header = attach_any(fd, options->tap, options->vnet_header);
  if (options->vnet_header && !header)
    note("no-vnet-header", "%s: the kernel refuses a vnet header, so there is no offload", options->tap);
  unsigned index = if_nametoindex(options->tap);
  if (index == 0) fail("tap-refused", "%s: %s", options->tap, strerror(errno));
  configure(index, options->tap, created, options);
  report("tap: vnet-header=%d created=%d index=%u", header, created, index);
  return fd;
}

void configure_device(const struct options *options) {
  unsigned index = if_nametoindex(options->device);
  if (index == 0) fail("configure", "%s: %s", options->device, strerror(errno));
  configure(index, options->device, false, options);
}

void send_listeners(int socket) {
  static const char *const FILES[] = {"tcp", "tcp6", "udp", "udp6"};
  for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
    char path[64];
    snprintf(path, sizeof path, "/proc/thread-self/net/%s", FILES[i]);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    /* A kernel without IPv6: nothing is listened on there. */
    if (fd < 0 && errno == ENOENT) fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("listeners", "%s: %s", path, strerror(errno));
    send_descriptor(socket, fd);
    close(fd);
  }
}

void send_descriptor(int socket, int fd) {
  char octet = 0;
  struct iovec iov = {&octet, 1};
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof fd)];
  } control = {0};
  struct msghdr message = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.room};
  control.header = (struct cmsghdr){
      .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  ssize_t sent;
  do sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) fail("send-fd", "passing it on descriptor %d: %s", socket, strerror(errno));
}
