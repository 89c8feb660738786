/*
 * A test's addon: raw system calls, so that libc's and Node's own checks are not mistaken for walls.
 * call(name, ...numbers) gives the result or -errno; callInPool the same, made on a thread of the pool, as a promise.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
struct work { long number, arguments[6], result; napi_deferred deferred; napi_async_work work; };
static const struct { const char *name; long number; } names[] = {
#define NAME(n) {#n, SYS_##n}
  NAME(execve), NAME(execveat), NAME(clone), {"clone3", 435}, NAME(ptrace), NAME(mount), NAME(umount2),
  NAME(pivot_root), NAME(chroot), NAME(unshare), NAME(setns), NAME(keyctl), NAME(add_key), NAME(request_key),
  NAME(bpf), NAME(perf_event_open), NAME(userfaultfd), {"io_uring_setup", 425}, NAME(init_module),
  NAME(finit_module), NAME(delete_module), NAME(kexec_load), NAME(process_vm_readv), NAME(process_vm_writev),
  {"pidfd_open", 434}, {"pidfd_getfd", 438}, NAME(name_to_handle_at), NAME(open_by_handle_at), NAME(kill),
  NAME(tgkill), NAME(socket), NAME(ioctl), NAME(reboot), NAME(settimeofday), NAME(swapon), NAME(syslog),
  NAME(personality), NAME(mknodat), {"fsopen", 430}, {"move_mount", 429}, {"open_tree", 428}, NAME(prlimit64),
  NAME(getppid), NAME(gettid), NAME(fanotify_init), NAME(quotactl), NAME(kcmp),
#ifdef SYS_fork
  NAME(fork), NAME(vfork), NAME(iopl), {"x32 getpid", 0x40000000 + SYS_getpid},
#endif
};
static void read_arguments(napi_env env, napi_callback_info info, struct work *work) {
  napi_value values[7];
  size_t count = 7, length;
  char name[64];
  memset(work, 0, sizeof *work);
  work->number = -1;
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  napi_get_value_string_utf8(env, values[0], name, sizeof name, &length);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i].name, name) == 0) work->number = names[i].number;
  for (size_t i = 1; i < count; i++) {
    int64_t number = 0;
    napi_get_value_int64(env, values[i], &number);
    work->arguments[i - 1] = (long)number;
  }
}
static void run(napi_env env, void *data) {
  struct work *work = data;
  long *a = work->arguments;
  (void)env;
  work->result = syscall(work->number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (work->result < 0) work->result = -errno;
  else if (work->result == 0 && (work->number == SYS_clone || work->number == 57 || work->number == 58)) _exit(0);
}
static napi_value call(napi_env env, napi_callback_info info) {
  struct work work;
  napi_value result;
  read_arguments(env, info, &work);
  run(env, &work);
  napi_create_int64(env, work.result, &result);
  return result;
}
static void done(napi_env env, napi_status status, void *data) {
  struct work *work = data;
  napi_value result;
  (void)status;
  napi_create_int64(env, work->result, &result);
  napi_resolve_deferred(env, work->deferred, result);
  napi_delete_async_work(env, work->work);
  free(work);
}
static napi_value call_in_pool(napi_env env, napi_callback_info info) {
  struct work *work = malloc(sizeof *work);
  napi_value promise, name;
  read_arguments(env, info, work);
  napi_create_promise(env, &work->deferred, &promise);
  napi_create_string_utf8(env, "call", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, NULL, name, run, done, work, &work->work);
  napi_queue_async_work(env, work->work);
  return promise;
}
NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "call", NAPI_AUTO_LENGTH, call, NULL, &function);
  napi_set_named_property(env, exports, "call", function);
  napi_create_function(env, "callInPool", NAPI_AUTO_LENGTH, call_in_pool, NULL, &function);
  napi_set_named_property(env, exports, "callInPool", function);
  return exports;
}
