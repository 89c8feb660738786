/**
 * One front-end's session: its messages, the memory and rings it shares, and the link made of them.
 *
 *   messages ---> features, memory, rings ---> both rings run ---> attach(link) ... detach ---> attach(next link)
 *
 * A ring runs when it has memory, addresses, a kick and (where protocol features were agreed on) is enabled. The link is
 * attached while both run, so a driver that lets go of its card and takes it again (a reboot) is a link that went and came;
 * flows stay. New memory or addresses under a running ring are taken over in place, between two turns.
 *
 * The front-end is as little trusted as the guest: a message that is out of order or out of bounds is refused, or ends the
 * session with one sentence. Every descriptor that came is owned here and closed here.
 */
import type { Counters } from "../../engine/metrics/counters.ts";
import { counter } from "../../engine/metrics/counters.ts";
import { EFAULT } from "../native/linux.ts";
import { native } from "../native/native.ts";
import type { TapOptions } from "./tap.ts";
import { VhostChannel } from "./vhost-channel.ts";
import { headerOctetsOf, RECEIVE_RING, TRANSMIT_RING, VhostLink } from "./vhost-link.ts";
import { GuestMemory } from "./vhost-memory.ts";
import * as protocol from "./vhost-protocol.ts";

const UNKNOWN_REQUEST = counter("vhost-unknown-request");

/** What became of a request: an answer of its own, `done`, or why not. */
type Outcome = bigint | "done" | { readonly refused: string } | { readonly fatal: string };

const refused = (reason: string): Outcome => ({ refused: reason });
const fatal = (reason: string): Outcome => ({ fatal: reason });

/** What a session needs of its source. */
export interface VhostHost {
  readonly attach: (link: VhostLink) => void;
  /** Takes the link out of the core; the guest may come back. */
  readonly detach: (reason: string) => void;
  /** Something of the attached link may be ready that no kick told of. */
  readonly poke: () => void;
  /** The session's socket is about to be closed. */
  readonly releasing: () => void;
  /** The session is over and everything of it closed. `reason` is empty when it has been told. */
  readonly ended: (reason: string) => void;
}

interface Ring {
  entries: number;
  base: number;
  /** As the message has them: descriptors, used and available ring, and the log's address, two ints each. */
  readonly addresses: Int32Array;
  hasAddresses: boolean;
  logsUsed: boolean;
  kick: number;
  call: number;
  enabled: boolean;
}

function newRing(): Ring {
  return {
    entries: 0,
    base: 0,
    addresses: new Int32Array(8),
    hasAddresses: false,
    logsUsed: false,
    kick: -1,
    call: -1,
    enabled: false,
  };
}

export class VhostSession {
  /** The front-end has said something. */
  spoke = false;
  private readonly channel: VhostChannel;
  private readonly message: Int32Array;
  private open = true;
  private readonly offered: bigint;
  private features = 0n;
  private protocolFeatures = 0n;
  private readonly rings: readonly [Ring, Ring] = [newRing(), newRing()];
  private readonly memory: GuestMemory;
  private link: VhostLink | null = null;
  private readonly told = new Set<number>();
  private backendSocket = -1;

  /** `fd` is a connected, non-blocking Unix stream socket; the session closes it. */
  constructor(
    private readonly fd: number,
    private readonly name: string,
    private readonly host: VhostHost,
    private readonly options: TapOptions & { readonly tellsMtu: boolean; readonly counters: Counters },
  ) {
    this.channel = new VhostChannel(fd, {
      message: (request) => this.hear(request),
      broken: (reason) => this.end(reason),
    });
    this.message = this.channel.message;
    this.offered = protocol.deviceFeatures(options.offload, options.tellsMtu);
    this.memory = new GuestMemory(name, options.log);
  }

  // --- messages --------------------------------------------------------------------------------------------------

  /** The socket is readable: handles what has come. */
  readonly readable = (): void => {
    this.channel.read();
  };

  private hear(request: number): void {
    this.spoke = true;
    this.settle(request, this.perform(request));
  }

  private settle(request: number, outcome: Outcome): void {
    const { needsReply } = this.channel;
    if (!this.open) return;
    if (typeof outcome === "bigint") {
      this.channel.answer(request, outcome);
    } else if (outcome === "done") {
      if (needsReply) this.channel.answer(request, 0n);
    } else if ("fatal" in outcome) {
      this.end(outcome.fatal);
    } else if (needsReply) {
      this.tellOnce(request, outcome.refused);
      this.channel.answer(request, 1n);
    } else if (outcome.refused !== "") {
      this.end(outcome.refused);
    }
  }

