/**
 * DHCP server (RFC 2131, RFC 2132) that also answers BOOTP (RFC 951, RFC 1534).
 *
 * A message goes through three steps: read it (anything odd is a drop reason), decide by its type and the lease table,
 * write the reply. The server holds no other state than the lease table, so messages may come twice, late or in any
 * order.
 *
 * The four kinds of REQUEST are told apart as RFC 2131 section 4.3.2 does:
 *
 *   state       server identifier  requested address  ciaddr
 *   SELECTING   ours               the offered one    0
 *   INIT-REBOOT -                  the former one     0
 *   RENEWING    -                  -                  the client's      sent to us
 *   REBINDING   -                  -                  the client's      sent to all
 *
 * On a link where this server is the only one (that is what a guest's link is) it knows of every lease there can be.
 * So a client it has no record of, typically a disk image that booted behind another engine before, is given the
 * address it asks for if that is free, and refused at once if it is not: silence, which section 4.3.2 wants where
 * several servers share a network, would cost the guest a timeout at every boot. What is for another server, comes
 * through a relay or from a client we were told not to serve is left without an answer.
 */
import type { DhcpConfig } from "../config.ts";
import { MTU_DEFAULT } from "../limits.ts";
import type { DropReasonName } from "../metrics/drop-reasons.ts";
import {
  BOOTP_MESSAGE_MIN,
  CHADDR,
  CHADDR_OCTETS,
  checkDhcpRequest,
  ciaddr,
  FILE,
  FILE_OCTETS,
  FLAG_BROADCAST,
  flags,
  giaddr,
  SNAME,
  SNAME_OCTETS,
  setCiaddr,
  setSiaddr,
  setYiaddr,
  writeReplyHeader,
} from "../wire/dhcp.ts";
import * as option from "../wire/dhcp-options.ts";
import { type Client, clientOf, type Lease, LeaseTable, type Slot } from "./dhcp-leases.ts";
import { DhcpParameters, INFINITE_SECONDS } from "./dhcp-parameters.ts";

/** A reply to send from port 67 to port 68, or why there is none ("handled": none is due). */
export type DhcpOutcome = DhcpReply | { readonly drop: DropReasonName };

export interface DhcpReply {
  readonly reply: Uint8Array;
  /** Broadcast: to 255.255.255.255 and the broadcast MAC. Unicast: to `address` and `mac`, without ARP. */
  readonly destination: "broadcast" | "unicast";
  /** The client's address: yiaddr, or ciaddr where it has one already; 0 with a NAK. */
  readonly address: number;
  /** The client's hardware address. */
  readonly mac: Uint8Array;
}

interface Request {
  readonly view: DataView;
  readonly message: Uint8Array;
  readonly options: ReadonlyMap<number, Uint8Array>;
  readonly client: Client;
  readonly ciaddr: number;
  /** Options 50 and 54 as addresses, or 0. */
  readonly requested: number;
  readonly serverIdentifier: number;
}

const MAC_OCTETS = 6;
const ADDRESS_OCTETS = 4;
/** The smallest datagram every client takes (RFC 2131 section 2), and what IP and UDP take of it. */
const DATAGRAM_MIN = 576;
const IP_UDP_OCTETS = 28;
/** A client may ask for a shorter lease, but not make us answer all day. */
const LEASE_SECONDS_MIN = 60;

/** Options whose length is fixed. */
const LENGTHS: readonly (readonly [number, number])[] = [
  [option.REQUESTED_ADDRESS, ADDRESS_OCTETS],
  [option.LEASE_TIME, 4],
  [option.MESSAGE_TYPE, 1],
  [option.SERVER_IDENTIFIER, ADDRESS_OCTETS],
  [option.MAXIMUM_MESSAGE_SIZE, 2],
];

const HANDLED: DhcpOutcome = { drop: "handled" };
const MALFORMED: DhcpOutcome = { drop: "dhcp-malformed" };
const NOT_OURS: DhcpOutcome = { drop: "dhcp-not-ours" };
const NO_ADDRESS: DhcpOutcome = { drop: "dhcp-no-address" };

