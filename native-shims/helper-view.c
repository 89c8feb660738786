/*
 * A root that holds only what the program needs: a tmpfs with binds, entered by pivot_root(2), the old one
 * unmounted. Made in the way of bubblewrap: the tmpfs is mounted anywhere, becomes the root with the old root
 * below it, and the binds are taken from there, so that nothing the tmpfs covered is out of reach.
 */
#include "helper-view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/mount.h of Linux 5.12; older headers lack it. */
enum { SYSCALL_MOUNT_SETATTR = 442, RECURSIVE = 0x8000 };
struct mount_attributes {
  uint64_t set, clear, propagation, userns_fd;
};
enum { ATTR_RDONLY = 1, ATTR_NOSUID = 2, ATTR_NODEV = 4, ATTR_NOEXEC = 8 };

static const char old_root[] = "/.old-root";
/* Any directory will do for a moment; these exist nearly everywhere. */
static const char *const places[] = {"/tmp", "/mnt", "/run", "/proc"};
static const char process_path[] = "/proc/self";

static unsigned long long attributes_of(enum view_kind kind) {
  switch (kind) {
    case VIEW_READ: return ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    case VIEW_EXECUTE: return ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV;
    case VIEW_WRITE: return ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    case VIEW_DEVICE: return ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC;
  }
  return 0;
}

/* Before Linux 5.12: the top mount only, and the flags it has already must be repeated (they may be locked). */
static int remount(const char *target, unsigned long long attributes) {
  struct statvfs status;
  if (statvfs(target, &status) < 0) return -1;
  unsigned long flags = MS_REMOUNT | MS_BIND;
  if ((attributes & ATTR_RDONLY) || (status.f_flag & ST_RDONLY)) flags |= MS_RDONLY;
  if ((attributes & ATTR_NOSUID) || (status.f_flag & ST_NOSUID)) flags |= MS_NOSUID;
  if ((attributes & ATTR_NODEV) || (status.f_flag & ST_NODEV)) flags |= MS_NODEV;
  if ((attributes & ATTR_NOEXEC) || (status.f_flag & ST_NOEXEC)) flags |= MS_NOEXEC;
  if (status.f_flag & ST_NOATIME) flags |= MS_NOATIME;
  if (status.f_flag & ST_NODIRATIME) flags |= MS_NODIRATIME;
  if (status.f_flag & ST_RELATIME) flags |= MS_RELATIME;
  return mount(NULL, target, NULL, flags, NULL);
}

static int set_attributes(const char *target, unsigned long long set) {
  struct mount_attributes attributes = {.set = set};
  if (syscall(SYSCALL_MOUNT_SETATTR, AT_FDCWD, target, RECURSIVE, &attributes, sizeof attributes) == 0) return 0;
  return errno == ENOSYS || errno == EPERM ? remount(target, set) : -1;
}

/* Makes the directories above `path`, and `path` itself as a directory or an empty file, where there is nothing. */
static int make_target(const char *path, bool directory) {
  char part[PATH_MAX];
  struct stat status;
  if (stat(path, &status) == 0) return 0;
  for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
    if (mkdir(part, 0755) < 0 && errno != EEXIST) return -1;
  }
  if (directory) return mkdir(path, 0755);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  return fd < 0 ? -1 : close(fd);
}

/* `source` is where the old root had it. */
static int bind_entry(const char *source, const char *target, enum view_kind kind) {
  char from[PATH_MAX + sizeof old_root];
  struct stat status;
  snprintf(from, sizeof from, "%s%s", old_root, source);
  if (stat(from, &status) < 0 || make_target(target, S_ISDIR(status.st_mode)) < 0) return -1;
  if (mount(from, target, NULL, MS_BIND | MS_REC, NULL) < 0) return -1;
  return set_attributes(target, attributes_of(kind));
}

static const char *failed_step(const char *step, const char *path) {
  static char text[PATH_MAX + 64];
  int error = errno;
  snprintf(text, sizeof text, "%s %s", step, path);
  errno = error;
  return text;
}

/* Turns a new tmpfs into the root; the old one is then at old_root. */
static const char *enter_new_root(void) {
  size_t i = 0;
  while (mount("sluice", places[i], "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m") < 0)
    if (errno != ENOENT || ++i == sizeof places / sizeof *places) return failed_step("mounting a tmpfs on", places[i]);
  if (chdir(places[i]) < 0) return "entering the new root";
  if (mkdir(old_root + 1, 0700) < 0) return "making the new root";
  if (syscall(SYS_pivot_root, ".", old_root + 1) < 0) return "pivot_root";
  return chdir("/") < 0 ? "entering the new root" : NULL;
}

/* The binds below are mounts of their own: only the tmpfs itself becomes read-only. */
static const char *leave_old_root(void) {
  if (umount2(old_root, MNT_DETACH) < 0 || rmdir(old_root) < 0) return "unmounting the old root";
  return remount("/", ATTR_RDONLY) < 0 ? "making the new root read-only" : NULL;
}

static const char *fill(const struct options *options, char **sources, const char *process) {
  for (int i = 0; i < options->view_count; i++)
    if (bind_entry(sources[i], options->view[i].path, options->view[i].kind) < 0)
      return failed_step("binding", options->view[i].path);
  if (options->view_process && bind_entry(process, process_path, VIEW_READ) < 0)
    return failed_step("binding", process_path);
  return NULL;
}

const char *build_view(const struct options *options) {
  static char *sources[VIEW_MAX];
  char process[32] = "/proc/";
  /* Links are followed here, in the old root, where they mean what they say. */
  for (int i = 0; i < options->view_count; i++)
    if ((sources[i] = realpath(options->view[i].path, NULL)) == NULL)
      return failed_step("finding", options->view[i].path);
  ssize_t length = readlink("/proc/self", process + 6, sizeof process - 7);
  if (length < 0) return "reading /proc/self";
  process[6 + length] = '\0';

  mode_t mask = umask(022);
  const char *failed = NULL;
  if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
    failed = "a mount namespace of its own";
  if (failed == NULL) failed = enter_new_root();
  if (failed == NULL) failed = fill(options, sources, process);
  if (failed == NULL) failed = leave_old_root();
  umask(mask);
  return failed;
}
