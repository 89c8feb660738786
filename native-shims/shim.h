/*
 * The shim: the system calls and the checksum kernel that Node does not offer, the rings of a card in shared memory
 * (vhost.h), and nothing else. No protocol is decided here. src/host/native/calls.ts documents every call; the functions below implement them one to one.
 *
 * Theory of operation. JavaScript registers one ArrayBuffer, the arena. From then on octets are named by int32
 * offsets into it, and every call checks its offsets and lengths against the arena before the kernel sees an
 * address. A call takes at most ARGS_MAX arguments, described by a signature (see addon.c), and gives back an int:
 * a count or descriptor, or -errno. Everything runs on the thread of the event loop, so that scratch tables for
 * iovecs and message headers are static.
 */
#ifndef SLUICE_SHIM_H
#define SLUICE_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define NAPI_VERSION 8
#include <node_api.h>

/* ---- the arena ------------------------------------------------------------------------------------------------ */

struct arena {
  uint8_t *data;
  uint64_t size;
};
extern struct arena arena;

/** Whether `length` octets at `at` lie inside the arena. */
static inline bool inside(int32_t at, int32_t length) {
  return at >= 0 && length >= 0 && (uint64_t)at + (uint64_t)length <= arena.size;
}

/** Whether `count` slots of `room` octets, `stride` octets apart, lie inside the arena. */
static inline bool slots_inside(int32_t at, int32_t stride, int32_t room, int32_t count) {
  return at >= 0 && stride >= 0 && room >= 0 && count > 0 &&
         (uint64_t)at + (uint64_t)stride * (uint64_t)(count - 1) + (uint64_t)room <= arena.size;
}

/** `count` records of `ints` int32 each at `at`, or NULL if they are not inside the arena or not aligned. */
static inline int32_t *records(int32_t at, int32_t ints, int32_t count) {
  if (at < 0 || (at & 3) != 0 || count < 0) return NULL;
  if ((uint64_t)at + (uint64_t)ints * 4u * (uint64_t)count > arena.size) return NULL;
  return (int32_t *)(void *)(arena.data + at);
}

/** What a system call returned, with -errno for a failure. */
static inline int32_t result_of(long r) { return r < 0 ? -errno : (int32_t)r; }

/** Runs a system call again as long as a signal interrupts it. */
#define RETRY(r, call)                  \
  do {                                  \
    (r) = (call);                       \
  } while ((r) < 0 && errno == EINTR)

/* ---- calls ---------------------------------------------------------------------------------------------------- */

#define ARGS_MAX 9
#define STRING_MAX 4096

/** One argument, as its letter in the signature says. */
struct arg {
  int32_t i;      /* 'i', 'b': the int or boolean */
  int32_t *ints;  /* 'w', 'g': an Int32Array's elements; 'w' has at least 5 */
  size_t length;  /* 'g': elements; 's': octets of the string */
  const char *s;  /* 's': UTF-8, ends with NUL */
};

/* clock and process (process.c) */
int32_t shim_now_ms(const int32_t *a);
int32_t shim_boot_ms(const int32_t *a);
int32_t shim_random_int32(const int32_t *a);
int32_t shim_raise_file_limit(const int32_t *a);
int32_t shim_replace_descriptor(const int32_t *a);
int32_t shim_discard_pages(const int32_t *a);
int32_t shim_signal_at_parents_end(const int32_t *a);
int32_t shim_map_large_blocks(const int32_t *a);
int32_t shim_release_memory(const int32_t *a);
int32_t shim_set_close_on_exec(const struct arg *a);

/* readiness (readiness.c) */
napi_value shim_epoll_open(napi_env env, napi_callback_info info);
int32_t shim_epoll_close(const int32_t *a);
int32_t shim_epoll_add(const int32_t *a);
int32_t shim_epoll_modify(const int32_t *a);
int32_t shim_epoll_remove(const int32_t *a);
int32_t shim_epoll_wait(const int32_t *a);
int32_t shim_epoll_spin(const int32_t *a);
int32_t shim_timer_arm(const int32_t *a);

/* frames (frames.c) */
int32_t shim_read_frames(const int32_t *a);
int32_t shim_receive_frames(const int32_t *a);
int32_t shim_write_frames(const int32_t *a);
int32_t shim_send_frames(const int32_t *a);
int32_t shim_write_stream(const int32_t *a);
int32_t shim_receive(const int32_t *a);
int32_t shim_discard(const int32_t *a);

