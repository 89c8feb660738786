#include "launcher-tap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* As src/host/process/namespace-tap.ts has it. */
#define QUEUE_LENGTH "10000"

enum { SEND_FD = 3, BEYOND = 64 };

__attribute__((noreturn)) static void become_helper(const char *helper, const struct tap_words *words, int socket) {
  const char *command[16] = {helper, "--tap", words->tap, "--queue-length", QUEUE_LENGTH, "--send-fd", "3",
                             "--enter-net", words->net};
  if (words->user != NULL) {
    command[9] = "--enter-user";
    command[10] = words->user;
  }
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0) _exit(1);
  if (socket == SEND_FD) fcntl(socket, F_SETFD, 0);
  else if (dup2(socket, SEND_FD) < 0) _exit(1);
  execv(helper, (char **)command);
  _exit(1);
}

static int receive(int socket) {
  char octet;
  struct iovec iov = {&octet, 1};
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.room};
  ssize_t got;
  do got = recvmsg(socket, &message, 0);
  while (got < 0 && errno == EINTR);
  const struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (header == NULL || header->cmsg_type != SCM_RIGHTS) return -1;
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

int open_tap_early(const char *helper, const struct tap_words *words) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -1;
  pid_t child = fork();
  if (child == 0) become_helper(helper, words, ends[1]);
  close(ends[1]);
  int fd = child < 0 ? -1 : receive(ends[0]);
  close(ends[0]);
  while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR);
  if (fd < 0) return -1;
  /* Beyond the numbers that words name. */
  int high = fcntl(fd, F_DUPFD, BEYOND);
  close(fd);
  return high;
}
