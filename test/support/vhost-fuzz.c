/*
 * A fuzzer of the shim's rings, without Node: native-shims/vhost-*.c under AddressSanitizer, rings and memory that are right,
 * nearly right or random, then an honest driver that has to be served.
 *
 *   vhost-fuzz SEED ROUNDS        says "ROUNDS rounds, N frames taken, M sent, K refused" and ends with 0
 *
 * A thread writes random octets into the rings all the while in every fourth round.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../native-shims/shim.h"

#define MEMORY_OCTETS (1 << 20)
#define ARENA_OCTETS (1 << 20)
#define WINDOW_AT 4096
#define WINDOW_OCTETS 560000
#define OUT_AT 600064
#define FRAMES_AT 610304
#define DATA_AT 700000
#define GUEST_BASE 0x40000000ull
#define USER_BASE 0x7f0000000000ull

/* What addon.c has. */
struct arena arena;

static uint64_t state;
static uint8_t *memory;
static int memory_fd, call_fd;

static uint32_t random_below(uint32_t n) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return n == 0 ? 0 : (uint32_t)(state >> 20) % n;
}

static void require(bool held, const char *what) {
  if (held) return;
  fprintf(stderr, "vhost-fuzz: %s\n", what);
  exit(1);
}

static void split(int32_t *at, uint64_t value) {
  at[0] = (int32_t)(uint32_t)value;
  at[1] = (int32_t)(uint32_t)(value >> 32);
}

static int32_t map(uint64_t guest, uint64_t size, uint64_t offset) {
  int32_t record[8];
  split(record, guest);
  split(record + 2, size);
  split(record + 4, USER_BASE + offset);
  split(record + 6, offset);
  struct arg a[2] = {{.i = memory_fd}, {.ints = record, .length = 8}};
  return shim_vhost_map(a);
}

/** Where the three parts of a ring of `num` lie. */
struct place {
  uint32_t num, table, available, used;
};

static struct place place_of(int index, uint32_t num) {
  uint32_t table = index == 0 ? 0 : 65536, available = table + 16 * num;
  return (struct place){num, table, available, (available + 6 + 2 * num + 3) & ~3u};
}

static int32_t start(int index, const struct place *p, uint16_t base, int32_t flags) {
  int32_t record[12] = {(int32_t)p->num, base, flags, 0};
  split(record + 4, USER_BASE + p->table);
  split(record + 6, USER_BASE + p->available);
  split(record + 8, USER_BASE + p->used);
  split(record + 10, GUEST_BASE + p->used);
  struct arg a[2] = {{.i = index}, {.ints = record, .length = 12}};
  int32_t r = shim_vhost_ring(a);
  const int32_t call[2] = {index, call_fd};
  if (r == 0) shim_vhost_call(call);
  return r;
}

static void put16(uint32_t at, uint16_t value) { memcpy(memory + at, &value, 2); }

static void put_entry(uint32_t at, uint64_t address, uint32_t length, uint16_t flags, uint16_t next) {
  memcpy(memory + at, &address, 8);
  memcpy(memory + at + 8, &length, 4);
  put16(at + 12, flags);
  put16(at + 14, next);
}

/** One in so many things is wrong. */
static uint32_t rarity = 10;
static bool wrong(void) { return random_below(rarity) == 0; }

static uint64_t some_address(void) {
  switch (wrong() ? random_below(4) : 4) {
    case 0: return state;
    case 1: return GUEST_BASE + MEMORY_OCTETS - random_below(100);
    case 2: return GUEST_BASE - random_below(100);
    case 3: return GUEST_BASE + MEMORY_OCTETS / 2 - random_below(3000);
    default: return GUEST_BASE + 200000 + random_below(MEMORY_OCTETS - 400000);
  }
}

static uint32_t some_length(void) {
  static const uint32_t lengths[] = {0, 1, 12, 16, 64, 1526, 2048, 4096, 65565, 65566, 0x7fffffff, 0xffffffff};
  return wrong() ? lengths[random_below(12)] : 12 + random_below(3000);
}

