/**
 * The one ArrayBuffer every packet octet lives in. It is laid out once at start and registered with the shim;
 * from then on the data path names octets by absolute offsets. Untouched pages cost no memory.
 */
import {
  DNS_REGION_OCTETS,
  DROP_RING_OCTETS,
  LARGE_CHUNK_OCTETS,
  LARGE_CHUNKS,
  RECORD_RING_OCTETS,
  RX_WINDOW_OCTETS,
  SCRATCH_OCTETS,
  SMALL_CHUNK_OCTETS,
  SMALL_CHUNKS,
  TX_HEADER_SLOT_OCTETS,
  TX_QUEUE_MAX,
  UDP_RX_RUN_OCTETS,
  UDP_RX_SLOT_OCTETS,
  UDP_RX_SLOTS,
} from "../limits.ts";

const PAGE_OCTETS = 4096;
/** Descriptors the shim reads and writes (iovecs, events, lengths): 64 Ki int32. */
const DESCRIPTOR_OCTETS = 262_144;

export class Arena {
  readonly buffer: ArrayBuffer;
  /** For header fields: network order by default, as DataView has it. */
  readonly view: DataView;
  readonly octets: Uint8Array;
  /** For descriptors shared with the shim: host order, index = offset / 4. */
  readonly ints: Int32Array;

  /** Where each region starts. */
  readonly rxWindowAt: number;
  readonly txHeadersAt: number;
  readonly udpSlotsAt: number;
  readonly udpRunAt: number;
  readonly scratchAt: number;
  readonly descriptorsAt: number;
  readonly descriptorsLength = DESCRIPTOR_OCTETS;
  readonly smallChunksAt: number;
  readonly largeChunksAt: number;
  readonly reassemblyAt: number;
  readonly dnsAt: number;
  readonly tftpAt: number;
  readonly recordsAt: number;
  readonly dropsAt: number;

  constructor(reassemblyOctets = 0) {
    let end = PAGE_OCTETS; // Offset 0 stays unused, so that 0 can mean "none".
    const region = (octets: number): number => {
      const at = end;
      end += Math.ceil(octets / PAGE_OCTETS) * PAGE_OCTETS;
      return at;
    };
    this.rxWindowAt = region(RX_WINDOW_OCTETS);
    this.txHeadersAt = region(TX_QUEUE_MAX * TX_HEADER_SLOT_OCTETS);
    this.udpSlotsAt = region(UDP_RX_SLOTS * UDP_RX_SLOT_OCTETS);
    this.udpRunAt = region(UDP_RX_RUN_OCTETS);
    this.scratchAt = region(SCRATCH_OCTETS);
    this.descriptorsAt = region(DESCRIPTOR_OCTETS);
    this.reassemblyAt = region(reassemblyOctets);
    this.dnsAt = region(DNS_REGION_OCTETS);
    this.tftpAt = region(SCRATCH_OCTETS);
    this.recordsAt = region(RECORD_RING_OCTETS);
    this.dropsAt = region(DROP_RING_OCTETS);
    this.smallChunksAt = region(SMALL_CHUNKS * SMALL_CHUNK_OCTETS);
    this.largeChunksAt = region(LARGE_CHUNKS * LARGE_CHUNK_OCTETS);
    this.buffer = new ArrayBuffer(end);
    this.view = new DataView(this.buffer);
    this.octets = new Uint8Array(this.buffer);
    this.ints = new Int32Array(this.buffer);
  }
}
