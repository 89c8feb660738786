/** What QEMU needs for a card in shared memory (vhost-user), besides the card: memory that others can map. */

/** Of the card: the largest ring of receive buffers there is, or a busy guest runs out of them. */
export const SHARED_RINGS = "rx_queue_size=1024";
/** QEMU's name for the memory. */
const MEMORY = "sluice-memory";
/** What QEMU gives a machine without -m. */
const DEFAULT_MEMORY = "128M";

/** Has QEMU share its memory, unless its arguments say already where that comes from. */
export function sharedMemoryArguments(words: readonly string[]): string[] {
  if (words.some((word) => /\bmem(ory-backend|dev)=/.test(word))) return [];
  return [
    ...["-object", `memory-backend-memfd,id=${MEMORY},size=${memorySize(words)},share=on`],
    ...["-machine", `memory-backend=${MEMORY}`],
  ];
}

/** What `-m` says, with the unit that QEMU takes it in. */
function memorySize(words: readonly string[]): string {
  const at = words.findLastIndex((word) => word === "-m" || word === "--m");
  const [, size, unit = ""] = /^(?:.*,)?(?:size=)?(\d[\d.]*)([a-z]?)(?:,|$)/i.exec(words[at + 1] ?? "") ?? [];
  return at < 0 || size === undefined ? DEFAULT_MEMORY : `${size}${unit === "" ? "M" : unit}`;
}
