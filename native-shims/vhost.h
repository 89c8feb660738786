/*
 * vhost-user: a driver's rings and a guest's memory, shared with us by its front-end (QEMU's docs/interop/vhost-user.rst;
 * virtio 1.2 section 2.7, split virtqueues). Four files: vhost-memory.c has the mapped memory and the log of what we
 * wrote to it, vhost-chain.c chains of descriptors, vhost-rings.c the rings and the frames, vhost-messages.c messages.
 *
 * All that is in shared memory may change at any time and is written by somebody hostile: each field is read once into a
 * copy of our own, checked there, and the copy is what is used. What JavaScript sees are copies in the arena.
 */
#ifndef SLUICE_VHOST_H
#define SLUICE_VHOST_H

#include "shim.h"

/**
 * Payload that was read into a guest's buffers has an offset beyond the arena, which is smaller: this, a count of such frames
 * and the number of its place. The count keeps the name of a frame that is gone from naming the next one in its place.
 */
enum { VHOST_PEEKED_AT = 0x40000000, VHOST_PEEKED_SHIFT = 17, VHOST_COUNT_SHIFT = 20, VHOST_COUNT_MASK = 0x3ff };
/** Frames that may wait for their headers: all places that a name can tell apart. */
enum { VHOST_PEEKED_MAX = 1 << (VHOST_COUNT_SHIFT - VHOST_PEEKED_SHIFT) };

/** Of a record of ints: the i-th number of 64 bits, its low half first. */
static inline uint64_t vhost_word(const int32_t *ints, int i) {
  return (uint64_t)(uint32_t)ints[2 * i] | (uint64_t)(uint32_t)ints[2 * i + 1] << 32;
}

/** A stretch of guest memory without a gap in our address space. */
struct vhost_piece {
  uint8_t *at;
  uint32_t length;
  uint64_t guest; /* its guest address, for the log */
};

/** virtio_net_hdr, a VLAN header and the largest IP packet. */
#define VHOST_FRAME_OCTETS_MAX 65565

/* virtio 1.2 section 2.7.5. */
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

struct vhost_descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};

/** A chain's private copy. */
struct vhost_chain {
  uint16_t head;
  int pieces;
  uint32_t octets;
};

/**
 * Adds what an entry names to a chain and to `pieces`, at most `room`; `wanted` is the write flag that the ring's chains
 * have. False when it makes no sense. Of buffers larger than any frame as much counts as a frame takes.
 */
bool vhost_add_piece(const struct vhost_descriptor *d, uint16_t wanted, struct vhost_piece *pieces, int room, struct vhost_chain *chain);

/** Adds all that the indirect table of an entry names; the table is copied whole first. False when it makes no sense. */
bool vhost_walk_indirect(const struct vhost_descriptor *d, uint16_t wanted, struct vhost_piece *pieces, int room, struct vhost_chain *chain);

/** Where `length` octets at a front-end's address lie, if one region has them all; else NULL. */
void *vhost_user_memory(uint64_t user, uint64_t length);

/**
 * Appends the pieces of `length` octets at a guest's address to `pieces`, at most `room`. Returns how many, or -1 when
 * they are not in its memory or are more than `room`.
 */
int vhost_guest_pieces(uint64_t guest, uint32_t length, struct vhost_piece *pieces, int room);

/** Copies `length` octets from a guest's address. Returns false when they are not in its memory. */
bool vhost_guest_read(void *to, uint64_t guest, uint32_t length);

/** A file under the memory shrank, and zeros of ours are in its place: nothing read since then counts. */
extern volatile bool vhost_lost_memory;

extern bool vhost_logging;
/** Notes in the log that we wrote `length` octets at a guest's address. */
void vhost_log_write(uint64_t guest, uint64_t length);

/** Stops both rings; they have no memory any more. */
void vhost_stop_rings(void);

#endif
