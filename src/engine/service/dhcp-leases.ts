/**
 * Who has which address. One slot per address that may be given out, made at start; a client is whoever a slot
 * remembers, so a million clients take no more memory than one.
 *
 *            choose            bind
 *   free ------------> offered ------> bound          declined: a client found the address taken; nobody gets it
 *    ^                    |              |                       until its quarantine ends
 *    +---- until reached, release -------+
 *
 * A free slot still remembers its last client, which gets the same address again if nobody needed it in between
 * (RFC 2131 section 4.3.1). An offer promises nothing: whoever requests the address first is bound, and a flood of
 * DISCOVERs recycles offers, oldest first, without keeping anybody from a lease.
 *
 * A client is known by its client identifier (RFC 2131 section 4.2), or without one by its MAC. An identifier that
 * only repeats the MAC counts as none. When one side has no identifier of its own the MAC decides: firmware that
 * boots without an identifier and the system that it boots with one are the same NIC, and keep the same address.
 */
import type { Reservation } from "../config.ts";

/** Addresses to lease. They are int32; of IPv6 they are the last word, and the rest is the server's business. */
export interface LeasePlan {
  readonly rangeStart: number;
  readonly rangeSize: number;
  readonly reservations: readonly Reservation[];
  /** Addresses of the range that are ours, and nobody's else. */
  readonly taken: readonly number[];
}

/** A lease in force. */
export interface Lease {
  readonly address: number;
  /** Six octets. */
  readonly mac: Uint8Array;
  /** In the seconds of the caller's clock; Infinity for BOOTP clients and infinite leases. */
  readonly expiresAt: number;
}

/** How a client is told from others. */
export interface Client {
  /** Identifier, or the MAC where there is none. */
  readonly key: string;
  /** Whether `key` is made from the MAC. */
  readonly byMac: boolean;
  readonly macKey: string;
  readonly mac: Uint8Array;
}

export type SlotState = "free" | "offered" | "bound" | "declined";

export interface Slot {
  readonly address: number;
  /** `macKey` of the only client that may have it, or null. */
  readonly reservedFor: string | null;
  state: SlotState;
  client: Client | null;
  /** When the state ends by itself. */
  until: number;
  /** Order of last use; 0 is never. */
  usedAt: number;
}

/** How long an offer is kept for its client, and a declined address from all. */
const OFFER_SECONDS = 60;
const QUARANTINE_SECONDS = 600;

const HARDWARE_ETHERNET = 1;

/** Who sent a message with this hardware address and client identifier (option 61). */
export function clientOf(mac: Uint8Array, identifier: Uint8Array | undefined): Client {
  const macKey = hex(mac);
  const own = identifier && hex(identifier);
  const byMac = !own || own === `${hex([HARDWARE_ETHERNET])}${macKey}`;
  return { key: byMac ? `mac ${macKey}` : `id ${own}`, byMac, macKey, mac: mac.slice() };
}

/** Octets as text, to compare and to keep in keys. */
export function hex(octets: Iterable<number>): string {
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("");
}

export class LeaseTable {
  /** Called when an address is bound to a client, or bound anew. */
  onLease: ((lease: Lease) => void) | null = null;
  /** Called when a bound address is free again. */
  onRelease: ((lease: Lease) => void) | null = null;
  private readonly slots: Slot[];
  private uses = 0;

  constructor(plan: LeasePlan) {
    const ours = new Set(plan.taken);
    const reserved = new Map(plan.reservations.map((r) => [r.address, hex(r.mac)]));
    const range = Array.from({ length: plan.rangeSize }, (_, i) => (plan.rangeStart + i) | 0);
    const addresses = new Set([...range.filter((address) => !ours.has(address)), ...reserved.keys()]);
    this.slots = Array.from(addresses, (address) => ({
      address,
      reservedFor: reserved.get(address) ?? null,
      state: "free",
      client: null,
      until: 0,
      usedAt: 0,
    }));
  }

  /** Frees whatever has reached its end. */
  expire(now: number): void {
    for (const slot of this.slots) if (slot.state !== "free" && slot.until <= now) this.free(slot);
  }

  /** When `expire` has something to do next, or Infinity. */
  nextExpiry(): number {
    return Math.min(...this.slots.filter((s) => s.state !== "free").map((s) => s.until), Infinity);
  }

  leases(): Lease[] {
    return this.slots.filter((slot) => slot.state === "bound").map(leaseOf);
  }

