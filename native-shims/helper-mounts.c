/*
 * What a command behind the engine must see instead of the host's own: files of /etc such as resolv.conf, and nothing
 * of the services that would answer names past the engine. It has to last: a mount is gone as soon as anyone, in any
 * namespace, renames something over its mount point or removes that (rename(2), "detach"), and this is how every
 * program writes /etc/resolv.conf. So one process stays in the command's mount namespace and puts things right when it
 * is told that the host has changed something.
 *
 * A tmpfs lies beneath /etc, where only this process reaches it:
 *
 *   files/NAME   what is seen as /etc/NAME
 *   masked-N/    what is seen as the Nth masked directory: resolv.conf, by the names that a link of the host's may
 *                lead to; what the command puts there is its own
 *   view/        an /etc of links to every entry of the host's, which is at view/.host
 *
 * On top of it lies either the view, read-only, whose mount points nobody renames, or with --etc-in-place the host's
 * own /etc, for a command that may write there, as long as it has a resolv.conf to cover.
 */
#include "helper-mounts.h"

#include "helper-report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static const char etc[] = "/etc";
static const char host_name[] = ".host", host_etc[] = "view/.host";
/* Any directory will do for a moment; these exist nearly everywhere. */
static const char *const places[] = {"/tmp", "/mnt", "/run", "/proc"};
static const char resolv_conf[] = "resolv.conf";

enum { MASKED_NAME_MAX = 32 };

static int stage = -1, host = -1, view = -1;
static dev_t stage_device;
static bool covered, ready;

void private_mounts(void) {
  if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
    fail("mount", "making the mount namespace private: %s", strerror(errno));
}

/* At first an error; later the command runs, and it is said once. */
static void problem(const char *code, const char *what) {
  static bool noted;
  if (!ready) fail(code, "%s: %s", what, strerror(errno));
  if (noted) return;
  noted = true;
  note(code, "%s: %s", what, strerror(errno));
}

/* --- the tmpfs beneath /etc -------------------------------------------------------------------------------------- */

static bool is_file_of_ours(const struct options *options, const char *name) {
  for (int i = 0; i < options->etc_file_count; i++)
    if (strcmp(options->etc_files[i].name, name) == 0) return true;
  return false;
}

static void write_text(int directory, const char *name, const char *text) {
  int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) fail("resolv-conf", "/etc/%s: %s", name, strerror(errno));
  size_t length = strlen(text);
  if (write(fd, text, length) != (ssize_t)length) fail("resolv-conf", "/etc/%s: %s", name, strerror(errno));
  close(fd);
}

static const char *masked_name(int index, char name[MASKED_NAME_MAX]) {
  snprintf(name, MASKED_NAME_MAX, "masked-%d", index);
  return name;
}

static int make_directory(const char *name) {
  int fd = mkdirat(stage, name, 0755) < 0 ? -1 : openat(stage, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail("resolv-conf", "covering /etc: %s", strerror(errno));
  return fd;
}

static void fill_masked(const struct options *options, int index, int files) {
  char name[MASKED_NAME_MAX];
  int masked = make_directory(masked_name(index, name));
  if (is_file_of_ours(options, resolv_conf) && (linkat(files, resolv_conf, masked, resolv_conf, 0) < 0 ||
                                                linkat(files, resolv_conf, masked, "stub-resolv.conf", 0) < 0))
    fail("mask", "%s: %s", options->masks[index], strerror(errno));
  close(masked);
}

static void fill_stage(const struct options *options) {
  int files = make_directory("files");
  view = make_directory("view");
  close(make_directory(host_etc));
  for (int i = 0; i < options->etc_file_count; i++) {
    const char *name = options->etc_files[i].name;
    write_text(files, name, options->etc_files[i].text);
    if (linkat(files, name, view, name, 0) < 0) fail("resolv-conf", "/etc/%s: %s", name, strerror(errno));
  }
  for (int i = 0; i < options->mask_count; i++) fill_masked(options, i, files);
  close(files);
}

/* The tmpfs, put together at one of `places` before it goes beneath /etc. */
static void lay_stage(const struct options *options) {
  struct stat status;
  size_t i = 0;
  while (mount("tmpfs", places[i], "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") < 0)
    if (errno != ENOENT || ++i == sizeof places / sizeof *places)
      fail("resolv-conf", "mounting a tmpfs: %s", strerror(errno));
  stage = open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (stage < 0 || fstat(stage, &status) < 0 || fchdir(stage) < 0)
    fail("resolv-conf", "%s: %s", places[i], strerror(errno));
  stage_device = status.st_dev;
  fill_stage(options);
  /* With all that is mounted there: in a container single files of /etc are mounts of their own. From here on
   * mounts are made by names relative to the stage: what is covered has no other. */
  if (mount(etc, host_etc, NULL, MS_BIND | MS_REC, NULL) < 0 || mount(places[i], etc, NULL, MS_MOVE, NULL) < 0 ||
      (options->etc_in_place && mount(host_etc, etc, NULL, MS_BIND | MS_REC, NULL) < 0))
    fail("resolv-conf", "covering /etc: %s", strerror(errno));
  host = open(host_etc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (host < 0) fail("resolv-conf", "/etc: %s", strerror(errno));
}

/* --- the view ---------------------------------------------------------------------------------------------------- */

/* What the view's link for an entry of the host's /etc says. */
static void link_target(const char *name, char target[PATH_MAX]) {
  ssize_t length = readlinkat(host, name, target, PATH_MAX - 1);
  /* A link must stay where it was to mean the same; anything else is reached through the host's /etc. */
  if (length >= 0)
    target[length] = '\0';
  else
    snprintf(target, PATH_MAX, "%s/%s", host_name, name);
}

static void follow_entry(const char *name) {
  static const char next[] = ".next";
  char wanted[PATH_MAX], present[PATH_MAX];
  link_target(name, wanted);
  ssize_t length = readlinkat(view, name, present, sizeof present);
  if (length == (ssize_t)strlen(wanted) && memcmp(present, wanted, (size_t)length) == 0) return;
  if (symlinkat(wanted, view, next) < 0 || renameat(view, next, view, name) < 0) problem("resolv-conf", name);
}

/* Calls `visit` for each entry that is neither of ours nor "." or "..". */
static void each_entry(const struct options *options, int at, void (*visit)(const char *name)) {
  int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (directory == NULL) {
    problem("resolv-conf", etc);
    if (fd >= 0) close(fd);
    return;
  }
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, host_name) != 0 &&
        !is_file_of_ours(options, name))
      visit(name);
  }
  closedir(directory);
}

