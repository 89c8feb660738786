/* Unix sockets, socket pairs, and descriptors passed over them (unix(7)). */
#include "shim.h"

#include <sys/un.h>
#include <unistd.h>

/** The socket type a name stands for, or -1. */
static int type_of(const char *name) {
  if (strcmp(name, "stream") == 0) return SOCK_STREAM;
  if (strcmp(name, "dgram") == 0) return SOCK_DGRAM;
  if (strcmp(name, "seqpacket") == 0) return SOCK_SEQPACKET;
  return -1;
}

/** Fills `to`. A path that begins with NUL is an abstract name. Returns the length, or 0 if the path does not fit. */
static socklen_t path_address(struct sockaddr_un *to, const struct arg *path) {
  if (path->length == 0 || path->length >= sizeof to->sun_path) return 0;
  memset(to, 0, sizeof *to);
  to->sun_family = AF_UNIX;
  memcpy(to->sun_path, path->s, path->length);
  bool abstract = path->s[0] == '\0';
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path->length + (abstract ? 0 : 1));
}

static int32_t close_with(int fd, int32_t failure) {
  close(fd);
  return failure;
}

static int unix_socket(int type) { return socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

int32_t shim_unix_listen(const struct arg *a) {
  struct sockaddr_un address;
  socklen_t length = path_address(&address, &a[0]);
  int type = type_of(a[1].s);
  if (type < 0) return -EINVAL;
  if (length == 0) return -ENAMETOOLONG;
  int fd = unix_socket(type);
  if (fd < 0) return -errno;
  if (bind(fd, (struct sockaddr *)&address, length) < 0) return close_with(fd, -errno);
  if (type != SOCK_DGRAM && listen(fd, SOMAXCONN) < 0) return close_with(fd, -errno);
  return fd;
}

static int32_t connect_path(int fd, const struct arg *path) {
  struct sockaddr_un address;
  socklen_t length = path_address(&address, path);
  if (length == 0) return -ENAMETOOLONG;
  int r;
  RETRY(r, connect(fd, (struct sockaddr *)&address, length));
  return result_of(r);
}

int32_t shim_unix_connect(const struct arg *a) {
  int type = type_of(a[1].s);
  if (type < 0) return -EINVAL;
  int fd = unix_socket(type);
  if (fd < 0) return -errno;
  int32_t failure = connect_path(fd, &a[0]);
  return failure < 0 ? close_with(fd, failure) : fd;
}

int32_t shim_connect_unix_datagram(const struct arg *a) { return connect_path(a[0].i, &a[1]); }

napi_value shim_socket_pair(napi_env env, napi_callback_info info) {
  napi_value value, pair;
  size_t count = 1, length;
  char name[16];
  int fds[2];
  napi_get_cb_info(env, info, &count, &value, NULL, NULL);
  int type = shim_string(env, value, name, sizeof name, &length) ? type_of(name) : -1;
  int32_t failure = -EINVAL;
  if (type >= 0) failure = result_of(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
  napi_create_array_with_length(env, 2, &pair);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, pair, i, shim_int(env, failure < 0 ? failure : fds[i]));
  return pair;
}

union descriptor_control {
  struct cmsghdr header;
  char octets[CMSG_SPACE(sizeof(int))];
};

int32_t shim_send_descriptor(const int32_t *a) {
  union descriptor_control control;
  char octet = 0;
  struct iovec part = {&octet, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  memset(&control, 0, sizeof control);
  message.msg_control = control.octets;
  message.msg_controllen = sizeof control.octets;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &a[1], sizeof(int));
  ssize_t r;
  RETRY(r, sendmsg(a[0], &message, MSG_NOSIGNAL));
  return r < 0 ? -errno : 0;
}

int32_t shim_receive_descriptor(const int32_t *a) {
  union descriptor_control control;
  char octet;
  int fd;
  struct iovec part = {&octet, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  message.msg_control = control.octets;
  message.msg_controllen = sizeof control.octets;
  ssize_t r;
  RETRY(r, recvmsg(a[0], &message, MSG_CMSG_CLOEXEC));
  if (r < 0) return -errno;
  if (r == 0) return -EPIPE;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int)))
    return -EBADMSG;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}
