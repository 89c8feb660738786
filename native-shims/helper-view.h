/* A root with only what the program needs. */
#ifndef SLUICE_HELPER_VIEW_H
#define SLUICE_HELPER_VIEW_H

#include "helper-options.h"

/* Replaces the root with one that holds only the entries. Returns NULL, or the step that failed with errno set. */
const char *build_view(const struct options *options);

#endif
