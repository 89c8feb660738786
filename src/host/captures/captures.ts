/**
 * Captures of an engine that come and go while it serves: pcapng with what sluice knows of each frame; and the plain pcap file
 * that there may be from the start on. Without one nothing of this is on a frame's path; with one each frame that a capture is
 * about is copied once.
 */
import { closeSync } from "node:fs";
import type { EngineCore } from "../../engine/api.ts";
import { type FrameTap, V4_MAPPED } from "../../engine/boundary.ts";
import { FRAME_MAX } from "../../engine/limits.ts";
import type { Arena } from "../../engine/memory/arena.ts";
import { DROP_REASONS, HANDLED } from "../../engine/metrics/drop-reasons.ts";
import { formatAddress } from "../../engine/wire/address-text.ts";
import { FRAME_ENDS_OCTETS, FrameEnds } from "../../engine/wire/frame-ends.ts";
import { nameText } from "../../engine/wire/name-text.ts";
import { FROM_GUEST, TO_GUEST } from "../../engine/wire/pcapng.ts";
import { CaptureFilter } from "./capture-filter.ts";
import { CAPTURES_MAX, type CaptureSpec, type CaptureState, OWN_ID } from "./capture-spec.ts";
import { PacketFile } from "./packet-file.ts";
import type { CaptureFile } from "./pcap-file.ts";

const WORDS = 4;
/** Flows whose first frame has its comment, and addresses whose name is told, by capture; beyond it one may be told again. */
const TOLD_MAX = 65_536;
/** Names remembered for comments. */
const NAMES_MAX = 4096;

/** Milliseconds since 1970 with a fraction; not moved by a change of the clock while the process runs. */
function wallClock(): number {
  return performance.timeOrigin + performance.now();
}

interface Capture {
  readonly id: number;
  readonly file: PacketFile;
  readonly filter: CaptureFilter;
  readonly drops: boolean;
  readonly told: Set<number>;
  /** Names that its file has, by address. */
  readonly named: Map<string, string>;
  /** It is about the frame in hand. */
  isAbout: boolean;
}

export interface CaptureHost {
  readonly core: EngineCore;
  readonly arena: Arena;
  /** The link's name, as of now. */
  readonly linkName: () => string;
}

export class Captures implements FrameTap {
  private readonly all = new Map<number, Capture>();
  /** Those that go on. */
  private running: Capture[] = [];
  private isTelling = false;
  private plain: CaptureFile | null = null;
  private readonly names = new Map<string, string>();
  private readonly ends = new FrameEnds();
  /** The guest's frame in hand, as it came, and one that has left. */
  private readonly inHand = new Uint8Array(FRAME_MAX);
  private readonly inHandView = new DataView(this.inHand.buffer);
  private readonly leaving = new Uint8Array(FRAME_MAX);
  private readonly leavingView = new DataView(this.leaving.buffer);
  private inHandOctets = 0;
  private inHandAtMs = 0;
  private isAbout = false;

  constructor(private readonly host: CaptureHost) {}

  /**
   * Begins to write to `fd`, which is ours from now on. Throws when there are too many: the one that is there from the
   * start on (OWN_ID) is not of those that may be asked for, and is none that anybody sees or stops.
   */
  start(id: number, fd: number, spec: CaptureSpec): void {
    if (id !== OWN_ID && this.asked().length >= CAPTURES_MAX) {
      closeSync(fd);
      throw new Error(`there are ${CAPTURES_MAX} captures already`);
    }
    const file = new PacketFile(fd, this.host.linkName(), spec, wallClock, this.onEnded);
    const filter = new CaptureFilter(spec);
    const { drops, names } = spec;
    const capture = { id, file, filter, drops, told: new Set<number>(), named: new Map(), isAbout: false };
    this.all.set(id, capture);
    for (const { address, name } of names) this.learn([capture], address, name);
    this.running = [...this.running, capture];
    this.watch();
  }

  /** Has all frames written to `file` until the engine ends. */
  record(file: CaptureFile): void {
    this.plain = file;
    this.watch();
  }

  /** Ends it, and forgets it. Undefined where there is none. */
  stop(id: number): CaptureState | undefined {
    const capture = this.asked().find((each) => each.id === id);
    if (capture === undefined) return undefined;
    capture.file.end("stopped");
    this.all.delete(id);
    return stateOf(capture);
  }

  list(): CaptureState[] {
    return this.asked().map(stateOf);
  }

  private asked(): Capture[] {
    return [...this.all.values()].filter(({ id }) => id !== OWN_ID);
  }

  close(): void {
    for (const { file } of this.all.values()) {
      file.end("the engine ends");
      file.close();
    }
    this.all.clear();
    this.running = [];
    this.plain?.close();
    this.plain = null;
  }

  /** Is on the frames' path as long as there is something to write to, and hears of names as long as anybody is told them. */
  private watch(): void {
    const { core } = this.host;
    const isTelling = this.running.length > 0;
    core.setTap(isTelling || this.plain !== null ? this : null);
    if (isTelling || this.isTelling) core.record().answered = isTelling ? this.answered : null;
    this.isTelling = isTelling;
  }

