/*
 * What a command behind the engine must see instead of the host's own: its resolv.conf, and nothing of the
 * services that would answer names past the engine. All of it in a mount namespace of its own.
 */
#include "helper.h"

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
/* Where the covered /etc stays reachable; links of the new one point here. */
static const char covered[] = "/etc/.host";

void private_mounts(void) {
  /* Nothing mounted here shows outside; mounts made outside still show here. */
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
    fail("mount", "making the mount namespace private: %s", strerror(errno));
}

static void link_entry(const char *name) {
  char from[PATH_MAX], old[PATH_MAX], target[PATH_MAX];
  snprintf(from, sizeof from, "/etc/%s", name);
  snprintf(old, sizeof old, "%s/%s", covered, name);
  /* A relative link must stay where it was to mean the same; anything else is reached through the covered /etc. */
  ssize_t length = readlink(old, target, sizeof target - 1);
  if (length >= 0)
    target[length] = '\0';
  else
    snprintf(target, sizeof target, ".host/%s", name);
  if (symlink(target, from) < 0) fail("resolv-conf", "%s: %s", from, strerror(errno));
}

static void copy_file(const char *from, const char *to) {
  char buffer[4096];
  ssize_t got;
  int in = open(from, O_RDONLY | O_CLOEXEC);
  int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (in < 0 || out < 0) fail("resolv-conf", "%s: %s", in < 0 ? from : to, strerror(errno));
  while ((got = read(in, buffer, sizeof buffer)) > 0)
    if (write(out, buffer, (size_t)got) != got) fail("resolv-conf", "%s: %s", to, strerror(errno));
  if (got < 0) fail("resolv-conf", "%s: %s", from, strerror(errno));
  close(in);
  close(out);
}

/*
 * There is no file to bind over (none, or a link to nowhere), and /etc may be read-only: cover /etc with a tmpfs
 * that links to every entry of the one below.
 */
static void cover_etc(const char *replacement) {
  char source[32];
  int content = open(replacement, O_RDONLY | O_CLOEXEC);
  if (content < 0) fail("resolv-conf", "%s: %s", replacement, strerror(errno));
  int below = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (below < 0) fail("resolv-conf", "/etc: %s", strerror(errno));
  if (mount("tmpfs", "/etc", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") < 0)
    fail("resolv-conf", "covering /etc: %s", strerror(errno));
  snprintf(source, sizeof source, "/proc/self/fd/%d", below);
  if (mkdir(covered, 0755) < 0 || mount(source, covered, NULL, MS_BIND | MS_REC, NULL) < 0)
    fail("resolv-conf", "covering /etc: %s", strerror(errno));
  DIR *directory = opendir(covered);
  if (directory == NULL) fail("resolv-conf", "%s: %s", covered, strerror(errno));
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "resolv.conf") != 0) link_entry(name);
  }
  closedir(directory);
  snprintf(source, sizeof source, "/proc/self/fd/%d", content);
  copy_file(source, resolv_conf);
  close(content);
  close(below);
  /* A write to a new name would be lost with the namespace; better refused. */
  if (mount(NULL, "/etc", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
    fail("resolv-conf", "making the new /etc read-only: %s", strerror(errno));
}

void replace_resolv_conf(const char *replacement) {
  struct stat status;
  if (stat(resolv_conf, &status) < 0) {
    cover_etc(replacement);
    return;
  }
  /* mount(2) follows links: the file meant is covered wherever it lies. */
  if (mount(replacement, resolv_conf, NULL, MS_BIND, NULL) < 0)
    fail("resolv-conf", "binding %s over %s: %s", replacement, resolv_conf, strerror(errno));
}

void mask_paths(const char *const *paths, int count) {
  for (int i = 0; i < count; i++)
    if (mount("/dev/null", paths[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT && errno != ENOTDIR)
      fail("mask", "covering %s: %s", paths[i], strerror(errno));
}
