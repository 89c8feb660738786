/*
 * The two rings of a network device and the frames on them. A ring that makes no sense gives -EBADMSG, memory that was
 * lost -EFAULT: the caller stops the rings then.
 *
 *   transmit  the driver's chains are copied into the arena and given back at once
 *   receive   frames are copied into the driver's chains, one or (mergeable buffers) several for each frame
 */
#include "vhost.h"

#include <unistd.h>

enum { RECEIVE = 0, TRANSMIT = 1, RINGS = 2 };

/* virtio 1.2 sections 2.7.5 to 2.7.8. */
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

#define RING_ENTRIES_MAX 32768
/** Entries of an indirect table, and pieces of a frame from the guest. */
#define INDIRECT_MAX 64
#define PIECES_MAX 128
/** Buffers and pieces of a frame to the guest: 64 KiB in the smallest buffers a driver has use for. */
#define HEADS_MAX 256
#define SEND_PIECES_MAX 1024
/** virtio_net_hdr, a VLAN header and the largest IP packet. */
#define FRAME_OCTETS_MAX 65565
/** The field num_buffers of virtio_net_hdr_v1 (section 5.1.6). */
#define NUM_BUFFERS_AT 10
/** Frames to the guest between two looks at whether it wants to be called. */
#define FRAMES_PER_CALL 4

struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};

struct used_element {
  uint32_t head;
  uint32_t octets;
};

struct ring {
  bool running;
  uint16_t mask;
  bool event_index, indirect;
  /** The driver was told to kick (without event index: by a flag that has to be taken back). */
  bool wanting;
  int call; /* eventfd, or -1 */
  const struct descriptor *table;
  uint16_t *available; /* flags, index, ring[], used_event */
  uint16_t *used;      /* flags, index, ring[] of struct used_element, avail_event */
  /** Next to be taken, the index the driver had when last looked at, next to be given, and as of the last call. */
  uint16_t next, seen, given, called;
  bool logs_used;
  uint64_t used_guest;
};

static struct ring rings[RINGS] = {{.call = -1}, {.call = -1}};
/** A frame to the guest may take several buffers, and its header tells how many. */
static bool mergeable, has_num_buffers;

void vhost_stop_rings(void) { rings[RECEIVE].running = rings[TRANSMIT].running = false; }

static uint64_t word(const int32_t *ints, int i) {
  return (uint64_t)(uint32_t)ints[2 * i] | (uint64_t)(uint32_t)ints[2 * i + 1] << 32;
}

static struct ring *ring_at(int32_t index) { return index == RECEIVE || index == TRANSMIT ? &rings[index] : NULL; }

static uint16_t load(const uint16_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }

static struct used_element *used_elements(const struct ring *ring) { return (struct used_element *)(void *)(ring->used + 2); }

static uint16_t *available_event(const struct ring *ring) {
  return (uint16_t *)(void *)(used_elements(ring) + ring->mask + 1);
}

static uint16_t used_event(const struct ring *ring) { return load(ring->available + 2 + ring->mask + 1); }

static void log_used(const struct ring *ring, const void *at, uint32_t octets) {
  if (vhost_logging && ring->logs_used)
    vhost_log_write(ring->used_guest + (uint64_t)((const uint8_t *)at - (const uint8_t *)ring->used), octets);
}

/** Finds the three parts in the front-end's memory. Returns 0, or -EFAULT when one is not wholly in a region. */
static int32_t find_parts(struct ring *ring, uint32_t num, const int32_t *record) {
  uint64_t table = word(record, 2), available = word(record, 3), used = word(record, 4);
  if ((table & 15) != 0 || (available & 1) != 0 || (used & 3) != 0) return -EINVAL;
  ring->table = vhost_user_memory(table, 16 * (uint64_t)num);
  ring->available = vhost_user_memory(available, 6 + 2 * (uint64_t)num);
  ring->used = vhost_user_memory(used, 6 + 8 * (uint64_t)num);
  if (ring->table == NULL || ring->available == NULL || ring->used == NULL) return -EFAULT;
  /* Where a region lies oddly in its file, its addresses are no better for us. */
  return (((uintptr_t)ring->table & 7) | ((uintptr_t)ring->available & 1) | ((uintptr_t)ring->used & 3)) != 0 ? -EINVAL : 0;
}