/* sockets (sockets.c) */
int32_t shim_send_gather(const struct arg *a);
int32_t shim_receive_scatter(const struct arg *a);
int32_t shim_tcp_socket(const int32_t *a);
int32_t shim_connect(const struct arg *a);
int32_t shim_connect_scoped(const struct arg *a);
int32_t shim_bind(const struct arg *a);
int32_t shim_listen(const int32_t *a);
int32_t shim_accept(const struct arg *a);
int32_t shim_local_address(const struct arg *a);
int32_t shim_socket_error(const int32_t *a);
int32_t shim_is_connected(const int32_t *a);
int32_t shim_shutdown_write(const int32_t *a);
int32_t shim_shutdown_read(const int32_t *a);
int32_t shim_close(const int32_t *a);
int32_t shim_close_reset(const int32_t *a);
int32_t shim_set_option(const int32_t *a);
int32_t shim_get_option(const int32_t *a);
int32_t shim_tcp_info(const struct arg *a);
int32_t shim_set_non_blocking(const int32_t *a);

/** Fills a socket address from four address words and a port (v4-mapped: AF_INET). Returns its length. */
socklen_t address_from_words(struct sockaddr_storage *to, const int32_t *words, uint32_t scope);
/** Fills five words from a socket address; zeros for any family but AF_INET and AF_INET6. */
void words_from_address(int32_t *words, const struct sockaddr_storage *from);

/* Unix sockets and passing of descriptors (unix.c) */
int32_t shim_unix_listen(const struct arg *a);
int32_t shim_unix_connect(const struct arg *a);
int32_t shim_connect_unix_datagram(const struct arg *a);
napi_value shim_socket_pair(napi_env env, napi_callback_info info);
int32_t shim_send_descriptor(const int32_t *a);
int32_t shim_receive_descriptor(const int32_t *a);

/* changes of routes (routes.c) */
int32_t shim_route_socket(const int32_t *a);
int32_t shim_route_changes(const int32_t *a);

/* vhost-user (vhost-memory.c, vhost-rings.c, vhost-messages.c) */
int32_t shim_vhost_map(const struct arg *a);
int32_t shim_vhost_unmap(const struct arg *a);
int32_t shim_vhost_unmap_all(const int32_t *a);
int32_t shim_vhost_reset(const int32_t *a);
int32_t shim_vhost_log(const struct arg *a);
int32_t shim_vhost_set_logging(const int32_t *a);
int32_t shim_vhost_ring(const struct arg *a);
int32_t shim_vhost_stop(const int32_t *a);
int32_t shim_vhost_call(const int32_t *a);
int32_t shim_vhost_want(const int32_t *a);
int32_t shim_vhost_take(const int32_t *a);
int32_t shim_vhost_send(const int32_t *a);
int32_t shim_vhost_peek(const int32_t *a);
int32_t shim_vhost_release(const int32_t *a);
int32_t shim_vhost_receive(const struct arg *a);
int32_t shim_vhost_reply(const struct arg *a);
int32_t shim_vhost_check_event(const int32_t *a);

/* UDP (udp.c) */
int32_t shim_udp_socket(const int32_t *a);
int32_t shim_udp_unbind(const int32_t *a);
int32_t shim_udp_send_batch(const int32_t *a);
int32_t shim_udp_receive_batch(const int32_t *a);

/* devices (devices.c) */
int32_t shim_tap_open(const struct arg *a);
int32_t shim_tap_flags(const int32_t *a);
napi_value shim_tap_name(napi_env env, napi_callback_info info);
int32_t shim_tap_set_offload(const int32_t *a);
int32_t shim_tap_set_carrier(const int32_t *a);
int32_t shim_device_index(const struct arg *a);
int32_t shim_packet_socket(const struct arg *a);

/* the filter on system calls (seccomp.c) */
int32_t shim_apply_seccomp(const int32_t *a);

/* checksums (checksum.c) */
int32_t shim_checksum(const int32_t *a);
/** Chooses the kernel for this processor. Called once. */
void checksum_start(void);

/* arguments of the calls that are not described by a signature (addon.c) */
napi_value shim_int(napi_env env, int32_t value);
bool shim_string(napi_env env, napi_value value, char *into, size_t room, size_t *length);

#endif