  private tellOnce(request: number, reason: string): void {
    if (reason === "" || this.told.has(request)) return;
    this.told.add(request);
    this.options.log.warn(`${this.name}: ${reason}`);
  }

  private perform(request: number): Outcome {
    const least = protocol.PAYLOADS.get(request);
    if (least === undefined) {
      this.options.counters.add(UNKNOWN_REQUEST, 1);
      if ((this.message[1] & protocol.NEED_REPLY) === 0)
        this.tellOnce(request, `request ${request} is unknown`);
      return refused((this.message[1] & protocol.NEED_REPLY) === 0 ? "" : `request ${request} is unknown`);
    }
    if (this.message[2] < least)
      return fatal(`request ${request} with ${this.message[2]} octets, not ${least}`);
    switch (request) {
      case protocol.GET_FEATURES:
        return this.offered;
      case protocol.SET_FEATURES:
        return this.setFeatures(this.channel.number());
      case protocol.GET_PROTOCOL_FEATURES:
        return protocol.PROTOCOL_FEATURES_OFFERED;
      case protocol.SET_PROTOCOL_FEATURES:
        return this.setProtocolFeatures(this.channel.number());
      case protocol.GET_QUEUE_NUM:
        return 1n;
      case protocol.GET_MAX_MEM_SLOTS:
        return BigInt(protocol.MEMORY_SLOTS_MAX);
      case protocol.NET_SET_MTU:
        return this.channel.number() <= BigInt(this.options.mtu)
          ? "done"
          : refused(`an MTU of ${this.channel.number()}, over the ${this.options.mtu} of --mtu`);
      case protocol.SET_MEM_TABLE:
        return this.setMemory();
      case protocol.ADD_MEM_REG:
      case protocol.REM_MEM_REG:
        return this.changeMemory(request === protocol.ADD_MEM_REG);
      case protocol.SET_LOG_BASE:
        return this.setLog();
      case protocol.SET_BACKEND_REQ_FD:
        return this.keepBackendSocket();
      case protocol.SET_VRING_NUM:
      case protocol.SET_VRING_ADDR:
      case protocol.SET_VRING_BASE:
      case protocol.GET_VRING_BASE:
      case protocol.SET_VRING_ENABLE:
        return this.ringRequest(request);
      case protocol.SET_VRING_KICK:
      case protocol.SET_VRING_CALL:
        return this.ringDescriptor(request);
      default:
        // SET_OWNER, RESET_OWNER, SET_LOG_FD, SET_VRING_ERR, SEND_RARP: nothing to do here.
        return "done";
    }
  }

  private setFeatures(features: bigint): Outcome {
    if ((features & ~this.offered) !== 0n) {
      return fatal(`features 0x${features.toString(16)} of 0x${this.offered.toString(16)} that are offered`);
    }
    const changed = features ^ this.features;
    // A log is switched on and off while the rings run; anything else is another card.
    if ((changed & ~protocol.LOG_ALL) !== 0n) this.halt("its driver asks for other features");
    this.features = features;
    this.memory.setLogging((features & protocol.LOG_ALL) !== 0n);
    return this.startIfReady();
  }

  private setProtocolFeatures(features: bigint): Outcome {
    if ((features & ~protocol.PROTOCOL_FEATURES_OFFERED) !== 0n) {
      return fatal(`protocol features 0x${features.toString(16)}, which are not all offered`);
    }
    this.protocolFeatures = features;
    return "done";
  }

  // --- memory ----------------------------------------------------------------------------------------------------

  private setMemory(): Outcome {
    const { message } = this;
    const came = this.channel.descriptorCount;
    const count = message[protocol.HEADER_INTS];
    const octets = 8 + 32 * count;
    if (count < 0 || count > protocol.REGIONS_PER_TABLE_MAX || message[2] < octets) {
      return fatal(`a memory table of ${count >>> 0} regions in ${message[2]} octets`);
    }
    if (came !== count) return refused(withoutDescriptors(came, count));
    return this.inPlace(() => {
      this.memory.clear();
      for (let i = 0; i < count; i++) {
        const at = protocol.HEADER_INTS + 2 + 8 * i;
        const fd = this.channel.takeDescriptor();
        const problem = this.memory.add(fd, message.subarray(at, at + 8));
        native.close(fd);
        if (problem === "") continue;
        // Half a table is none: rings that go on would find parts of what the guest has.
        this.memory.clear();
        return refused(problem);
      }
      return "done";
    });
  }

