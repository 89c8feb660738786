#include "helper-given.h"

#include "helper-report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- words and environment ---------------------------------------------------------------------------------------- */

/* All of a file of the parent's /proc entry, with a 0 at the end. */
static char *read_of_parent(pid_t parent, const char *file, size_t *length) {
  char path[64];
  char *octets = NULL;
  ssize_t got = 1;
  snprintf(path, sizeof path, "/proc/%d/%s", parent, file);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  *length = 0;
  for (size_t room = 0; fd >= 0 && got > 0; *length += (size_t)(got > 0 ? got : 0)) {
    if (room - *length < 2) {
      char *larger = realloc(octets, room = room * 2 + 65536);
      if (larger == NULL) break;
      octets = larger;
    }
    got = read(fd, octets + *length, room - *length - 1);
  }
  if (fd < 0 || got != 0) fail("given", "%s: %s", path, strerror(errno));
  close(fd);
  octets[*length] = '\0';
  return octets;
}

/* The strings of it, each ended by a 0, and NULL after the last. */
static char **strings_of(char *octets, size_t length, size_t *count) {
  char **strings = calloc(length + 1, sizeof *strings);
  if (strings == NULL) fail("given", "%s", strerror(errno));
  *count = 0;
  for (char *at = octets; at < octets + length; at += strlen(at) + 1) strings[(*count)++] = at;
  return strings;
}

char **given_command(const struct options *options, char **command) {
  static const char note_name[] = "SLUICE_GIVEN=", held_name[] = "SLUICE_NODE_EXTRA_CA_CERTS=";
  size_t length, count, kept = 0;
  if (options->given_words == 0) return command;
  char *octets = read_of_parent(options->parent, "environ", &length);
  environ = strings_of(octets, length, &count);
  for (size_t i = 0; i < count; i++) {
    if (strncmp(environ[i], note_name, sizeof note_name - 1) == 0) continue;
    bool is_held = strncmp(environ[i], held_name, sizeof held_name - 1) == 0;
    environ[kept++] = environ[i] + (is_held ? strlen("SLUICE_") : 0);
  }
  environ[kept] = NULL;
  octets = read_of_parent(options->parent, "cmdline", &length);
  char **words = strings_of(octets, length, &count);
  if (count < options->given_words) fail("given", "the parent has %zu words, not %u", count, options->given_words);
  return words + count - options->given_words;
}

/* --- descriptors, signals, limits --------------------------------------------------------------------------------- */

/* Out of the way first, all of them and the status channel: one's number may be another's place. */
void place_descriptors(struct options *options) {
  struct placed_fd status = {options->status_fd, options->status_fd};
  int above = STDERR_FILENO;
  if (options->placed_count == 0) return;
  for (int i = 0; i < options->placed_count; i++) {
    if (options->placed[i].from > above) above = options->placed[i].from;
    if (options->placed[i].to > above) above = options->placed[i].to;
  }
  for (int i = -1; i < options->placed_count; i++) {
    struct placed_fd *placed = i < 0 ? &status : &options->placed[i];
    int moved = fcntl(placed->from, F_DUPFD_CLOEXEC, above + 1);
    if (moved < 0) fail("descriptors", "descriptor %d: %s", placed->to, strerror(errno));
    close(placed->from);
    placed->from = moved;
    if (i < 0) report_to(options->status_fd = moved);
  }
  for (int i = 0; i < options->placed_count; i++)
    if (dup2(options->placed[i].from, options->placed[i].to) < 0)
      fail("descriptors", "descriptor %d: %s", options->placed[i].to, strerror(errno));
}

/* What is given to the command; the signals of the C library's own cannot be set, and need not be. */
void restore_given(const struct options *options) {
  struct rlimit limit;
  sigset_t blocked;
  sigemptyset(&blocked);
  for (int number = 1; number <= 64; number++) {
    uint64_t bit = UINT64_C(1) << (number - 1);
    if (options->ignored_signals & bit) signal(number, SIG_IGN);
    if (options->blocked_signals & bit) sigaddset(&blocked, number);
  }
  if (options->blocked_signals != 0) sigprocmask(SIG_SETMASK, &blocked, NULL);
  if (!options->has_file_limit || getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = options->file_limit < limit.rlim_max ? options->file_limit : limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) < 0) note("file-limit", "the soft limit of descriptors: %s", strerror(errno));
}
