#include "helper-options.h"

#include "helper-report.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum option_id {
  OPT_STATUS_FD = 256,
  OPT_PARENT,
  OPT_ENTER_USER,
  OPT_ENTER_NET,
  OPT_ENTER_MOUNT,
  OPT_NEW_USER,
  OPT_NEW_NET,
  OPT_NEW_MOUNT,
  OPT_TAP,
  OPT_DEVICE,
  OPT_TUN_DEVICE,
  OPT_NO_VNET_HEADER,
  OPT_QUEUE_LENGTH,
  OPT_SEND_FD,
  OPT_SEND_LISTENERS,
  OPT_LOOPBACK_UP,
  OPT_LOW_PORTS,
  OPT_UP,
  OPT_ADDRESS,
  OPT_GATEWAY,
  OPT_ADDRESS6,
  OPT_GATEWAY6,
  OPT_MTU,
  OPT_MAC,
  OPT_KEEP_NAMES,
  OPT_ETC_IN_PLACE,
  OPT_ETC_FILE,
  OPT_MASK,
  OPT_WAIT_FOR_GO,
  OPT_FILE_LIMIT,
  OPT_IGNORE_SIGNALS,
  OPT_PLACE_FD,
  OPT_GIVEN_WORDS,
  OPT_BLOCK_SIGNALS,
  OPT_NO_IO_URING,
  OPT_CONFINE,
  OPT_BEST_EFFORT,
  OPT_OWN_USER_NAMESPACE,
  OPT_USER,
  OPT_USER_IF_MAPPED,
  OPT_KEEP_BIND_SERVICE,
  OPT_NO_LANDLOCK,
  OPT_VIEW_READ,
  OPT_VIEW_EXECUTE,
  OPT_VIEW_WRITE,
  OPT_VIEW_DEVICE,
  OPT_VIEW_PROCESS,
  OPT_KEEP_FDS,
};

static const struct option long_options[] = {
    /* Where reports go and "go" comes from; the process that must outlive this one. */
    {"status-fd", required_argument, NULL, OPT_STATUS_FD},
    {"parent", required_argument, NULL, OPT_PARENT},
    /* Namespaces: PATH or PID; UID:GID as seen inside. */
    {"enter-user", required_argument, NULL, OPT_ENTER_USER},
    {"enter-net", required_argument, NULL, OPT_ENTER_NET},
    {"enter-mount", required_argument, NULL, OPT_ENTER_MOUNT},
    {"new-user", required_argument, NULL, OPT_NEW_USER},
    {"new-net", no_argument, NULL, OPT_NEW_NET},
    {"new-mount", no_argument, NULL, OPT_NEW_MOUNT},
    /* The device. */
    {"tap", required_argument, NULL, OPT_TAP},
    {"device", required_argument, NULL, OPT_DEVICE},
    {"tun-device", required_argument, NULL, OPT_TUN_DEVICE},
    {"no-vnet-header", no_argument, NULL, OPT_NO_VNET_HEADER},
    {"queue-length", required_argument, NULL, OPT_QUEUE_LENGTH},
    {"send-fd", required_argument, NULL, OPT_SEND_FD},
    {"send-listeners", required_argument, NULL, OPT_SEND_LISTENERS},
    {"loopback-up", no_argument, NULL, OPT_LOOPBACK_UP},
    {"low-ports", no_argument, NULL, OPT_LOW_PORTS},
    {"up", no_argument, NULL, OPT_UP},
    {"address", required_argument, NULL, OPT_ADDRESS},
    {"gateway", required_argument, NULL, OPT_GATEWAY},
    {"address6", required_argument, NULL, OPT_ADDRESS6},
    {"gateway6", required_argument, NULL, OPT_GATEWAY6},
    {"mtu", required_argument, NULL, OPT_MTU},
    {"mac", required_argument, NULL, OPT_MAC},
    /* The command's surroundings. */
    {"keep-names", no_argument, NULL, OPT_KEEP_NAMES},
    {"etc-in-place", no_argument, NULL, OPT_ETC_IN_PLACE},
    {"etc-file", required_argument, NULL, OPT_ETC_FILE},
    {"mask", required_argument, NULL, OPT_MASK},
    {"wait-for-go", no_argument, NULL, OPT_WAIT_FOR_GO},
    /* Soft limit of descriptors; signals as hexadecimal masks, as in /proc/PID/status. */
    {"file-limit", required_argument, NULL, OPT_FILE_LIMIT},
    /* FROM:TO, a descriptor and its number in the command. */
    {"place-fd", required_argument, NULL, OPT_PLACE_FD},
    /* The command is the last N words of the parent's command line, with its environment, octet by octet. */
    {"given-words", required_argument, NULL, OPT_GIVEN_WORDS},
    {"ignore-signals", required_argument, NULL, OPT_IGNORE_SIGNALS},
    {"block-signals", required_argument, NULL, OPT_BLOCK_SIGNALS},
    /* Confinement. */
    {"no-io-uring", no_argument, NULL, OPT_NO_IO_URING},
    {"confine", no_argument, NULL, OPT_CONFINE},
    {"best-effort", no_argument, NULL, OPT_BEST_EFFORT},
    {"own-user-namespace", no_argument, NULL, OPT_OWN_USER_NAMESPACE},
    {"user", required_argument, NULL, OPT_USER},
    {"user-if-mapped", required_argument, NULL, OPT_USER_IF_MAPPED},
    {"keep-bind-service", no_argument, NULL, OPT_KEEP_BIND_SERVICE},
    {"no-landlock", no_argument, NULL, OPT_NO_LANDLOCK},
    {"view-read", required_argument, NULL, OPT_VIEW_READ},
    {"view-execute", required_argument, NULL, OPT_VIEW_EXECUTE},
    {"view-write", required_argument, NULL, OPT_VIEW_WRITE},
    {"view-device", required_argument, NULL, OPT_VIEW_DEVICE},
    {"view-process", no_argument, NULL, OPT_VIEW_PROCESS},
    {"keep-fds", required_argument, NULL, OPT_KEEP_FDS},
    {NULL, 0, NULL, 0},
};

