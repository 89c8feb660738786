/* What the program that is run may still do. */
#ifndef SLUICE_HELPER_CONFINE_H
#define SLUICE_HELPER_CONFINE_H

#include "helper-options.h"

void confine(const struct options *options);
/* Takes no_new_privs or CAP_SYS_ADMIN; without both it does nothing. */
void hide_io_uring(void);

#endif