int32_t shim_vhost_ring(const struct arg *a) {
  struct ring *ring = ring_at(a[0].i);
  const int32_t *record = a[1].ints;
  if (ring == NULL || a[1].length < 12) return -EINVAL;
  uint32_t num = (uint32_t)record[0], flags = (uint32_t)record[2];
  if (num == 0 || num > RING_ENTRIES_MAX || (num & (num - 1)) != 0) return -EINVAL;
  struct ring fresh = {.mask = (uint16_t)(num - 1), .call = ring->call, .wanting = true};
  int32_t failure = find_parts(&fresh, num, record);
  if (failure != 0) return failure;
  fresh.event_index = (flags & 1) != 0;
  fresh.indirect = (flags & 2) != 0;
  fresh.logs_used = (flags & 4) != 0;
  mergeable = (flags & 8) != 0;
  has_num_buffers = (flags & 16) != 0;
  fresh.used_guest = word(record, 5);
  fresh.next = fresh.seen = (uint16_t)record[1];
  fresh.given = fresh.called = load(fresh.used + 1);
  fresh.running = true;
  *ring = fresh;
  return 0;
}

int32_t shim_vhost_stop(const int32_t *a) {
  struct ring *ring = ring_at(a[0]);
  if (ring == NULL) return -EINVAL;
  ring->running = false;
  return ring->next;
}

static void ring_call(const struct ring *ring) {
  static const uint64_t one = 1;
  ssize_t r;
  RETRY(r, write(ring->call, &one, sizeof one));
}

int32_t shim_vhost_call(const int32_t *a) {
  struct ring *ring = ring_at(a[0]);
  if (ring == NULL) return -EINVAL;
  ring->call = a[1];
  /* What was given before may not have been heard of. */
  if (ring->call >= 0) ring_call(ring);
  return 0;
}

/** How many chains the driver has made available, or -EBADMSG for more than the ring has. */
static int32_t waiting(struct ring *ring) {
  ring->seen = __atomic_load_n(ring->available + 1, __ATOMIC_ACQUIRE);
  uint16_t count = (uint16_t)(ring->seen - ring->next);
  return count > ring->mask + 1 ? -EBADMSG : count;
}

/**
 * Asks the driver for a kick at the index last seen: the frame in front may need more buffers than there are. Returns
 * whether the driver has added something since.
 */
int32_t shim_vhost_want(const int32_t *a) {
  struct ring *ring = ring_at(a[0]);
  if (ring == NULL || !ring->running) return -EINVAL;
  if (ring->event_index) {
    __atomic_store_n(available_event(ring), ring->seen, __ATOMIC_RELAXED);
    log_used(ring, available_event(ring), 2);
  } else if (!ring->wanting) {
    __atomic_store_n(ring->used, 0, __ATOMIC_RELAXED);
    log_used(ring, ring->used, 2);
  }
  ring->wanting = true;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return __atomic_load_n(ring->available + 1, __ATOMIC_ACQUIRE) != ring->seen;
}

/** While chains are being taken anyway the driver need not kick. An event index that is passed asks for nothing. */
static void stop_wanting(struct ring *ring) {
  if (!ring->wanting) return;
  ring->wanting = false;
  if (ring->event_index) return;
  __atomic_store_n(ring->used, USED_NO_NOTIFY, __ATOMIC_RELAXED);
  log_used(ring, ring->used, 2);
}

/** Makes the elements before `given` the driver's. */
static void publish(struct ring *ring) {
  __atomic_store_n(ring->used + 1, ring->given, __ATOMIC_RELEASE);
  log_used(ring, ring->used + 1, 2);
}

/** Calls the driver if it wants to hear of what was published since the last call. */
static void call_driver(struct ring *ring) {
  uint16_t before = ring->called, now = ring->given;
  if (before == now) return;
  ring->called = now;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  bool wanted = ring->event_index ? (uint16_t)(now - used_event(ring) - 1) < (uint16_t)(now - before)
                                  : (load(ring->available) & AVAIL_NO_INTERRUPT) == 0;
  if (wanted && ring->call >= 0) ring_call(ring);
}

