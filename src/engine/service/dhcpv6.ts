/**
 * DHCPv6 server (RFC 9915, which replaced RFC 8415).
 *
 * A message goes through three steps, as in `dhcp.ts`: read it (anything odd is a drop reason), decide by its type and
 * the lease table, write the reply. There is no other state, and the server's identifier is made of the gateway's MAC,
 * so that a lease outlives the engine that gave it.
 *
 * A client is a DUID and an IAID. There is one address for each, and one for each NIC: firmware and the system it boots
 * have different DUIDs and are the same machine. So a second identity association in one message gets none.
 *
 * This server is the only one on a guest's link and knows of every lease there can be. A client it has no record of,
 * typically one that was given its lease before a restart, may keep the address it names if that is free.
 */
import type { Dhcp6Config, Ipv6Words } from "../config.ts";
import type { DropReasonName } from "../metrics/drop-reasons.ts";
import * as dhcp6 from "../wire/dhcpv6.ts";
import { type Client, hex, type Lease, LeaseTable, type Slot } from "./dhcp-leases.ts";
import { INFINITE_SECONDS } from "./dhcp-parameters.ts";
import { Dhcp6Parameters, firstValue } from "./dhcpv6-parameters.ts";

/** A reply to send from port 547 to port 546 of the message's source, or why there is none. */
export type Dhcp6Outcome = { readonly reply: Uint8Array } | { readonly drop: DropReasonName };

/** A lease in force; `mac` and `expiresAt` as in `Lease`. */
export interface Lease6 {
  readonly address: Ipv6Words;
  readonly mac: Uint8Array;
  readonly expiresAt: number;
}

/** An IA_NA or IA_PD of a message and the addresses in it. */
interface Association {
  readonly code: number;
  readonly iaid: number;
  readonly addresses: readonly Int32Array[];
}

interface Request {
  readonly message: Uint8Array;
  readonly options: readonly dhcp6.Dhcp6Option[];
  readonly clientIdentifier: Uint8Array | undefined;
  readonly associations: readonly Association[];
  readonly mac: Uint8Array;
}

/** What the smallest MTU leaves of a datagram: a longer reply loses its last options. */
const REPLY_OCTETS_MAX = 1280 - 40 - 8;
/** More than any client has; what they are answered with fits into a reply. */
const ASSOCIATIONS_MAX = 8;
const ADDRESSES_MAX = 16;
/** Clients need not wait for other servers (section 18.2.1). */
const PREFERENCE_MOST = 255;
/** Renewal at a half and rebinding at four fifths of the preferred lifetime (section 21.4). */
const T1_SHARE = 0.5;
const T2_SHARE = 0.8;

const MALFORMED: Dhcp6Outcome = { drop: "dhcp6-malformed" };
const NOT_OURS: Dhcp6Outcome = { drop: "dhcp6-not-ours" };

/** Which identifier a message must have (section 16): the server's, or none. */
const TO_THIS_SERVER: ReadonlySet<number> = new Set([
  dhcp6.REQUEST,
  dhcp6.RENEW,
  dhcp6.RELEASE,
  dhcp6.DECLINE,
]);
const TO_ANY_SERVER: ReadonlySet<number> = new Set([dhcp6.SOLICIT, dhcp6.CONFIRM, dhcp6.REBIND]);

export class Dhcp6Server {
  private readonly identifier: Uint8Array;
  private readonly parameters: Dhcp6Parameters;
  private readonly table: LeaseTable;
  /** The third word of addresses, by their last, where it is not that of the range. */
  private readonly middleWords = new Map<number, number>();
  private readonly reservedMacs: ReadonlySet<string>;

  /**
   * Throws RangeError for extra options that the protocol sets itself, and for two addresses that differ in their
   * third word alone: the lease table knows them by their last.
   */
  constructor(private readonly config: Dhcp6Config) {
    this.identifier = dhcp6.duidOf(config.serverMac);
    this.parameters = new Dhcp6Parameters(config);
    const { rangeStart, rangeSize, reservations } = config;
    for (const { address } of reservations) {
      const isInRange = (address[3] - rangeStart[3]) >>> 0 < rangeSize;
      const known = this.middleWords.get(address[3]) ?? (isInRange ? rangeStart[2] : address[2]);
      if (known !== address[2]) throw new RangeError("two addresses have the same last 32 bits");
      this.middleWords.set(address[3], address[2]);
    }
    this.reservedMacs = new Set(reservations.map(({ mac }) => hex(mac)));
    this.table = new LeaseTable({
      rangeStart: rangeStart[3],
      rangeSize,
      reservations: reservations.map(({ mac, address }) => ({ mac, address: address[3] })),
      taken: config.ownAddresses.filter((own) => own[2] === rangeStart[2]).map((own) => own[3]),
    });
  }

