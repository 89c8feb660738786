/*
 * What the program that is run may still do. All of it before the exec: capabilities, ids, mounts and Landlock
 * belong to a thread, and the program's later threads inherit what the first one has; from inside a program with
 * threads they could not be spread to all of them.
 *
 * The mount view is tried in a child first, since a process that got half way (a user namespace without the right
 * to mount, say) cannot go back. What the kernel refuses is an error, or with --best-effort a note.
 */
#include "helper-confine.h"

#include "helper-namespaces.h"
#include "helper-report.h"
#include "helper-view.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void refuse(const struct options *options, const char *code, const char *step, int error) {
  if (options->best_effort)
    note(code, "%s: %s", step, strerror(error));
  else
    fail(code, "%s: %s", step, strerror(error));
}

/* --- mount view ------------------------------------------------------------------------------------------------ */

static const char *try_view(const struct options *options) {
  const char *step;
  if (options->own_user_namespace && new_user_namespace(geteuid(), getegid(), &step) < 0) return step;
  return build_view(options);
}

struct outcome {
  int error;
  char step[240];
};

static void rehearse_view(const struct options *options, struct outcome *outcome) {
  int ends[2];
  *outcome = (struct outcome){.error = EIO, .step = "rehearsing the mount view"};
  if (pipe2(ends, O_CLOEXEC) < 0) fail("confine", "pipe: %s", strerror(errno));
  pid_t child = fork();
  if (child < 0) fail("confine", "fork: %s", strerror(errno));
  if (child == 0) {
    const char *step = try_view(options);
    struct outcome mine = {.error = step == NULL ? 0 : errno};
    if (step != NULL) snprintf(mine.step, sizeof mine.step, "%s", step);
    _exit(write(ends[1], &mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
  }
  close(ends[1]);
  struct outcome answer;
  if (read(ends[0], &answer, sizeof answer) == (ssize_t)sizeof answer) *outcome = answer;
  close(ends[0]);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
}

static void narrow_view(const struct options *options) {
  struct outcome outcome;
  rehearse_view(options, &outcome);
  if (outcome.error != 0) {
    refuse(options, "no-view", outcome.step, outcome.error);
    return;
  }
  const char *step = try_view(options);
  if (step != NULL) fail("no-view", "%s: %s", step, strerror(errno));
}

/* --- ids ------------------------------------------------------------------------------------------------------- */

/* Whether an id has a meaning in this user namespace; for id 0, `outside` is what it is outside. */
static bool is_mapped(const char *map, uint32_t id, uint32_t *outside) {
  FILE *file = fopen(map, "re");
  if (file == NULL) return true;
  unsigned inside, base, count;
  bool mapped = false;
  while (fscanf(file, "%u %u %u", &inside, &base, &count) == 3) {
    if (id >= inside && id - inside < count) mapped = true;
    if (inside == 0 && outside != NULL) *outside = base;
  }
  fclose(file);
  return mapped;
}

static void switch_user(const struct options *options) {
  uint32_t outside = 0;
  if (!is_mapped("/proc/self/uid_map", options->user_uid, &outside) ||
      !is_mapped("/proc/self/gid_map", options->user_gid, NULL)) {
    if (!options->user_if_mapped)
      fail("user-unmapped", "--user %u:%u: this user namespace does not map that id", options->user_uid,
           options->user_gid);
    note("user-unmapped",
         "this user namespace maps no id %u, so uid %u is kept (uid %u outside): without capabilities, but with the "
         "rights of that uid on files and processes", options->user_uid, geteuid(), outside);
    return;
  }
  if (options->keep_bind_service && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
    fail("confine", "PR_SET_KEEPCAPS: %s", strerror(errno));
  if (setgroups(0, NULL) < 0) {
    if (errno != EPERM || getgroups(0, NULL) != 0)
      refuse(options, "groups-kept", "leaving the supplementary groups", errno);
  }
  if (setresgid(options->user_gid, options->user_gid, options->user_gid) < 0 ||
      setresuid(options->user_uid, options->user_uid, options->user_uid) < 0)
    fail("user", "--user %u:%u: %s", options->user_uid, options->user_gid, strerror(errno));
  /* So that /proc/self is its own again; exec does the same. */
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* --- capabilities ---------------------------------------------------------------------------------------------- */

/* Both take CAP_SETPCAP; one who has no capability at all cannot gain any under no_new_privs either. */
static void drop_bounding_set(const struct options *options) {
  for (int capability = 0; capability < 64; capability++) {
    if (options->keep_bind_service && capability == CAP_NET_BIND_SERVICE) continue;
    if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1) prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  /* uid 0, if it is kept, is an id like any other. */
  prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0);
}

static void drop_capabilities(const struct options *options) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {0};
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (options->keep_bind_service) {
    uint32_t bit = 1u << CAP_NET_BIND_SERVICE;
    data[0] = (struct __user_cap_data_struct){.effective = bit, .permitted = bit, .inheritable = bit};
  }
  if (syscall(SYS_capset, &header, data) < 0) fail("capabilities", "capset: %s", strerror(errno));
  if (options->keep_bind_service && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) < 0)
    fail("capabilities", "keeping CAP_NET_BIND_SERVICE: %s", strerror(errno));
}

/* --- Landlock (landlock(7)); the constants are not in every libc's headers --------------------------------------- */

enum { SYSCALL_LANDLOCK_CREATE = 444, SYSCALL_LANDLOCK_ADD = 445, SYSCALL_LANDLOCK_RESTRICT = 446 };
enum { LANDLOCK_VERSION = 1, LANDLOCK_PATH_BENEATH = 1 };
enum {
  LL_EXECUTE = 1 << 0, LL_WRITE_FILE = 1 << 1, LL_READ_FILE = 1 << 2, LL_READ_DIR = 1 << 3, LL_REMOVE_DIR = 1 << 4,
  LL_REMOVE_FILE = 1 << 5, LL_MAKE_DIR = 1 << 7, LL_MAKE_REG = 1 << 8, LL_MAKE_SOCK = 1 << 9,
  LL_ALL_1 = (1 << 13) - 1, LL_REFER = 1 << 13, LL_TRUNCATE = 1 << 14, LL_IOCTL_DEV = 1 << 15,
};
enum { LL_SCOPE_ABSTRACT_UNIX = 1, LL_SCOPE_SIGNAL = 2 };

struct landlock_ruleset {
  uint64_t files, network, scoped;
};
struct landlock_path {
  uint64_t allowed;
  int32_t parent_fd;
} __attribute__((packed));

static uint64_t landlock_rights(enum view_kind kind) {
  switch (kind) {
    case VIEW_READ: return LL_READ_FILE | LL_READ_DIR;
    case VIEW_EXECUTE: return LL_READ_FILE | LL_READ_DIR | LL_EXECUTE;
    case VIEW_DEVICE: return LL_READ_FILE | LL_WRITE_FILE | LL_IOCTL_DEV;
    case VIEW_WRITE:
      return LL_READ_FILE | LL_READ_DIR | LL_WRITE_FILE | LL_TRUNCATE | LL_REMOVE_DIR | LL_REMOVE_FILE |
             LL_MAKE_DIR | LL_MAKE_REG | LL_MAKE_SOCK | LL_REFER;
  }
  return 0;
}

static void landlock_allow(int ruleset, const char *path, uint64_t rights) {
  const uint64_t for_files = LL_EXECUTE | LL_WRITE_FILE | LL_READ_FILE | LL_TRUNCATE | LL_IOCTL_DEV;
  struct stat status;
  int fd = open(path, O_PATH | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) < 0) fail("landlock", "%s: %s", path, strerror(errno));
  struct landlock_path rule = {.allowed = S_ISDIR(status.st_mode) ? rights : rights & for_files, .parent_fd = fd};
  if (syscall(SYSCALL_LANDLOCK_ADD, ruleset, LANDLOCK_PATH_BENEATH, &rule, 0) < 0)
    fail("landlock", "%s: %s", path, strerror(errno));
  close(fd);
}

