/*
 * Namespaces. A network namespace belongs to the user namespace it was made in, and configuring it takes rights
 * there: the one who made that user namespace has them once inside it, without being root outside. So entering a
 * network namespace means, when the kernel says EPERM at first, entering its owner (ioctl_ns(2)) before it.
 */
#include "helper-namespaces.h"

#include "helper-report.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

void die_with_parent(pid_t parent) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail("parent", "PR_SET_PDEATHSIG: %s", strerror(errno));
  /* It may have died before the call above. */
  if (getppid() != parent) fail("parent-gone", "process %d, which this one was to serve, is not its parent", parent);
}

/* --- entering ---------------------------------------------------------------------------------------------------*/

static bool is_pid(const char *target) {
  return *target != '\0' && strspn(target, "0123456789") == strlen(target);
}

/* Opens PATH or /proc/PID/ns/<file>, and makes sure that it is a namespace of that type. */
static int open_namespace(const char *target, const char *file, int type, const char *kind) {
  char path[64];
  const char *name = target;
  if (is_pid(target)) {
    snprintf(path, sizeof path, "/proc/%.20s/ns/%s", target, file);
    name = path;
  }
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (name == path && errno == ENOENT) fail("namespace-missing", "there is no process with the pid %s", target);
    if (errno == EACCES || errno == EPERM)
      fail("namespace-denied", "%s: not allowed; its owner or root can enter that %s namespace", name, kind);
    fail("namespace-missing", "%s: %s", name, strerror(errno));
  }
  if (ioctl(fd, NS_GET_NSTYPE) != type)
    fail("namespace-wrong", "%s is not a %s namespace%s", name, kind,
         name == path ? "" : " (a file of \"ip netns\" must still be mounted; after a reboot it is not)");
  return fd;
}

static bool same_file(int a, int b) {
  struct stat left, right;
  return fstat(a, &left) == 0 && fstat(b, &right) == 0 && left.st_dev == right.st_dev &&
         left.st_ino == right.st_ino;
}

/* Entering the user namespace one is in already is EINVAL; it is nothing to do. */
static int enter_user_fd(int fd) {
  int own = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
  bool inside = own >= 0 && same_file(own, fd);
  if (own >= 0) close(own);
  return inside ? 0 : setns(fd, CLONE_NEWUSER);
}

static void enter_user(int fd, const char *target) {
  if (enter_user_fd(fd) == 0) return;
  if (errno == EPERM)
    fail("namespace-denied", "user namespace %s: not allowed; it was made by another user", target);
  fail("namespace-denied", "user namespace %s: %s", target, strerror(errno));
}

static void enter_net(int fd, const char *target) {
  if (setns(fd, CLONE_NEWNET) == 0) return;
  if (errno == EPERM) {
    int owner = ioctl(fd, NS_GET_USERNS);
    if (owner >= 0 && enter_user_fd(owner) == 0 && setns(fd, CLONE_NEWNET) == 0) {
      close(owner);
      return;
    }
    fail("namespace-denied", "network namespace %s: not allowed; it belongs to another user, or to a user "
         "namespace this process is not in", target);
  }
  fail("namespace-denied", "network namespace %s: %s", target, strerror(errno));
}

void enter_namespaces(const struct options *options) {
  /* All are opened first: the paths may not be reachable from inside. */
  int user = -1, net = -1, mount = -1;
  if (options->enter_user) user = open_namespace(options->enter_user, "user", CLONE_NEWUSER, "user");
  if (options->enter_net) net = open_namespace(options->enter_net, "net", CLONE_NEWNET, "network");
  if (options->enter_mount) mount = open_namespace(options->enter_mount, "mnt", CLONE_NEWNS, "mount");
  if (user >= 0) {
    enter_user(user, options->enter_user);
    close(user);
  }
  if (net >= 0) {
    enter_net(net, options->enter_net);
    close(net);
  }
  if (mount >= 0) {
    if (setns(mount, CLONE_NEWNS) < 0)
      fail("namespace-denied", "mount namespace %s: %s", options->enter_mount, strerror(errno));
    close(mount);
  }
}

/* --- making -----------------------------------------------------------------------------------------------------*/

static int write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t written = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return written == (ssize_t)strlen(text) ? 0 : -1;
}

int new_user_namespace(uid_t uid, gid_t gid, const char **step) {
  uid_t outside_uid = geteuid();
  gid_t outside_gid = getegid();
  char map[64];
  *step = "unshare(CLONE_NEWUSER)";
  if (unshare(CLONE_NEWUSER) < 0) return -1;
  /* user_namespaces(7): one line, one's own id, and setgroups denied before gid_map. Linux < 3.19 has no such
   * file and needs none. */
  *step = "/proc/self/setgroups";
  if (write_file("/proc/self/setgroups", "deny") < 0 && errno != ENOENT) return -1;
  *step = "/proc/self/uid_map";
  snprintf(map, sizeof map, "%u %u 1", uid, outside_uid);
  if (write_file("/proc/self/uid_map", map) < 0) return -1;
  *step = "/proc/self/gid_map";
  snprintf(map, sizeof map, "%u %u 1", gid, outside_gid);
  return write_file("/proc/self/gid_map", map);
}

static const char *why_refused(int error) {
  switch (error) {
    case ENOSPC: return "the limit of user namespaces is reached or 0 (sysctl user.max_user_namespaces)";
    case EPERM:
    case EACCES:
      return "not allowed; see sysctl kernel.unprivileged_userns_clone and "
             "kernel.apparmor_restrict_unprivileged_userns, or the container's seccomp profile";
    case ENOSYS:
    case EINVAL: return "this kernel has no user namespaces (CONFIG_USER_NS)";
    default: return strerror(error);
  }
}

void make_namespaces(const struct options *options) {
  const char *step;
  if (options->new_user && new_user_namespace(options->inside_uid, options->inside_gid, &step) < 0)
    fail("user-namespace-refused", "%s: %s", step, why_refused(errno));
  int flags = (options->new_net ? CLONE_NEWNET : 0) | (options->new_mount ? CLONE_NEWNS : 0);
  if (flags != 0 && unshare(flags) < 0) {
    if (errno == EPERM)
      fail("namespace-refused", "a new network or mount namespace: not allowed without CAP_SYS_ADMIN%s",
           options->new_user ? "; a security module restricts user namespaces here" : "");
    fail("namespace-refused", "a new network or mount namespace: %s", strerror(errno));
  }
}
