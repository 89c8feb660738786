/*
 * Echo servers for guests whose busybox has none, static:
 *   guest-echo udp PORT      sends every datagram back
 *   guest-echo serve DEVICE  sends every frame of EtherType 0x88b5 (IEEE's for experiments) back to its sender
 *   guest-echo ask DEVICE    broadcasts such a frame and prints the answer's payload
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ETHERTYPE_EXPERIMENT 0x88b5
#define HEADER 14

static int udp(const char *port) {
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
  char octets[2048];
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0) return 1;
  for (;;) {
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    ssize_t length = recvfrom(fd, octets, sizeof octets, 0, (struct sockaddr *)&peer, &size);
    if (length >= 0) sendto(fd, octets, (size_t)length, 0, (struct sockaddr *)&peer, size);
  }
}

static int frames(const char *device, int ask) {
  struct ifreq request = {0};
  unsigned char frame[1514];
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETHERTYPE_EXPERIMENT));
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
  if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request) < 0) return 1;
  struct sockaddr_ll own = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_EXPERIMENT)};
  own.sll_ifindex = (int)if_nametoindex(device);
  if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0) return 1;
  if (ask) {
    struct timeval limit = {.tv_sec = 5};
    memset(frame, 0, 60);
    memset(frame, 0xff, 6);
    memcpy(frame + 6, request.ifr_hwaddr.sa_data, 6);
    frame[12] = ETHERTYPE_EXPERIMENT >> 8;
    frame[13] = ETHERTYPE_EXPERIMENT & 255;
    strcpy((char *)frame + HEADER, "any-ethertype");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (send(fd, frame, 60, 0) < 0 || recv(fd, frame, sizeof frame, 0) < 0) return 1;
    puts((char *)frame + HEADER);
    return 0;
  }
  for (;;) {
    ssize_t length = recv(fd, frame, sizeof frame, 0);
    if (length < HEADER) continue;
    memcpy(frame, frame + 6, 6);
    memcpy(frame + 6, request.ifr_hwaddr.sa_data, 6);
    send(fd, frame, (size_t)length, 0);
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  if (strcmp(argv[1], "udp") == 0) return udp(argv[2]);
  return frames(argv[2], strcmp(argv[1], "ask") == 0);
}
