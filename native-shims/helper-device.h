/* The TAP and the network namespace around it. */
#ifndef SLUICE_HELPER_DEVICE_H
#define SLUICE_HELPER_DEVICE_H

#include "helper-options.h"

/* Opens and configures the TAP; returns its descriptor (close-on-exec, non-blocking). */
int open_device(const struct options *options);
void configure_device(const struct options *options);
void send_descriptor(int socket, int fd);
/* /proc/net/tcp, tcp6, udp and udp6 of this namespace, which they tell of wherever they are read. */
void send_listeners(int socket);
void loopback_up(void);
/* Lets every process of a new network namespace bind ports under 1024. */
void open_low_ports(void);

#endif
