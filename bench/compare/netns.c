// Namespaces for the comparison.
//
//   netns anchor [--uplink ADDRESS GATEWAY] [KEY=VALUE...]
//                                  makes a network namespace, brings `lo` up, writes the sysctls, says "ready" and
//                                  keeps the namespace alive until stdin closes. Nothing is left behind: the
//                                  namespace goes with the process. --uplink gives it a TAP that leads nowhere, with
//                                  an address and a default route, because pasta and passt take those from the host.
//   netns enter PID COMMAND...     runs a command in the namespace of PID. The command dies with its parent and
//                                  may open as many files as the machine's hard limit allows.
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "device.h"

static void write_sysctl(const char *assignment) {
  char path[256] = "/proc/sys/";
  const char *equals = strchr(assignment, '=');
  if (equals == NULL || equals - assignment > 200) die("not KEY=VALUE: %s", assignment);
  strncat(path, assignment, equals - assignment);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) die("%s: %s", path, strerror(errno));
  if (write(fd, equals + 1, strlen(equals + 1)) < 0) die("%s = %s: %s", path, equals + 1, strerror(errno));
  close(fd);
}

// pasta gives up its capabilities before it opens /proc/PID/ns/net, and may then only look at processes that have none.
static void drop_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {{0}};
  if (syscall(SYS_capset, &header, none) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0) die("capset: %s", strerror(errno));
}

static void anchor(int argc, char **argv) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) die("prctl: %s", strerror(errno));
  if (unshare(CLONE_NEWNET) < 0) die("cannot make a network namespace: %s", strerror(errno));
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) die("lo up: %s", strerror(errno));
  close(fd);
  int next = 2;
  if (argc >= 5 && strcmp(argv[2], "--uplink") == 0) {
    struct device uplink = {"uplink", argv[3], argv[4], 1500, 1000, IFF_TAP | IFF_NO_PI};
    open_device(&uplink);
    next = 5;
  }
  for (; next < argc; next++) write_sysctl(argv[next]);
  drop_capabilities();
  say("ready");
  char octet;
  while (read(STDIN_FILENO, &octet, 1) > 0) {
  }
}

static void enter(int argc, char **argv) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/ns/net", argv[2]);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (argc < 4 || fd < 0) die("netns enter: %s: %s", path, strerror(errno));
  if (setns(fd, CLONE_NEWNET) < 0) die("setns: %s", strerror(errno));
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) die("prctl: %s", strerror(errno));
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  execvp(argv[3], argv + 3);
  die("%s: %s", argv[3], strerror(errno));
}

int main(int argc, char **argv) {
  if (argc >= 2 && strcmp(argv[1], "anchor") == 0) {
    anchor(argc, argv);
    return 0;
  }
  if (argc >= 4 && strcmp(argv[1], "enter") == 0) enter(argc, argv);
  die("usage: netns anchor [--uplink ADDRESS GATEWAY] [KEY=VALUE...] | netns enter PID COMMAND...");
}
