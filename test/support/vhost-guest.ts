/** A QEMU that shares its guest's memory with a card of vhost-user. */
/** QEMU 7.2 falls over by itself when the driver starts under TCG, unless the card has no vectors. */
export const WITHOUT_VECTORS = ["-global", "virtio-net-pci.vectors=0"];

export interface CardOptions {
  /** What the chardev has besides the path. */
  readonly socket?: string;
  /** Whether QEMU can do with the card's interrupts as they are. */
  readonly vectors?: boolean;
}

/** Arguments for a guest of 192 MB whose card is behind the socket. */
export function sharedCard(path: string, { socket = "", vectors = false }: CardOptions = {}): string[] {
  return [
    ...["-object", "memory-backend-memfd,id=mem,size=192M,share=on", "-machine", "memory-backend=mem"],
    ...["-chardev", `socket,id=c0,path=${path}${socket}`, "-netdev", "vhost-user,id=n0,chardev=c0"],
    ...["-device", "virtio-net-pci,netdev=n0,rx_queue_size=1024", ...(vectors ? [] : WITHOUT_VECTORS)],
  ];
}
