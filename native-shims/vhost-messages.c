/* vhost-user's messages: octets with descriptors over a Unix stream socket. */
#include "vhost.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 8

union control {
  struct cmsghdr header;
  char octets[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
};

/** Adds the descriptors of one control message to those there are. Returns false when they are too many: closed then. */
static bool add_descriptors(const struct cmsghdr *header, int32_t *descriptors) {
  size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  bool fits = true;
  for (size_t i = 0; i < count; i++) {
    int fd;
    memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
    if (descriptors[0] < DESCRIPTORS_MAX) {
      descriptors[++descriptors[0]] = fd;
    } else {
      close(fd);
      fits = false;
    }
  }
  return fits;
}

int32_t shim_vhost_receive(const struct arg *a) {
  int32_t at = a[2].i, octets = a[3].i, *descriptors = a[4].ints;
  union control control;
  if (at < 0 || octets < 0 || (size_t)at + (size_t)octets > a[1].length * 4 || a[4].length < 1 + DESCRIPTORS_MAX)
    return -EINVAL;
  struct iovec part = {(uint8_t *)a[1].ints + at, (size_t)octets};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  message.msg_control = control.octets;
  message.msg_controllen = sizeof control.octets;
  ssize_t r;
  RETRY(r, recvmsg(a[0].i, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
  if (r < 0) return -errno;
  bool fits = (message.msg_flags & MSG_CTRUNC) == 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header))
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && !add_descriptors(header, descriptors))
      fits = false;
  return fits ? (int32_t)r : -EMSGSIZE;
}

int32_t shim_vhost_reply(const struct arg *a) {
  int32_t octets = a[2].i;
  if (octets < 0 || (size_t)octets > a[1].length * 4) return -EINVAL;
  ssize_t r;
  RETRY(r, send(a[0].i, a[1].ints, (size_t)octets, MSG_DONTWAIT | MSG_NOSIGNAL));
  return result_of(r);
}

int32_t shim_vhost_check_event(const int32_t *a) {
  struct stat file;
  uint64_t nothing = 0;
  ssize_t r;
  if (fstat(a[0], &file) < 0) return -errno;
  bool is_pipe = a[1] != 0 && (S_ISFIFO(file.st_mode) || S_ISSOCK(file.st_mode));
  if ((file.st_mode & S_IFMT) != 0 && !is_pipe) return -EBADF;
  int flags = fcntl(a[0], F_GETFL);
  if (flags < 0 || fcntl(a[0], F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
  if (is_pipe) return 0;
  /* Of what has no file system behind it, only an eventfd takes eight octets of zeros. */
  RETRY(r, write(a[0], &nothing, sizeof nothing));
  return r == sizeof nothing || (r < 0 && errno == EAGAIN) ? 0 : -EBADF;
}
