/*
 * Registration of the shim's calls, and the two doors they come in by.
 *
 * A hot call has only ints: `enter_ints` reads them and calls a plain C function over an int32 array. The others
 * have a signature, one letter per argument: i int, b boolean, w address words (an Int32Array of at least 5),
 * g gather list (an Int32Array), s string. `enter_mixed` reads these. Both return an int; what cannot be read is
 * -EINVAL. Only the calls that give or take something else know of Node-API themselves.
 */
#include "shim.h"

#include <stdlib.h>

struct arena arena = {NULL, 0};
static napi_env arena_env;
static napi_ref arena_reference;

struct int_call {
  const char *name;
  int32_t (*run)(const int32_t *a);
  size_t arity;
};

struct mixed_call {
  const char *name;
  int32_t (*run)(const struct arg *a);
  const char *signature;
};

struct own_call {
  const char *name;
  napi_callback run;
};

static napi_value register_arena(napi_env env, napi_callback_info info);

static const struct int_call int_calls[] = {
    {"nowMs", shim_now_ms, 0},
    {"bootMs", shim_boot_ms, 0},
    {"randomInt32", shim_random_int32, 0},
    {"raiseFileLimit", shim_raise_file_limit, 0},
    {"discardPages", shim_discard_pages, 2},
    {"signalAtParentsEnd", shim_signal_at_parents_end, 1},
    {"mapLargeBlocks", shim_map_large_blocks, 1},
    {"releaseMemory", shim_release_memory, 0},
    {"applySeccomp", shim_apply_seccomp, 0},
    {"epollClose", shim_epoll_close, 0},
    {"epollAdd", shim_epoll_add, 3},
    {"epollModify", shim_epoll_modify, 3},
    {"epollRemove", shim_epoll_remove, 1},
    {"epollWait", shim_epoll_wait, 3},
    {"epollSpin", shim_epoll_spin, 3},
    {"timerArm", shim_timer_arm, 2},
    {"readFrames", shim_read_frames, 6},
    {"receiveFrames", shim_receive_frames, 6},
    {"writeFrames", shim_write_frames, 3},
    {"sendFrames", shim_send_frames, 3},
    {"writeStream", shim_write_stream, 3},
    {"receive", shim_receive, 3},
    {"discard", shim_discard, 2},
    {"tcpSocket", shim_tcp_socket, 1},
    {"listen", shim_listen, 2},
    {"socketError", shim_socket_error, 1},
    {"isConnected", shim_is_connected, 1},
    {"shutdownWrite", shim_shutdown_write, 1},
    {"shutdownRead", shim_shutdown_read, 1},
    {"close", shim_close, 1},
    {"closeReset", shim_close_reset, 1},
    {"setOption", shim_set_option, 4},
    {"getOption", shim_get_option, 3},
    {"setNonBlocking", shim_set_non_blocking, 1},
    {"replaceDescriptor", shim_replace_descriptor, 2},
    {"sendDescriptor", shim_send_descriptor, 2},
    {"receiveDescriptor", shim_receive_descriptor, 1},
    {"routeSocket", shim_route_socket, 0},
    {"routeChanges", shim_route_changes, 1},
    {"udpSocket", shim_udp_socket, 1},
    {"udpUnbind", shim_udp_unbind, 1},
    {"udpSendBatch", shim_udp_send_batch, 3},
    {"udpReceiveBatch", shim_udp_receive_batch, 9},
    {"tapFlags", shim_tap_flags, 1},
    {"tapSetOffload", shim_tap_set_offload, 2},
    {"tapSetCarrier", shim_tap_set_carrier, 2},
    {"checksum", shim_checksum, 3},
    {"vhostUnmapAll", shim_vhost_unmap_all, 0},
    {"vhostReset", shim_vhost_reset, 0},
    {"vhostSetLogging", shim_vhost_set_logging, 1},
    {"vhostStop", shim_vhost_stop, 1},
    {"vhostCall", shim_vhost_call, 2},
    {"vhostWant", shim_vhost_want, 1},
    {"vhostTake", shim_vhost_take, 5},
    {"vhostSend", shim_vhost_send, 2},
    {"vhostPeek", shim_vhost_peek, 6},
    {"vhostRelease", shim_vhost_release, 1},
    {"vhostCheckEvent", shim_vhost_check_event, 2},
};

static const struct mixed_call mixed_calls[] = {
    {"sendGather", shim_send_gather, "igi"},
    {"receiveScatter", shim_receive_scatter, "igi"},
    {"connect", shim_connect, "iw"},
    {"connectScoped", shim_connect_scoped, "iwi"},
    {"bind", shim_bind, "iwib"},
    {"accept", shim_accept, "iw"},
    {"localAddress", shim_local_address, "iw"},
    {"tcpInfo", shim_tcp_info, "ig"},
    {"unixListen", shim_unix_listen, "ss"},
    {"unixConnect", shim_unix_connect, "ss"},
    {"connectUnixDatagram", shim_connect_unix_datagram, "is"},
    {"tapOpen", shim_tap_open, "sbs"},
    {"deviceIndex", shim_device_index, "s"},
    {"packetSocket", shim_packet_socket, "s"},
    {"setCloseOnExec", shim_set_close_on_exec, "ib"},
    {"vhostMap", shim_vhost_map, "ig"},
    {"vhostUnmap", shim_vhost_unmap, "g"},
    {"vhostLog", shim_vhost_log, "ig"},
    {"vhostRing", shim_vhost_ring, "ig"},
    {"vhostReceive", shim_vhost_receive, "igiig"},
    {"vhostReply", shim_vhost_reply, "igi"},
};

