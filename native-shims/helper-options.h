/* What one run of the helper is to do. */
#ifndef SLUICE_HELPER_OPTIONS_H
#define SLUICE_HELPER_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { VIEW_MAX = 256, KEEP_FDS_MAX = 256, MASKS_MAX = 16, ETC_FILES_MAX = 4 };

/* What a path in the view may be used for. */
enum view_kind { VIEW_READ, VIEW_EXECUTE, VIEW_WRITE, VIEW_DEVICE };

/* What is to be seen as /etc/NAME. */
struct etc_file {
  const char *name, *text;
};

/* A descriptor of ours, and its number in the command. */
struct placed_fd {
  int from, to;
};

struct view_entry {
  enum view_kind kind;
  const char *path;
};

struct options {
  int status_fd;
  pid_t parent; /* 0: not tied to a parent */

  const char *enter_user, *enter_net, *enter_mount; /* path or pid */
  bool new_user, new_net, new_mount;
  uid_t inside_uid;
  gid_t inside_gid;

  const char *tap, *tun_device;
  const char *device; /* one that is there already, to be configured only */
  bool vnet_header;
  unsigned queue_length; /* 0: leave; set only on a TAP this run created */
  int send_fd;           /* -1: not asked for */
  int send_listeners;    /* -1: not asked for */
  bool loopback_up, low_ports, device_up, has_mac;
  struct in_addr address, gateway;
  int prefix_length; /* -1: no address */
  bool has_gateway;
  struct in6_addr address6, gateway6;
  int prefix_length6; /* -1: no address */
  bool has_gateway6;
  unsigned mtu;
  uint8_t mac[6];

  bool keep_names, etc_in_place;
  struct etc_file etc_files[ETC_FILES_MAX];
  int etc_file_count;
  const char *masks[MASKS_MAX];
  int mask_count;
  bool wait_for_go;

  /* What the command is to have of what its parent no longer has. */
  bool has_file_limit;
  unsigned long file_limit;
  unsigned given_words; /* 0: the command is ours, and the environment */
  struct placed_fd placed[KEEP_FDS_MAX];
  int placed_count;
  uint64_t ignored_signals, blocked_signals; /* bit N - 1 for signal N */

  bool no_io_uring, confine, best_effort, keep_bind_service, user_if_mapped, close_fds, view_process;
  bool own_user_namespace;
  bool no_landlock; /* for a command that builds views itself: Landlock has nobody mount anything */
  bool has_user;
  uid_t user_uid;
  gid_t user_gid;
  struct view_entry view[VIEW_MAX];
  int view_count;
  int keep_fds[KEEP_FDS_MAX];
  int keep_count;
};

/* Reads them all, and sends reports to --status-fd as soon as that is known. Returns the index of the command in
 * argv. */
int parse_options(struct options *options, int argc, char **argv);

#endif
