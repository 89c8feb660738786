// A kernel guest for engines that serve a card in shared memory: makes a TAP in the namespace it is started in, gives it
// its address, and is vhost-user's front-end and the driver of the card in one.
//
//   vhost-bridge --tap NAME --mtu N --address A --gateway A --connect PATH [--txqueuelen N] [--gro] [--lose N]
//
// Says "ready" when the TAP is up and "connected" when the rings run. One thread per direction, and one copy each way,
// between the TAP and the buffers. It takes what the engine offers: with segmentation offload the TAP carries
// super-frames both ways, as a Linux guest's driver would. With --gro, for an engine without, the TAP joins the segments
// that come (IFF_NAPI), as a guest's kernel does. --lose N keeps one frame of N from the guest, for tests.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "device.h"

#define ENTRIES 1024
#define HEADER_OCTETS 12
#define RECEIVE_OCTETS 4096
#define SLOTS 256
#define SLOT_OCTETS (68 * 1024)
#define PIECES_MAX 32
#define GUEST_BASE 0x100000000ull
#define USER_BASE 0x7f0000000000ull

enum { RECEIVE, TRANSMIT };
enum {
  GET_FEATURES = 1, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 5, SET_VRING_NUM = 8, SET_VRING_ADDR, SET_VRING_BASE,
  SET_VRING_KICK = 12, SET_VRING_CALL, GET_PROTOCOL_FEATURES = 15, SET_PROTOCOL_FEATURES, SET_VRING_ENABLE = 18,
};
#define CSUM 1ull
#define GUEST_CSUM (1ull << 1)
#define TSO (1ull << 7 | 1ull << 8 | 1ull << 11 | 1ull << 12)
#define GUEST_TSO4 (1ull << 7)
#define MRG_RXBUF (1ull << 15)
#define EVENT_IDX (1ull << 29)
#define NO_INTERRUPT 1
#define NO_NOTIFY 1
#define NEEDS_CSUM 1
#define DATA_VALID 2
#define PROTOCOL_FEATURES (1ull << 30)
#define VERSION_1 (1ull << 32)
#define USO (1ull << 54 | 1ull << 55 | 1ull << 56)
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct available { uint16_t flags, index, ring[ENTRIES], used_event; };
struct used { uint16_t flags, index; struct { uint32_t id, length; } ring[ENTRIES]; uint16_t available_event; };

// One ring of the guest's memory, and the driver's own view of it.
struct ring {
  struct descriptor table[ENTRIES];
  struct available available;
  struct used used __attribute__((aligned(64)));
} __attribute__((aligned(4096)));

struct memory {
  struct ring rings[2];
  uint8_t receive[ENTRIES][RECEIVE_OCTETS];
  uint8_t transmit[SLOTS][SLOT_OCTETS];
};

static struct memory *memory;
static int tap, front_end, kicks[2], calls[2];
static uint64_t features;

