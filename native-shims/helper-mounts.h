/* The mounts of a command: its own, and what it sees instead of the host's name service. */
#ifndef SLUICE_HELPER_MOUNTS_H
#define SLUICE_HELPER_MOUNTS_H

#include "helper-options.h"

/* From here on nothing mounted shows outside; mounts made outside still show here. */
void private_mounts(void);
/* Covers /etc's files and the directories to be masked, reports "ready", and does so again at each octet on
 * --status-fd, until that is closed. */
__attribute__((noreturn)) void keep_names(const struct options *options);

#endif