export class DhcpServer {
  private readonly parameters: DhcpParameters;
  private readonly table: LeaseTable;

  /** Throws RangeError for extra options that the protocol sets itself. */
  constructor(private readonly config: DhcpConfig) {
    this.parameters = new DhcpParameters(config);
    this.table = new LeaseTable({
      ...config,
      taken: [config.serverAddress, config.router, ...config.dnsServers],
    });
  }

  /** Called when an address is leased or renewed. */
  set onLease(handler: ((lease: Lease) => void) | null) {
    this.table.onLease = handler;
  }
  /** Called when a leased address is free again: released, declined, expired or given to another NIC. */
  set onRelease(handler: ((lease: Lease) => void) | null) {
    this.table.onRelease = handler;
  }

  /** Whether clients that can do without IPv4 are asked to (RFC 8925). */
  preferIpv6Only(isPreferred: boolean): void {
    this.parameters.preferIpv6Only(isPreferred);
  }

  /** Leases in force, as of the last `handle` or `poll`. */
  leases(): Lease[] {
    return this.table.leases();
  }

  leaseFor(mac: Uint8Array): Lease | null {
    return this.table.leaseFor(mac);
  }

  isLeased(address: number): boolean {
    return this.table.isLeased(address);
  }

  /** Ends what has expired. `nowSeconds` counts from any point and does not wrap. */
  poll(nowSeconds: number): void {
    this.table.expire(nowSeconds);
  }

  /** When `poll` has something to do next, in the seconds of `poll`, or Infinity. */
  nextDeadlineSeconds(): number {
    return this.table.nextExpiry();
  }

  /** Takes the payload of a UDP datagram to port 67. Never throws on what is in it. */
  handle(message: Uint8Array, nowSeconds: number): DhcpOutcome {
    this.table.expire(nowSeconds);
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
    if (checkDhcpRequest(view, 0, message.length) !== 0) return MALFORMED;
    if (giaddr(view, 0) !== 0) return NOT_OURS;
    const options = option.readOptions(message);
    if (options === null || !LENGTHS.every(([code, n]) => (options.get(code)?.length ?? n) === n))
      return MALFORMED;
    const mac = message.subarray(CHADDR, CHADDR + MAC_OCTETS);
    if (this.config.onlyMac?.some((octet, i) => octet !== mac[i])) return NOT_OURS;
    const identifier = options.get(option.CLIENT_IDENTIFIER);
    if (identifier && identifier.length > option.OPTION_VALUE_MAX) return MALFORMED;
    return this.dispatch(
      {
        view,
        message,
        options,
        client: clientOf(mac, identifier),
        ciaddr: ciaddr(view, 0),
        requested: addressIn(options.get(option.REQUESTED_ADDRESS)),
        serverIdentifier: addressIn(options.get(option.SERVER_IDENTIFIER)),
      },
      nowSeconds,
    );
  }

  private dispatch(request: Request, now: number): DhcpOutcome {
    switch (request.options.get(option.MESSAGE_TYPE)?.[0]) {
      case undefined:
        return this.bootp(request);
      case option.DISCOVER:
        return this.discover(request, now);
      case option.REQUEST:
        return this.request(request, now);
      case option.DECLINE:
        return this.decline(request, now);
      case option.RELEASE:
        return this.release(request);
      case option.INFORM:
        return this.inform(request);
      default:
        return NOT_OURS;
    }
  }

  /** A BOOTP client has no notion of a lease: what it gets it keeps (RFC 1534 section 2). */
  private bootp(request: Request): DhcpOutcome {
    const slot = this.table.choose(request.client, request.ciaddr);
    if (!slot) return NO_ADDRESS;
    this.table.bind(slot, request.client, Infinity);
    const limit = Math.max(BOOTP_MESSAGE_MIN, Math.min(request.message.length, DATAGRAM_MIN - IP_UDP_OCTETS));
    return this.reply(request, this.parameters.select(undefined, 0), slot.address, 0, limit, false);
  }