  /** Called when an address is leased or renewed. */
  set onLease(handler: ((lease: Lease6) => void) | null) {
    this.table.onLease = handler && ((lease) => handler(this.lease6(lease)));
  }
  /** Called when a leased address is free again. */
  set onRelease(handler: ((lease: Lease6) => void) | null) {
    this.table.onRelease = handler && ((lease) => handler(this.lease6(lease)));
  }

  /** Leases in force, as of the last `handle` or `poll`. */
  leases(): Lease6[] {
    return this.table.leases().map((lease) => this.lease6(lease));
  }

  /** Ends what has expired. `nowSeconds` counts from any point and does not wrap. */
  poll(nowSeconds: number): void {
    this.table.expire(nowSeconds);
  }

  /** When `poll` has something to do next, in the seconds of `poll`, or Infinity. */
  nextDeadlineSeconds(): number {
    return this.table.nextExpiry();
  }

  /**
   * Takes the payload of a UDP datagram to port 547 from a frame with this source MAC. Never throws on what is in it.
   * `toGroup`: it was sent to ff02::1:2; what is sent to a server's own address is discarded (section 16).
   */
  handle(message: Uint8Array, mac: Uint8Array, toGroup: boolean, nowSeconds: number): Dhcp6Outcome {
    this.table.expire(nowSeconds);
    if (message.length < dhcp6.MESSAGE_HEADER_OCTETS) return MALFORMED;
    const type = message[0];
    const isInformation = type === dhcp6.INFORMATION_REQUEST;
    if (!isInformation && !TO_THIS_SERVER.has(type) && !TO_ANY_SERVER.has(type)) return NOT_OURS;
    const options = dhcp6.readOptions6(message, dhcp6.MESSAGE_HEADER_OCTETS);
    const associations = options && associationsOf(options);
    if (!options || !associations) return MALFORMED;
    const clientIdentifier = firstValue(options, dhcp6.CLIENT_IDENTIFIER);
    if (clientIdentifier ? !dhcp6.isDuid(clientIdentifier) : !isInformation) return MALFORMED;
    if (!toGroup || !this.isFor(type, firstValue(options, dhcp6.SERVER_IDENTIFIER))) return NOT_OURS;
    if (isInformation && associations.length > 0) return NOT_OURS;
    return this.dispatch({ message, options, clientIdentifier, associations, mac }, nowSeconds);
  }

  private isFor(type: number, server: Uint8Array | undefined): boolean {
    if (server === undefined) return !TO_THIS_SERVER.has(type);
    return !TO_ANY_SERVER.has(type) && hex(server) === hex(this.identifier);
  }

  private dispatch(request: Request, now: number): Dhcp6Outcome {
    switch (request.message[0]) {
      case dhcp6.SOLICIT:
        return this.solicit(request, now);
      case dhcp6.REQUEST:
        return this.reply(request, this.grant(request, now));
      case dhcp6.CONFIRM:
        return this.confirm(request);
      case dhcp6.RENEW:
      case dhcp6.REBIND:
        return this.reply(request, this.extend(request, now));
      case dhcp6.RELEASE:
        return this.giveBack(request, (slot) => this.table.release(slot));
      case dhcp6.DECLINE:
        return this.giveBack(request, (slot) => this.table.decline(slot, now));
      default:
        return this.reply(request, []);
    }
  }

  private solicit(request: Request, now: number): Dhcp6Outcome {
    const rapid = firstValue(request.options, dhcp6.RAPID_COMMIT);
    if (rapid) {
      const committed = { code: dhcp6.RAPID_COMMIT, value: new Uint8Array(0) };
      return this.reply(request, [committed, ...this.grant(request, now)]);
    }
    const answers = this.answerEach(request, (association, client) => {
      const slot = this.table.choose(client, this.wantedIn(association));
      if (!slot) return this.status(association, dhcp6.NO_ADDRESSES_AVAILABLE);
      this.table.offer(slot, client, now);
      return this.leased(association, slot);
    });
    const preference = { code: dhcp6.PREFERENCE, value: Uint8Array.of(PREFERENCE_MOST) };
    return this.answer(dhcp6.ADVERTISE, request, [preference, ...answers]);
  }