static void send_message(uint32_t request, const void *payload, uint32_t octets, int fd) {
  struct { uint32_t request, flags, size; } header = {request, 1, octets};
  struct iovec parts[2] = {{&header, sizeof header}, {(void *)payload, octets}};
  union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
  if (fd >= 0) {
    message.msg_control = control.room;
    message.msg_controllen = sizeof control.room;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  if (sendmsg(front_end, &message, MSG_NOSIGNAL) != (ssize_t)(sizeof header + octets)) die("request %u: %s", request, strerror(errno));
}

static uint64_t ask(uint32_t request) {
  struct { uint32_t header[3]; uint64_t value; } __attribute__((packed)) answer;
  send_message(request, NULL, 0, -1);
  if (recv(front_end, &answer, sizeof answer, MSG_WAITALL) != sizeof answer) die("no answer to request %u", request);
  return answer.value;
}

static void share_memory(int fd) {
  struct { uint32_t count, padding; uint64_t guest, size, user, offset; } table = {1, 0, GUEST_BASE, sizeof *memory, USER_BASE, 0};
  send_message(SET_MEM_TABLE, &table, sizeof table, fd);
}

static uint64_t user_address(const void *at) { return USER_BASE + (uint64_t)((const uint8_t *)at - (const uint8_t *)memory); }
static uint64_t guest_address(const void *at) { return GUEST_BASE + (uint64_t)((const uint8_t *)at - (const uint8_t *)memory); }

static void start_ring(uint32_t index) {
  struct ring *r = &memory->rings[index];
  struct { uint32_t index, value; } state = {index, ENTRIES};
  struct { uint32_t index, flags; uint64_t table, used, available, log; } addresses = {
      index, 0, user_address(r->table), user_address(&r->used), user_address(&r->available), 0};
  uint64_t number = index;
  send_message(SET_VRING_NUM, &state, sizeof state, -1);
  state.value = 0;
  send_message(SET_VRING_BASE, &state, sizeof state, -1);
  send_message(SET_VRING_ADDR, &addresses, sizeof addresses, -1);
  kicks[index] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  calls[index] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  send_message(SET_VRING_CALL, &number, sizeof number, calls[index]);
  send_message(SET_VRING_KICK, &number, sizeof number, kicks[index]);
  state.value = 1;
  if (features & PROTOCOL_FEATURES) send_message(SET_VRING_ENABLE, &state, sizeof state, -1);
}

static void connect_engine(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  front_end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  for (int attempt = 0; connect(front_end, (struct sockaddr *)&address, sizeof address) < 0; attempt++) {
    if (attempt == 60000) die("connect %s: %s", path, strerror(errno));
    sleep_ns(500000);
  }
}

static void negotiate(void) {
  features = ask(GET_FEATURES) & (CSUM | GUEST_CSUM | TSO | USO | MRG_RXBUF | EVENT_IDX | PROTOCOL_FEATURES | VERSION_1);
  if (!(features & MRG_RXBUF)) die("the engine offers no mergeable buffers");
  if (features & PROTOCOL_FEATURES) {
    ask(GET_PROTOCOL_FEATURES);
    uint64_t none = 0;
    send_message(SET_PROTOCOL_FEATURES, &none, sizeof none, -1);
  }
  send_message(SET_OWNER, NULL, 0, -1);
  send_message(SET_FEATURES, &features, sizeof features, -1);
}

static void open_tap(int argc, char **argv) {
  struct device device = {
      .name = option(argc, argv, "--tap", NULL),
      .address = option(argc, argv, "--address", NULL),
      .gateway = option(argc, argv, "--gateway", NULL),
      .mtu = (int)number_option(argc, argv, "--mtu", "1500"),
      .queue = (int)number_option(argc, argv, "--txqueuelen", "1000"),
      .flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (flag(argc, argv, "--gro") ? IFF_NAPI : 0),
  };
  int header = HEADER_OCTETS;
  tap = open_device(&device);
  device_request(tap, TUNSETVNETHDRSZ, &header, "TUNSETVNETHDRSZ");
}

static void set_offload(void) {
  unsigned long flags = 0;
  if ((features & (CSUM | TSO)) == (CSUM | TSO)) flags = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  if ((features & USO) == USO && ioctl(tap, TUNSETOFFLOAD, flags | TUN_F_USO4 | TUN_F_USO6) == 0) return;
  if (ioctl(tap, TUNSETOFFLOAD, flags) < 0) die("TUNSETOFFLOAD: %s", strerror(errno));
}

static void wait_for(int fd, short events) {
  struct pollfd p = {.fd = fd, .events = events};
  poll(&p, 1, -1);
}

// Asks for a call, or for none: by the index with which it is wanted or, of an engine without event indices (passt has
// none), by the flag.
static void want_calls(struct ring *r, bool wanted, uint16_t seen) {
  if (features & EVENT_IDX) {
    if (wanted) __atomic_store_n(&r->available.used_event, seen, __ATOMIC_SEQ_CST);
  } else {
    __atomic_store_n(&r->available.flags, wanted ? 0 : NO_INTERRUPT, __ATOMIC_SEQ_CST);
  }
}

static void wait_for_call(int index, uint16_t seen) {
  struct ring *r = &memory->rings[index];
  uint64_t count;
  want_calls(r, true, seen);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (__atomic_load_n(&r->used.index, __ATOMIC_ACQUIRE) != seen) {
    want_calls(r, false, seen);
    return;
  }
  struct pollfd p[2] = {{.fd = calls[index], .events = POLLIN}, {.fd = front_end, .events = POLLRDHUP}};
  poll(p, 2, -1);
  if (p[1].revents & (POLLRDHUP | POLLHUP)) exit(0);
  if (read(calls[index], &count, sizeof count) < 0 && errno != EAGAIN) die("call: %s", strerror(errno));
  want_calls(r, false, seen);
}

// Whether the engine wants to hear of what has become available since `before` (virtio 1.2, 2.7.10).
static bool wants_kick(struct ring *r, uint16_t before, uint16_t now) {
  if (!(features & EVENT_IDX)) return !(__atomic_load_n(&r->used.flags, __ATOMIC_RELAXED) & NO_NOTIFY);
  uint16_t event = __atomic_load_n(&r->used.available_event, __ATOMIC_RELAXED);
  return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static void publish(int index, uint16_t before, uint16_t now) {
  struct ring *r = &memory->rings[index];
  static const uint64_t one = 1;
  __atomic_store_n(&r->available.index, now, __ATOMIC_RELEASE);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (wants_kick(r, before, now) && write(kicks[index], &one, sizeof one) < 0) die("kick: %s", strerror(errno));
}

static void *guest_to_engine(void *unused) {
  struct ring *r = &memory->rings[TRANSMIT];
  uint16_t next = 0;
  for (;;) {
    // A slot is free when the engine has given back the frame that lay in it SLOTS frames ago.
    uint16_t given = __atomic_load_n(&r->used.index, __ATOMIC_ACQUIRE);
    if ((uint16_t)(next - given) == SLOTS) {
      wait_for_call(TRANSMIT, given);
      continue;
    }
    uint8_t *slot = memory->transmit[next % SLOTS];
    ssize_t n = read(tap, slot, SLOT_OCTETS);
    if (n <= 0) {
      wait_for(tap, POLLIN);
      continue;
    }
    r->table[next % ENTRIES] = (struct descriptor){guest_address(slot), (uint32_t)n, 0, 0};
    r->available.ring[next % ENTRIES] = next % ENTRIES;
    publish(TRANSMIT, next, (uint16_t)(next + 1));
    next++;
  }
  return unused;
}

// An engine that computes no checksum says that the data are valid, which a guest's driver takes as it is; a TAP takes it
// from a device only as a checksum that is still to be computed, which nobody does for what stays on this machine.
static void vouch(uint8_t *header, uint32_t octets) {
  const uint8_t *frame = header + HEADER_OCTETS;
  if (octets < HEADER_OCTETS + 54 || header[0] != DATA_VALID) return;
  bool is_ipv6 = frame[12] == 0x86 && frame[13] == 0xdd;
  if (!is_ipv6 && (frame[12] != 0x08 || frame[13] != 0x00)) return;
  uint8_t protocol = is_ipv6 ? frame[20] : frame[23];
  if (protocol != 6 && protocol != 17) return;
  uint16_t start = is_ipv6 ? 54 : (uint16_t)(14 + 4 * (frame[14] & 15)), offset = protocol == 6 ? 16 : 6;
  header[0] = NEEDS_CSUM;
  memcpy(header + 6, &start, sizeof start);
  memcpy(header + 8, &offset, sizeof offset);
}

static void engine_to_guest(long lose) {
  struct ring *r = &memory->rings[RECEIVE];
  uint16_t taken = 0, posted = ENTRIES;
  long frames = 0;
  for (;;) {
    uint16_t given = __atomic_load_n(&r->used.index, __ATOMIC_ACQUIRE);
    if (given == taken) {
      wait_for_call(RECEIVE, taken);
      continue;
    }
    while (taken != given) {
      struct iovec pieces[PIECES_MAX];
      uint8_t *header = memory->receive[r->used.ring[taken % ENTRIES].id];
      uint16_t buffers;
      memcpy(&buffers, header + 10, sizeof buffers);
      if (buffers == 0 || buffers > PIECES_MAX || buffers > (uint16_t)(given - taken)) die("a frame in %u buffers", buffers);
      for (int i = 0; i < buffers; i++) {
        uint32_t id = r->used.ring[(uint16_t)(taken + i) % ENTRIES].id;
        pieces[i] = (struct iovec){memory->receive[id], r->used.ring[(uint16_t)(taken + i) % ENTRIES].length};
      }
      // Who has no offload computed the checksum; the guest need not do so again.
      if (!(features & GUEST_CSUM)) header[0] = DATA_VALID;
      else vouch(header, r->used.ring[taken % ENTRIES].length);
      bool lost = lose > 0 && ++frames % lose == 0;
      if (!lost && writev(tap, pieces, buffers) < 0 && errno == EAGAIN) wait_for(tap, POLLOUT);
      for (int i = 0; i < buffers; i++, taken++)
        r->available.ring[(uint16_t)(posted + i) % ENTRIES] = (uint16_t)r->used.ring[taken % ENTRIES].id;
      publish(RECEIVE, posted, (uint16_t)(posted + buffers));
      posted += buffers;
    }
  }
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  open_tap(argc, argv);
  say("ready");
  int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, sizeof *memory) < 0) die("memfd: %s", strerror(errno));
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  memory = mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) die("mmap: %s", strerror(errno));
  connect_engine(option(argc, argv, "--connect", NULL));
  negotiate();
  set_offload();
  share_memory(fd);
  struct ring *r = &memory->rings[RECEIVE];
  for (int i = 0; i < ENTRIES; i++) {
    r->table[i] = (struct descriptor){guest_address(memory->receive[i]), RECEIVE_OCTETS, 2, 0};
    r->available.ring[i] = (uint16_t)i;
  }
  r->available.index = ENTRIES;
  start_ring(RECEIVE);
  start_ring(TRANSMIT);
  say("connected");
  pthread_t thread;
  if (pthread_create(&thread, NULL, guest_to_engine, NULL) != 0) die("no thread");
  engine_to_guest(number_option(argc, argv, "--lose", "0"));
}