  private discover(request: Request, now: number): DhcpOutcome {
    const slot = this.table.choose(request.client, request.requested);
    if (!slot) return NO_ADDRESS;
    // Who can do without an address is not given one before it says that it wants it (RFC 8925 section 3.2).
    const commits =
      request.options.has(option.RAPID_COMMIT) && !this.parameters.isIpv6Only(requestList(request));
    if (commits) return this.acknowledge(request, slot, now, true);
    this.table.offer(slot, request.client, now);
    const lease = this.leaseSecondsFor(request);
    const head = [this.messageType(option.OFFER), this.identifier(), leaseTime(lease), ...echo(request)];
    const options = [...head, ...this.parameters.select(requestList(request), lease)];
    return this.reply(request, options, slot.address, 0, sizeLimit(request, this.config), true);
  }

  private request(request: Request, now: number): DhcpOutcome {
    const { client, serverIdentifier } = request;
    if (serverIdentifier !== 0 && serverIdentifier !== this.config.serverAddress) {
      // It chose another server, so what we offered is free again (section 3.1 step 4).
      const offered = this.table.heldBy(client);
      if (offered?.state === "offered") this.table.release(offered);
      return NOT_OURS;
    }
    const address = request.ciaddr || request.requested;
    if (address === 0) return MALFORMED;
    const slot = this.table.slotAt(address);
    if (!slot || !this.table.mayHave(slot, client)) return this.refuse(request, "address is not available");
    const held = this.table.heldBy(client);
    if (held?.state === "bound" && !this.table.isHeldBy(slot, client)) {
      return this.refuse(request, "another address is leased");
    }
    return this.acknowledge(request, slot, now, false);
  }

  private acknowledge(request: Request, slot: Slot, now: number, rapid: boolean): DhcpOutcome {
    const lease = this.leaseSecondsFor(request);
    this.table.bind(slot, request.client, lease === INFINITE_SECONDS ? Infinity : now + lease);
    const head = [this.messageType(option.ACK), this.identifier(), leaseTime(lease), ...echo(request)];
    if (rapid) head.push({ code: option.RAPID_COMMIT, value: new Uint8Array(0) });
    const options = [...head, ...this.parameters.select(requestList(request), lease)];
    const limit = sizeLimit(request, this.config);
    return this.reply(request, options, slot.address, rapid ? 0 : request.ciaddr, limit, true);
  }

  private refuse(request: Request, why: string): DhcpOutcome {
    const options = [
      this.messageType(option.NAK),
      this.identifier(),
      { code: option.MESSAGE, value: option.encodeText(why) },
      ...echo(request),
    ];
    const reply = new Uint8Array(DATAGRAM_MIN - IP_UDP_OCTETS);
    this.writeHeader(request, reply);
    const length = option.writeOptions(reply, options, reply.length, true, true);
    // The client has no right to any address, so nothing but broadcast reaches it (section 4.1).
    return {
      reply: reply.subarray(0, length),
      destination: "broadcast",
      address: 0,
      mac: request.client.mac,
    };
  }

  /** The client found somebody else using the address it was given (section 4.3.3). */
  private decline(request: Request, now: number): DhcpOutcome {
    if (request.serverIdentifier !== this.config.serverAddress) return NOT_OURS;
    const slot = this.table.slotAt(request.requested);
    if (!slot || !this.table.isHeldBy(slot, request.client)) return NOT_OURS;
    this.table.decline(slot, now);
    return HANDLED;
  }

  private release(request: Request): DhcpOutcome {
    if (request.serverIdentifier !== this.config.serverAddress) return NOT_OURS;
    const slot = this.table.slotAt(request.ciaddr);
    if (!slot || !this.table.isHeldBy(slot, request.client)) return NOT_OURS;
    this.table.release(slot);
    return HANDLED;
  }

  /** A client with an address of its own asks for the rest: no yiaddr, no lease (section 4.3.5). */
  private inform(request: Request): DhcpOutcome {
    if (request.ciaddr !== 0 && !this.isOnNetwork(request.ciaddr)) return NOT_OURS;
    const head = [this.messageType(option.ACK), this.identifier(), ...echo(request)];
    const options = [...head, ...this.parameters.select(requestList(request), 0)];
    return this.reply(request, options, 0, request.ciaddr, sizeLimit(request, this.config), true);
  }