  /** REQUEST, and SOLICIT with rapid commit (sections 18.3.1, 18.3.2). */
  private grant(request: Request, now: number): dhcp6.Dhcp6Option[] {
    return this.answerEach(request, (association, client) => {
      const isRequest = request.message[0] === dhcp6.REQUEST;
      if (isRequest && !association.addresses.every((address) => this.isOnLink(address))) {
        return this.status(association, dhcp6.NOT_ON_LINK);
      }
      const slot = this.table.choose(client, this.wantedIn(association));
      if (!slot) return this.status(association, dhcp6.NO_ADDRESSES_AVAILABLE);
      this.bind(slot, client, now);
      return this.leased(association, slot);
    });
  }

  /** RENEW and REBIND (sections 18.3.4, 18.3.5). */
  private extend(request: Request, now: number): dhcp6.Dhcp6Option[] {
    return this.answerEach(request, (association, client) => {
      const held = this.table.heldBy(client);
      const slot = held?.state === "bound" ? held : this.table.slotAt(this.wantedIn(association));
      if (slot && this.table.mayHave(slot, client)) {
        this.bind(slot, client, now);
        return this.leased(association, slot);
      }
      if (request.message[0] === dhcp6.RENEW || association.addresses.length === 0) {
        return this.status(association, dhcp6.NO_BINDING);
      }
      return this.withAddresses(association, 0, 0, association.addresses.map(withdrawn));
    });
  }

  /** Whether the client is still where its addresses are (section 18.3.3). */
  private confirm(request: Request): Dhcp6Outcome {
    const addresses = request.associations.flatMap((association) => association.addresses);
    if (addresses.length === 0) return NOT_OURS;
    const onLink = addresses.every((address) => this.isOnLink(address));
    const status = onLink
      ? dhcp6.statusOption(dhcp6.SUCCESS)
      : dhcp6.statusOption(dhcp6.NOT_ON_LINK, "addresses of another link");
    return this.reply(request, [status]);
  }

  /** RELEASE and DECLINE (sections 18.3.7, 18.3.8). */
  private giveBack(request: Request, end: (slot: Slot) => void): Dhcp6Outcome {
    const unknown = request.associations.filter((association) => {
      if (association.code !== dhcp6.IA_NA) return true;
      const client = this.client(request, association.iaid);
      const slots = association.addresses.map((address) => this.slotOf(address));
      // Not what another client of the same NIC, or another association of this one, has.
      const held = slots.filter(
        (slot) => slot?.client?.key === client.key && this.table.isHeldBy(slot, client),
      );
      for (const slot of held) if (slot) end(slot);
      return held.length === 0;
    });
    return this.reply(request, [
      dhcp6.statusOption(dhcp6.SUCCESS),
      ...unknown.map((association) => this.status(association, dhcp6.NO_BINDING)),
    ]);
  }

  /** One answer to each association: the first IA_NA may have an address, no other may. */
  private answerEach(
    request: Request,
    answer: (association: Association, client: Client) => dhcp6.Dhcp6Option,
  ): dhcp6.Dhcp6Option[] {
    const first = request.associations.find(({ code }) => code === dhcp6.IA_NA);
    return request.associations.map((association) => {
      if (association === first) return answer(association, this.client(request, association.iaid));
      const isPrefix = association.code === dhcp6.IA_PD;
      return this.status(association, isPrefix ? dhcp6.NO_PREFIX_AVAILABLE : dhcp6.NO_ADDRESSES_AVAILABLE);
    });
  }

  /** A reservation is for the MAC in the DUID, where there is one, or for the frame's. */
  private client(request: Request, iaid: number): Client {
    const duid = request.clientIdentifier ?? new Uint8Array(0);
    const inDuid = dhcp6.macInDuid(duid);
    const isReserved = inDuid !== null && this.reservedMacs.has(hex(inDuid));
    const macKey = hex(isReserved ? inDuid : request.mac);
    return { key: `duid ${hex(duid)} ${iaid}`, byMac: true, macKey, mac: request.mac.slice() };
  }

  private bind(slot: Slot, client: Client, now: number): void {
    const { validSeconds } = this.config;
    this.table.bind(slot, client, validSeconds === INFINITE_SECONDS ? Infinity : now + validSeconds);
  }

