/** Numbers of vhost-user (QEMU's docs/interop/vhost-user.rst) and of a virtio network device (VIRTIO 1.2 section 5.1). */

/** Requests of the front-end. */
export const GET_FEATURES = 1;
export const SET_FEATURES = 2;
export const SET_OWNER = 3;
export const RESET_OWNER = 4;
export const SET_MEM_TABLE = 5;
export const SET_LOG_BASE = 6;
export const SET_LOG_FD = 7;
export const SET_VRING_NUM = 8;
export const SET_VRING_ADDR = 9;
export const SET_VRING_BASE = 10;
export const GET_VRING_BASE = 11;
export const SET_VRING_KICK = 12;
export const SET_VRING_CALL = 13;
export const SET_VRING_ERR = 14;
export const GET_PROTOCOL_FEATURES = 15;
export const SET_PROTOCOL_FEATURES = 16;
export const GET_QUEUE_NUM = 17;
export const SET_VRING_ENABLE = 18;
export const SEND_RARP = 19;
export const NET_SET_MTU = 20;
export const SET_BACKEND_REQ_FD = 21;
export const GET_MAX_MEM_SLOTS = 36;
export const ADD_MEM_REG = 37;
export const REM_MEM_REG = 38;

/** A message is request, flags and size, 32 bits each in the host's order, and a payload. */
export const HEADER_OCTETS = 12;
export const HEADER_INTS = 3;
export const PAYLOAD_OCTETS_MAX = 4096;
/** Flags: two bits of version, always 1; this is an answer; an answer is wanted. */
export const VERSION_MASK = 3;
export const VERSION = 1;
export const REPLY = 4;
export const NEED_REPLY = 8;
/** In the payload of SET_VRING_KICK, CALL and ERR: the ring's number, and that no descriptor came. */
export const VRING_INDEX_MASK = 0xff;
export const VRING_NO_DESCRIPTOR = 0x100;
/** In the flags of SET_VRING_ADDR: writes to the used ring go to the log. */
export const VRING_LOGS_USED = 1;

export const REGIONS_PER_TABLE_MAX = 8;
export const MEMORY_SLOTS_MAX = 32;
export const RING_ENTRIES_MAX = 32_768;

/** Protocol features, by bit. */
export const PROTOCOL_LOG_SHMFD = 1n << 1n;
export const PROTOCOL_REPLY_ACK = 1n << 3n;
export const PROTOCOL_NET_MTU = 1n << 4n;
export const PROTOCOL_BACKEND_REQ = 1n << 5n;
export const PROTOCOL_CONFIGURE_MEM_SLOTS = 1n << 15n;
/** BACKEND_REQ is for requests of ours, of which there are none: User-Mode Linux has no interrupt for the card without it. */
export const PROTOCOL_FEATURES_OFFERED =
  PROTOCOL_LOG_SHMFD |
  PROTOCOL_REPLY_ACK |
  PROTOCOL_NET_MTU |
  PROTOCOL_BACKEND_REQ |
  PROTOCOL_CONFIGURE_MEM_SLOTS;

/** Features of the device, by bit (VIRTIO 1.2 sections 5.1.3 and 6; LOG_ALL and PROTOCOL_FEATURES are vhost's). */
export const CSUM = 1n << 0n;
export const GUEST_CSUM = 1n << 1n;
export const DEVICE_MTU = 1n << 3n;
export const GUEST_TSO4 = 1n << 7n;
export const GUEST_TSO6 = 1n << 8n;
export const HOST_TSO4 = 1n << 11n;
export const HOST_TSO6 = 1n << 12n;
export const MRG_RXBUF = 1n << 15n;
export const LOG_ALL = 1n << 26n;
export const RING_INDIRECT_DESC = 1n << 28n;
export const RING_EVENT_IDX = 1n << 29n;
export const PROTOCOL_FEATURES = 1n << 30n;
export const VERSION_1 = 1n << 32n;
export const GUEST_USO4 = 1n << 54n;
export const GUEST_USO6 = 1n << 55n;
export const HOST_USO = 1n << 56n;

/** What a frame to the guest may leave to it, and what the guest may leave to us. */
const OFFLOADS =
  CSUM | GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | HOST_TSO4 | HOST_TSO6 | GUEST_USO4 | GUEST_USO6 | HOST_USO;
const TRANSPORT = MRG_RXBUF | LOG_ALL | RING_INDIRECT_DESC | RING_EVENT_IDX | PROTOCOL_FEATURES | VERSION_1;

/**
 * What the device offers. Several buffers for one frame, an event index and indirect descriptors are what makes
 * super-frames cheap; packed rings, more queues and a control queue would win nothing with one thread.
 */
export function deviceFeatures(offload: boolean, tellsMtu: boolean): bigint {
  return TRANSPORT | (offload ? OFFLOADS : 0n) | (tellsMtu ? DEVICE_MTU : 0n);
}

export function hasAll(features: bigint, wanted: bigint): boolean {
  return (features & wanted) === wanted;
}

/** Octets of payload each request has at least. */
export const PAYLOADS: ReadonlyMap<number, number> = new Map([
  [GET_FEATURES, 0],
  [SET_FEATURES, 8],
  [SET_OWNER, 0],
  [RESET_OWNER, 0],
  [SET_MEM_TABLE, 8],
  [SET_LOG_BASE, 16],
  [SET_LOG_FD, 0],
  [SET_VRING_NUM, 8],
  [SET_VRING_ADDR, 40],
  [SET_VRING_BASE, 8],
  [GET_VRING_BASE, 8],
  [SET_VRING_KICK, 8],
  [SET_VRING_CALL, 8],
  [SET_VRING_ERR, 8],
  [GET_PROTOCOL_FEATURES, 0],
  [SET_PROTOCOL_FEATURES, 8],
  [GET_QUEUE_NUM, 0],
  [SET_VRING_ENABLE, 8],
  [SEND_RARP, 8],
  [NET_SET_MTU, 8],
  [SET_BACKEND_REQ_FD, 0],
  [GET_MAX_MEM_SLOTS, 0],
  [ADD_MEM_REG, 40],
  [REM_MEM_REG, 40],
]);
