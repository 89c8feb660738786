/**
 * What the engine core is told at start: plain data, already validated. `config/` makes it from options or from a
 * VM spec; a program that embeds sluice may write it by hand through `defaultEngineConfig`.
 *
 * IPv4 addresses are int32 in host order. MAC addresses are six-octet Uint8Arrays.
 */
import {
  FLOWS_MAX,
  HALF_OPEN_MAX,
  IPV6_MTU_MIN,
  MTU_DEFAULT,
  PAYLOAD_OCTETS_MAX,
  UDP_MAPPINGS_MAX,
} from "./limits.ts";

/** 127.0.0.1. */
export const LOOPBACK = 0x7f000001;

/** One inbound port. The listening sockets are opened by `host/`; the core sees them by index. */
export interface Forward {
  readonly protocol: "tcp" | "udp";
  /** Host address to bind, IPv4; 0 is all addresses. */
  readonly hostAddress: number;
  /** Set where the host's address is one of IPv6: this one, or all of them (`::`), and none of IPv4. */
  readonly hostAddress6?: Ipv6Words;
  readonly hostPort: number;
  /** Ports in a row, from `hostPort` and `guestPort` on; 1 by default. */
  readonly ports?: number;
  /** The interface of the host that its sockets are bound to. */
  readonly hostDevice?: string;
  /** Of its ports those are passed over that this host has another use for: taken, privileged, ephemeral ones. */
  readonly optional?: boolean;
  /** Its ports come and go with who listens on them in the guest's namespace, which the engine knows nothing of. */
  readonly whileListening?: boolean;
  /** TCP: it takes clients only while the guest's port answers over IPv4; bound it is from its start. */
  readonly whenOpen?: boolean;
  /** One rule with the forward before it, for the other family: both have the same ports, or the rule fails. */
  readonly sharesPort?: boolean;
  /** One rule with the forward before it: more ports. */
  readonly continues?: boolean;
  /** Guest address, or 0 for "the guest's address" (see `guestAddress`). */
  readonly guestAddress: number;
  /** Set where clients go to the guest over IPv6: the guest's address, or null for "the guest's address" there. */
  readonly guestAddress6?: Ipv6Words | null;
  /** With `guestAddress6` null: while the guest has shown no address there, clients go to its IPv4 one. */
  readonly eitherFamily?: boolean;
  readonly guestPort: number;
}

/** An address and TCP port on the guest's network served by something on the host. */
export interface GuestForward {
  /** IPv4; 0 where it is an address of IPv6. */
  readonly address: number;
  readonly address6?: Ipv6Words;
  readonly port: number;
  readonly target:
    | {
        readonly kind: "tcp";
        /** IPv4; 0 where it is an address of IPv6. */
        readonly host: number;
        readonly host6?: Ipv6Words;
        readonly port: number;
      }
    | { readonly kind: "unix"; readonly path: string }
    | { readonly kind: "command"; readonly command: string };
}

/** An address by which the guest reaches something of the host. */
export interface HostAlias {
  /** As the guest sees it. */
  readonly address: number;
  /** Where connections and datagrams to it go on the host; 0 when that has no address: they are refused. Or NOBODY. */
  readonly target: number;
}

/** The target of an alias that is there and says nothing (but to pings): what comes is dropped, without a reset. */
export const NOBODY = -1;

/** DHCP option as raw octets. */
export interface DhcpOption {
  readonly code: number;
  readonly value: Uint8Array;
}

export interface Reservation {
  readonly mac: Uint8Array;
  readonly address: number;
}

export interface ClasslessRoute {
  readonly destination: number;
  readonly prefixLength: number;
  /** 0 for on-link. */
  readonly gateway: number;
}