  /** Writes a reply with the boot fields and the options, as far as they fit into `limit` octets. */
  private reply(
    request: Request,
    options: readonly option.Option[],
    yourAddress: number,
    clientAddress: number,
    limit: number,
    mayOverload: boolean,
  ): DhcpReply {
    const { bootFile, tftpServerName, nextServer } = this.parameters;
    const reply = new Uint8Array(limit);
    const view = this.writeHeader(request, reply);
    setYiaddr(view, 0, yourAddress);
    setCiaddr(view, 0, clientAddress);
    setSiaddr(view, 0, nextServer);
    // Names too long for their fields are in options 66 and 67 alone. Each field keeps its terminating zero.
    const hasFile = writeField(reply, FILE, FILE_OCTETS, bootFile);
    const hasServer = writeField(reply, SNAME, SNAME_OCTETS, tftpServerName);
    const length = option.writeOptions(
      reply,
      options,
      limit,
      mayOverload && !hasFile,
      mayOverload && !hasServer,
    );
    const address = clientAddress || yourAddress;
    const wantsBroadcast = (flags(request.view, 0) & FLAG_BROADCAST) !== 0;
    const unicast = clientAddress !== 0 || (yourAddress !== 0 && !wantsBroadcast);
    return {
      reply: reply.subarray(0, length),
      destination: unicast ? "unicast" : "broadcast",
      address,
      mac: request.client.mac,
    };
  }

  private writeHeader(request: Request, reply: Uint8Array): DataView {
    const view = new DataView(reply.buffer);
    writeReplyHeader(view, 0, request.view, 0);
    reply.set(request.message.subarray(CHADDR, CHADDR + CHADDR_OCTETS), CHADDR);
    return view;
  }

  private messageType(type: number): option.Option {
    return { code: option.MESSAGE_TYPE, value: Uint8Array.of(type) };
  }

  private identifier(): option.Option {
    return { code: option.SERVER_IDENTIFIER, value: option.encodeAddresses([this.config.serverAddress]) };
  }

  private leaseSecondsFor(request: Request): number {
    const wish = request.options.get(option.LEASE_TIME);
    const most = this.parameters.leaseSeconds;
    return wish ? Math.min(most, Math.max(uint32(wish), LEASE_SECONDS_MIN)) : most;
  }

  private isOnNetwork(address: number): boolean {
    const { rangeStart, netmask } = this.config;
    return ((address ^ rangeStart) & netmask) === 0;
  }
}

/** The client's identifier goes back unchanged (RFC 6842). */
function echo(request: Request): option.Option[] {
  const value = request.options.get(option.CLIENT_IDENTIFIER);
  return value ? [{ code: option.CLIENT_IDENTIFIER, value }] : [];
}

function leaseTime(seconds: number): option.Option {
  return { code: option.LEASE_TIME, value: option.encodeUint32(seconds) };
}

function requestList(request: Request): Uint8Array | undefined {
  return request.options.get(option.PARAMETER_REQUEST_LIST);
}

/** Octets of DHCP message the client takes in one datagram that the link carries whole. */
function sizeLimit(request: Request, config: DhcpConfig): number {
  const announced = request.options.get(option.MAXIMUM_MESSAGE_SIZE);
  const datagram = announced ? (announced[0] << 8) | announced[1] : DATAGRAM_MIN;
  const link = config.mtu || MTU_DEFAULT;
  return Math.max(DATAGRAM_MIN, Math.min(datagram, link)) - IP_UDP_OCTETS;
}

function writeField(reply: Uint8Array, at: number, octets: number, text: Uint8Array | undefined): boolean {
  if (!text || text.length >= octets) return false;
  reply.set(text, at);
  return true;
}

function addressIn(value: Uint8Array | undefined): number {
  return value ? uint32(value) | 0 : 0;
}

function uint32(value: Uint8Array): number {
  return ((value[0] << 24) | (value[1] << 16) | (value[2] << 8) | value[3]) >>> 0;
}
