/* A guest's memory: regions mapped from the front-end's files, and the log of pages that we wrote. */
#include "vhost.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REGIONS_MAX 32
#define LOG_PAGE_OCTETS 4096
#define FILE_BLOCK_MIN 4096

/** A stretch of `size` octets: at `guest` for the guest, at `user` for the front-end, at `at` for us. */
struct region {
  uint64_t guest, user, size;
  uint8_t *at;
  uint8_t *map; /* what was mapped: from a boundary of the file's blocks on */
  size_t map_octets;
};

static struct region regions[REGIONS_MAX];
static int region_count;
/** The region that had the last address: a guest's buffers are neighbours. */
static int recent;

static struct {
  uint8_t *map;
  size_t map_octets;
  uint8_t *bits;
  uint64_t octets;
} page_log;

bool vhost_logging = false;
volatile bool vhost_lost_memory = false;
static struct sigaction bus_before;

/** Puts zeros in place of a mapping whose file has become too short. Only what a handler may do. */
static void on_bus_error(int signal, siginfo_t *info, void *context) {
  uint8_t *at = info->si_addr;
  (void)context;
  for (int i = 0; i <= region_count; i++) {
    uint8_t *map = i < region_count ? regions[i].map : page_log.map;
    size_t octets = i < region_count ? regions[i].map_octets : page_log.map_octets;
    if (map == NULL || at < map || at >= map + octets) continue;
    void *zeros = mmap(map, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) break;
    vhost_lost_memory = true;
    return;
  }
  /* Not ours: as if there were no handler; the instruction runs into it again. */
  sigaction(signal, &bus_before, NULL);
}

static void watch_bus_errors(void) {
  static bool watching = false;
  if (watching) return;
  struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
  sigemptyset(&action.sa_mask);
  watching = sigaction(SIGBUS, &action, &bus_before) == 0;
}

/**
 * Maps `octets` of a file from `offset` on. Gives where they are, and what has to be unmapped. Returns 0 or -errno:
 * -EBADF for what is no regular file, -EFBIG for one that is shorter.
 */
static int32_t map_file(int fd, uint64_t offset, uint64_t octets, uint8_t **at, uint8_t **map, size_t *map_octets) {
  struct stat file;
  uint64_t end;
  if (fstat(fd, &file) < 0) return -errno;
  if (!S_ISREG(file.st_mode)) return -EBADF;
  if (octets == 0 || __builtin_add_overflow(offset, octets, &end) || end > (uint64_t)file.st_size) return -EFBIG;
  /* Of huge pages a mapping begins and ends with whole ones. */
  uint64_t block = file.st_blksize > FILE_BLOCK_MIN ? (uint64_t)file.st_blksize : FILE_BLOCK_MIN;
  uint64_t skip = offset % block;
  uint64_t length = (octets + skip + block - 1) / block * block;
  void *mapped = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)(offset - skip));
  if (mapped == MAP_FAILED) return -errno;
  madvise(mapped, length, MADV_DONTDUMP);
  watch_bus_errors();
  *map = mapped;
  *map_octets = length;
  *at = *map + skip;
  return 0;
}

static bool overlaps(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size) {
  return a < b + b_size && b < a + a_size;
}

