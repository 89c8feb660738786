/*
 * A test's addon: what a front-end of vhost-user needs of the kernel. Descriptors are ints, failures -errno.
 *
 *   memoryFile(octets, seal)   eventDescriptor(initial)   eventCount(fd)   map(fd, octets) -> ArrayBuffer
 *   send(socket, Uint8Array, descriptors)   receive(socket, Uint8Array)   pipe() -> full pipe's write end
 *   scribble(fd, at, octets, milliseconds, seed)   a thread of its own writes random octets there
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static napi_value number(napi_env env, int64_t value) {
  napi_value out;
  napi_create_int64(env, value, &out);
  return out;
}
static int64_t numbers(napi_env env, napi_callback_info info, int64_t *out, size_t most) {
  napi_value values[8];
  size_t count = 8;
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  for (size_t i = 0; i < most && i < count; i++) napi_get_value_int64(env, values[i], &out[i]);
  return (int64_t)count;
}
static napi_value result(napi_env env, int64_t r) { return number(env, r < 0 ? -errno : r); }

static napi_value memory_file(napi_env env, napi_callback_info info) {
  int64_t a[2] = {0, 0};
  numbers(env, info, a, 2);
  int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd >= 0 && ftruncate(fd, a[0]) < 0) return result(env, -1);
  if (fd >= 0 && a[1] != 0) fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return result(env, fd);
}
static napi_value event_descriptor(napi_env env, napi_callback_info info) {
  int64_t a[1] = {0};
  numbers(env, info, a, 1);
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  uint64_t initial = (uint64_t)a[0];
  if (fd >= 0 && initial != 0 && write(fd, &initial, sizeof initial) < 0) return result(env, -1);
  return result(env, fd);
}
static napi_value event_count(napi_env env, napi_callback_info info) {
  int64_t a[1] = {0};
  uint64_t count = 0;
  numbers(env, info, a, 1);
  ssize_t r = read((int)a[0], &count, sizeof count);
  return number(env, r < 0 ? (errno == EAGAIN ? 0 : -errno) : (int64_t)count);
}
static napi_value kick(napi_env env, napi_callback_info info) {
  int64_t a[1] = {0};
  uint64_t one = 1;
  numbers(env, info, a, 1);
  return result(env, write((int)a[0], &one, sizeof one));
}
static void unmap(napi_env env, void *data, void *octets) {
  (void)env;
  munmap(data, (size_t)(uintptr_t)octets);
}
static napi_value map(napi_env env, napi_callback_info info) {
  int64_t a[2] = {0, 0};
  napi_value buffer;
  numbers(env, info, a, 2);
  void *at = mmap(NULL, (size_t)a[1], PROT_READ | PROT_WRITE, MAP_SHARED, (int)a[0], 0);
  if (at == MAP_FAILED) return result(env, -1);
  napi_create_external_arraybuffer(env, at, (size_t)a[1], unmap, (void *)(uintptr_t)a[1], &buffer);
  return buffer;
}
static napi_value send_message(napi_env env, napi_callback_info info) {
  napi_value values[3];
  size_t count = 3, octets;
  int32_t fd;
  uint32_t descriptors;
  void *data;
  union { struct cmsghdr header; char room[CMSG_SPACE(64 * sizeof(int))]; } control;
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  napi_get_value_int32(env, values[0], &fd);
  napi_get_typedarray_info(env, values[1], NULL, &octets, &data, NULL, NULL);
  napi_get_array_length(env, values[2], &descriptors);
  struct iovec part = {data, octets};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptors > 0 && descriptors <= 64) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.room;
    message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors * sizeof(int));
    for (uint32_t i = 0; i < descriptors; i++) {
      napi_value value;
      int32_t each;
      napi_get_element(env, values[2], i, &value);
      napi_get_value_int32(env, value, &each);
      memcpy(CMSG_DATA(header) + i * sizeof(int), &each, sizeof(int));
    }
  }
  return result(env, sendmsg(fd, &message, MSG_NOSIGNAL));
}
static napi_value receive(napi_env env, napi_callback_info info) {
  napi_value values[2];
  size_t count = 2, octets;
  int32_t fd;
  void *data;
  napi_get_cb_info(env, info, &count, values, NULL, NULL);
  napi_get_value_int32(env, values[0], &fd);
  napi_get_typedarray_info(env, values[1], NULL, &octets, &data, NULL, NULL);
  return result(env, recv(fd, data, octets, MSG_DONTWAIT));
}
static napi_value full_pipe(napi_env env, napi_callback_info info) {
  int ends[2];
  char octets[4096] = {0};
  (void)info;
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return result(env, -1);
  while (write(ends[1], octets, sizeof octets) > 0) {}
  fcntl(ends[1], F_SETFL, 0);
  return number(env, ends[1]);
}

struct scribbler { uint8_t *at; size_t octets; int64_t milliseconds; uint64_t state; };
static void *scribble(void *data) {
  struct scribbler *s = data;
  struct timespec now, end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += s->milliseconds / 1000;
  end.tv_nsec += s->milliseconds % 1000 * 1000000;
  do {
    for (int i = 0; i < 64; i++) {
      s->state ^= s->state << 13;
      s->state ^= s->state >> 7;
      s->state ^= s->state << 17;
      s->at[s->state % s->octets] = (uint8_t)(s->state >> 40);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
  munmap(s->at, s->octets);
  free(s);
  return NULL;
}
static napi_value start_scribbling(napi_env env, napi_callback_info info) {
  int64_t a[5] = {0};
  pthread_t thread;
  numbers(env, info, a, 5);
  struct scribbler *s = malloc(sizeof *s);
  *s = (struct scribbler){NULL, (size_t)a[2], a[3], (uint64_t)a[4] | 1};
  s->at = mmap(NULL, s->octets, PROT_READ | PROT_WRITE, MAP_SHARED, (int)a[0], a[1]);
  if (s->at == MAP_FAILED) return result(env, -1);
  int r = pthread_create(&thread, NULL, scribble, s);
  if (r == 0) pthread_detach(thread);
  return number(env, -r);
}

NAPI_MODULE_INIT() {
  const struct { const char *name; napi_callback run; } calls[] = {
      {"memoryFile", memory_file}, {"eventDescriptor", event_descriptor}, {"eventCount", event_count}, {"kick", kick},
      {"map", map}, {"send", send_message}, {"receive", receive}, {"fullPipe", full_pipe}, {"scribble", start_scribbling},
  };
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    napi_value function;
    napi_create_function(env, calls[i].name, NAPI_AUTO_LENGTH, calls[i].run, NULL, &function);
    napi_set_named_property(env, exports, calls[i].name, function);
  }
  return exports;
}