/** The DHCP server's view of the world; also used alone when a pod's address is delegated (bridge binding). */
export interface DhcpConfig {
  /** The server's own address (option 54). */
  readonly serverAddress: number;
  readonly netmask: number;
  /** 0: option 3 is not sent. */
  readonly router: number;
  /** Option 6; empty: not sent. */
  readonly dnsServers: readonly number[];
  readonly rangeStart: number;
  /** Number of addresses leased from rangeStart on, at most GUESTS_MAX. */
  readonly rangeSize: number;
  readonly reservations: readonly Reservation[];
  /** Serve this MAC alone (delegation); others are ignored and counted. */
  readonly onlyMac?: Uint8Array;
  readonly leaseSeconds: number;
  /** Option 26; 0: not sent. */
  readonly mtu: number;
  /** Option 28 is sent when true. */
  readonly sendBroadcast: boolean;
  readonly routes: readonly ClasslessRoute[];
  /** `siaddr`, and option 66 where `options` has none; 0: neither. */
  readonly nextServer: number;
  /**
   * Options given to who asks for them (a host name, a domain, a boot file); 66 and 67 fill the `sname` and `file`
   * fields too. They replace what the server would send itself.
   */
  readonly options: readonly DhcpOption[];
  /** The same, given also to who does not ask: an operator named them by number. They replace all others. */
  readonly extraOptions: readonly DhcpOption[];
}

/** An IPv6 address that is reserved for a MAC: four words of the guest's prefix. */
export interface Reservation6 {
  readonly mac: Uint8Array;
  readonly address: Ipv6Words;
}

export type Ipv6Words = readonly [number, number, number, number];

/** The DHCPv6 server's view of the world. */
export interface Dhcp6Config {
  /** Of the server's identifier, which is a DUID-LL. */
  readonly serverMac: Uint8Array;
  /** The guest's /64: two words of prefix, two zeros. */
  readonly prefix: Ipv6Words;
  /** First address leased, and how many from there on, at most GUESTS_MAX. */
  readonly rangeStart: Ipv6Words;
  readonly rangeSize: number;
  /** Addresses of the prefix that are ours. */
  readonly ownAddresses: readonly Ipv6Words[];
  readonly reservations: readonly Reservation6[];
  readonly preferredSeconds: number;
  readonly validSeconds: number;
  /** Option 23; empty: not sent. */
  readonly dnsServers: readonly Ipv6Words[];
  /** Option 39, with `domain` behind it. */
  readonly hostname?: string;
  readonly domain?: string;
  /** Option 24. */
  readonly searchDomains: readonly string[];
  /** Option 59. */
  readonly bootUrl?: string;
  /** Any other option by number; replaces one the server would send itself. */
  readonly extraOptions: readonly DhcpOption[];
}

/** IPv6 on the guest's link. */
export interface Ipv6Config {
  /** The guest's /64: two words of prefix, two zeros. */
  readonly prefix: Ipv6Words;
  /** The router's two addresses: link-local, and in the prefix. */
  readonly routerAddress: Ipv6Words;
  readonly gateway: Ipv6Words;
  /** Other machines have addresses of the prefix: they are reached as the host reaches them. */
  readonly shared: boolean;
  /** A default route that a device of ours has whatever routers advertise: this address, or null for none. */
  readonly fixedGateway: Ipv6Words | null;
  /** Address that answers DNS; null when there is none. */
  readonly dns: Ipv6Words | null;
  /** Where forwards go; null for the address that the guest turns out to have. */
  readonly guestAddress: Ipv6Words | null;
  /** `auto`: a default router while the host has a way out (`EngineCore.setUplinks`); `on`: always. */
  readonly defaultRouter: "auto" | "on";
  /** How long addresses made of the prefix are preferred, and good. */
  readonly preferredSeconds: number;
  readonly validSeconds: number;
  /** Announced to who asks no DHCPv6. */
  readonly searchDomains: readonly string[];
  readonly dhcp: Dhcp6Config | null;
}

/** A prefix under which IPv4 addresses are IPv6 ones (RFC 6052 section 2.2). */
export interface Nat64Config {
  /** Zero behind its length. */
  readonly prefix: Ipv6Words;
  /** 32, 40, 48, 56, 64 or 96 bits. */
  readonly length: number;
}

