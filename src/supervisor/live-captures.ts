/**
 * Captures that come and go: the supervisor opens the file, or one end of a socket pair, by its own rights; the engine gets
 * the descriptor and writes.
 */
import { constants, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { Unacceptable } from "../config/problem.ts";
import { ControlRefusal, type LiveCaptures, type Memories } from "../control/instance.ts";
import type { FlowRecord } from "../control/record-decoder.ts";
import type { CaptureRequest, CaptureResource } from "../control/schema.ts";
import { parseTarget } from "../control/target.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../engine/wire/ipv4.ts";
import {
  CAPTURES_MAX,
  type CaptureMatch,
  type CaptureSpec,
  type CaptureState,
  matchOfAddress,
  NAMES_MAX,
  OWN_ID,
} from "../host/captures/capture-spec.ts";
import { native } from "../host/native/native.ts";
import { addressWords } from "./address-words.ts";
import type { EngineCalls } from "./calls.ts";
import { Turns } from "./turns.ts";

export interface CaptureParts {
  readonly calls: EngineCalls;
  readonly sendDescriptor: (fd: number) => void;
  readonly memories: Memories;
  /** The flow with this number, if there is one. */
  readonly flowOf: (id: number) => Promise<FlowRecord | undefined>;
}

type Wish = Omit<CaptureRequest, "path">;

/** Nobody reads what another program may have written there before; a FIFO without a reader is an error, not a wait. */
const OPEN_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NONBLOCK;
const FILE_MODE = 0o600;
const NOTHING_YET: Omit<CaptureState, "id"> = { octets: 0, frames: 0, lost: 0, ended: null };

export class EngineCaptures implements LiveCaptures {
  /** In the order in which they began, with how each was last seen. */
  private readonly entries = new Map<number, CaptureResource>();
  private lastId = OWN_ID;
  /** Who finds room has it: nobody else begins one meanwhile. */
  private readonly turns = new Turns();

  constructor(private readonly parts: CaptureParts) {}

  async list(): Promise<readonly CaptureResource[]> {
    if (this.entries.size === 0) return [];
    const { captures } = await this.parts.calls.call<"captures">({ name: "captures" });
    for (const state of captures) this.saw(state);
    return [...this.entries.values()];
  }

  private saw(state: CaptureState): CaptureResource | undefined {
    const entry = this.entries.get(state.id);
    if (entry === undefined) return undefined;
    const seen = { ...entry, ...state };
    this.entries.set(state.id, seen);
    return seen;
  }

  start({ path, ...wish }: CaptureRequest): Promise<CaptureResource> {
    return this.turns.take(async () => {
      const spec = await this.specOf(wish);
      await this.makeRoom();
      return this.begin(path, wish, spec, openFile(path));
    });
  }

  stream(wish: Wish): Promise<Readable> {
    return this.turns.take(() => this.openStream(wish));
  }

  private async openStream(wish: Wish): Promise<Readable> {
    const spec = await this.specOf(wish);
    await this.makeRoom();
    const [ours, theirs] = native.socketPair("stream");
    if (ours < 0) throw new ControlRefusal(503, "no socket pair for the capture");
    const stream = new Socket({ fd: ours, readable: true, writable: false });
    try {
      const { id } = await this.begin(null, wish, spec, theirs);
      stream.on("error", () => {});
      stream.once("close", () => void this.stop(id).catch(() => {}));
      return stream;
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  /** Hands the descriptor over and closes it here. */
  private async begin(
    path: string | null,
    { flow, host, drops }: Wish,
    spec: CaptureSpec,
    fd: number,
  ): Promise<CaptureResource> {
    const id = ++this.lastId;
    const { calls, sendDescriptor } = this.parts;
    try {
      const call = { name: "capture-start", capture: id, spec } as const;
      await calls.call<"capture-start">(call, () => sendDescriptor(fd));
    } finally {
      native.close(fd);
    }
    const startedAt = new Date().toISOString();
    const entry = { id, path, flow: flow ?? null, host: host ?? null, drops, startedAt, ...NOTHING_YET };
    this.entries.set(id, entry);
    return entry;
  }

  async stop(id: number): Promise<CaptureResource> {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new ControlRefusal(404, `there is no capture ${id}`);
    const { captures } = await this.parts.calls.call<"capture-stop">({ name: "capture-stop", capture: id });
    const [state] = captures;
    const stopped = (state && this.saw(state)) ?? entry;
    this.entries.delete(id);
    return stopped;
  }

  /** Of captures that have ended the oldest gives way to a new one. */
  private async makeRoom(): Promise<void> {
    if (this.entries.size < CAPTURES_MAX) return;
    const ended = (await this.list()).find((entry) => entry.ended !== null);
    if (ended === undefined) throw new ControlRefusal(409, `${CAPTURES_MAX} captures run; stop one first`);
    await this.stop(ended.id);
  }

  private async specOf({ flow, host, drops, snap, octets, frames, seconds }: Wish): Promise<CaptureSpec> {
    const names = this.parts.memories
      .known(NAMES_MAX)
      .map(({ address, name }) => ({ address: addressWords(address), name }));
    const bounds = { drops, snap, octets, frames, seconds, names };
    if (flow !== undefined && host !== undefined)
      throw new ControlRefusal(400, "flow: not beside host", [{ place: "flow", allowed: "not beside host" }]);
    if (flow !== undefined) {
      const found = await this.parts.flowOf(flow);
      if (found === undefined) throw new ControlRefusal(404, `there is no flow ${flow}`);
      return { matches: [matchOf(found)], ...bounds };
    }
    return host === undefined ? { matches: [], ...bounds } : { ...this.hostSpec(host), ...bounds };
  }

  private hostSpec(text: string): Pick<CaptureSpec, "matches" | "name"> {
    const { host, isName, port } = targetOf(text);
    const match = (address: string): CaptureMatch => matchOfAddress(addressWords(address), port ?? 0);
    if (!isName) return { matches: [match(host)] };
    const { memories } = this.parts;
    return { matches: memories.addressesOf(host).map(match), name: { name: host, port: port ?? 0 } };
  }
}

function targetOf(text: string): ReturnType<typeof parseTarget> {
  try {
    return parseTarget(text);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    const problem = { place: "host", found: error.found ?? text, allowed: error.allowed };
    throw new ControlRefusal(400, `host: ${error.allowed}`, [problem]);
  }
}

/** A mapping that the guest made stands for many remotes. */
function matchOf({ protocol, direction, guest, remote }: FlowRecord): CaptureMatch {
  const isMapping = protocol === "udp" && direction === "out";
  return {
    protocol: protocol === "tcp" ? PROTOCOL_TCP : PROTOCOL_UDP,
    guest: addressWords(guest.address),
    guestPort: guest.port,
    remote: isMapping ? null : addressWords(remote.address),
    remotePort: isMapping ? 0 : remote.port,
    eitherEnd: false,
  };
}

function openFile(path: string): number {
  try {
    return openSync(path, OPEN_FLAGS, FILE_MODE);
  } catch (error) {
    throw new ControlRefusal(409, `${path}: ${(error as Error).message}`);
  }
}
