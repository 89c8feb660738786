/**
 * Forwards that come and go. The supervisor binds, by its own rights and with the kernel's own errors; the engine gets the
 * descriptors, in portions that fit the socket they travel over, and serves them.
 */

import { forwardRules, onePort, socketsOf } from "../config/forward-rule.ts";
import { ControlRefusal, type LiveForwards } from "../control/instance.ts";
import type { EngineRecord } from "../control/records.ts";
import type { ForwardResource } from "../control/schema.ts";
import type { EngineConfig, Forward } from "../engine/config.ts";
import { closeForwards, type OpenPort, openable, openForwards } from "../host/forwards.ts";
import { native } from "../host/native/native.ts";
import type { EngineCalls } from "./calls.ts";
import { forwardResource } from "./forward-resource.ts";
import { Turns } from "./turns.ts";

/** Descriptors on the way to the engine at a time: few enough for the socket's buffer. */
const PORTION = 64;

export interface ForwardParts {
  readonly calls: EngineCalls;
  readonly sendDescriptor: (fd: number) => void;
  readonly config: EngineConfig;
  /** Host ports of the configuration's forwards, as bound. */
  readonly forwardPorts: readonly number[];
  /** Ports in all. */
  readonly most: number;
  readonly tell: (record: EngineRecord) => void;
}

export class EngineForwards implements LiveForwards {
  private readonly entries = new Map<number, ForwardResource>();
  /** Of each, how many sockets it has, and of all. */
  private readonly sockets = new Map<number, number>();
  private lastId = 0;
  private ports = 0;
  private readonly turns = new Turns();

  constructor(private readonly parts: ForwardParts) {
    let at = 0;
    for (const rule of forwardRules(parts.config.forwards)) {
      this.enter(++this.lastId, rule, parts.forwardPorts[at] ?? 0, "start");
      at += rule.length;
    }
  }

  list(): readonly ForwardResource[] {
    return [...this.entries.values()];
  }

  add(...rule: Forward[]): Promise<ForwardResource> {
    // One after the other: descriptors of two would not find their calls, nor room.
    return this.turns.take(() => this.addNow(rule));
  }

  private async addNow(asked: readonly Forward[]): Promise<ForwardResource> {
    const rule = openable(asked);
    const ports = this.ports + socketsOf(rule);
    const { most } = this.parts;
    if (ports > most) {
      throw new ControlRefusal(409, `${ports} ports would be forwarded; --max-forwards allows ${most}`);
    }
    native.raiseFileLimit();
    const opened = openForwards(rule).flat();
    const id = ++this.lastId;
    try {
      const hostPort = opened[0]?.hostPort ?? 0;
      await this.handOver(id, opened);
      const entry = this.enter(id, rule, hostPort, "added");
      this.parts.tell({ type: "forward", atMs: Date.now(), action: "added", id, rule: entry.rule });
      return entry;
    } finally {
      closeForwards(opened.map(({ handle }) => handle));
    }
  }

  /** All portions, or none: what was served of it already is taken back. */
  private async handOver(forwardId: number, opened: readonly OpenPort[]): Promise<void> {
    const { calls, sendDescriptor } = this.parts;
    for (let at = 0; at < opened.length; at += PORTION) {
      const portion = opened.slice(at, at + PORTION);
      const forwards = portion.map(({ forward, hostPort }) => onePort(forward, hostPort));
      const call = { name: "forward-add", forwardId, forwards } as const;
      let sent = 0;
      try {
        await calls.call<"forward-add">(call, () => {
          for (const { handle } of portion) {
            sendDescriptor(handle);
            sent++;
          }
        });
      } catch (error) {
        if (sent < portion.length)
          await calls.call<"discard">({ name: "discard", count: sent }).catch(() => {});
        await calls.call<"forward-remove">({ name: "forward-remove", forwardId, cut: true }).catch(() => {});
        throw error;
      }
    }
  }

  async remove(id: number, cut = false): Promise<void> {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new ControlRefusal(404, `there is no forward ${id}`);
    await this.parts.calls.call<"forward-remove">({ name: "forward-remove", forwardId: id, cut });
    // Somebody else's removal of it was quicker.
    if (!this.entries.delete(id)) return;
    this.ports -= this.sockets.get(id) ?? 0;
    this.sockets.delete(id);
    this.parts.tell({ type: "forward", atMs: Date.now(), action: "removed", id, rule: entry.rule });
  }

  private enter(
    id: number,
    rule: readonly Forward[],
    hostPort: number,
    origin: "start" | "added",
  ): ForwardResource {
    const entry = forwardResource({ id, rule, hostPort, origin });
    this.entries.set(id, entry);
    this.sockets.set(id, socketsOf(rule));
    this.ports += socketsOf(rule);
    return entry;
  }
}