static unsigned long parse_number(const char *option, const char *text, unsigned long most) {
  char *end;
  errno = 0;
  unsigned long value = strtoul(text, &end, 10);
  if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value > most)
    fail("usage", "--%s: \"%s\" is not a number from 0 to %lu", option, text, most);
  return value;
}

static uint64_t parse_signals(const char *option, const char *text) {
  char *end;
  errno = 0;
  uint64_t mask = strtoull(text, &end, 16);
  if (errno != 0 || !isxdigit((unsigned char)*text) || *end != '\0')
    fail("usage", "--%s: \"%s\" is not a hexadecimal mask of signals", option, text);
  return mask;
}

/* Two numbers; `form` says what they are called. */
static void parse_pair(const char *option, const char *form, const char *text, unsigned long most,
                       unsigned long numbers[2]) {
  const char *colon = strchr(text, ':');
  char left[16];
  if (colon == NULL || (size_t)(colon - text) >= sizeof left)
    fail("usage", "--%s: \"%s\" is not %s", option, text, form);
  memcpy(left, text, colon - text);
  left[colon - text] = '\0';
  numbers[0] = parse_number(option, left, most);
  numbers[1] = parse_number(option, colon + 1, most);
}

static void parse_ids(const char *option, const char *text, uid_t *uid, gid_t *gid) {
  unsigned long ids[2];
  parse_pair(option, "UID:GID", text, UINT32_MAX - 1, ids);
  *uid = (uid_t)ids[0];
  *gid = (gid_t)ids[1];
}

static void add_placed_fd(struct options *options, const char *text) {
  unsigned long fds[2];
  if (options->placed_count == KEEP_FDS_MAX) fail("usage", "--place-fd: more than %d descriptors", KEEP_FDS_MAX);
  parse_pair("place-fd", "FROM:TO", text, INT32_MAX - 1, fds);
  options->placed[options->placed_count++] = (struct placed_fd){(int)fds[0], (int)fds[1]};
}

static void parse_address(struct options *options, const char *text) {
  const char *slash = strchr(text, '/');
  char address[INET_ADDRSTRLEN];
  if (slash == NULL || (size_t)(slash - text) >= sizeof address)
    fail("usage", "--address: \"%s\" is not an IPv4 address with a prefix length such as 10.0.2.15/24", text);
  memcpy(address, text, slash - text);
  address[slash - text] = '\0';
  if (inet_pton(AF_INET, address, &options->address) != 1)
    fail("usage", "--address: \"%s\" is not an IPv4 address with a prefix length such as 10.0.2.15/24", text);
  options->prefix_length = (int)parse_number("address", slash + 1, 32);
}

static void parse_address6(struct options *options, const char *text) {
  const char *slash = strchr(text, '/');
  char address[INET6_ADDRSTRLEN];
  if (slash == NULL || (size_t)(slash - text) >= sizeof address)
    fail("usage", "--address6: \"%s\" is not an IPv6 address with a prefix length such as fd71::15/64", text);
  memcpy(address, text, slash - text);
  address[slash - text] = '\0';
  if (inet_pton(AF_INET6, address, &options->address6) != 1)
    fail("usage", "--address6: \"%s\" is not an IPv6 address with a prefix length such as fd71::15/64", text);
  options->prefix_length6 = (int)parse_number("address6", slash + 1, 128);
}