static const struct own_call own_calls[] = {
    {"registerArena", register_arena},
    {"epollOpen", shim_epoll_open},
    {"socketPair", shim_socket_pair},
    {"tapName", shim_tap_name},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

napi_value shim_int(napi_env env, int32_t value) {
  napi_value out = NULL;
  napi_create_int32(env, value, &out);
  return out;
}

bool shim_string(napi_env env, napi_value value, char *into, size_t room, size_t *length) {
  /* Node-API cuts silently at `room`; a string that fills it is taken as too long. */
  if (napi_get_value_string_utf8(env, value, into, room, length) != napi_ok) {
    errno = EINVAL;
    return false;
  }
  if (*length + 1 >= room) {
    errno = ENAMETOOLONG;
    return false;
  }
  return true;
}

static napi_value enter_ints(napi_env env, napi_callback_info info) {
  napi_value values[ARGS_MAX];
  int32_t a[ARGS_MAX];
  size_t count = ARGS_MAX;
  void *data;
  napi_get_cb_info(env, info, &count, values, NULL, &data);
  const struct int_call *call = data;
  for (size_t i = 0; i < call->arity; i++)
    if (napi_get_value_int32(env, values[i], &a[i]) != napi_ok) return shim_int(env, -EINVAL);
  return shim_int(env, call->run(a));
}

/** Reads an Int32Array of at least `least` elements. */
static bool read_ints(napi_env env, napi_value value, size_t least, struct arg *out) {
  napi_typedarray_type type;
  void *data;
  bool is_array = false;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array) return false;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &data, NULL, NULL) != napi_ok) return false;
  out->ints = data;
  return type == napi_int32_array && out->length >= least;
}

/** Reads one argument by its letter. Returns 0 or -errno. */
static int32_t read_argument(napi_env env, napi_value value, char letter, struct arg *out, char *room) {
  bool ok = false;
  switch (letter) {
    case 'i':
      ok = napi_get_value_int32(env, value, &out->i) == napi_ok;
      break;
    case 'b': {
      bool flag = false;
      ok = napi_get_value_bool(env, value, &flag) == napi_ok;
      out->i = flag;
      break;
    }
    case 'w':
      ok = read_ints(env, value, 5, out);
      break;
    case 'g':
      ok = read_ints(env, value, 0, out);
      break;
    case 's':
      if (!shim_string(env, value, room, STRING_MAX, &out->length)) return -errno;
      out->s = room;
      ok = true;
      break;
  }
  return ok ? 0 : -EINVAL;
}

static napi_value enter_mixed(napi_env env, napi_callback_info info) {
  napi_value values[ARGS_MAX];
  struct arg a[ARGS_MAX];
  char strings[2][STRING_MAX];
  size_t count = ARGS_MAX, string = 0;
  void *data;
  napi_get_cb_info(env, info, &count, values, NULL, &data);
  const struct mixed_call *call = data;
  for (size_t i = 0; call->signature[i] != '\0'; i++) {
    char letter = call->signature[i];
    int32_t failure = read_argument(env, values[i], letter, &a[i], strings[string & 1]);
    if (failure != 0) return shim_int(env, failure);
    if (letter == 's') string++;
  }
  return shim_int(env, call->run(a));
}

static napi_value register_arena(napi_env env, napi_callback_info info) {
  napi_value buffer;
  size_t count = 1, size;
  bool is_buffer = false;
  void *data;
  napi_get_cb_info(env, info, &count, &buffer, NULL, NULL);
  if (count < 1 || napi_is_arraybuffer(env, buffer, &is_buffer) != napi_ok || !is_buffer) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "registerArena takes an ArrayBuffer");
    return NULL;
  }
  napi_get_arraybuffer_info(env, buffer, &data, &size);
  if (size > INT32_MAX) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the arena must be smaller than 2 GiB: its offsets are int32");
    return NULL;
  }
  if (arena_reference != NULL && arena_env == env) napi_delete_reference(env, arena_reference);
  napi_create_reference(env, buffer, 1, &arena_reference);
  arena_env = env;
  arena.data = data;
  arena.size = size;
  return NULL;
}

/** The environment ends (a worker): its arena goes with it. */
static void forget_arena(void *env) {
  if (arena_env != env) return;
  arena.data = NULL;
  arena.size = 0;
  arena_env = NULL;
  arena_reference = NULL;
}

static void define(napi_env env, napi_value exports, const char *name, napi_callback run, const void *data) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, run, (void *)(uintptr_t)data, &function);
  napi_set_named_property(env, exports, name, function);
}

NAPI_MODULE_INIT() {
  checksum_start();
  for (size_t i = 0; i < COUNT(int_calls); i++)
    define(env, exports, int_calls[i].name, enter_ints, &int_calls[i]);
  for (size_t i = 0; i < COUNT(mixed_calls); i++)
    define(env, exports, mixed_calls[i].name, enter_mixed, &mixed_calls[i]);
  for (size_t i = 0; i < COUNT(own_calls); i++) define(env, exports, own_calls[i].name, own_calls[i].run, NULL);
  napi_add_env_cleanup_hook(env, forget_arena, env);
  return exports;
}
