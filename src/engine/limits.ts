/**
 * Every size of the engine, with the sum behind it. Each is a bound: full means a counted drop, a refusal, or that the
 * oldest gives way. Octets lie in the arena, which has its size from the start; flows, mappings and the remotes of a
 * mapping are objects made on first use and used again, so the heap grows up to these numbers and no further.
 */

/** Room in front of every payload for headers: 10 vnet + 4 stream length + 14 Ethernet + 60 IP + 60 TCP = 148. */
export const HEADROOM_OCTETS = 160;

/** Largest IPv4 packet (16-bit total length). */
export const IP_PACKET_MAX = 65535;

/** Largest legal frame: 14 Ethernet + 4 VLAN + 65535 IP. QEMU's own limit is the same 64 KiB class. */
export const FRAME_MAX = 65553;

/** Smallest MTU a host must accept (RFC 791) and the largest a TAP takes. */
export const MTU_MIN = 576;
export const MTU_MAX = 65521;
/** Ethernet's usual; a guest that is told nothing takes it. */
export const MTU_DEFAULT = 1500;

/** Octets between two receive slots when frames are super-frames: headroom + frame, rounded to 4 KiB. */
export const RX_SUPER_SLOT_OCTETS = 69_632;
/** Super-frames read in one batch: 8 x 64 KiB keeps a batch inside a 2 MiB second-level cache. */
export const RX_SUPER_SLOTS = 8;
/** The receive window of a link: 8 super-slots, or the same octets cut into plain-frame slots or one stream. */
export const RX_WINDOW_OCTETS = RX_SUPER_SLOT_OCTETS * RX_SUPER_SLOTS;
/** Frames a batch may hold, whatever the link (plain frames: 557056 / 2048 = 272, bounded here). */
export const RX_BATCH_MAX = 256;

/** Frames waiting for the link. 512 headers of 256 octets = 128 KiB. */
export const TX_QUEUE_MAX = 512;
export const TX_HEADER_SLOT_OCTETS = 256;

/**
 * The bounds of flows are options; these are their defaults, and the most that a token can number. Tables for all of them
 * are laid out at start, and their pages touched as flows come.
 *
 * Flows, TCP and UDP together. One flow is one host file descriptor, so RLIMIT_NOFILE may bound it lower: with everything
 * else there are fewer than the 65,536 that many services are given.
 */
export const FLOWS_MAX = 57_344;
export const FLOWS_MOST = 1_048_576;
/** TCP flows whose handshake is not finished, of all flows: a SYN flood takes no more. The oldest gives way. */
export const HALF_OPEN_MAX = 8_192;
/**
 * UDP mappings (one host socket each), of all flows. One that is not in use gives way. A crawler that opens 20,000 a
 * minute has 40,000 in use, for each is in use for two minutes after its answer.
 */
export const UDP_MAPPINGS_MAX = 49_152;
/**
 * Remotes remembered by one UDP mapping for filtering, 8 octets each (20 over IPv6): more than a DHT node hears within a
 * round trip. By all of them together: 8 Mi * 8 octets = 64 MiB, or 160 MiB if all are of IPv6. Room for them is made as they come.
 */
export const UDP_PEERS_PER_MAPPING_MAX = 1024;
export const UDP_PEERS_MAX = 8_388_608;

/** Small chunks: 4096 x 4 KiB = 16 MiB of address space, touched only when used. */
export const SMALL_CHUNK_OCTETS = 4096;
export const SMALL_CHUNKS = 4096;
/** Large chunks: 2048 x 64 KiB = 128 MiB of address space, touched only when used. */
export const LARGE_CHUNK_OCTETS = 65_536;
export const LARGE_CHUNKS = 2048;
/**
 * How much of both may be used is an option: this is its default, 144 MiB, and its most. The least is eight times what one
 * read of one connection takes (4 large chunks), so that several go on at once.
 */
export const PAYLOAD_OCTETS_MAX = SMALL_CHUNKS * SMALL_CHUNK_OCTETS + LARGE_CHUNKS * LARGE_CHUNK_OCTETS;
export const PAYLOAD_OCTETS_MIN = 8 * 4 * LARGE_CHUNK_OCTETS;

/** Datagrams received from host sockets in one batch; each lands in a slot with headroom. */
export const UDP_RX_SLOTS = 64;
export const UDP_RX_SLOT_OCTETS = 69_632;
/** Where datagrams of one size are received end to end instead, so that a run of them leaves as one super-frame. */
export const UDP_RX_RUN_OCTETS = UDP_RX_SLOTS * 2048;

/** Guests (ARP entries and leases) on one link: libslirp's 16. */
export const GUESTS_MAX = 16;

/**
 * IP reassembly: queues, octets per datagram is IP_PACKET_MAX, fragments per queue (the largest datagram at the
 * smallest MTU is 65515 / 552 = 119 of them), time (RFC 791: 15-60 s).
 */
export const REASSEMBLY_QUEUES_MAX = 16;
export const REASSEMBLY_FRAGMENTS_MAX = 128;
export const REASSEMBLY_TIMEOUT_MS = 30_000;

/** How long a fragmented IPv6 datagram may take (RFC 8200 section 4.5). */
export const REASSEMBLY6_TIMEOUT_MS = 60_000;