/** Tables and rings with mostly sensible entries. */
static void fill(const struct place *p, uint16_t flag, uint16_t next_index) {
  /* Chains of a few pieces, or of as many as there are. */
  uint32_t ends = random_below(4) == 0 ? 300 : 2;
  for (uint32_t i = 0; i < p->num; i++) {
    uint16_t flags = wrong() ? (uint16_t)random_below(8) : flag;
    if (random_below(ends) != 0) flags |= 1;
    uint32_t length = some_length();
    if (random_below(6) == 0) {
      flags = 4;
      length = wrong() ? 16 * random_below(70) : 16 * (1 + random_below(5));
    }
    put_entry(p->table + 16 * i, some_address(), length, flags, (uint16_t)(wrong() ? random_below(70000) : random_below(p->num)));
    put16(p->available + 4 + 2 * i, (uint16_t)(wrong() ? random_below(70000) : random_below(p->num)));
  }
  /* Where indirect tables may lie. */
  for (int i = 0; i < 400; i++)
    put_entry(200000 + 16 * random_below(20000), some_address(), some_length(), (uint16_t)(flag | (random_below(3) == 0 ? 1 : 0)), (uint16_t)random_below(8));
  put16(p->available, (uint16_t)random_below(2));
  put16(p->available + 2, (uint16_t)(next_index + (wrong() ? random_below(70000) : random_below(p->num + 1))));
  put16(p->available + 4 + 2 * p->num, (uint16_t)random_below(65536));
}

static volatile bool scribbling;
static void *scribble(void *seed) {
  uint64_t s = (uint64_t)(uintptr_t)seed | 1;
  while (scribbling) {
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    ((volatile uint8_t *)memory)[s % 131072] = (uint8_t)(s >> 30);
  }
  return NULL;
}

static long taken, sent, refused;

/** What was given back since index `from` are chains of the ring. */
static void check_used(const struct place *p, uint16_t from) {
  uint16_t to;
  memcpy(&to, memory + p->used + 2, 2);
  for (uint16_t i = from; i != to; i++) {
    uint32_t head;
    memcpy(&head, memory + p->used + 4 + 8 * (i & (p->num - 1)), 4);
    require(head < p->num, "a chain is given back that the ring cannot have");
  }
}

static void use_rings(void) {
  const int32_t window = random_below(2) ? WINDOW_OCTETS : (int32_t)random_below(20000);
  const int32_t take[5] = {WINDOW_AT, window, (int32_t)random_below(2) * 2, 256, OUT_AT};
  for (int i = 0; i < 4; i++) {
    int32_t r = shim_vhost_take(take);
    require(r == -EBADMSG || r == -EINVAL || r == -EFAULT || (r >= 0 && r <= 256), "take gives what it may not");
    if (r < 0) refused++;
    if (r <= 0) break;
    taken += r;
    for (int32_t f = 0; f < r; f++) {
      const int32_t *pair = (const int32_t *)(const void *)(arena.data + OUT_AT) + 2 * f;
      require(pair[0] >= WINDOW_AT && pair[1] >= 0 && pair[0] + pair[1] <= WINDOW_AT + window, "a frame lies outside the window");
    }
  }
  int32_t *frames = (int32_t *)(void *)(arena.data + FRAMES_AT);
  int32_t count = 1 + (int32_t)random_below(20);
  for (int32_t f = 0; f < count; f++) {
    frames[4 * f] = DATA_AT;
    frames[4 * f + 1] = 12 + 14 + (int32_t)random_below(100);
    frames[4 * f + 2] = DATA_AT + 1000;
    frames[4 * f + 3] = random_below(4) == 0 ? (int32_t)random_below(65000) : (int32_t)random_below(1500);
  }
  const int32_t send[2] = {FRAMES_AT, count};
  int32_t r = shim_vhost_send(send);
  require(r <= count, "more frames sent than there were");
  if (r < 0) refused++;
  else sent += r;
  for (int32_t index = 0; index < 2; index++) shim_vhost_want(&index);
  uint64_t calls;
  if (read(call_fd, &calls, sizeof calls) < 0) require(errno == EAGAIN, "the call cannot be read");
}