  leaseFor(mac: Uint8Array): Lease | null {
    const macKey = hex(mac);
    const slot = this.slots.find((s) => s.state === "bound" && s.client?.macKey === macKey);
    return slot ? leaseOf(slot) : null;
  }

  isLeased(address: number): boolean {
    for (let i = 0; i < this.slots.length; i++) {
      if (this.slots[i].address === address) return this.slots[i].state === "bound";
    }
    return false;
  }

  slotAt(address: number): Slot | undefined {
    return this.slots.find((slot) => slot.address === address);
  }

  /** Whether this slot is the client's: offered or bound to it. */
  isHeldBy(slot: Slot, client: Client): boolean {
    return (slot.state === "offered" || slot.state === "bound") && isSame(slot.client, client);
  }

  /** The slot offered or bound to the client, if there is one. */
  heldBy(client: Client, slots: readonly Slot[] = this.slots): Slot | undefined {
    return (
      slots.find((slot) => slot.client?.key === client.key && this.isHeldBy(slot, client)) ??
      slots.find((slot) => this.isHeldBy(slot, client))
    );
  }

  /** Whether the client may be bound to this address now. */
  mayHave(slot: Slot, client: Client): boolean {
    if (slot.reservedFor !== null) return slot.reservedFor === client.macKey && slot.state !== "declined";
    return slot.state === "free" || slot.state === "offered" || this.isHeldBy(slot, client);
  }

  /**
   * The address for a client that asks for any: its reservation, what it has, what it had, what it would like, one
   * never used, the one unused longest, the oldest offer to somebody else. Undefined when all are taken.
   */
  choose(client: Client, wanted: number): Slot | undefined {
    const open = this.slots.filter((slot) => this.mayHave(slot, client));
    const byUse = [...open].sort((a, b) => a.usedAt - b.usedAt);
    const free = byUse.filter((slot) => slot.state === "free");
    return (
      open.find((slot) => slot.reservedFor === client.macKey) ??
      this.heldBy(client, open) ??
      free.find((slot) => isSame(slot.client, client)) ??
      free.find((slot) => slot.address === wanted) ??
      free[0] ??
      // What is neither its own nor free has been offered to somebody.
      byUse[0]
    );
  }

  /** Keeps the slot for the client for a while. A slot already bound to it stays bound. */
  offer(slot: Slot, client: Client, now: number): void {
    if (slot.state === "bound") return;
    this.take(slot, client);
    slot.state = "offered";
    slot.until = now + OFFER_SECONDS;
  }

  /** Leases the slot to the client until `until`. Whatever else the client held is free again: one client, one address. */
  bind(slot: Slot, client: Client, until: number): void {
    for (const other of this.slots) {
      const isSameClient = other.client?.key === client.key && this.isHeldBy(other, client);
      if (other !== slot && isSameClient) this.free(other);
    }
    if (slot.state === "bound" && slot.client?.macKey !== client.macKey) this.free(slot);
    this.take(slot, client);
    slot.state = "bound";
    slot.until = until;
    this.onLease?.(leaseOf(slot));
  }

  release(slot: Slot): void {
    this.free(slot);
  }

  /**
   * Keeps the address from everybody for a while. At most half of the addresses are in quarantine at once (none of a
   * single one): the guest cannot decline itself out of a network; the oldest returns early.
   */
  decline(slot: Slot, now: number): void {
    this.free(slot);
    slot.client = null;
    const quarantined = this.slots.filter((s) => s.state === "declined").sort((a, b) => a.usedAt - b.usedAt);
    const most = Math.floor(this.slots.length / 2);
    if (most === 0) return;
    if (quarantined.length === most) this.free(quarantined[0]);
    slot.state = "declined";
    slot.until = now + QUARANTINE_SECONDS;
    slot.usedAt = ++this.uses;
  }

  private take(slot: Slot, client: Client): void {
    slot.client = client;
    slot.usedAt = ++this.uses;
  }

  private free(slot: Slot): void {
    const lease = slot.state === "bound" ? leaseOf(slot) : null;
    slot.state = "free";
    if (lease) this.onRelease?.(lease);
  }
}

function isSame(known: Client | null, client: Client): boolean {
  if (known === null) return false;
  return known.key === client.key || (known.macKey === client.macKey && (known.byMac || client.byMac));
}

function leaseOf(slot: Slot): Lease {
  if (slot.client === null) throw new Error("a bound address has a client");
  return { address: slot.address, mac: slot.client.mac, expiresAt: slot.until };
}