/** Who a target of a policy's rule is. Names are A-labels in small letters without a trailing dot. */
export type PolicyHost =
  | { readonly kind: "name"; readonly name: string }
  /** Every name that ends in `.name`. */
  | { readonly kind: "names-under"; readonly name: string }
  | { readonly kind: "every-name" | "every-address" | "private" | "public" }
  /** Four words, IPv4 as v4-mapped, and how many of their 128 bits count. */
  | { readonly kind: "network"; readonly words: Ipv6Words; readonly prefixLength: number };

export interface PolicyTarget {
  readonly host: PolicyHost;
  /** First and last port of each range. */
  readonly ports: readonly (readonly [number, number])[];
  readonly tcp: boolean;
  readonly udp: boolean;
  /** Of UDP, which has to be QUIC and show the name. Only where a name is allowed. */
  readonly quic?: boolean;
}

/** What a connection must show before octets flow; `none`: the pinned address is enough. */
export type PolicyCheck = "tls" | "http" | "none";

/** Something of the operator's that connections are sent to: it may be the host's own, whatever the guest may reach. */
export type OperatorTarget =
  /** Four words, IPv4 as v4-mapped. */
  | { readonly kind: "tcp"; readonly words: Ipv6Words; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** By what way connections leave that do not go straight. */
export type PolicyWay =
  /** Somewhere else. `proxyHeader`: where they wanted to go is said first (PROXY protocol, version 2). */
  | { readonly kind: "to"; readonly target: OperatorTarget; readonly proxyHeader: boolean }
  /** By a proxy that is told where they want to go, or not at all. */
  | {
      readonly kind: "socks5";
      readonly target: OperatorTarget;
      readonly login?: { readonly user: string; readonly password: string };
    }
  | {
      readonly kind: "http";
      readonly target: OperatorTarget;
      /** User and password, as Basic authentication has them (RFC 7617). */
      readonly credentials?: string;
    };

/** What the flows of a rule may take together. */
export interface PolicyLimit {
  /** Octets of payload a second, each way. */
  readonly rate?: number;
  /** Octets of payload, both ways together, until it is used up. */
  readonly bytes?: number;
  /** TCP connections at a time. */
  readonly connections?: number;
  /** Flows that may begin in a second. */
  readonly newFlows?: number;
}

/** What the whole guest may. */
export interface GuestLimit {
  /** Flows that may begin, and questions it may ask, in a second. */
  readonly newFlows?: number;
  readonly questions?: number;
}

export interface PolicyRule {
  /** `ask`: as allow does, once somebody has said yes. */
  readonly verdict: "allow" | "deny" | "ask";
  readonly name: string;
  readonly targets: readonly PolicyTarget[];
  /** Its names may lead to private addresses. */
  readonly private: boolean;
  /** Undefined: what the port is known for. */
  readonly check?: PolicyCheck;
  /** For the guest, beside the reason. */
  readonly message?: string;
  /** Of `ask`: how long a flow waits for an answer; a minute. */
  readonly withinMs?: number;
  /** Undefined: straight, or as the policy says for all. */
  readonly way?: PolicyWay;
  readonly limit?: PolicyLimit;
}

/** Addresses that stand for names: an IPv4 network whose host part is zero. */
export interface StandInNetwork {
  readonly address: number;
  readonly prefixLength: number;
}

/** Where the guest may go: the first rule that matches a flow decides about it. */
export interface PolicyConfig {
  readonly default: "allow" | "deny";
  /** Nothing is denied or delayed; what would have been is noted. */
  readonly audit: boolean;
  readonly rules: readonly PolicyRule[];
  /** What a question for a denied name gets; `explain`: an address where connections are told why. */
  readonly answers: "nxdomain" | "refused" | "explain";
  /** Refuse a ClientHello that has an encrypted one inside. */
  readonly refuseEch: boolean;
  /** How long a pin lasts beyond its TTL. */
  readonly pinGraceMs: number;
  readonly message?: string;
  /** What asks is refused at once while nobody is there to answer. */
  readonly refuseUnattended?: boolean;
  /** What is allowed leaves this way unless its rule says another. */
  readonly way?: PolicyWay;
  readonly limit?: GuestLimit;
  /** What names get for an address whose rules say by what way they are reached. */
  readonly standIns: StandInNetwork;
}

/** 198.19.0.0/16: half of what is set aside for measurements (RFC 2544), which no network routes. */
export const STAND_INS: StandInNetwork = { address: (198 << 24) | (19 << 16), prefixLength: 16 };

/** Unix sockets that connections of this policy may be sent to. */
export function operatorSockets(policy: PolicyConfig | null): string[] {
  const ways = policy === null ? [] : [policy.way, ...policy.rules.map(({ way }) => way)];
  return ways.flatMap((way) => (way?.target.kind === "unix" ? [way.target.path] : []));
}

export interface EngineConfig {
  /** False: the guest has IPv6 alone. What it says over IPv4 is dropped, ARP included. */
  readonly ipv4: boolean;
  readonly mtu: number;
  /** Network address and prefix of the guest's subnet. */
  readonly network: number;
  readonly prefixLength: number;
  readonly gateway: number;
  /** Address that answers DNS; 0 when there is none (`--no-dns`). */
  readonly dns: number;
  /** Where forwards go and what a hand-configured guest uses; the first DHCP address by default. */
  readonly guestAddress: number;
  /** More addresses that a guest may use without a lease. */
  readonly otherGuestAddresses: readonly number[];
  /** So may it every address of the subnet that is neither ours nor its first or last. */
  readonly anyGuestAddress: boolean;
  /** Forwards that name no guest go to the address heard from, not to `guestAddress`. */
  readonly forwardsFollowGuest: boolean;
  readonly gatewayMac: Uint8Array;
  /** The guest's MAC if it is declared; otherwise learned. */
  readonly guestMac?: Uint8Array;
  readonly dhcp: DhcpConfig | null;
  /** Null: the guest's link carries IPv4 alone. */
  readonly ipv6: Ipv6Config | null;
  /**
   * How the guest's IPv4 destinations are reached while the host has IPv6 alone: under this prefix, or under the one that
   * the host's resolvers know (`auto`). Null: not at all.
   */
  readonly nat64: Nat64Config | "auto" | null;
  /** Resolvers of the host, in order: four v4-mapped words and a port each. Replaced while running. */
  readonly resolvers: readonly ResolverAddress[];
  /** Names that DNS answers with the gateway's address, for the host. */
  readonly dnsHostNames: readonly string[];
  readonly forwards: readonly Forward[];
  readonly guestForwards: readonly GuestForward[];
  /** Addresses and targets are each there once. */
  readonly hostAliases: readonly HostAlias[];
  /** Addresses of the guest's subnet that are neither ours nor the guest's are other machines', as the host reaches them. */
  readonly sharedSubnet: boolean;
  /** Echo requests to our own addresses are answered. */
  readonly answerPing: boolean;
  /** What the guest hears where it may not go: TCP's reset and UDP's silence, or an ICMP message of one of two codes. */
  readonly refuseWith: "reset" | "unreachable" | "prohibited";
  /** Nothing out at all, DNS included; declared forwards and guestfwds still work. */
  readonly restrict: boolean;
  readonly allowHostLoopback: boolean;
  readonly allowLinkLocal: boolean;
  /** Datagrams to groups leave, and their answers come back. */
  readonly allowMulticast: boolean;
  /** RFC 4787 behaviours. */
  readonly udpMapping: "endpoint-independent" | "address-dependent" | "address-and-port-dependent";
  readonly udpFiltering: "endpoint-independent" | "address-dependent" | "address-and-port-dependent";
  readonly udpTimeoutMs: number;
  /** Flows at once, and of these at most so many half-open TCP connections and UDP mappings. */
  readonly maxFlows: number;
  readonly maxHalfOpen: number;
  readonly maxUdpMappings: number;
  /** What payloads of TCP may hold on their way, octets: PAYLOAD_OCTETS_MIN to PAYLOAD_OCTETS_MAX. */
  readonly payloadOctets: number;
  /** Null: everything the rest allows. */
  readonly policy: PolicyConfig | null;
  /** Ignore the guest's announced offload and never use ours. */
  readonly offload: boolean;
}

/** IPv6 as configured, unless the link is too small for it (RFC 8200 section 5). */
export function ipv6OnLink({ ipv6, mtu }: EngineConfig): Ipv6Config | null {
  return mtu < IPV6_MTU_MIN ? null : ipv6;
}

export interface ResolverAddress {
  readonly words: readonly [number, number, number, number];
  readonly port: number;
  /** IPv6 scope for link-local resolvers, or 0. */
  readonly scope: number;
}

const GATEWAY_MAC_PREFIX = [0x52, 0x55];

/** The gateway's MAC in libslirp's plan: 52:55 and the address. */
export function macForGateway(gateway: number): Uint8Array {
  return Uint8Array.from([...GATEWAY_MAC_PREFIX, ...[24, 16, 8, 0].map((bits) => (gateway >>> bits) & 255)]);
}

/** The defaults of the documentation: 10.0.2.0/24, gateway .2, DNS .3, first lease .15, MTU 1500. */
export function defaultEngineConfig(): EngineConfig {
  const network = 0x0a000200;
  const gateway = network + 2;
  const dns = network + 3;
  const guest = network + 15;
  return {
    ipv4: true,
    mtu: MTU_DEFAULT,
    network,
    prefixLength: 24,
    gateway,
    dns,
    guestAddress: guest,
    otherGuestAddresses: [],
    anyGuestAddress: false,
    forwardsFollowGuest: false,
    gatewayMac: macForGateway(gateway),
    dhcp: {
      serverAddress: gateway,
      netmask: 0xffffff00 | 0,
      router: gateway,
      dnsServers: [dns],
      rangeStart: guest,
      rangeSize: 16,
      reservations: [],
      leaseSeconds: 86_400,
      mtu: MTU_DEFAULT,
      sendBroadcast: true,
      routes: [],
      nextServer: 0,
      options: [],
      extraOptions: [],
    },
    ipv6: null,
    nat64: "auto",
    resolvers: [],
    dnsHostNames: [],
    forwards: [],
    guestForwards: [],
    hostAliases: [],
    sharedSubnet: false,
    answerPing: false,
    refuseWith: "reset",
    restrict: false,
    allowHostLoopback: false,
    allowLinkLocal: false,
    allowMulticast: false,
    udpMapping: "endpoint-independent",
    udpFiltering: "address-dependent",
    udpTimeoutMs: 300_000,
    maxFlows: FLOWS_MAX,
    maxHalfOpen: HALF_OPEN_MAX,
    maxUdpMappings: UDP_MAPPINGS_MAX,
    payloadOctets: PAYLOAD_OCTETS_MAX,
    policy: null,
    offload: true,
  };
}

/** Lifetimes of addresses, as libslirp announces them. */
const PREFERRED_SECONDS = 14_400;
const VALID_SECONDS = 86_400;

/**
 * The IPv6 side of the defaults: fd71:1ae0:d44d:2::/64, a ULA whose Global ID is the end of SHA-1 of "sluice" (RFC 4193);
 * router fe80::2 and ::2, DNS ::3, first lease ::15. `serverMac`: the gateway's.
 */
export function defaultIpv6Config(serverMac: Uint8Array): Ipv6Config {
  const at = (low: number): Ipv6Words => [0xfd711ae0 | 0, 0xd44d0002 | 0, 0, low];
  const [prefix, gateway, dns] = [at(0), at(2), at(3)];
  return {
    prefix,
    routerAddress: [0xfe800000 | 0, 0, 0, 2],
    gateway,
    shared: false,
    fixedGateway: null,
    dns,
    guestAddress: null,
    defaultRouter: "auto",
    preferredSeconds: PREFERRED_SECONDS,
    validSeconds: VALID_SECONDS,
    searchDomains: [],
    dhcp: {
      serverMac,
      prefix,
      rangeStart: at(0x15),
      rangeSize: 16,
      ownAddresses: [gateway, dns],
      reservations: [],
      preferredSeconds: PREFERRED_SECONDS,
      validSeconds: VALID_SECONDS,
      dnsServers: [dns],
      searchDomains: [],
      extraOptions: [],
    },
  };
}
