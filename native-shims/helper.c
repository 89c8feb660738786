/*
 * sluice-helper: what a multi-threaded Node process cannot do for itself. System calls only: every name, address
 * and path comes in as an argument, and nothing here knows what they are for.
 *
 * One run goes through these stages, in this order, each only when an option asks for it:
 *
 *   1. die with the parent; enter or make namespaces           helper-namespaces.c
 *   2. open the TAP there, configure it, pass it on; or pass
 *      on where to read what is listened on                    helper-device.c
 *   3. keep name service the command's own, and stay for it;
 *      or wait for "go"                                        helper-mounts.c
 *   4. narrow the process: mount view, ids, capabilities,
 *      no_new_privs, Landlock, descriptors, io_uring           helper-view.c, helper-confine.c
 *   5. set what the command was given; execve it, if there is
 *      one                                                     helper-given.c, helper.c
 *
 * Reports go to --status-fd (standard error by default), one line each:
 *
 *   sluice-helper: CODE: SENTENCE          it ends here; exit 2 for a bad option, else 1 (126/127: see exec)
 *   sluice-helper: note: CODE: SENTENCE    it goes on with less
 *   sluice-helper: tap: KEY=VALUE...       what was opened
 *   sluice-helper: ready                   it waits for one octet on --status-fd, or for each
 */
#include "helper-confine.h"
#include "helper-device.h"
#include "helper-given.h"
#include "helper-mounts.h"
#include "helper-namespaces.h"
#include "helper-options.h"
#include "helper-report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The supervisor answers once the engine serves; end of file means it went away instead. */
static void wait_for_go(int status_fd) {
  report("ready");
  char octet;
  ssize_t got;
  do got = read(status_fd, &octet, 1);
  while (got < 0 && errno == EINTR);
  if (got < 0) fail("go", "reading the answer on descriptor %d: %s", status_fd, strerror(errno));
  if (got == 0) exit(1);
}

/*
 * Room in the table of descriptors. Threads share it, and then the kernel grows it only after an RCU grace period: the
 * engine would stand still for some 20 ms at 64 sockets, at 256, at 512, and so on. Here there is one thread, and exec
 * keeps the table. 8 octets each.
 */
static void roomy_descriptor_table(int status_fd) {
  enum { DESCRIPTORS = 8192 };
  struct rlimit limit, raised;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  raised = limit;
  if (raised.rlim_cur < DESCRIPTORS) raised.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
  if (setrlimit(RLIMIT_NOFILE, &raised) < 0) return;
  rlim_t last = (raised.rlim_cur < DESCRIPTORS ? raised.rlim_cur : DESCRIPTORS) - 1;
  int high = fcntl(status_fd, F_DUPFD_CLOEXEC, (int)last);
  if (high >= 0) close(high);
  setrlimit(RLIMIT_NOFILE, &limit);
}

__attribute__((noreturn)) static void run_command(char **command, int status_fd) {
  /* Closed by a successful exec, which is how the other end learns of it. */
  if (status_fd > STDERR_FILENO) fcntl(status_fd, F_SETFD, FD_CLOEXEC);
  execvp(command[0], command);
  if (errno == ENOENT) fail_with(127, "command-not-found", "%s: there is no such command", command[0]);
  fail_with(126, "command-not-run", "%s: %s", command[0], strerror(errno));
}

int main(int argc, char **argv) {
  struct options options;
  char **command = argv + parse_options(&options, argc, argv);
  if (*command == NULL && (options.confine || options.wait_for_go))
    fail("usage", "--confine and --wait-for-go need a command after \"--\"");

  if (options.parent != 0) die_with_parent(options.parent);
  /* While the parent can be looked at: not from another user namespace. */
  command = given_command(&options, command);
  enter_namespaces(&options);
  make_namespaces(&options);

  if (options.loopback_up) loopback_up();
  if (options.low_ports) open_low_ports();
  if (options.tap != NULL) {
    int tap = open_device(&options);
    if (options.send_fd >= 0) {
      send_descriptor(options.send_fd, tap);
      close(options.send_fd);
    }
    close(tap);
  }
  if (options.send_listeners >= 0) send_listeners(options.send_listeners);
  if (options.device != NULL) configure_device(&options);

  if (options.new_mount) private_mounts();
  if (options.keep_names) {
    /* Entering a user namespace clears the parent-death signal. */
    if (options.parent != 0) die_with_parent(options.parent);
    keep_names(&options);
  }
  if (options.wait_for_go) wait_for_go(options.status_fd);

  if (options.confine) confine(&options);
  if (options.confine || options.no_io_uring) hide_io_uring();
  /* Making a user namespace and changing ids both clear the parent-death signal. */
  if (options.parent != 0) die_with_parent(options.parent);
  if (options.confine) roomy_descriptor_table(options.status_fd);
  place_descriptors(&options);
  restore_given(&options);
  if (*command != NULL) run_command(command, options.status_fd);
  return 0;
}