int32_t shim_vhost_map(const struct arg *a) {
  const int32_t *record = a[1].ints;
  if (a[1].length < 8) return -EINVAL;
  struct region r = {.guest = vhost_word(record, 0), .size = vhost_word(record, 1), .user = vhost_word(record, 2)};
  uint64_t end;
  if (__builtin_add_overflow(r.guest, r.size, &end) || __builtin_add_overflow(r.user, r.size, &end)) return -EINVAL;
  if (region_count == REGIONS_MAX) return -ENOSPC;
  for (int i = 0; i < region_count; i++) {
    if (overlaps(r.guest, regions[i].guest, r.size, regions[i].size)) return -EEXIST;
    if (overlaps(r.user, regions[i].user, r.size, regions[i].size)) return -EEXIST;
  }
  int32_t failure = map_file(a[0].i, vhost_word(record, 3), r.size, &r.at, &r.map, &r.map_octets);
  if (failure != 0) return failure;
  regions[region_count++] = r;
  int seals = fcntl(a[0].i, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 ? 1 : 0;
}

int32_t shim_vhost_unmap(const struct arg *a) {
  const int32_t *record = a[0].ints;
  if (a[0].length < 6) return -EINVAL;
  for (int i = 0; i < region_count; i++) {
    if (regions[i].guest != vhost_word(record, 0) || regions[i].size != vhost_word(record, 1) || regions[i].user != vhost_word(record, 2))
      continue;
    vhost_stop_rings();
    munmap(regions[i].map, regions[i].map_octets);
    regions[i] = regions[--region_count];
    recent = 0;
    return 0;
  }
  return -ENOENT;
}

static void close_log(void) {
  if (page_log.map != NULL) munmap(page_log.map, page_log.map_octets);
  memset(&page_log, 0, sizeof page_log);
  vhost_logging = false;
}

int32_t shim_vhost_unmap_all(const int32_t *a) {
  (void)a;
  vhost_stop_rings();
  while (region_count > 0) {
    struct region r = regions[--region_count];
    munmap(r.map, r.map_octets);
  }
  recent = 0;
  vhost_lost_memory = false;
  return 0;
}

int32_t shim_vhost_reset(const int32_t *a) {
  close_log();
  return shim_vhost_unmap_all(a);
}

int32_t shim_vhost_log(const struct arg *a) {
  const int32_t *record = a[1].ints;
  if (a[1].length < 4) return -EINVAL;
  close_log();
  int32_t failure =
      map_file(a[0].i, vhost_word(record, 1), vhost_word(record, 0), &page_log.bits, &page_log.map, &page_log.map_octets);
  page_log.octets = failure == 0 ? vhost_word(record, 0) : 0;
  return failure;
}

int32_t shim_vhost_set_logging(const int32_t *a) {
  if (a[0] != 0 && page_log.bits == NULL) return -EINVAL;
  vhost_logging = a[0] != 0;
  return 0;
}

void vhost_log_write(uint64_t guest, uint64_t length) {
  if (length == 0 || page_log.bits == NULL) return;
  uint64_t last = (guest + length - 1) / LOG_PAGE_OCTETS;
  for (uint64_t page = guest / LOG_PAGE_OCTETS; page <= last && page / 8 < page_log.octets; page++)
    __atomic_fetch_or(&page_log.bits[page / 8], (uint8_t)(1u << (page % 8)), __ATOMIC_SEQ_CST);
}

void *vhost_user_memory(uint64_t user, uint64_t length) {
  for (int i = 0; i < region_count; i++) {
    struct region *r = &regions[i];
    if (user >= r->user && user - r->user < r->size && length <= r->size - (user - r->user)) return r->at + (user - r->user);
  }
  return NULL;
}

/** The region with a guest's address, or NULL. */
static struct region *region_of(uint64_t guest) {
  struct region *r = &regions[recent];
  if (recent < region_count && guest - r->guest < r->size) return r;
  for (int i = 0; i < region_count; i++) {
    if (guest - regions[i].guest >= regions[i].size) continue;
    recent = i;
    return &regions[i];
  }
  return NULL;
}

int vhost_guest_pieces(uint64_t guest, uint32_t length, struct vhost_piece *pieces, int room) {
  int count = 0;
  while (length > 0) {
    struct region *r = region_of(guest);
    if (r == NULL || count == room) return -1;
    uint64_t left = r->size - (guest - r->guest);
    uint32_t part = left < length ? (uint32_t)left : length;
    pieces[count++] = (struct vhost_piece){r->at + (guest - r->guest), part, guest};
    /* Regions end below 2^64, so an address beyond one is never 0 again. */
    guest += part;
    length -= part;
  }
  return count;
}

bool vhost_guest_read(void *to, uint64_t guest, uint32_t length) {
  struct vhost_piece pieces[REGIONS_MAX];
  int count = vhost_guest_pieces(guest, length, pieces, REGIONS_MAX);
  if (count < 0) return false;
  uint8_t *out = to;
  for (int i = 0; i < count; out += pieces[i].length, i++) memcpy(out, pieces[i].at, pieces[i].length);
  return true;
}
