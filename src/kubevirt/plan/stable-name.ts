/**
 * Names and MAC addresses that follow from what they are for, so that `plan`, `qemu-args`, `up` and `down` agree on
 * them without asking each other, and a guest keeps its MAC over restarts.
 */
import { formatMac } from "../../config/address.ts";

/** FNV-1a, 32 bits, of the UTF-16 units of a text. */
export function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
    value ^= value >>> 15;
  }
  return value >>> 0;
}

/** Six digits of a 36-letter alphabet out of a text: two thousand million values. */
function digest(text: string): string {
  return hash(text).toString(36).padStart(6, "0").slice(-6);
}

const NIC_PART_MAX = 6;

/**
 * Name of a device made for an interface: prefix of two letters, the start of the interface's name, a digest of VM
 * and interface. At most 2 + 6 + 1 + 6 = 15 octets, which is what Linux takes.
 */
export function deviceName(prefix: "br" | "tp", vm: string, nic: string): string {
  return `${prefix}${nic.slice(0, NIC_PART_MAX)}-${digest(`${vm}/${nic}`)}`;
}

/** File name of an interface's socket, short enough for a Unix socket path. */
export function socketName(vm: string, nic: string): string {
  return `${nic.slice(0, NIC_PART_MAX)}-${digest(`${vm}/${nic}`)}.sock`;
}

/** A locally administered unicast MAC for a NIC that was given none. `seed` sets pods with the same spec apart. */
export function localMac(vm: string, nic: string, seed: string): string {
  const text = `${seed}/${vm}/${nic}`;
  const low = hash(text);
  return formatMac(Uint8Array.of(0x02, hash(`${text}#`) & 255, low >>> 24, low >>> 16, low >>> 8, low));
}

/** Another MAC with the same vendor prefix (the first three octets) as `mac`. */
export function siblingMac(mac: string, seed: string): string {
  const own = Number.parseInt(mac.slice(9).replaceAll(":", ""), 16);
  let low = hash(`${mac}/${seed}`) & 0xffffff;
  if (low === own || low === 0) low = (low ^ 0x5a5a5a) & 0xffffff;
  return `${mac.slice(0, 9)}${formatMac(Uint8Array.of(low >>> 16, low >>> 8, low))}`;
}