static void parse_mac(struct options *options, const char *text) {
  unsigned octets[6];
  int used = 0;
  if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &octets[0], &octets[1], &octets[2], &octets[3], &octets[4],
             &octets[5], &used) != 6 ||
      text[used] != '\0')
    fail("usage", "--mac: \"%s\" is not six hexadecimal octets such as 52:54:00:12:34:56", text);
  if (octets[0] & 1) fail("usage", "--mac: %s is a multicast address", text);
  for (int i = 0; i < 6; i++) options->mac[i] = (uint8_t)octets[i];
  options->has_mac = true;
}

static void parse_keep_fds(struct options *options, char *text) {
  options->close_fds = true;
  for (char *part = strtok(text, ","); part != NULL; part = strtok(NULL, ",")) {
    if (options->keep_count == KEEP_FDS_MAX) fail("usage", "--keep-fds: more than %d descriptors", KEEP_FDS_MAX);
    options->keep_fds[options->keep_count++] = (int)parse_number("keep-fds", part, INT32_MAX);
  }
}

static void add_view(struct options *options, enum view_kind kind, const char *path) {
  if (path[0] != '/') fail("usage", "--view-...: \"%s\" is not an absolute path", path);
  if (options->view_count == VIEW_MAX) fail("usage", "--view-...: more than %d paths", VIEW_MAX);
  options->view[options->view_count++] = (struct view_entry){kind, path};
}

static void add_etc_file(struct options *options, char *text) {
  char *equals = strchr(text, '=');
  if (equals == NULL || equals == text || memchr(text, '/', (size_t)(equals - text)) != NULL)
    fail("usage", "--etc-file: \"%s\" is not NAME=TEXT", text);
  if (options->etc_file_count == ETC_FILES_MAX) fail("usage", "--etc-file: more than %d files", ETC_FILES_MAX);
  *equals = '\0';
  options->etc_files[options->etc_file_count++] = (struct etc_file){text, equals + 1};
}

static void check_tap_name(const char *name) {
  size_t length = strlen(name);
  bool valid = length > 0 && length < IFNAMSIZ && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
  for (const char *c = name; *c; c++)
    if (*c == '/' || *c == ':' || *c == '%' || (unsigned char)*c <= ' ') valid = false;
  if (!valid) fail("usage", "--tap: \"%s\" is not a device name (1 to 15 octets, no space, '/', ':' or '%%')", name);
}

static void apply_confinement_option(struct options *options, int id, char *value) {
  switch (id) {
    case OPT_NO_IO_URING: options->no_io_uring = true; break;
    case OPT_CONFINE: options->confine = true; break;
    case OPT_BEST_EFFORT: options->best_effort = true; break;
    case OPT_OWN_USER_NAMESPACE: options->own_user_namespace = true; break;
    case OPT_USER_IF_MAPPED: options->user_if_mapped = true; /* fall through */
    case OPT_USER:
      parse_ids("user", value, &options->user_uid, &options->user_gid);
      options->has_user = true;
      break;
    case OPT_KEEP_BIND_SERVICE: options->keep_bind_service = true; break;
    case OPT_NO_LANDLOCK: options->no_landlock = true; break;
    case OPT_VIEW_READ: add_view(options, VIEW_READ, value); break;
    case OPT_VIEW_EXECUTE: add_view(options, VIEW_EXECUTE, value); break;
    case OPT_VIEW_WRITE: add_view(options, VIEW_WRITE, value); break;
    case OPT_VIEW_DEVICE: add_view(options, VIEW_DEVICE, value); break;
    case OPT_VIEW_PROCESS: options->view_process = true; break;
    case OPT_KEEP_FDS: parse_keep_fds(options, value); break;
    default: fail("usage", "an option is unknown or lacks its value");
  }
}

