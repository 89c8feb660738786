/* Clocks, randomness, and calls that change this process. */
#include "shim.h"

#include <fcntl.h>
#include <signal.h>
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

int32_t shim_set_parent_death_signal(const int32_t *a) {
  return result_of(prctl(PR_SET_PDEATHSIG, (unsigned long)a[0], 0, 0, 0));
}

static void free_strings(char **strings) {
  if (strings == NULL) return;
  for (size_t i = 0; strings[i] != NULL; i++) free(strings[i]);
  free(strings);
}

/** A NULL-terminated copy of a JavaScript array of strings, or NULL. */
static char **read_strings(napi_env env, napi_value array) {
  uint32_t count;
  if (napi_get_array_length(env, array, &count) != napi_ok) return NULL;
  char **strings = calloc((size_t)count + 1, sizeof *strings);
  for (uint32_t i = 0; strings != NULL && i < count; i++) {
    napi_value element;
    size_t length;
    if (napi_get_element(env, array, i, &element) != napi_ok ||
        napi_get_value_string_utf8(env, element, NULL, 0, &length) != napi_ok ||
        (strings[i] = malloc(length + 1)) == NULL) {
      free_strings(strings);
      return NULL;
    }
    napi_get_value_string_utf8(env, element, strings[i], length + 1, &length);
  }
  return strings;
}

static int32_t set_close_on_exec(int fd, bool on) {
  int flags = fcntl(fd, F_GETFD);
  if (flags < 0) return -errno;
  return result_of(fcntl(fd, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC));
}

int32_t shim_set_close_on_exec(const struct arg *a) { return set_close_on_exec(a[0].i, a[1].i); }

/** The signals Node ignores or blocks would stay so in the new program: put them back to what a shell gives. */
static void default_signals(void) {
  sigset_t none;
  for (int i = 1; i < NSIG; i++)
    if (i != SIGKILL && i != SIGSTOP) signal(i, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

napi_value shim_exec(napi_env env, napi_callback_info info) {
  napi_value values[3];
  size_t count = 3, length;
  char path[STRING_MAX];
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  if (!shim_string(env, values[0], path, sizeof path, &length)) return shim_int(env, -errno);
  char **argv = read_strings(env, values[1]);
  char **envp = read_strings(env, values[2]);
  int32_t failure = -EINVAL;
  if (argv != NULL && envp != NULL) {
    failure = access(path, X_OK) < 0 ? -errno : 0;
    if (failure == 0) {
      default_signals();
      for (int fd = 0; fd <= 2; fd++) set_close_on_exec(fd, false);
      execve(path, argv, envp);
      failure = -errno;
    }
  }
  free_strings(argv);
  free_strings(envp);
  return shim_int(env, failure);
}
