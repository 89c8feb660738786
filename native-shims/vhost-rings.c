/*
 * The two rings of a network device and the frames on them. A ring that makes no sense gives -EBADMSG, memory that was
 * lost -EFAULT: the caller stops the rings then.
 *
 *   transmit  the driver's chains are copied into the arena and given back at once
 *   receive   frames are copied into the driver's chains, one or (mergeable buffers) several for each frame; or octets of a
 *             host socket are read straight into chains that are reserved for them, and headers follow
 */
#include "vhost.h"

#include <unistd.h>

enum { RECEIVE = 0, TRANSMIT = 1, RINGS = 2 };

/* virtio 1.2 sections 2.7.5 to 2.7.8. */
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

#define RING_ENTRIES_MAX 32768
/** Pieces of a frame from the guest. */
#define PIECES_MAX 128
/** Buffers and pieces of a frame to the guest: 64 KiB in the smallest buffers a driver has use for. */
#define HEADS_MAX 256
#define SEND_PIECES_MAX 1024
/** The field num_buffers of virtio_net_hdr_v1 (section 5.1.6). */
#define NUM_BUFFERS_AT 10
/** Frames to the guest between two looks at whether it wants to be called. */
#define FRAMES_PER_CALL 4
/** IOV_MAX on Linux. */
#define IOVECS_MAX 1024

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
  const struct vhost_descriptor *table;
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
  uint64_t table = vhost_word(record, 2), available = vhost_word(record, 3), used = vhost_word(record, 4);
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
  fresh.used_guest = vhost_word(record, 5);
  fresh.next = fresh.seen = (uint16_t)record[1];
  fresh.given = fresh.called = load(fresh.used + 1);
  fresh.running = true;
  *ring = fresh;
  return 0;
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

/**
 * While chains from it are being taken anyway the driver need not kick. An event index that is passed asks for nothing. Of
 * new receive buffers a driver without one always tells: somebody may wait for them.
 */
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

/** Copies chain number `at` of the available ring to `pieces`, behind those it has. False when it makes no sense. */
static bool read_chain(const struct ring *ring, uint16_t at, uint16_t wanted, struct vhost_piece *pieces, int room, struct vhost_chain *chain) {
  uint16_t i = chain->head = load(ring->available + 2 + (at & ring->mask));
  for (uint32_t steps = 0; steps <= ring->mask; steps++) {
    struct vhost_descriptor d;
    if (i > ring->mask) return false;
    memcpy(&d, &ring->table[i], sizeof d);
    __asm__ volatile("" : : "r"(&d) : "memory"); /* The copy is what is looked at from here on. */
    if ((d.flags & DESC_INDIRECT) != 0) return ring->indirect && vhost_walk_indirect(&d, wanted, pieces, room, chain);
    if (!vhost_add_piece(&d, wanted, pieces, room, chain)) return false;
    if ((d.flags & DESC_NEXT) == 0) return true;
    i = d.next;
  }
  return false;
}

/** Receive buffers of a frame whose payload was read into them. */
struct reserved {
  bool used;
  int32_t name; /* the offset that stands for its payload */
  int32_t count;
  uint16_t first; /* the ring's index of its first chain */
  uint32_t header, payload;
  struct vhost_chain heads[HEADS_MAX];
  struct vhost_piece pieces[SEND_PIECES_MAX];
};

static struct reserved reserved[VHOST_PEEKED_MAX];

/** Another frame in this place: its name is none that was given for it lately. */
static int32_t fresh_name(const struct reserved *r) {
  static int32_t names = 0;
  names = (names + 1) & VHOST_COUNT_MASK;
  return VHOST_PEEKED_AT | names << VHOST_COUNT_SHIFT | (int32_t)(r - reserved) << VHOST_PEEKED_SHIFT;
}

/** Gives buffers back with nothing in them: no frame will come. */
static void give_unused(struct reserved *r) {
  struct ring *ring = &rings[RECEIVE];
  for (int32_t n = 0; n < r->count; n++) give(ring, r->heads[n].head, 0);
  publish(ring);
  r->used = false;
}

static void stop(struct ring *ring) {
  if (ring->running && ring == &rings[RECEIVE])
    for (int i = 0; i < VHOST_PEEKED_MAX; i++)
      if (reserved[i].used) give_unused(&reserved[i]);
  ring->running = false;
}

void vhost_stop_rings(void) {
  stop(&rings[RECEIVE]);
  stop(&rings[TRANSMIT]);
}

