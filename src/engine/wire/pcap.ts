/**
 * Capture files: classic pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), read from octets in
 * memory; classic pcap with microseconds, little-endian, is what we write.
 *
 *   pcap:    | magic | version | zone, accuracy | snaplen | link type |   24 octets, then per packet
 *            | seconds | fraction | captured | original | octets ... |
 *
 *   pcapng:  | type | length | body ... | length |   blocks, padded to 4 octets; a section header (SHB) gives the
 *            byte order, interface blocks (IDB) link type and clock, packet blocks (EPB, SPB, PB) the packets
 */

/** Link type of Ethernet frames (LINKTYPE_ETHERNET). */
export const LINKTYPE_ETHERNET = 1;
/** Octets kept of a packet: more than any super-frame, and what tcpdump uses. */
export const PCAP_SNAPLEN = 262_144;
export const PCAP_FILE_HEADER_OCTETS = 24;
export const PCAP_PACKET_HEADER_OCTETS = 16;

const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const VERSION_MAJOR = 2;
const VERSION_MINOR = 4;

const BLOCK_SECTION_HEADER = 0x0a0d0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_PACKET_OBSOLETE = 2;
const BLOCK_SIMPLE_PACKET = 3;
const BLOCK_ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** Type, length and the length again at the end. */
const BLOCK_OCTETS_MIN = 12;
const OPTION_TIME_RESOLUTION = 9;
const OPTION_END = 0;

/** One packet of a capture. */
export interface CapturedPacket {
  /** Seconds since 1970 with a fraction; 0 where the capture has no time. */
  readonly time: number;
  /** LINKTYPE_ of its interface. */
  readonly linkType: number;
  /** Octets it had on the wire; more than `octets` when it was cut. */
  readonly originalLength: number;
  /** A view into the file. */
  readonly octets: Uint8Array;
}

/** The octets are not a capture, or are damaged in front of the first packet. */
export class CaptureFormatError extends Error {
  readonly code = "ERR_CAPTURE_FORMAT";
  override readonly name = "CaptureFormatError";
}

/**
 * The packets of a capture file, in file order. A file that ends in the middle of a packet (its writer was killed)
 * yields all packets before it. Throws CaptureFormatError when it is no capture at all.
 */
