/*
 * What a command behind the engine must see instead of the host's own: its resolv.conf, and nothing of the
 * services that would answer names past the engine. All of it in a mount namespace of its own.
 */
#include "helper-mounts.h"

#include "helper-report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char resolv_conf[] = "/etc/resolv.conf";
/* Where the new /etc is put together before it covers the old one; any directory will do. */
static const char *const stages[] = {"/tmp", "/mnt", "/run", "/proc"};

void private_mounts(void) {
  /* Nothing mounted here shows outside; mounts made outside still show here. */
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
    fail("mount", "making the mount namespace private: %s", strerror(errno));
}

/* The entry of the stage that stands for /etc/NAME; the old /etc is at .host below both. */
static void link_entry(const char *stage, const char *name) {
  char entry[PATH_MAX], old[PATH_MAX], target[PATH_MAX];
  snprintf(entry, sizeof entry, "%s/%s", stage, name);
  snprintf(old, sizeof old, "%s/.host/%s", stage, name);
  /* A link must stay where it was to mean the same; anything else is reached through the old /etc. */
  ssize_t length = readlink(old, target, sizeof target - 1);
  if (length >= 0)
    target[length] = '\0';
  else
    snprintf(target, sizeof target, ".host/%s", name);
  if (symlink(target, entry) < 0) fail("resolv-conf", "/etc/%s: %s", name, strerror(errno));
}

static void copy_file(int from, const char *to) {
  char buffer[4096];
  ssize_t got;
  int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (out < 0) fail("resolv-conf", "/etc/resolv.conf: %s", strerror(errno));
  while ((got = read(from, buffer, sizeof buffer)) > 0)
    if (write(out, buffer, (size_t)got) != got) fail("resolv-conf", "/etc/resolv.conf: %s", strerror(errno));
  if (got < 0) fail("resolv-conf", "reading the replacement: %s", strerror(errno));
  close(out);
}

static void link_entries(const char *stage) {
  DIR *directory = opendir("/etc");
  if (directory == NULL) fail("resolv-conf", "/etc: %s", strerror(errno));
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "resolv.conf") != 0)
      link_entry(stage, name);
  }
  closedir(directory);
}

/*
 * There is no file to bind over (none, or a link to nowhere), and /etc may be read-only: cover /etc with a tmpfs
 * that links to every entry of the old one.
 */
static void cover_etc(int replacement) {
  char path[PATH_MAX];
  size_t i = 0;
  while (mount("tmpfs", stages[i], "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") < 0)
    if (errno != ENOENT || ++i == sizeof stages / sizeof *stages)
      fail("resolv-conf", "mounting a tmpfs: %s", strerror(errno));
  snprintf(path, sizeof path, "%s/.host", stages[i]);
  /* All of it: in a container single files of /etc are mounts of their own. */
  if (mkdir(path, 0755) < 0 || mount("/etc", path, NULL, MS_BIND | MS_REC, NULL) < 0)
    fail("resolv-conf", "covering /etc: %s", strerror(errno));
  link_entries(stages[i]);
  snprintf(path, sizeof path, "%s/resolv.conf", stages[i]);
  copy_file(replacement, path);
  /* A write to a new name would be lost with the namespace; better refused. */
  if (mount(stages[i], "/etc", NULL, MS_MOVE, NULL) < 0 ||
      mount(NULL, "/etc", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
    fail("resolv-conf", "covering /etc: %s", strerror(errno));
}

void replace_resolv_conf(const char *replacement) {
  struct stat status;
  /* Opened first: the stage may cover it. */
  int content = open(replacement, O_RDONLY | O_CLOEXEC);
  if (content < 0) fail("resolv-conf", "%s: %s", replacement, strerror(errno));
  /* mount(2) follows links: the file meant is covered wherever it lies. */
  if (stat(resolv_conf, &status) < 0)
    cover_etc(content);
  else if (mount(replacement, resolv_conf, NULL, MS_BIND, NULL) < 0)
    fail("resolv-conf", "binding %s over %s: %s", replacement, resolv_conf, strerror(errno));
  close(content);
}

void mask_paths(const char *const *paths, int count) {
  for (int i = 0; i < count; i++)
    if (mount("/dev/null", paths[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT && errno != ENOTDIR)
      fail("mask", "covering %s: %s", paths[i], strerror(errno));
}