  /** Those that have ended, by themselves too, are off the frames' path; not in the midst of a frame. */
  private readonly onEnded = (): void => {
    setImmediate(() => {
      if (this.running.every(({ file }) => file.ended === null)) return;
      this.running = this.running.filter(({ file }) => file.ended === null);
      this.watch();
    });
  };

  // --- frames ------------------------------------------------------------------------------------------------------

  arriving(at: number, octets: number): void {
    const { arena, inHand } = this;
    this.isAbout = false;
    this.plain?.arriving(at, octets);
    if (octets > FRAME_MAX || this.running.length === 0) return;
    this.ends.read(arena.view, at, Math.min(octets, FRAME_ENDS_OCTETS), true);
    for (const capture of this.running) {
      capture.isAbout = capture.filter.holds(this.ends);
      if (capture.isAbout) this.isAbout = true;
    }
    if (!this.isAbout) return;
    inHand.set(arena.octets.subarray(at, at + octets));
    this.inHandOctets = octets;
    this.inHandAtMs = wallClock();
  }

  arrived(reason: number): void {
    if (!this.isAbout) return;
    this.isAbout = false;
    // What left meanwhile was read into the same place.
    this.ends.read(this.inHandView, 0, Math.min(this.inHandOctets, FRAME_ENDS_OCTETS), true);
    const flow = this.host.core.flowOf(this.ends);
    for (const capture of this.running) {
      if (!capture.isAbout || (capture.drops && reason === HANDLED)) continue;
      const comment = this.introduce(capture, flow, reason);
      capture.file.packet(this.inHand, this.inHandOctets, this.inHandAtMs, FROM_GUEST, comment);
    }
  }

  sent(at: number, octets: number, restAt: number, restOctets: number): void {
    const length = octets + restOctets;
    this.plain?.sent(at, octets, restAt, restOctets);
    if (length > FRAME_MAX || this.running.every(({ drops }) => drops)) return;
    const { leaving, ends } = this;
    const { octets: arena } = this.arena;
    leaving.set(arena.subarray(at, at + octets));
    const head = Math.min(restOctets, FRAME_ENDS_OCTETS);
    leaving.set(arena.subarray(restAt, restAt + head), octets);
    ends.read(this.leavingView, 0, Math.min(octets + head, FRAME_ENDS_OCTETS), false);
    let flow = -1;
    for (const capture of this.running) {
      if (capture.drops || !capture.filter.holds(ends)) continue;
      if (flow < 0) {
        flow = this.host.core.flowOf(ends);
        leaving.set(arena.subarray(restAt + head, restAt + restOctets), octets + head);
      }
      capture.file.packet(leaving, length, wallClock(), TO_GUEST, this.introduce(capture, flow, HANDLED));
    }
  }

  private get arena(): Arena {
    return this.host.arena;
  }

  /**
   * Has the file say what the frame's remote is called, where it has not. Returns what is said of the frame itself: why it was
   * dropped; of the first of a flow, which.
   */
  private introduce({ file, named, told }: Capture, flow: number, reason: number): string {
    const { words } = this.ends;
    const address = this.names.size === 0 ? "" : formatAddress(words, WORDS);
    const name = this.names.get(address);
    if (name !== undefined && named.get(address) !== name) {
      if (named.size >= TOLD_MAX) named.clear();
      named.set(address, name);
      const isIpv4 = words[WORDS] === 0 && words[WORDS + 1] === 0 && words[WORDS + 2] === V4_MAPPED;
      file.name(words.subarray(WORDS), isIpv4, name);
    }
    const dropped = reason === HANDLED ? "" : `dropped: ${DROP_REASONS[reason]}`;
    if (flow === 0 || told.has(flow)) return dropped;
    if (told.size >= TOLD_MAX) told.clear();
    told.add(flow);
    return [`flow ${flow}`, ...(name === undefined ? [] : [name]), ...(dropped === "" ? [] : [dropped])].join(
      ", ",
    );
  }

  // --- names -------------------------------------------------------------------------------------------------------

  private readonly answered: NonNullable<ReturnType<EngineCore["record"]>["answered"]> = (
    { nameAt, nameOctets, addressCount },
    addresses,
  ) => {
    const name = nameText(this.arena.octets.subarray(nameAt, nameAt + nameOctets));
    if (name === undefined || name === "") return;
    for (let i = 0; i < addressCount; i++) {
      this.learn(this.running, Array.from(addresses.subarray(i * WORDS, (i + 1) * WORDS)), name);
    }
  };

  private learn(captures: readonly Capture[], words: readonly number[], name: string): void {
    const key = formatAddress(words);
    this.names.delete(key);
    if (this.names.size >= NAMES_MAX) this.names.delete(this.names.keys().next().value ?? "");
    this.names.set(key, name);
    for (const { filter } of captures) filter.named(name, words);
  }
}

function stateOf({ id, file: { octets, frames, lost, ended } }: Capture): CaptureState {
  return { id, octets, frames, lost, ended };
}
