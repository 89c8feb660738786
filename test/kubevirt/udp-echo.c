/* Sends every datagram to the given UDP port back. For guests whose busybox has no UDP server. */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  struct sockaddr_in own = {.sin_family = AF_INET};
  char octets[2048];
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (argc != 2) return 2;
  own.sin_port = htons((unsigned short)atoi(argv[1]));
  if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0) return 1;
  for (;;) {
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    ssize_t length = recvfrom(fd, octets, sizeof octets, 0, (struct sockaddr *)&peer, &size);
    if (length >= 0) sendto(fd, octets, (size_t)length, 0, (struct sockaddr *)&peer, size);
  }
}