  /** The last word of the first address in the association that this server could lease, or 0. */
  private wantedIn(association: Association): number {
    return association.addresses.find((address) => this.slotOf(address) !== undefined)?.[3] ?? 0;
  }

  private slotOf(address: Int32Array): Slot | undefined {
    const slot = this.isOnLink(address) ? this.table.slotAt(address[3]) : undefined;
    return slot && this.words(slot.address)[2] === address[2] ? slot : undefined;
  }

  private isOnLink(address: Int32Array): boolean {
    return address[0] === this.config.prefix[0] && address[1] === this.config.prefix[1];
  }

  private words(last: number): Ipv6Words {
    const { prefix, rangeStart } = this.config;
    return [prefix[0], prefix[1], this.middleWords.get(last) ?? rangeStart[2], last];
  }

  private lease6({ address, mac, expiresAt }: Lease): Lease6 {
    return { address: this.words(address), mac, expiresAt };
  }

  /** The association with the address leased; what else the client names it has no more. */
  private leased(association: Association, slot: Slot): dhcp6.Dhcp6Option {
    const { preferredSeconds, validSeconds } = this.config;
    const address = {
      code: dhcp6.IA_ADDRESS,
      value: dhcp6.encodeIaAddress(this.words(slot.address), preferredSeconds, validSeconds),
    };
    const others = association.addresses.filter((other) => this.slotOf(other) !== slot);
    const [t1, t2] = [T1_SHARE, T2_SHARE].map((share) =>
      preferredSeconds === INFINITE_SECONDS ? INFINITE_SECONDS : Math.floor(preferredSeconds * share),
    );
    return this.withAddresses(association, t1, t2, [address, ...others.map(withdrawn)]);
  }

  private status(association: Association, code: number): dhcp6.Dhcp6Option {
    return this.withAddresses(association, 0, 0, [dhcp6.statusOption(code)]);
  }

  private withAddresses(
    { code, iaid }: Association,
    t1: number,
    t2: number,
    options: readonly dhcp6.Dhcp6Option[],
  ): dhcp6.Dhcp6Option {
    return { code, value: dhcp6.encodeAssociation(iaid, t1, t2, options) };
  }

  private reply(request: Request, answers: readonly dhcp6.Dhcp6Option[]): Dhcp6Outcome {
    return this.answer(dhcp6.REPLY, request, answers);
  }

  /** A message with both identifiers, the answers and, as far as they fit, the options asked for. */
  private answer(type: number, request: Request, answers: readonly dhcp6.Dhcp6Option[]): Dhcp6Outcome {
    const { clientIdentifier: client, options } = request;
    const stateless = request.message[0] === dhcp6.INFORMATION_REQUEST;
    const all: dhcp6.Dhcp6Option[] = [
      ...(client ? [{ code: dhcp6.CLIENT_IDENTIFIER, value: client }] : []),
      { code: dhcp6.SERVER_IDENTIFIER, value: this.identifier },
      ...answers,
    ];
    let octets = dhcp6.MESSAGE_HEADER_OCTETS + dhcp6.encodeOptions6(all).length;
    for (const option of this.parameters.select(options, stateless)) {
      octets += dhcp6.encodeOptions6([option]).length;
      if (octets > REPLY_OCTETS_MAX) break;
      all.push(option);
    }
    return { reply: dhcp6.encodeMessage(type, request.message, all) };
  }
}

/** The client is to give the address up at once. */
function withdrawn(address: Int32Array): dhcp6.Dhcp6Option {
  return { code: dhcp6.IA_ADDRESS, value: dhcp6.encodeIaAddress(address, 0, 0) };
}

/** The IA_NA and IA_PD options of a message, or null when one is malformed or they are too many. */
function associationsOf(options: readonly dhcp6.Dhcp6Option[]): Association[] | null {
  const associations: Association[] = [];
  for (const { code, value } of options) {
    if (code !== dhcp6.IA_NA && code !== dhcp6.IA_PD) continue;
    const association = dhcp6.readAssociation(value);
    if (association === null) return null;
    const addresses: Int32Array[] = [];
    for (const option of association.options) {
      if (option.code !== dhcp6.IA_ADDRESS) continue;
      const address = dhcp6.readIaAddress(option.value);
      if (address === null || addresses.length === ADDRESSES_MAX) return null;
      addresses.push(address);
    }
    if (associations.length === ASSOCIATIONS_MAX) return null;
    associations.push({ code, iaid: association.iaid, addresses });
  }
  return associations;
}
