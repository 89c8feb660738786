/* Chains of descriptors, entry by entry: private copies in, pieces of our own address space out. */
#include "vhost.h"

/** Entries of an indirect table. */
#define INDIRECT_MAX 64

bool vhost_add_piece(const struct vhost_descriptor *d, uint16_t wanted, struct vhost_piece *pieces, int room, struct vhost_chain *chain) {
  uint32_t length = d->length, left = VHOST_FRAME_OCTETS_MAX - chain->octets;
  if ((d->flags & DESC_WRITE) != wanted || (length > left && wanted == 0)) return false;
  if (length > left) length = left;
  int count = vhost_guest_pieces(d->address, length, pieces + chain->pieces, room - chain->pieces);
  if (count < 0) return false;
  chain->pieces += count;
  chain->octets += length;
  return true;
}

bool vhost_walk_indirect(const struct vhost_descriptor *table_at, uint16_t wanted, struct vhost_piece *pieces, int room, struct vhost_chain *chain) {
  static struct vhost_descriptor table[INDIRECT_MAX];
  uint32_t entries = table_at->length / sizeof *table;
  if (entries == 0 || entries > INDIRECT_MAX || table_at->length % sizeof *table != 0) return false;
  if ((table_at->flags & DESC_NEXT) != 0 || !vhost_guest_read(table, table_at->address, table_at->length)) return false;
  uint32_t i = 0;
  for (uint32_t steps = 0; steps < entries; steps++) {
    if (i >= entries || (table[i].flags & DESC_INDIRECT) != 0) return false;
    if (!vhost_add_piece(&table[i], wanted, pieces, room, chain)) return false;
    if ((table[i].flags & DESC_NEXT) == 0) return true;
    i = table[i].next;
  }
  return false;
}