export function* readCapture(file: Uint8Array): Generator<CapturedPacket, void, undefined> {
  if (file.length < 4)
    throw new CaptureFormatError(`a capture starts with a magic number; found ${file.length} octets`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const magic = view.getUint32(0);
  if (magic === BLOCK_SECTION_HEADER) {
    yield* readPcapng(file, view);
    return;
  }
  const swapped = view.getUint32(0, true);
  for (const [found, littleEndian] of [
    [magic, false],
    [swapped, true],
  ] as const) {
    if (found === MAGIC_MICROSECONDS) return yield* readPcap(file, view, littleEndian, 1e6);
    if (found === MAGIC_NANOSECONDS) return yield* readPcap(file, view, littleEndian, 1e9);
  }
  throw new CaptureFormatError(
    `neither pcap nor pcapng: magic number 0x${magic.toString(16).padStart(8, "0")}`,
  );
}

function* readPcap(
  file: Uint8Array,
  view: DataView,
  littleEndian: boolean,
  ticksPerSecond: number,
): Generator<CapturedPacket, void, undefined> {
  if (file.length < PCAP_FILE_HEADER_OCTETS) throw new CaptureFormatError("pcap file header is cut short");
  // The top bits of the link type field say whether frames end in a checksum; they are not part of the type.
  const linkType = view.getUint32(20, littleEndian) & 0xffff;
  for (let at = PCAP_FILE_HEADER_OCTETS; at + PCAP_PACKET_HEADER_OCTETS <= file.length; ) {
    const captured = view.getUint32(at + 8, littleEndian);
    const octetsAt = at + PCAP_PACKET_HEADER_OCTETS;
    if (captured > file.length - octetsAt) return;
    yield {
      time: view.getUint32(at, littleEndian) + view.getUint32(at + 4, littleEndian) / ticksPerSecond,
      linkType,
      originalLength: view.getUint32(at + 12, littleEndian),
      octets: file.subarray(octetsAt, octetsAt + captured),
    };
    at = octetsAt + captured;
  }
}

interface Interface {
  readonly linkType: number;
  readonly snaplen: number;
  readonly ticksPerSecond: number;
}

function* readPcapng(file: Uint8Array, view: DataView): Generator<CapturedPacket, void, undefined> {
  let littleEndian = false;
  let interfaces: Interface[] = [];
  for (let at = 0; at + BLOCK_OCTETS_MIN <= file.length; ) {
    // A section header's type reads the same in both byte orders, so it is known before the order is.
    const isSection = view.getUint32(at) === BLOCK_SECTION_HEADER;
    if (isSection) {
      littleEndian = view.getUint32(at + 8, true) === BYTE_ORDER_MAGIC;
      if (!littleEndian && view.getUint32(at + 8) !== BYTE_ORDER_MAGIC) {
        throw new CaptureFormatError(`pcapng section at octet ${at} has no byte order magic`);
      }
      interfaces = [];
    }
    const type = view.getUint32(at, littleEndian);
    const length = view.getUint32(at + 4, littleEndian);
    if (length < BLOCK_OCTETS_MIN || (length & 3) !== 0 || length > file.length - at) return;
    const bodyAt = at + 8;
    const bodyEnd = at + length - 4;
    if (!isSection) {
      if (type === BLOCK_INTERFACE) {
        const found = readInterface(view, bodyAt, bodyEnd, littleEndian);
        if (found === null) return;
        interfaces.push(found);
      } else {
        const packet = readPacketBlock(file, view, type, bodyAt, bodyEnd, littleEndian, interfaces);
        if (packet !== null) yield packet;
      }
    }
    at += length;
  }
}

function readInterface(view: DataView, at: number, end: number, littleEndian: boolean): Interface | null {
  if (end - at < 8) return null;
  let ticksPerSecond = 1e6;
  for (let option = at + 8; option + 4 <= end; ) {
    const code = view.getUint16(option, littleEndian);
    const length = view.getUint16(option + 2, littleEndian);
    if (code === OPTION_END || option + 4 + length > end) break;
    if (code === OPTION_TIME_RESOLUTION && length >= 1) {
      const resolution = view.getUint8(option + 4);
      ticksPerSecond = resolution & 0x80 ? 2 ** (resolution & 0x7f) : 10 ** resolution;
    }
    option += 4 + ((length + 3) & ~3);
  }
  const snaplen = view.getUint32(at + 4, littleEndian);
  return { linkType: view.getUint16(at, littleEndian), snaplen: snaplen || 0xffffffff, ticksPerSecond };
}

/** The packet of an EPB, SPB or PB; null for any other block and for one whose lengths or interface do not hold. */
function readPacketBlock(
  file: Uint8Array,
  view: DataView,
  type: number,
  at: number,
  end: number,
  littleEndian: boolean,
  interfaces: readonly Interface[],
): CapturedPacket | null {
  const room = end - at;
  if (type === BLOCK_SIMPLE_PACKET) {
    const from = interfaces[0];
    if (room < 4 || !from) return null;
    const originalLength = view.getUint32(at, littleEndian);
    const captured = Math.min(originalLength, from.snaplen, room - 4);
    return {
      time: 0,
      linkType: from.linkType,
      originalLength,
      octets: file.subarray(at + 4, at + 4 + captured),
    };
  }
  if ((type !== BLOCK_ENHANCED_PACKET && type !== BLOCK_PACKET_OBSOLETE) || room < 20) return null;
  const index =
    type === BLOCK_ENHANCED_PACKET ? view.getUint32(at, littleEndian) : view.getUint16(at, littleEndian);
  const from = interfaces[index];
  const captured = view.getUint32(at + 12, littleEndian);
  if (!from || captured > room - 20) return null;
  const ticks = view.getUint32(at + 4, littleEndian) * 2 ** 32 + view.getUint32(at + 8, littleEndian);
  return {
    time: ticks / from.ticksPerSecond,
    linkType: from.linkType,
    originalLength: view.getUint32(at + 16, littleEndian),
    octets: file.subarray(at + 20, at + 20 + captured),
  };
}

/** The 24 octets a capture of Ethernet frames starts with. */
export function writePcapFileHeader(view: DataView, at: number): void {
  view.setUint32(at, MAGIC_MICROSECONDS, true);
  view.setUint16(at + 4, VERSION_MAJOR, true);
  view.setUint16(at + 6, VERSION_MINOR, true);
  view.setUint32(at + 8, 0, true);
  view.setUint32(at + 12, 0, true);
  view.setUint32(at + 16, PCAP_SNAPLEN, true);
  view.setUint32(at + 20, LINKTYPE_ETHERNET, true);
}

/** The 16 octets in front of a packet of `octets` octets, captured whole at `seconds` and `microseconds` since 1970. */
export function writePcapPacketHeader(
  view: DataView,
  at: number,
  seconds: number,
  microseconds: number,
  octets: number,
): void {
  view.setUint32(at, seconds, true);
  view.setUint32(at + 4, microseconds, true);
  view.setUint32(at + 8, octets, true);
  view.setUint32(at + 12, octets, true);
}

/** Octets kept of the packet whose header, as written above, is at `at`. */
export function pcapPacketLength(view: DataView, at: number): number {
  return view.getUint32(at + 8, true);
}
