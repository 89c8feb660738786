/* The TAP of a namespace, opened before anything that takes longer. */
#ifndef LAUNCHER_TAP_H
#define LAUNCHER_TAP_H

/* What names it: a path or PID, a path or NULL, a device's name. */
struct tap_words {
  const char *net, *user, *tap;
};

/*
 * Has the helper program open it. Returns its descriptor, not closed by an exec, or -1 when that cannot be done: whoever
 * comes after this finds out why.
 */
int open_tap_early(const char *helper, const struct tap_words *words);

#endif