static void restrict_files(const struct options *options) {
  long abi = syscall(SYSCALL_LANDLOCK_CREATE, NULL, 0, LANDLOCK_VERSION);
  if (abi < 1) {
    refuse(options, "no-landlock", "Landlock", errno);
    return;
  }
  struct landlock_ruleset rules = {.files = LL_ALL_1};
  if (abi >= 2) rules.files |= LL_REFER;
  if (abi >= 3) rules.files |= LL_TRUNCATE;
  if (abi >= 5) rules.files |= LL_IOCTL_DEV;
  if (abi >= 6) rules.scoped = LL_SCOPE_ABSTRACT_UNIX | LL_SCOPE_SIGNAL;
  size_t size = abi >= 6 ? sizeof rules : sizeof rules.files;
  int ruleset = (int)syscall(SYSCALL_LANDLOCK_CREATE, &rules, size, 0);
  if (ruleset < 0) fail("landlock", "%s", strerror(errno));
  for (int i = 0; i < options->view_count; i++)
    landlock_allow(ruleset, options->view[i].path, landlock_rights(options->view[i].kind) & rules.files);
  if (options->view_process) landlock_allow(ruleset, "/proc/self", landlock_rights(VIEW_READ));
  if (syscall(SYSCALL_LANDLOCK_RESTRICT, ruleset, 0) < 0) fail("landlock", "%s", strerror(errno));
  close(ruleset);
}

