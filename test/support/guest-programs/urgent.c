/*
 * Sends "ab", then "!" as urgent data, then "cd", and closes:
 *   urgent connect ADDRESS PORT    to a server
 *   urgent listen PORT             to the first client that connects
 * Exits 0 when all was sent.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	ssize_t got;
	char end;

	if (argc == 4 && strcmp(argv[1], "connect") == 0) {
		address.sin_port = htons((in_port_t)atoi(argv[3]));
		inet_pton(AF_INET, argv[2], &address.sin_addr);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
			return fail("connect");
	} else if (argc == 3 && strcmp(argv[1], "listen") == 0) {
		int listener = fd;

		address.sin_port = htons((in_port_t)atoi(argv[2]));
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 1) < 0)
			return fail("bind");
		puts("listening");
		fflush(stdout);
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			return fail("accept");
	} else {
		fprintf(stderr, "usage: urgent connect ADDRESS PORT | urgent listen PORT\n");
		return 2;
	}
	if (send(fd, "ab", 2, 0) != 2)
		return fail("send");
	usleep(100000);
	if (send(fd, "!", 1, MSG_OOB) != 1)
		return fail("send urgent");
	usleep(100000);
	if (send(fd, "cd", 2, 0) != 2 || shutdown(fd, SHUT_WR) < 0)
		return fail("send");
	/* Until the other side's end: closing with something unread would reset the connection. */
	while ((got = read(fd, &end, 1)) > 0)
		;
	return got < 0 ? fail("read") : 0;
}