static void drop_entry(const char *name) {
  struct stat status;
  if (fstatat(host, name, &status, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) unlinkat(view, name, 0);
}

/* The stage's file, and where it is seen. */
static const char *file_names(const char *name, char from[PATH_MAX], char to[PATH_MAX]) {
  snprintf(from, PATH_MAX, "files/%s", name);
  snprintf(to, PATH_MAX, "%s/%s", etc, name);
  return from;
}

static void cover(const struct options *options) {
  /* A write to a new name would be lost with the namespace; better refused. */
  if (mount("view", etc, NULL, MS_BIND | MS_REC, NULL) < 0 ||
      mount(NULL, etc, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0) {
    problem("resolv-conf", "covering /etc");
    return;
  }
  covered = true;
  /* The command's own files are its own to write. */
  for (int i = 0; i < options->etc_file_count; i++) {
    const char *name = options->etc_files[i].name;
    char from[PATH_MAX], to[PATH_MAX];
    if (mount(file_names(name, from, to), to, NULL, MS_BIND, NULL) < 0) problem("resolv-conf", to);
  }
}

static void uncover(void) {
  if (umount2(etc, MNT_DETACH) < 0)
    problem("resolv-conf", "uncovering /etc");
  else
    covered = false;
}

/* --- what is kept ------------------------------------------------------------------------------------------------ */

/* Mounts `from` over `to` unless there is nothing to cover, or it is covered. mount(2) follows links: the file meant
 * is covered wherever it lies. */
static void hold(const char *code, const char *from, const char *to, bool directory) {
  struct stat status;
  /* The host may replace it in between (ENOENT), or right after. */
  for (int tries = 0; tries < 16; tries++) {
    if (stat(to, &status) < 0 || S_ISDIR(status.st_mode) != directory || status.st_dev == stage_device) return;
    if (mount(from, to, NULL, MS_BIND, NULL) < 0 && errno != ENOENT) {
      problem(code, to);
      return;
    }
  }
}

static void hold_files(const struct options *options) {
  struct stat status;
  bool in_place = options->etc_in_place && fstatat(host, resolv_conf, &status, 0) == 0;
  if (in_place && covered) uncover();
  if (!in_place) {
    each_entry(options, host, follow_entry);
    each_entry(options, view, drop_entry);
    if (!covered) cover(options);
  }
  for (int i = 0; i < options->etc_file_count; i++) {
    char from[PATH_MAX], to[PATH_MAX];
    hold("resolv-conf", file_names(options->etc_files[i].name, from, to), to, false);
  }
}

void keep_names(const struct options *options) {
  char octets[512], masked[MASKED_NAME_MAX];
  ssize_t got;
  umask(022);
  lay_stage(options);
  do {
    for (int i = 0; i < options->mask_count; i++) hold("mask", masked_name(i, masked), options->masks[i], true);
    hold_files(options);
    if (!ready) report("ready");
    ready = true;
    do got = read(options->status_fd, octets, sizeof octets);
    while (got < 0 && errno == EINTR);
  } while (got > 0);
  exit(0);
}
