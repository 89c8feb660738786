/* What the command is to have of what its parent was given and no longer has. */
#ifndef SLUICE_HELPER_GIVEN_H
#define SLUICE_HELPER_GIVEN_H

#include "helper-options.h"

/* With --given-words, what the parent's command line and environment say in place of `command` and of ours. */
char **given_command(const struct options *options, char **command);
/* Puts descriptors in their places; the status channel's number changes. */
void place_descriptors(struct options *options);
/* Sets signals and the soft limit of descriptors. */
void restore_given(const struct options *options);

#endif
