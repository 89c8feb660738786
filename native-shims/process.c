/* Clocks, randomness, and calls that change this process. */
#include "shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int32_t milliseconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (int32_t)(uint32_t)((uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u);
}

int32_t shim_now_ms(const int32_t *a) {
  (void)a;
  return milliseconds(CLOCK_MONOTONIC);
}

int32_t shim_boot_ms(const int32_t *a) {
  (void)a;
  return milliseconds(CLOCK_BOOTTIME);
}

/* Gives whole pages inside the range back to the kernel; they read as zeros afterwards. */
int32_t shim_discard_pages(const int32_t *a) {
  int32_t at = a[0], length = a[1];
  if (!inside(at, length)) return -EINVAL;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t from = ((uintptr_t)arena.data + (uintptr_t)at + page - 1) & ~(page - 1);
  uintptr_t to = ((uintptr_t)arena.data + (uintptr_t)at + (uintptr_t)length) & ~(page - 1);
  if (from >= to) return 0;
  return madvise((void *)from, to - from, MADV_DONTNEED) == 0 ? 0 : -errno;
}

/* M_MMAP_THRESHOLD of glibc's malloc.h. */
#define MMAP_THRESHOLD (-3)

/* By name, since the same built file serves under musl, which has neither this nor malloc_trim. */
int32_t shim_map_large_blocks(const int32_t *a) {
  int (*set_option)(int, int);
  *(void **)&set_option = dlsym(RTLD_DEFAULT, "mallopt");
  if (set_option == NULL) return -ENOSYS;
  return set_option(MMAP_THRESHOLD, a[0]) == 1 ? 0 : -EINVAL;
}

/* What V8 tells a program whose host is short of memory, which Node-API has no call for: two functions that Node exports. */
int32_t shim_release_memory(const int32_t *a) {
  (void)a;
  void *(*current_isolate)(void);
  void (*low_memory)(void *);
  *(void **)&current_isolate = dlsym(RTLD_DEFAULT, "_ZN2v87Isolate10GetCurrentEv");
  *(void **)&low_memory = dlsym(RTLD_DEFAULT, "_ZN2v87Isolate21LowMemoryNotificationEv");
  if (current_isolate == NULL || low_memory == NULL) return -ENOSYS;
  low_memory(current_isolate());
  int (*trim)(size_t);
  *(void **)&trim = dlsym(RTLD_DEFAULT, "malloc_trim");
  if (trim != NULL) trim(0);
  return 0;
}

int32_t shim_random_int32(const int32_t *a) {
  (void)a;
  static int32_t pool[64];
  static size_t left = 0;
  if (left == 0) {
    /* Up to 256 octets come whole once the kernel's pool is ready (getrandom(2)). */
    ssize_t r;
    RETRY(r, getrandom(pool, sizeof pool, 0));
    if (r != (ssize_t)sizeof pool) abort();
    left = sizeof pool / sizeof pool[0];
  }
  left--;
  int32_t value = pool[left];
  pool[left] = 0;
  return value;
}

int32_t shim_raise_file_limit(const int32_t *a) {
  (void)a;
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  if (limit.rlim_cur < limit.rlim_max) {
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) limit.rlim_cur = before;
  }
  return limit.rlim_cur > INT32_MAX ? INT32_MAX : (int32_t)limit.rlim_cur;
}

int32_t shim_signal_at_parents_end(const int32_t *a) { return result_of(prctl(PR_SET_PDEATHSIG, a[0])); }

int32_t shim_set_close_on_exec(const struct arg *a) {
  int flags = fcntl(a[0].i, F_GETFD);
  if (flags < 0) return -errno;
  return result_of(fcntl(a[0].i, F_SETFD, a[1].i ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC));
}

int32_t shim_replace_descriptor(const int32_t *a) {
  int r;
  RETRY(r, dup2(a[0], a[1]));
  return r < 0 ? -errno : 0;
}