/* --- descriptors ----------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b) {
  int left = *(const int *)a, right = *(const int *)b;
  return (left > right) - (left < right);
}

static void close_between(unsigned from, unsigned to) {
  if (from > to || syscall(436 /* close_range, Linux 5.9 */, from, to, 0) == 0) return;
  long most = sysconf(_SC_OPEN_MAX);
  for (unsigned fd = from; fd <= to && (long)fd < most; fd++) close((int)fd);
}

/* The status descriptor closes itself at the exec. */
static void close_descriptors(const struct options *options) {
  int keep[KEEP_FDS_MAX + 4] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, options->status_fd};
  size_t count = 4 + (size_t)options->keep_count;
  memcpy(keep + 4, options->keep_fds, (size_t)options->keep_count * sizeof *keep);
  qsort(keep, count, sizeof *keep, by_number);
  unsigned next = 0;
  for (size_t i = 0; i < count; i++) {
    if ((unsigned)keep[i] > next) close_between(next, (unsigned)keep[i] - 1);
    if ((unsigned)keep[i] >= next) next = (unsigned)keep[i] + 1;
  }
  close_between(next, ~0u);
}

void confine(const struct options *options) {
  bool view = options->view_count > 0;
  /* In a user namespace of one's own only one's own id exists: ids change before it. Otherwise after the mounts,
   * which take the rights that go with the ids. */
  if (view && !options->own_user_namespace) narrow_view(options);
  drop_bounding_set(options);
  if (options->has_user) switch_user(options);
  if (view && options->own_user_namespace) narrow_view(options);
  drop_bounding_set(options);
  drop_capabilities(options);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail("confine", "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
  if (chdir("/") < 0) fail("confine", "chdir: %s", strerror(errno));
  if (view && !options->no_landlock) restrict_files(options);
  if (options->close_fds) close_descriptors(options);
}

/* --- io_uring -------------------------------------------------------------------------------------------------- */

/** The same on every architecture. */
enum { SYSCALL_IO_URING_SETUP = 425 };

/*
 * No io_uring from the first instruction on. The libuv of Node 22 and later makes a ring when it starts, whatever
 * UV_USE_IO_URING says, and ends the process when the filter of seccomp.c, which comes once all is loaded, refuses its
 * use. Told that there is no such thing it does without. A kernel without filters has none to come either.
 */
void hide_io_uring(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYSCALL_IO_URING_SETUP, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
  /* SPEC_ALLOW: see seccomp.c. */
  (void)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
}