static void give(struct ring *ring, uint16_t head, uint32_t octets) {
  struct used_element *element = used_elements(ring) + (ring->given & ring->mask);
  __atomic_store_n(&element->head, head, __ATOMIC_RELAXED);
  __atomic_store_n(&element->octets, octets, __ATOMIC_RELAXED);
  log_used(ring, element, sizeof *element);
  ring->given++;
}

/** A chain's private copy. */
struct chain {
  uint16_t head;
  int pieces;
  uint32_t octets;
};

/**
 * Reads one entry; `wanted` is the write flag that the ring's chains have. False when it makes no sense. Of buffers
 * larger than any frame as much counts as a frame takes.
 */
static bool add_piece(const struct descriptor *d, uint16_t wanted, struct vhost_piece *pieces, int room, struct chain *chain) {
  uint32_t length = d->length, left = FRAME_OCTETS_MAX - chain->octets;
  if ((d->flags & DESC_WRITE) != wanted || (length > left && wanted == 0)) return false;
  if (length > left) length = left;
  int count = vhost_guest_pieces(d->address, length, pieces + chain->pieces, room - chain->pieces);
  if (count < 0) return false;
  chain->pieces += count;
  chain->octets += length;
  return true;
}

/** Walks an indirect table, copied whole. */
static bool walk_indirect(const struct descriptor *table_at, uint16_t wanted, struct vhost_piece *pieces, int room, struct chain *chain) {
  static struct descriptor table[INDIRECT_MAX];
  uint32_t entries = table_at->length / sizeof *table;
  if (entries == 0 || entries > INDIRECT_MAX || table_at->length % sizeof *table != 0) return false;
  if ((table_at->flags & DESC_NEXT) != 0 || !vhost_guest_read(table, table_at->address, table_at->length)) return false;
  uint32_t i = 0;
  for (uint32_t steps = 0; steps < entries; steps++) {
    if (i >= entries || (table[i].flags & DESC_INDIRECT) != 0) return false;
    if (!add_piece(&table[i], wanted, pieces, room, chain)) return false;
    if ((table[i].flags & DESC_NEXT) == 0) return true;
    i = table[i].next;
  }
  return false;
}

/** Copies chain number `at` of the available ring to `pieces`, behind those it has. False when it makes no sense. */
static bool read_chain(const struct ring *ring, uint16_t at, uint16_t wanted, struct vhost_piece *pieces, int room, struct chain *chain) {
  uint16_t i = chain->head = load(ring->available + 2 + (at & ring->mask));
  for (uint32_t steps = 0; steps <= ring->mask; steps++) {
    struct descriptor d;
    if (i > ring->mask) return false;
    memcpy(&d, &ring->table[i], sizeof d);
    __asm__ volatile("" : : "r"(&d) : "memory"); /* The copy is what is looked at from here on. */
    if ((d.flags & DESC_INDIRECT) != 0) return ring->indirect && walk_indirect(&d, wanted, pieces, room, chain);
    if (!add_piece(&d, wanted, pieces, room, chain)) return false;
    if ((d.flags & DESC_NEXT) == 0) return true;
    i = d.next;
  }
  return false;
}

int32_t shim_vhost_take(const int32_t *a) {
  static struct vhost_piece pieces[PIECES_MAX];
  struct ring *ring = &rings[TRANSMIT];
  int32_t at = a[0], octets = a[1], skew = a[2], max = a[3], count = 0;
  int32_t *out = records(a[4], 2, max);
  if (!ring->running || out == NULL || !inside(at, octets)) return -EINVAL;
  int32_t left = waiting(ring);
  if (left < 0) return left;
  if (left > 0) stop_wanting(ring);
  int32_t end = at + octets;
  for (at = ((at - skew + 3) & ~3) + skew; count < max && left > 0; count++, left--) {
    struct chain chain = {0};
    if (!read_chain(ring, ring->next, 0, pieces, PIECES_MAX, &chain)) return -EBADMSG;
    if (chain.octets > (uint32_t)(end - at)) break;
    out[2 * count] = at;
    out[2 * count + 1] = (int32_t)chain.octets;
    uint8_t *to = arena.data + at;
    for (int i = 0; i < chain.pieces; to += pieces[i].length, i++) memcpy(to, pieces[i].at, pieces[i].length);
    ring->next++;
    give(ring, chain.head, 0);
    at += (int32_t)((chain.octets + 3) & ~3u);
    if (at > end) at = end;
  }
  publish(ring);
  call_driver(ring);
  return vhost_lost_memory ? -EFAULT : count;
}

