/* Entering and making namespaces, and ending with the parent. */
#ifndef SLUICE_HELPER_NAMESPACES_H
#define SLUICE_HELPER_NAMESPACES_H

#include "helper-options.h"

void die_with_parent(pid_t parent);
void enter_namespaces(const struct options *options);
void make_namespaces(const struct options *options);
/* unshare(CLONE_NEWUSER) with the caller's ids seen inside as uid and gid. Returns 0, or -1 with errno set and
 * `*step` saying what was refused. */
int new_user_namespace(uid_t uid, gid_t gid, const char **step);

#endif
