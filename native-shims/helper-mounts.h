/* What a command sees instead of the host's name service. */
#ifndef SLUICE_HELPER_MOUNTS_H
#define SLUICE_HELPER_MOUNTS_H

void private_mounts(void);
void replace_resolv_conf(const char *replacement);
void mask_paths(const char *const *paths, int count);

#endif