/** Copies `length` octets into `pieces` from octet `skip` of piece `*i` on, and moves both. */
static void scatter(const uint8_t *from, uint32_t length, const struct vhost_piece *pieces, int *i, uint32_t *skip) {
  while (length > 0) {
    const struct vhost_piece *piece = &pieces[*i];
    uint32_t part = piece->length - *skip < length ? piece->length - *skip : length;
    memcpy(piece->at + *skip, from, part);
    if (vhost_logging) vhost_log_write(piece->guest + *skip, part);
    from += part;
    length -= part;
    *skip += part;
    if (*skip == piece->length) {
      (*i)++;
      *skip = 0;
    }
  }
}

/**
 * Finds receive buffers for `octets`. Returns how many chains, 0 when there are not enough yet, -EMSGSIZE when a frame
 * may have one only and it is too small, -EBADMSG.
 */
static int32_t find_buffers(struct ring *ring, uint32_t octets, struct vhost_piece *pieces, struct chain *heads) {
  int32_t left = waiting(ring);
  uint32_t room = 0;
  int used = 0;
  if (left < 0) return left;
  for (int32_t n = 0; room < octets; n++) {
    if (n == left) return 0;
    if (n == HEADS_MAX) return -EBADMSG;
    heads[n] = (struct chain){0};
    if (!read_chain(ring, (uint16_t)(ring->next + n), DESC_WRITE, pieces + used, SEND_PIECES_MAX - used, &heads[n]))
      return -EBADMSG;
    used += heads[n].pieces;
    room += heads[n].octets;
    if (room >= octets) return n + 1;
    if (!mergeable) return -EMSGSIZE;
  }
  return -EBADMSG;
}

/** One frame into `count` chains, which are then the driver's. */
static void fill_buffers(struct ring *ring, const int32_t *frame, int32_t count, const struct vhost_piece *pieces, const struct chain *heads) {
  int i = 0;
  uint32_t skip = 0, left = (uint32_t)frame[1] + (uint32_t)frame[3];
  scatter(arena.data + frame[0], (uint32_t)frame[1], pieces, &i, &skip);
  scatter(arena.data + frame[2], (uint32_t)frame[3], pieces, &i, &skip);
  for (int32_t n = 0; n < count; n++) {
    uint32_t part = heads[n].octets < left ? heads[n].octets : left;
    give(ring, heads[n].head, part);
    left -= part;
  }
  ring->next = (uint16_t)(ring->next + count);
  publish(ring);
}

int32_t shim_vhost_send(const int32_t *a) {
  static struct vhost_piece pieces[SEND_PIECES_MAX];
  static struct chain heads[HEADS_MAX];
  struct ring *ring = &rings[RECEIVE];
  int32_t count = a[1], done = 0, failure = 0;
  const int32_t *frame = records(a[0], 4, count);
  if (!ring->running || frame == NULL) return -EINVAL;
  stop_wanting(ring);
  for (; done < count; done++, frame += 4) {
    uint32_t octets = (uint32_t)frame[1] + (uint32_t)frame[3];
    if (!inside(frame[0], frame[1]) || !inside(frame[2], frame[3]) || frame[1] < NUM_BUFFERS_AT + 2 || octets > FRAME_OCTETS_MAX)
      failure = -EINVAL;
    else failure = find_buffers(ring, octets, pieces, heads);
    if (failure <= 0) break;
    uint16_t buffers = (uint16_t)failure;
    if (has_num_buffers) memcpy(arena.data + frame[0] + NUM_BUFFERS_AT, &buffers, sizeof buffers);
    fill_buffers(ring, frame, failure, pieces, heads);
    if ((done + 1) % FRAMES_PER_CALL == 0) call_driver(ring);
  }
  call_driver(ring);
  if (vhost_lost_memory) return -EFAULT;
  return done > 0 ? done : failure;
}