int32_t shim_vhost_stop(const int32_t *a) {
  struct ring *ring = ring_at(a[0]);
  if (ring == NULL) return -EINVAL;
  stop(ring);
  return ring->next;
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
    struct vhost_chain chain = {0};
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
static int32_t find_buffers(struct ring *ring, uint32_t octets, struct vhost_piece *pieces, struct vhost_chain *heads) {
  int32_t left = waiting(ring);
  uint32_t room = 0;
  int used = 0;
  if (left < 0) return left;
  for (int32_t n = 0; room < octets; n++) {
    if (n == left) return 0;
    if (n == HEADS_MAX) return -EBADMSG;
    heads[n] = (struct vhost_chain){0};
    if (!read_chain(ring, (uint16_t)(ring->next + n), DESC_WRITE, pieces + used, SEND_PIECES_MAX - used, &heads[n]))
      return -EBADMSG;
    used += heads[n].pieces;
    room += heads[n].octets;
    if (room >= octets) return n + 1;
    if (!mergeable) return -EMSGSIZE;
  }
  return -EBADMSG;
}

/** Gives `count` chains with `octets` in them, one filled after the other. */
static void give_filled(struct ring *ring, const struct vhost_chain *heads, int32_t count, uint32_t octets) {
  for (int32_t n = 0; n < count; n++) {
    uint32_t part = heads[n].octets < octets ? heads[n].octets : octets;
    give(ring, heads[n].head, part);
    octets -= part;
  }
  publish(ring);
}

/** One frame into `count` chains, which are then the driver's. */
static void fill_buffers(struct ring *ring, const int32_t *frame, int32_t count, const struct vhost_piece *pieces, const struct vhost_chain *heads) {
  int i = 0;
  uint32_t skip = 0;
  scatter(arena.data + frame[0], (uint32_t)frame[1], pieces, &i, &skip);
  scatter(arena.data + frame[2], (uint32_t)frame[3], pieces, &i, &skip);
  ring->next = (uint16_t)(ring->next + count);
  give_filled(ring, heads, count, (uint32_t)frame[1] + (uint32_t)frame[3]);
}

/** The reserved buffers that an offset beyond the arena names, or NULL. */
static struct reserved *reserved_at(int32_t at) {
  struct reserved *r = &reserved[at >> VHOST_PEEKED_SHIFT & (VHOST_PEEKED_MAX - 1)];
  return r->used && r->name == at ? r : NULL;
}

/** Headers in front of a payload that is there already. Returns 1, or -EMSGSIZE for a frame that lost its buffers. */
static int32_t complete(struct ring *ring, const int32_t *frame) {
  struct reserved *r = reserved_at(frame[2]);
  int i = 0;
  uint32_t skip = 0;
  if (r == NULL || r->header != (uint32_t)frame[1] || r->payload != (uint32_t)frame[3]) return -EMSGSIZE;
  uint16_t buffers = (uint16_t)r->count;
  if (has_num_buffers) memcpy(arena.data + frame[0] + NUM_BUFFERS_AT, &buffers, sizeof buffers);
  scatter(arena.data + frame[0], r->header, r->pieces, &i, &skip);
  if (vhost_logging)
    for (uint32_t left = r->payload; left > 0; i++, skip = 0) {
      uint32_t part = r->pieces[i].length - skip < left ? r->pieces[i].length - skip : left;
      vhost_log_write(r->pieces[i].guest + skip, part);
      left -= part;
    }
  give_filled(ring, r->heads, r->count, r->header + r->payload);
  r->used = false;
  return 1;
}

/** Copies one frame into buffers. Returns 1, 0 when there are not enough yet, or -errno. */
static int32_t copy_frame(struct ring *ring, const int32_t *frame) {
  static struct vhost_piece pieces[SEND_PIECES_MAX];
  static struct vhost_chain heads[HEADS_MAX];
  uint32_t octets = (uint32_t)frame[1] + (uint32_t)frame[3];
  if (!inside(frame[2], frame[3]) || octets > VHOST_FRAME_OCTETS_MAX) return -EINVAL;
  int32_t count = find_buffers(ring, octets, pieces, heads);
  if (count <= 0) return count;
  uint16_t buffers = (uint16_t)count;
  if (has_num_buffers) memcpy(arena.data + frame[0] + NUM_BUFFERS_AT, &buffers, sizeof buffers);
  fill_buffers(ring, frame, count, pieces, heads);
  return 1;
}

int32_t shim_vhost_send(const int32_t *a) {
  struct ring *ring = &rings[RECEIVE];
  int32_t count = a[1], done = 0, failure = 0;
  const int32_t *frame = records(a[0], 4, count);
  if (!ring->running || frame == NULL) return -EINVAL;
  for (; done < count; done++, frame += 4) {
    if (!inside(frame[0], frame[1]) || frame[1] < NUM_BUFFERS_AT + 2) failure = -EINVAL;
    else failure = frame[2] >= VHOST_PEEKED_AT ? complete(ring, frame) : copy_frame(ring, frame);
    if (failure <= 0) break;
    if ((done + 1) % FRAMES_PER_CALL == 0) call_driver(ring);
  }
  call_driver(ring);
  if (vhost_lost_memory) return -EFAULT;
  return done > 0 ? done : failure;
}

/** Reserves buffers for a frame and lists where its payload goes. Returns how many iovecs, 0 without buffers, or -errno. */
static int32_t reserve(struct reserved *r, uint32_t header, uint32_t payload, struct iovec *parts, int room) {
  struct ring *ring = &rings[RECEIVE];
  uint32_t skip = header, left = payload;
  int used = 0;
  r->count = find_buffers(ring, header + payload, r->pieces, r->heads);
  if (r->count <= 0) return r->count;
  for (int i = 0; left > 0; i++) {
    struct vhost_piece *piece = &r->pieces[i];
    if (skip >= piece->length) {
      skip -= piece->length;
      continue;
    }
    if (used == room) return 0;
    uint32_t part = piece->length - skip < left ? piece->length - skip : left;
    parts[used++] = (struct iovec){piece->at + skip, part};
    skip = 0;
    left -= part;
  }
  r->used = true;
  r->name = fresh_name(r);
  r->first = ring->next;
  r->header = header;
  r->payload = payload;
  ring->next = (uint16_t)(ring->next + r->count);
  return used;
}

/** Lets go of the buffers that `payload` octets do not need: all of them for none. Those of later frames are free already. */
static void trim(struct reserved *r, uint32_t payload) {
  int32_t kept = 0;
  if (payload > 0)
    for (uint32_t room = 0; room < r->header + payload; kept++) room += r->heads[kept].octets;
  r->used = payload > 0;
  r->payload = payload;
  r->count = kept;
  rings[RECEIVE].next = (uint16_t)(r->first + kept);
}

int32_t shim_vhost_peek(const int32_t *a) {
  static struct iovec parts[IOVECS_MAX];
  struct reserved *chosen[VHOST_PEEKED_MAX];
  int32_t fd = a[0], header = a[1], each = a[2], octets = a[3], max = a[5], *out = records(a[4], 2, max);
  int32_t count = 0, failure = 0;
  int used = 0;
  if (!rings[RECEIVE].running || out == NULL || header < NUM_BUFFERS_AT + 2 || each <= 0 || octets <= 0) return -EINVAL;
  if ((int64_t)header + each > VHOST_FRAME_OCTETS_MAX) return -EINVAL;
  for (int i = 0; i < VHOST_PEEKED_MAX && count < max && octets > 0; i++) {
    if (reserved[i].used) continue;
    int32_t payload = octets < each ? octets : each;
    failure = reserve(&reserved[i], (uint32_t)header, (uint32_t)payload, parts + used, IOVECS_MAX - used);
    if (failure <= 0) break;
    used += failure;
    octets -= payload;
    chosen[count++] = &reserved[i];
  }
  if (count == 0) return failure == 0 ? -ENOBUFS : failure;
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)used};
  ssize_t r;
  RETRY(r, recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT));
  int32_t error = r < 0 ? -errno : 0;
  uint32_t left = r > 0 ? (uint32_t)r : 0;
  for (int32_t i = 0; i < count; i++) {
    uint32_t got = left < chosen[i]->payload ? left : chosen[i]->payload;
    left -= got;
    out[2 * i] = chosen[i]->name;
    out[2 * i + 1] = (int32_t)got;
    if (got == chosen[i]->payload) continue;
    /* The octets end here, and the ring goes on behind the buffers that have some. */
    trim(chosen[i], got);
    while (++i < count) chosen[i]->used = false;
  }
  return error != 0 ? error : (int32_t)r;
}

int32_t shim_vhost_release(const int32_t *a) {
  struct reserved *r = reserved_at(a[0]);
  if (r == NULL) return -EINVAL;
  give_unused(r);
  call_driver(&rings[RECEIVE]);
  return 0;
}