/** A driver that does everything right: one frame each way. */
static void serve_honest(void) {
  int32_t none[1] = {0};
  shim_vhost_unmap_all(none);
  require(map(GUEST_BASE, MEMORY_OCTETS, 0) == 1, "honest memory is not mapped");
  for (int index = 0; index < 2; index++) {
    struct place p = place_of(index, 16);
    memset(memory + p.table, 0, 65536);
    put_entry(p.table, GUEST_BASE + 300000 + 4096 * (uint32_t)index, index == 0 ? 2048 : 100, index == 0 ? 2 : 0, 0);
    put16(p.available + 2, 1);
    require(start(index, &p, 0, 1 | 2 | 8 | 16) == 0, "an honest ring does not start");
  }
  memset(memory + 300000 + 4096, 7, 100);
  const int32_t take[5] = {WINDOW_AT, WINDOW_OCTETS, 2, 256, OUT_AT};
  require(shim_vhost_take(take) == 1, "an honest frame is not taken");
  const int32_t *pair = (const int32_t *)(const void *)(arena.data + OUT_AT);
  require(pair[1] == 100 && arena.data[pair[0] + 99] == 7, "an honest frame is not whole");
  int32_t frame[4] = {DATA_AT, 60, DATA_AT + 1000, 500};
  memcpy(arena.data + FRAMES_AT, frame, sizeof frame);
  const int32_t send[2] = {FRAMES_AT, 1};
  require(shim_vhost_send(send) == 1, "an honest buffer is not filled");
}

int main(int argc, char **argv) {
  require(argc == 3, "usage: vhost-fuzz SEED ROUNDS");
  uint64_t seed = strtoull(argv[1], NULL, 10);
  long rounds = strtol(argv[2], NULL, 10);
  state = seed * 2654435761u + 88172645463325252ull;
  arena.data = malloc(ARENA_OCTETS);
  arena.size = ARENA_OCTETS;
  memory_fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  require(memory_fd >= 0 && call_fd >= 0 && ftruncate(memory_fd, MEMORY_OCTETS) == 0, "no memory");
  fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK);
  memory = mmap(NULL, MEMORY_OCTETS, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
  require(memory != MAP_FAILED, "no memory");
  for (long round = 0; round < rounds; round++) {
    int32_t none[1] = {0};
    pthread_t thread;
    bool disturbed = round % 4 == 0;
    shim_vhost_unmap_all(none);
    if (random_below(2) == 0) {
      map(GUEST_BASE, MEMORY_OCTETS, 0);
    } else {
      map(GUEST_BASE, MEMORY_OCTETS / 2, 0);
      map(GUEST_BASE + MEMORY_OCTETS / 2 + (random_below(2) ? 0 : 4096), MEMORY_OCTETS / 2 - 8192, MEMORY_OCTETS / 2);
    }
    if (disturbed) {
      scribbling = true;
      require(pthread_create(&thread, NULL, scribble, (void *)(uintptr_t)state) == 0, "no thread");
    }
    for (int i = 0; i < 20; i++) {
      static const uint32_t rarities[] = {3, 30, 1000, 100000};
      struct place places[2];
      uint16_t given[2];
      int32_t flags = (int32_t)random_below(32) | (random_below(4) == 0 ? 0 : 2);
      rarity = rarities[random_below(4)];
      for (int index = 0; index < 2; index++) {
        struct place p = places[index] = place_of(index, 1u << random_below(11));
        uint16_t base = (uint16_t)(random_below(2) ? random_below(65536) : 65530);
        if (random_below(20) == 0)
          for (uint32_t at = 0; at < 65536; at++) memory[p.table + at] = (uint8_t)random_below(256);
        else
          fill(&p, index == 0 ? 2 : 0, base);
        start(index, &p, base, flags);
        memcpy(&given[index], memory + p.used + 2, 2);
      }
      use_rings();
      for (int index = 0; index < 2 && !disturbed; index++) check_used(&places[index], given[index]);
    }
    if (disturbed) {
      scribbling = false;
      pthread_join(thread, NULL);
    }
    serve_honest();
  }
  printf("%ld rounds, %ld frames taken, %ld sent, %ld refused\n", rounds, taken, sent, refused);
  return 0;
}
