/**
 * An engine in this process, watched by its program: the channel that there is between supervisor and engine, with both ends
 * here, so that what is told is checked and read by the same code.
 */
import { resolve } from "node:path";
import { eventOf } from "../control/events.ts";
import { BoundedMemories } from "../control/memories.ts";
import type { EngineRecord } from "../control/records.ts";
import {
  type CaptureResource,
  type CaptureStreamQuery,
  type ControlEvent,
  captureRequestSchema,
  type EventType,
} from "../control/schema.ts";
import { COUNTER_NAMES } from "../engine/metrics/counters.ts";
import { DROP_REASONS } from "../engine/metrics/drop-reasons.ts";
import type { EngineHost } from "../host/engine-host.ts";
import { native } from "../host/native/native.ts";
import { describeErrno } from "../host/start-error.ts";
import { CallAnswers } from "./call-answers.ts";
import { EngineCalls } from "./calls.ts";
import { EngineCaptures } from "./live-captures.ts";
import { LiveRecords } from "./live-records.ts";

export class OwnWatch {
  private readonly records: LiveRecords;
  private readonly ownCaptures: EngineCaptures;

  constructor(host: EngineHost) {
    const [sending, receiving] = native.socketPair("stream");
    if (sending < 0) throw new Error(`no socket pair for the engine's records: ${describeErrno(sending)}`);
    const answers = new CallAnswers({
      host,
      receiveDescriptor: () => native.receiveDescriptor(receiving),
      setLogLevel: () => {},
    });
    const sizes = { counters: COUNTER_NAMES.length, drops: DROP_REASONS.length };
    const calls = new EngineCalls((id, call) => {
      try {
        calls.answered(id, answers.answer(id, call), undefined);
      } catch (error) {
        calls.answered(id, undefined, (error as Error).message);
      }
    }, sizes);
    const sendDescriptor = (fd: number): void => {
      const result = native.sendDescriptor(sending, fd);
      if (result < 0) throw new Error(`a descriptor for the engine: ${describeErrno(result)}`);
    };
    const memories = new BoundedMemories();
    this.records = new LiveRecords({
      calls,
      sendDescriptor,
      distrust: () => this.records.close(),
      note: (record) => memories.note(record),
    });
    const flowOf = (id: number) => this.records.rowOf(id);
    this.ownCaptures = new EngineCaptures({ calls, sendDescriptor, memories, flowOf });
    void host.ended.then(() => {
      calls.end("the engine has ended");
      for (const fd of [sending, receiving]) native.close(fd);
    });
  }

  /** Calls `listener` with each event of this type from now on. Returns what ends that. */
  on(type: EventType, listener: (event: ControlEvent) => void): () => void {
    return this.records.subscribe([type], (record) => {
      if (record.type === type) listener(eventOf(record));
    });
  }

  /** What the engine does not record itself. */
  tell(record: EngineRecord): void {
    this.records.tell(record);
  }

  async captures(): Promise<readonly CaptureResource[]> {
    return this.ownCaptures.list();
  }

  async startCapture(path: string, wish: CaptureStreamQuery): Promise<CaptureResource> {
    return this.ownCaptures.start(captureRequestSchema.parse({ path: resolve(path), ...wish }));
  }

  async stopCapture(id: number): Promise<CaptureResource> {
    return this.ownCaptures.stop(id);
  }
}