static void apply_option(struct options *options, int id, char *value) {
  switch (id) {
    case OPT_STATUS_FD: options->status_fd = (int)parse_number("status-fd", value, INT32_MAX); break;
    case OPT_PARENT: options->parent = (pid_t)parse_number("parent", value, INT32_MAX); break;
    case OPT_ENTER_USER: options->enter_user = value; break;
    case OPT_ENTER_NET: options->enter_net = value; break;
    case OPT_ENTER_MOUNT: options->enter_mount = value; break;
    case OPT_NEW_USER:
      options->new_user = true;
      parse_ids("new-user", value, &options->inside_uid, &options->inside_gid);
      break;
    case OPT_NEW_NET: options->new_net = true; break;
    case OPT_NEW_MOUNT: options->new_mount = true; break;
    case OPT_TAP:
      check_tap_name(value);
      options->tap = value;
      break;
    case OPT_DEVICE: options->device = value; break;
    case OPT_TUN_DEVICE: options->tun_device = value; break;
    case OPT_NO_VNET_HEADER: options->vnet_header = false; break;
    case OPT_QUEUE_LENGTH: options->queue_length = (unsigned)parse_number("queue-length", value, INT32_MAX); break;
    case OPT_SEND_FD: options->send_fd = (int)parse_number("send-fd", value, INT32_MAX); break;
    case OPT_SEND_LISTENERS:
      options->send_listeners = (int)parse_number("send-listeners", value, INT32_MAX);
      break;
    case OPT_LOOPBACK_UP: options->loopback_up = true; break;
    case OPT_LOW_PORTS: options->low_ports = true; break;
    case OPT_UP: options->device_up = true; break;
    case OPT_ADDRESS: parse_address(options, value); break;
    case OPT_GATEWAY:
      if (inet_pton(AF_INET, value, &options->gateway) != 1)
        fail("usage", "--gateway: \"%s\" is not an IPv4 address", value);
      options->has_gateway = true;
      break;
    case OPT_ADDRESS6: parse_address6(options, value); break;
    case OPT_GATEWAY6:
      if (inet_pton(AF_INET6, value, &options->gateway6) != 1)
        fail("usage", "--gateway6: \"%s\" is not an IPv6 address", value);
      options->has_gateway6 = true;
      break;
    case OPT_MTU: options->mtu = (unsigned)parse_number("mtu", value, 65521); break;
    case OPT_MAC: parse_mac(options, value); break;
    case OPT_KEEP_NAMES: options->keep_names = true; break;
    case OPT_ETC_IN_PLACE: options->etc_in_place = true; break;
    case OPT_ETC_FILE: add_etc_file(options, value); break;
    case OPT_MASK:
      if (options->mask_count == MASKS_MAX) fail("usage", "--mask: more than %d paths", MASKS_MAX);
      options->masks[options->mask_count++] = value;
      break;
    case OPT_WAIT_FOR_GO: options->wait_for_go = true; break;
    case OPT_FILE_LIMIT:
      options->file_limit = parse_number("file-limit", value, INT32_MAX);
      options->has_file_limit = true;
      break;
    case OPT_GIVEN_WORDS: options->given_words = (unsigned)parse_number("given-words", value, INT32_MAX); break;
    case OPT_PLACE_FD: add_placed_fd(options, value); break;
    case OPT_IGNORE_SIGNALS: options->ignored_signals = parse_signals("ignore-signals", value); break;
    case OPT_BLOCK_SIGNALS: options->blocked_signals = parse_signals("block-signals", value); break;
    default: apply_confinement_option(options, id, value);
  }
}

static void check_combination(const struct options *options) {
  bool addressed = options->prefix_length >= 0 || options->prefix_length6 >= 0;
  bool device_options = options->device_up || options->has_mac || addressed || options->mtu != 0;
  if (options->tap == NULL && options->send_fd >= 0) fail("usage", "--send-fd needs --tap");
  if (options->tap == NULL && options->device == NULL && device_options)
    fail("usage", "--up, --address, --mtu and --mac need --tap or --device");
  if (options->tap != NULL && options->device != NULL) fail("usage", "--tap and --device exclude each other");
  if (options->given_words > 0 && options->parent == 0) fail("usage", "--given-words needs --parent");
  if (options->low_ports && !options->new_net) fail("usage", "--low-ports needs --new-net");
  if (options->has_gateway && (options->prefix_length < 0 || !options->device_up))
    fail("usage", "--gateway needs --address and --up");
  if (options->has_gateway6 && (options->prefix_length6 < 0 || !options->device_up))
    fail("usage", "--gateway6 needs --address6 and --up");
  if (options->keep_names && options->enter_mount == NULL) fail("usage", "--keep-names needs --enter-mount");
  if ((options->etc_in_place || options->etc_file_count > 0 || options->mask_count > 0) && !options->keep_names)
    fail("usage", "--etc-in-place, --etc-file and --mask need --keep-names");
  if (options->enter_user != NULL && options->new_user)
    fail("usage", "--enter-user and --new-user exclude each other");
  if (options->enter_net != NULL && options->new_net)
    fail("usage", "--enter-net and --new-net exclude each other");
  if (options->enter_mount != NULL && options->new_mount)
    fail("usage", "--enter-mount and --new-mount exclude each other");
}

int parse_options(struct options *options, int argc, char **argv) {
  *options = (struct options){
      .status_fd = STDERR_FILENO,
      .tun_device = "/dev/net/tun",
      .vnet_header = true,
      .send_fd = -1,
      .send_listeners = -1,
      .prefix_length = -1,
      .prefix_length6 = -1,
  };
  opterr = 0;
  int id;
  while ((id = getopt_long(argc, argv, "+", long_options, NULL)) != -1) {
    if (id == '?') fail("usage", "%s: unknown option, or its value is missing", argv[optind - 1]);
    apply_option(options, id, optarg);
    if (id == OPT_STATUS_FD) report_to(options->status_fd);
  }
  check_combination(options);
  return optind;
}