  private changeMemory(isNew: boolean): Outcome {
    const at = protocol.HEADER_INTS + 2;
    const region = this.message.subarray(at, at + 8);
    if (!isNew)
      return this.inPlace(() =>
        this.memory.remove(region) ? "done" : refused("it removes memory that is not there"),
      );
    const fd = this.channel.takeDescriptor();
    if (fd < 0) return refused(withoutDescriptors(0, 1));
    const outcome = this.inPlace((): Outcome => {
      const problem = this.memory.add(fd, region);
      return problem === "" ? "done" : refused(problem);
    });
    native.close(fd);
    return outcome;
  }

  /** Where requests of ours would go. It stays open: the front-end would take its end for ours. */
  private keepBackendSocket(): Outcome {
    if (this.backendSocket >= 0) native.close(this.backendSocket);
    this.backendSocket = this.channel.takeDescriptor();
    return this.backendSocket < 0 ? refused("a channel for requests without its descriptor") : "done";
  }

  private setLog(): Outcome {
    const fd = this.channel.takeDescriptor();
    if (fd < 0) return refused("a log without its descriptor");
    const at = protocol.HEADER_INTS;
    const problem = this.memory.openLog(fd, this.message.subarray(at, at + 4));
    native.close(fd);
    if (problem !== "") return fatal(problem);
    // With LOG_SHMFD the answer is the request's own, asked for or not.
    return protocol.hasAll(this.protocolFeatures, protocol.PROTOCOL_LOG_SHMFD) ? 0n : "done";
  }

  // --- rings -----------------------------------------------------------------------------------------------------

  private ringRequest(request: number): Outcome {
    const index = this.message[protocol.HEADER_INTS];
    const value = this.message[protocol.HEADER_INTS + 1];
    if (index !== RECEIVE_RING && index !== TRANSMIT_RING) return fatal(`ring ${index >>> 0} of 2`);
    const ring = this.rings[index];
    switch (request) {
      case protocol.SET_VRING_NUM:
        if (value <= 0 || value > protocol.RING_ENTRIES_MAX || (value & (value - 1)) !== 0) {
          return fatal(
            `a ring of ${value >>> 0} entries, no power of two up to ${protocol.RING_ENTRIES_MAX}`,
          );
        }
        if (value !== ring.entries) this.halt("its driver changes a ring");
        ring.entries = value;
        return "done";
      case protocol.SET_VRING_BASE:
        if (value < 0 || value > 0xffff) return fatal(`a ring's index ${value >>> 0}, over 65535`);
        this.halt("its driver changes a ring");
        ring.base = value;
        return "done";
      case protocol.GET_VRING_BASE:
        return this.stopRing(index);
      case protocol.SET_VRING_ENABLE:
        return this.enableRing(index, value !== 0);
      default:
        return this.inPlace(() => this.setAddresses(ring, value));
    }
  }

  private setAddresses(ring: Ring, flags: number): Outcome {
    const at = protocol.HEADER_INTS + 2;
    ring.addresses.set(this.message.subarray(at, at + 8));
    ring.hasAddresses = true;
    ring.logsUsed = (flags & protocol.VRING_LOGS_USED) !== 0;
    return "done";
  }

  /** GET_VRING_BASE: the ring stops, and the driver may take it up again from where it stopped. */
  private stopRing(index: 0 | 1): Outcome {
    const ring = this.rings[index];
    this.halt("its driver has stopped");
    closeKept(ring);
    return BigInt(index) | (BigInt(ring.base) << 32n);
  }

  private enableRing(index: 0 | 1, on: boolean): Outcome {
    this.rings[index].enabled = on;
    if (this.link !== null) {
      if (index === RECEIVE_RING) this.link.toGuest = on;
      else this.link.fromGuest = on;
      this.host.poke();
      return "done";
    }
    return this.startIfReady();
  }

  private ringDescriptor(request: number): Outcome {
    const payload = this.message[protocol.HEADER_INTS];
    const index = payload & protocol.VRING_INDEX_MASK;
    if (index !== RECEIVE_RING && index !== TRANSMIT_RING) return fatal(`ring ${index} of 2`);
    const ring = this.rings[index];
    const fd = (payload & protocol.VRING_NO_DESCRIPTOR) === 0 ? this.channel.takeDescriptor() : -1;
    if (fd < 0 && (payload & protocol.VRING_NO_DESCRIPTOR) === 0)
      return fatal("a kick or call without its descriptor");
    const isCall = request === protocol.SET_VRING_CALL;
    const result = fd < 0 ? 0 : native.vhostCheckEvent(fd, isCall ? 1 : 0);
    if (result < 0) {
      native.close(fd);
      return fatal("a kick or call that is no eventfd");
    }
    if (isCall) {
      const before = ring.call;
      ring.call = fd;
      native.vhostCall(index, fd);
      if (before >= 0) native.close(before);
      return "done";
    }
    if (fd < 0) return fatal("a ring that is to be polled; a kick is needed");
    this.halt("its driver changes a kick");
    if (ring.kick >= 0) native.close(ring.kick);
    ring.kick = fd;
    return this.startIfReady();
  }

