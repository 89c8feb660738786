/*
 * sluice-helper: what a multi-threaded Node process cannot do for itself. System calls only: every name, address
 * and path comes in as an argument, and nothing here knows what they are for.
 *
 * One run goes through these stages, in this order, each only when an option asks for it:
 *
 *   1. die with the parent; enter or make namespaces           helper-namespaces.c
 *   2. open the TAP there, configure it, pass it on            helper-device.c
 *   3. change /etc/resolv.conf for the command; wait for "go"  helper-mounts.c
 *   4. narrow the process: mount view, ids, capabilities,
 *      no_new_privs, Landlock, descriptors, io_uring           helper-view.c, helper-confine.c
 *   5. execve the command, if there is one                     helper.c
 *
 * Reports go to --status-fd (standard error by default), one line each:
 *
 *   sluice-helper: CODE: SENTENCE          it ends here; exit 2 for a bad option, else 1 (126/127: see exec)
 *   sluice-helper: note: CODE: SENTENCE    it goes on with less
 *   sluice-helper: tap: KEY=VALUE...       what was opened
 *   sluice-helper: ready                   the command waits for one octet on --status-fd
 */
#ifndef SLUICE_HELPER_H
#define SLUICE_HELPER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { VIEW_MAX = 256, KEEP_FDS_MAX = 256, MASKS_MAX = 16 };

/* What a path in the view may be used for. */
enum view_kind { VIEW_READ, VIEW_EXECUTE, VIEW_WRITE, VIEW_DEVICE };

struct view_entry {
  enum view_kind kind;
  const char *path;
};

struct options {
  int status_fd;
  pid_t parent; /* 0: not tied to a parent */

  const char *enter_user, *enter_net; /* path or pid */
  bool new_user, new_net, new_mount;
  uid_t inside_uid;
  gid_t inside_gid;

  const char *tap, *tun_device;
  const char *device; /* one that is there already, to be configured only */
  bool vnet_header;
  unsigned queue_length; /* 0: leave; set only on a TAP this run created */
  int send_fd;           /* -1: not asked for */
  bool loopback_up, low_ports, device_up, has_mac;
  struct in_addr address, gateway;
  int prefix_length; /* -1: no address */
  bool has_gateway;
  unsigned mtu;
  uint8_t mac[6];

  const char *resolv_conf;
  const char *masks[MASKS_MAX];
  int mask_count;
  bool wait_for_go;

  bool no_io_uring, confine, best_effort, keep_bind_service, user_if_mapped, close_fds, view_process;
  bool own_user_namespace;
  bool has_user;
  uid_t user_uid;
  gid_t user_gid;
  struct view_entry view[VIEW_MAX];
  int view_count;
  int keep_fds[KEEP_FDS_MAX];
  int keep_count;
};

/* --- helper.c: reports. The sentence is a printf format; `: %s` with strerror(errno) is the caller's. --- */
__attribute__((noreturn, format(printf, 2, 3))) void fail(const char *code, const char *format, ...);
__attribute__((format(printf, 2, 3))) void note(const char *code, const char *format, ...);
__attribute__((format(printf, 1, 2))) void report(const char *format, ...);

/* --- helper-namespaces.c --- */
void die_with_parent(pid_t parent);
void enter_namespaces(const struct options *options);
void make_namespaces(const struct options *options);
/* unshare(CLONE_NEWUSER) with the caller's ids seen inside as uid and gid. Returns 0, or -1 with errno set and
 * `*step` saying what was refused. */
int new_user_namespace(uid_t uid, gid_t gid, const char **step);

/* --- helper-device.c --- */
/* Opens and configures the TAP; returns its descriptor (close-on-exec, non-blocking). */
int open_device(const struct options *options);
void configure_device(const struct options *options);
void send_descriptor(int socket, int fd);
void loopback_up(void);
/* Lets every process of a new network namespace bind ports under 1024. */
void open_low_ports(void);

/* --- helper-mounts.c --- */
void private_mounts(void);
void replace_resolv_conf(const char *replacement);
void mask_paths(const char *const *paths, int count);

/* --- helper-view.c --- */
/* Replaces the root with one that holds only the entries. Returns NULL, or the step that failed with errno set. */
const char *build_view(const struct options *options);

/* --- helper-confine.c --- */
void confine(const struct options *options);
/* Takes no_new_privs or CAP_SYS_ADMIN; without both it does nothing. */
void hide_io_uring(void);

#endif
