// TCP bulk transfer for a fixed time, measured where the octets arrive.
//
//   tcp-stream recv (--listen A:P | --connect A:P) --streams N --warmup MS --window MS
//   tcp-stream send (--listen A:P | --connect A:P) --streams N
//
// The receiver says {"event":"window"} when the warm-up after the first octet is over, and at the end of the window
// the octets of each stream, the longest time without an octet, and what the kernel used. The sender sends until
// SIGTERM or until the other side is gone, then says what it had to send again.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "load.h"

#define MOST_STREAMS 64
#define CHUNK (128 * 1024)

static int sockets[MOST_STREAMS];
static _Atomic int64_t octets[MOST_STREAMS];
static _Atomic int open_streams;
static volatile sig_atomic_t stop;

static void on_signal(int number) {
  (void)number;
  stop = 1;
}

static void open_sockets(int argc, char **argv, int streams) {
  const char *where = option(argc, argv, "--listen", "");
  if (where[0] != 0) {
    union address address = address_of(where);
    int listener = listen_tcp(&address, 128);
    say("{\"event\":\"ready\"}");
    for (int i = 0; i < streams; i++) {
      struct pollfd p = {.fd = listener, .events = POLLIN};
      if (poll(&p, 1, 10000) != 1) die("only %d of %d connections arrived in 10 s", i, streams);
      sockets[i] = accept(listener, NULL, NULL);
      if (sockets[i] < 0) die("accept: %s", strerror(errno));
    }
    return;
  }
  union address address = address_of(option(argc, argv, "--connect", NULL));
  for (int i = 0; i < streams; i++) {
    sockets[i] = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(sockets[i], &address.any, size_of(&address)) < 0)
      die("connection %d: %s", i + 1, strerror(errno));
  }
}

static void *receive_stream(void *argument) {
  int i = (int)(intptr_t)argument;
  char *buffer = malloc(CHUNK);
  for (;;) {
    ssize_t n = recv(sockets[i], buffer, CHUNK, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    atomic_fetch_add_explicit(&octets[i], n, memory_order_relaxed);
  }
  atomic_fetch_sub(&open_streams, 1);
  return NULL;
}

static void *send_stream(void *argument) {
  int i = (int)(intptr_t)argument;
  char *buffer = calloc(1, CHUNK);
  while (!stop) {
    ssize_t n = send(sockets[i], buffer, CHUNK, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    atomic_fetch_add_explicit(&octets[i], n, memory_order_relaxed);
  }
  atomic_fetch_sub(&open_streams, 1);
  return NULL;
}

static int64_t total(int streams) {
  int64_t sum = 0;
  for (int i = 0; i < streams; i++) sum += octets[i];
  return sum;
}

static void describe_socket(void) {
  char congestion[16] = "";
  socklen_t length = sizeof congestion;
  getsockopt(sockets[0], IPPROTO_TCP, TCP_CONGESTION, congestion, &length);
  struct tcp_info info;
  length = sizeof info;
  getsockopt(sockets[0], IPPROTO_TCP, TCP_INFO, &info, &length);
  printf("\"congestion\":\"%s\",\"sendMss\":%u,\"receiveMss\":%u,\"receiveSpace\":%u,\"window\":%u", congestion,
         info.tcpi_snd_mss, info.tcpi_rcv_mss, info.tcpi_rcv_space, info.tcpi_snd_cwnd);
}

// Samples the window every 20 ms; reports octets and the longest silence of each stream.
static void watch_window(int streams, int64_t warmup_ns, int64_t window_ns) {
  int64_t started = now_ns();
  while (total(streams) == 0) {
    if (now_ns() - started > 10000000000 || open_streams == 0) die("no octet arrived in 10 s");
    sleep_ns(1000000);
  }
  sleep_ns(warmup_ns);
  int64_t before[MOST_STREAMS], last[MOST_STREAMS], last_at[MOST_STREAMS], silence[MOST_STREAMS] = {0};
  say("{\"event\":\"window\"}");
  int64_t from = now_ns();
  for (int i = 0; i < streams; i++) {
    before[i] = last[i] = octets[i];
    last_at[i] = from;
  }
  int64_t at = from;
  while (at - from < window_ns) {
    sleep_ns(at - from + 20000000 > window_ns ? window_ns - (at - from) : 20000000);
    at = now_ns();
    for (int i = 0; i < streams; i++) {
      int64_t value = octets[i];
      if (value != last[i]) {
        last[i] = value;
        last_at[i] = at;
      } else if (at - last_at[i] > silence[i]) {
        silence[i] = at - last_at[i];
      }
    }
  }
  int64_t longest = 0;
  printf("{\"event\":\"result\",\"nanoseconds\":%lld,\"octets\":[", (long long)(at - from));
  for (int i = 0; i < streams; i++) {
    printf("%s%lld", i ? "," : "", (long long)(last[i] - before[i]));
    if (silence[i] > longest) longest = silence[i];
  }
  printf("],\"silenceMs\":%.0f,\"openStreams\":%d,", longest / 1e6, (int)open_streams);
  describe_socket();
  say("}");
}

static void report_sender(int streams) {
  unsigned retransmits = 0;
  for (int i = 0; i < streams; i++) {
    struct tcp_info info;
    socklen_t length = sizeof info;
    if (getsockopt(sockets[i], IPPROTO_TCP, TCP_INFO, &info, &length) == 0) retransmits += info.tcpi_total_retrans;
  }
  printf("{\"event\":\"result\",\"octets\":%lld,\"retransmits\":%u,", (long long)total(streams), retransmits);
  describe_socket();
  say("}");
}

int main(int argc, char **argv) {
  int receiving = argc > 1 && strcmp(argv[1], "recv") == 0;
  if (!receiving && (argc < 2 || strcmp(argv[1], "send") != 0)) die("usage: tcp-stream recv|send ...");
  int streams = (int)number_option(argc, argv, "--streams", "1");
  if (streams < 1 || streams > MOST_STREAMS) die("--streams: 1 to %d", MOST_STREAMS);
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  open_sockets(argc, argv, streams);
  open_streams = streams;
  for (int i = 0; i < streams; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, receiving ? receive_stream : send_stream, (void *)(intptr_t)i) != 0)
      die("no thread");
  }
  if (receiving) {
    watch_window(streams, number_option(argc, argv, "--warmup", "500") * 1000000,
                 number_option(argc, argv, "--window", "2000") * 1000000);
  } else {
    while (!stop && open_streams > 0) sleep_ns(20000000);
    report_sender(streams);
  }
  exit(0);
}