  private isReady(ring: Ring): boolean {
    const needsEnable = (this.features & protocol.PROTOCOL_FEATURES) !== 0n;
    return ring.entries > 0 && ring.hasAddresses && ring.kick >= 0 && (ring.enabled || !needsEnable);
  }

  private startIfReady(): Outcome {
    if (this.link !== null || !this.rings.every((ring) => this.isReady(ring))) return "done";
    if (this.memory.isEmpty) {
      // A front-end that has no memory to share may say nothing of it, and start the rings all the same.
      this.tellOnce(protocol.SET_MEM_TABLE, withoutDescriptors(0, 1));
      return "done";
    }
    const failure = this.startRings();
    if (failure !== "") return refused(failure);
    const [receive, transmit] = this.rings;
    this.link = new VhostLink(transmit.kick, receive.kick, this.name, this.features, this.options);
    this.host.attach(this.link);
    return "done";
  }

  /** Has the shim run both rings. Returns a sentence when one cannot. */
  private startRings(): string {
    for (const index of [RECEIVE_RING, TRANSMIT_RING] as const) {
      const ring = this.rings[index];
      const result = native.vhostRing(index, this.describeRing(ring));
      if (result >= 0) {
        native.vhostCall(index, ring.call);
        continue;
      }
      native.vhostStop(RECEIVE_RING);
      return result === EFAULT
        ? `ring ${index} is not in the memory that is shared`
        : `ring ${index}: its parts are not aligned`;
    }
    return "";
  }

  private describeRing(ring: Ring): Int32Array {
    const { features } = this;
    const a = ring.addresses;
    const flags =
      (protocol.hasAll(features, protocol.RING_EVENT_IDX) ? 1 : 0) |
      (protocol.hasAll(features, protocol.RING_INDIRECT_DESC) ? 2 : 0) |
      (ring.logsUsed ? 4 : 0) |
      (protocol.hasAll(features, protocol.MRG_RXBUF) ? 8 : 0) |
      (headerOctetsOf(features) === 12 ? 16 : 0);
    // The message has the used ring before the available one, the record behind it.
    return Int32Array.of(ring.entries, ring.base, flags, 0, a[0], a[1], a[4], a[5], a[2], a[3], a[6], a[7]);
  }

  /** Has the shim stop both rings and keeps where they were. */
  private stopRings(): void {
    for (const index of [RECEIVE_RING, TRANSMIT_RING] as const)
      this.rings[index].base = native.vhostStop(index);
  }

  /** Changes what lies under the rings; those that run go on with it, also with what a refused change has left. */
  private inPlace(change: () => Outcome): Outcome {
    if (this.link === null) {
      const outcome = change();
      return outcome === "done" ? this.startIfReady() : outcome;
    }
    this.stopRings();
    const outcome = change();
    const failure = this.startRings();
    if (failure === "") {
      this.host.poke();
      return outcome;
    }
    this.forgetLink("its memory changed");
    return outcome === "done" ? refused(failure) : outcome;
  }

  /** Stops the rings and takes the link out, if they run. */
  private halt(reason: string): void {
    if (this.link === null) return;
    this.stopRings();
    this.forgetLink(reason);
  }

  private forgetLink(reason: string): void {
    this.link = null;
    this.host.detach(`${this.name}: ${reason}`);
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  /** The link failed (its sentence was told), and was taken out already. */
  linkFailed(): void {
    this.link = null;
    this.end("");
  }

  private end(reason: string): void {
    if (!this.open) return;
    const wasLinked = this.link !== null;
    this.halt(reason);
    this.close();
    this.host.ended(wasLinked ? "" : reason);
  }

  /** Closes everything. The link is out already. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.memory.close();
    for (const ring of this.rings) closeKept(ring);
    if (this.backendSocket >= 0) native.close(this.backendSocket);
    this.channel.close();
    this.host.releasing();
    native.close(this.fd);
  }
}

function closeKept(ring: Ring): void {
  if (ring.kick >= 0) native.close(ring.kick);
  if (ring.call >= 0) native.close(ring.call);
  ring.kick = -1;
  ring.call = -1;
}

function withoutDescriptors(came: number, regions: number): string {
  if (came > 0) return `${came} descriptors for ${regions} regions of memory`;
  return (
    "the guest's memory is not shared with us; QEMU needs -object memory-backend-memfd,id=mem,size=SIZE,share=on " +
    "and -machine memory-backend=mem"
  );
}
