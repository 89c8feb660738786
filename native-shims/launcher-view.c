#include "launcher-view.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VIEW_MAX = 200, OWN_WORDS = 8 };

static const char *const KINDS[] = {"read", "execute", "write", "device"};
static const char *const OPTIONS[] = {"--view-read", "--view-execute", "--view-write", "--view-device"};

struct words {
  const char **at;
  size_t count;
};

static void add(struct words *words, const char *option, const char *path) {
  words->at[words->count++] = option;
  words->at[words->count++] = path;
}

/* "KIND PATH" at `line`, which ends there. */
static void add_line(struct words *words, char *line) {
  struct stat status;
  char *path = strchr(line, ' ');
  if (path == NULL) return;
  *path++ = '\0';
  for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
    if (strcmp(line, KINDS[i]) == 0 && stat(path, &status) == 0) add(words, OPTIONS[i], path);
}

/* Where /etc/resolv.conf is, if a link leads out of what is seen. */
static void add_resolv_conf(struct words *words) {
  static char path[PATH_MAX];
  if (realpath("/etc/resolv.conf", path) == NULL) return;
  if (strncmp(path, "/etc/", 5) != 0 && strncmp(path, "/run/", 5) != 0) add(words, "--view-read", path);
}

/* The directory of `place`, if it is there. Returns 0 when it is not from the root, or the root itself. */
static int add_directory(struct words *words, const char *place) {
  static char directory[PATH_MAX];
  struct stat status;
  if (place == NULL) return 1;
  const char *end = strrchr(place, '/');
  if (place[0] != '/' || end == place || (size_t)(end - place) >= sizeof directory) return 0;
  memcpy(directory, place, (size_t)(end - place));
  if (stat(directory, &status) == 0) add(words, "--view-write", directory);
  return 1;
}

void become_in_view(const char *helper, char *lines, const char *place, char **command) {
  static const char *const own[] = {"--confine", "--best-effort", "--own-user-namespace", "--keep-bind-service",
                                    "--no-landlock"};
  size_t length = 0;
  while (command[length] != NULL) length++;
  struct words words = {calloc(OWN_WORDS + 2 * (VIEW_MAX + 2) + length + 2, sizeof(char *)), 0};
  if (words.at == NULL) return;
  words.at[words.count++] = helper;
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) words.at[words.count++] = own[i];
  char *rest = NULL;
  size_t seen = 0;
  for (char *line = strtok_r(lines, "\n", &rest); line != NULL && seen < VIEW_MAX; line = strtok_r(NULL, "\n", &rest), seen++)
    add_line(&words, line);
  add_resolv_conf(&words);
  if (!add_directory(&words, place)) return;
  words.at[words.count++] = "--";
  memcpy(words.at + words.count, command, (length + 1) * sizeof(char *));
  execv(helper, (char **)words.at);
}