/** Smallest MTU of a link that carries IPv6 (RFC 8200 section 5). */
export const IPV6_MTU_MIN = 1280;

/**
 * IPv6 addresses of guests on one link: sixteen guests, each with a link-local, a leased, a stable and a temporary
 * one. A single MAC takes at most three quarters, so that one guest's inventions leave room for the others.
 */
export const NEIGHBOURS6_MAX = 64;
export const NEIGHBOURS6_PER_MAC_MAX = 48;

/** Extension headers of one packet, and octets of them together (RFC 8504 section 5.3 lets a node bound both). */
export const EXTENSION_HEADERS_MAX = 8;
export const EXTENSION_OCTETS_MAX = 512;

/**
 * DNS queries waiting for an answer (one host socket each), and the longest one carried. A query is a question and
 * an OPT record, well under 512 octets; updates with a signature (RFC 2136, 8945) are the long ones.
 */
export const DNS_QUERIES_MAX = 512;
export const DNS_QUERY_OCTETS_MAX = 4096;
/**
 * Questions asked over TCP at once (one host socket each), with room for the longest answer (16-bit length): 64 slots of
 * 2 + 4096 octets of query and 2 + 65535 of answer, 4.3 MiB of address space, touched only when used.
 */
export const DNS_TCP_QUERIES_MAX = 64;
export const DNS_TCP_SLOT_OCTETS = 69_760;
/** Where a query over TCP is put together and answers of our own are made. */
export const DNS_SCRATCH_OCTETS = 8192;
/** What DNS needs of the arena. */
export const DNS_REGION_OCTETS =
  DNS_QUERIES_MAX * DNS_QUERY_OCTETS_MAX + DNS_TCP_QUERIES_MAX * DNS_TCP_SLOT_OCTETS + DNS_SCRATCH_OCTETS;
/** Who waits for an answer: the same question asked at a time by several is one question with several askers. */
export const DNS_ASKERS_MAX = 1024;
/** TCP connections of the guest to the DNS address, and questions one of them may have under way (RFC 7766 section 6.2.1.1). */
export const DNS_STREAMS_MAX = 64;
export const DNS_STREAM_QUERIES_MAX = 16;
/** Answers the guest has yet to acknowledge on one of them before more questions are taken. */
export const DNS_STREAM_QUEUE_OCTETS = 131_072;

/** Files on their way to guests by TFTP, a descriptor each: several for each guest of a link. */
export const TFTP_TRANSFERS_MAX = 32;

/**
 * Records for a supervisor that asks for them: 192 KiB are 1,400 flows that ended, 64 KiB some 500 drops. Apart, so that a
 * flood of drops pushes nothing else out. Address space only while nobody asks.
 */
export const RECORD_RING_OCTETS = 196_608;
export const DROP_RING_OCTETS = 65_536;

/** Datagrams of a super-frame. Senders make 128 at most; a card in shared memory says what its guest says. */
export const UDP_SEGMENTS_MAX = 512;

/** Octets of the scratch area for replies built by services (one at a time). */
export const SCRATCH_OCTETS = 69_632;

/**
 * A policy's rules, and the targets of all of them. A name takes 256 octets of the table that is laid out for them (8,192:
 * 2 MiB), a pin 32 (16,384: 0.5 MiB); both are touched when used.
 */
export const POLICY_RULES_MAX = 1024;
export const POLICY_TARGETS_MAX = 65_536;
export const POLICY_NAMES_MAX = 8192;
export const PINS_MAX = 16_384;
/** Pins told to people at a time. */
export const PIN_ROWS_MAX = 4096;
/** Names that lead to one address. */
export const PINS_PER_ADDRESS_MAX = 16;
/** Remotes of UDP whose verdict is remembered: a power of two. */
export const POLICY_UDP_REMOTES_MAX = 8192;
/** Connections that wait for somebody to decide. */
export const WAITING_SYNS_MAX = 512;
/** Questions that wait for an answer, and those listed with their answers. */
export const QUESTIONS_OPEN_MAX = 64;
export const QUESTIONS_MAX = 256;
/** Targets whose denials are counted one by one. */
export const DENIALS_MAX = 1024;
/**
 * Connections that wait to show a name, octets that one of them may send meanwhile, and octets of all. The longest
 * ClientHello and request head: what servers take (16 KiB).
 */
export const HELD_NAMES_MAX = 1024;
export const HELD_NAME_OCTETS = 16_384;
export const HELD_NAMES_OCTETS = 4_194_304;
/**
 * QUIC where names are looked at: remotes of guest's ports that have shown one or are about to, and handshakes that are
 * followed. One of these may say so much (the longest ClientHello), and so many datagrams and octets of it are kept until its
 * name is known: 3 MiB for all, taken when used.
 */
export const QUIC_FLOWS_MAX = 1024;
export const QUIC_HANDSHAKES_MAX = 128;
export const QUIC_HANDSHAKES_PER_FLOW = 4;
export const QUIC_CRYPTO_OCTETS = 8192;
export const QUIC_HELD_MAX = 4;
export const QUIC_HELD_OCTETS = 8192;
/**
 * Connections on their way to a proxy, another target or an address that has yet to be asked for: each has a name of 253
 * octets and a reply of 262 in hand.
 */
export const DETOURS_MAX = 1024;
