/*
 * Readiness: one epoll set and one timerfd, watched by the event loop.
 *
 * libuv polls the epoll descriptor (level-triggered); when an event waits it calls back into JavaScript, which
 * drains the set with epollWait. libuv's functions are reached with opaque handles only, sized by
 * uv_handle_size(), so that the build does not need uv.h, which node-api-headers does not carry. The functions
 * and the number of UV_POLL are part of libuv 1's stable ABI.
 */
#include "shim.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 512
#define UV_POLL_TYPE 8
#define UV_READABLE_EVENT 1

struct uv_poll_s;
int uv_poll_init(struct uv_loop_s *loop, struct uv_poll_s *handle, int fd);
int uv_poll_start(struct uv_poll_s *handle, int events, void (*run)(struct uv_poll_s *, int, int));
int uv_poll_stop(struct uv_poll_s *handle);
void uv_close(struct uv_poll_s *handle, void (*closed)(struct uv_poll_s *));
size_t uv_handle_size(int type);

static struct {
  int epoll;
  int timer;
  int32_t timer_token;
  struct uv_poll_s *poll;
  napi_env env;
  napi_ref ready;
  napi_async_context context;
} readiness = {.epoll = -1, .timer = -1};

static void on_ready(struct uv_poll_s *handle, int status, int events) {
  (void)handle;
  (void)status;
  (void)events;
  napi_env env = readiness.env;
  napi_handle_scope scope;
  napi_value receiver, ready, result;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_get_global(env, &receiver);
  napi_get_reference_value(env, readiness.ready, &ready);
  napi_status made = napi_make_callback(env, readiness.context, receiver, ready, 0, NULL, &result);
  if (made == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

static void on_closed(struct uv_poll_s *handle) { free(handle); }

static void close_descriptors(void) {
  if (readiness.epoll >= 0) close(readiness.epoll);
  if (readiness.timer >= 0) close(readiness.timer);
  readiness.epoll = readiness.timer = -1;
}

/** Stops the watching, now or when the environment ends; the handle is freed when the loop has let go of it. */
static void stop(void *env) {
  (void)env;
  uv_poll_stop(readiness.poll);
  uv_close(readiness.poll, on_closed);
  napi_delete_reference(readiness.env, readiness.ready);
  napi_async_destroy(readiness.env, readiness.context);
  close_descriptors();
}

/** Opens the epoll set with the timer in it. Returns 0 or -errno. */
static int32_t open_descriptors(void) {
  readiness.epoll = epoll_create1(EPOLL_CLOEXEC);
  if (readiness.epoll < 0) return -errno;
  readiness.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.u32 = 0}};
  if (readiness.timer < 0 || epoll_ctl(readiness.epoll, EPOLL_CTL_ADD, readiness.timer, &event) < 0) {
    int32_t failure = -errno;
    close_descriptors();
    return failure;
  }
  readiness.timer_token = 0;
  return 0;
}

/** Has the event loop watch the epoll descriptor. Returns 0 or -errno. */
static int32_t watch(napi_env env) {
  struct uv_loop_s *loop = NULL;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return -ENOSYS;
  readiness.poll = calloc(1, uv_handle_size(UV_POLL_TYPE));
  if (readiness.poll == NULL) return -ENOMEM;
  int r = uv_poll_init(loop, readiness.poll, readiness.epoll);
  if (r < 0) {
    free(readiness.poll);
    return r;
  }
  r = uv_poll_start(readiness.poll, UV_READABLE_EVENT, on_ready);
  if (r < 0) uv_close(readiness.poll, on_closed);
  return r;
}

napi_value shim_epoll_open(napi_env env, napi_callback_info info) {
  napi_value ready, name;
  napi_valuetype type;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &ready, NULL, NULL);
  if (napi_typeof(env, ready, &type) != napi_ok || type != napi_function) return shim_int(env, -EINVAL);
  if (readiness.epoll >= 0) return shim_int(env, -EBUSY);
  int32_t failure = open_descriptors();
  if (failure == 0) failure = watch(env);
  if (failure != 0) {
    close_descriptors();
    return shim_int(env, failure);
  }
  readiness.env = env;
  napi_create_string_utf8(env, "sluice", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &readiness.context);
  napi_create_reference(env, ready, 1, &readiness.ready);
  napi_add_env_cleanup_hook(env, stop, env);
  return shim_int(env, readiness.epoll);
}

int32_t shim_epoll_close(const int32_t *a) {
  (void)a;
  if (readiness.epoll < 0) return 0;
  napi_remove_env_cleanup_hook(readiness.env, stop, readiness.env);
  stop(readiness.env);
  return 0;
}

static int32_t control(int operation, int32_t fd, int32_t events, int32_t token) {
  struct epoll_event event = {.events = (uint32_t)events, .data = {.u32 = (uint32_t)token}};
  return result_of(epoll_ctl(readiness.epoll, operation, fd, &event));
}

int32_t shim_epoll_add(const int32_t *a) { return control(EPOLL_CTL_ADD, a[0], a[1], a[2]); }

int32_t shim_epoll_modify(const int32_t *a) { return control(EPOLL_CTL_MOD, a[0], a[1], a[2]); }

int32_t shim_epoll_remove(const int32_t *a) { return control(EPOLL_CTL_DEL, a[0], 0, 0); }

static struct epoll_event ready_events[EVENTS_MAX];

/** Writes what epoll_wait gave as pairs of ints. Returns the count or -errno. */
static int32_t report(int count, int32_t *out) {
  if (count < 0) return -errno;
  for (int i = 0; i < count; i++) {
    out[2 * i] = (int32_t)ready_events[i].events;
    out[2 * i + 1] = (int32_t)ready_events[i].data.u32;
  }
  return count;
}

int32_t shim_epoll_wait(const int32_t *a) {
  int32_t max = a[1] > EVENTS_MAX ? EVENTS_MAX : a[1];
  int32_t *out = records(a[0], 2, max);
  int timeout = a[2];
  if (out == NULL || max <= 0) return -EINVAL;
  int count = epoll_wait(readiness.epoll, ready_events, max, timeout);
  /* A signal ends the waiting, so that its handler in JavaScript is not kept back; what is ready is still taken. */
  while (count < 0 && errno == EINTR) count = epoll_wait(readiness.epoll, ready_events, max, 0);
  return report(count, out);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int32_t shim_epoll_spin(const int32_t *a) {
  int32_t max = a[1] > EVENTS_MAX ? EVENTS_MAX : a[1];
  int32_t *out = records(a[0], 2, max);
  if (out == NULL || max <= 0) return -EINVAL;
  int64_t until = now_ns() + (int64_t)a[2] * 1000;
  int count;
  do {
    RETRY(count, epoll_wait(readiness.epoll, ready_events, max, 0));
  } while (count == 0 && now_ns() < until);
  return report(count, out);
}

int32_t shim_timer_arm(const int32_t *a) {
  int32_t token = a[0], delay = a[1];
  struct itimerspec when = {{0, 0}, {0, 0}};
  if (delay >= 0) {
    if (delay == 0) delay = 1;
    when.it_value.tv_sec = delay / 1000;
    when.it_value.tv_nsec = (long)(delay % 1000) * 1000000;
  }
  /* Edge-triggered: an expiry is reported once without being read, and setting the time clears an old one. */
  if (timerfd_settime(readiness.timer, 0, &when, NULL) < 0) return -errno;
  if (token == readiness.timer_token) return 0;
  readiness.timer_token = token;
  return control(EPOLL_CTL_MOD, readiness.timer, EPOLLIN | EPOLLET, token);
}
