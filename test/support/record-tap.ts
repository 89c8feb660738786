/** Takes the records of a core off its rings and reads them as a supervisor would. */

import { type FlowRecord, RecordDecoder } from "../../src/control/record-decoder.ts";
import type { EngineRecord } from "../../src/control/records.ts";
import type { EngineCore } from "../../src/engine/api.ts";
import type { Arena } from "../../src/engine/memory/arena.ts";

/** Every record there is. */
export const EVERYTHING = 0x1f;

export class RecordTap {
  readonly records: EngineRecord[] = [];
  readonly rows: FlowRecord[] = [];
  readonly ends: { readonly call: number; readonly next: number }[] = [];
  private readonly decoder = new RecordDecoder(
    {
      record: (record) => this.records.push(record),
      row: (_call, row) => this.rows.push(structuredClone(row)),
      rowsEnd: (call, next) => this.ends.push({ call, next }),
    },
    0,
    0,
  );

  constructor(
    private readonly core: EngineCore,
    private readonly arena: Arena,
    wanted = EVERYTHING,
  ) {
    core.record().read(wanted);
  }

  /** What has been recorded since the last look. */
  read(): EngineRecord[] {
    const before = this.records.length;
    const { events, drops } = this.core.record();
    const gather = new Int32Array(4);
    for (const ring of [events, drops]) {
      const count = ring.pieces(gather, 0);
      const pieces = Array.from({ length: count }, (_, i) =>
        Buffer.from(this.arena.octets.slice(gather[2 * i], gather[2 * i] + gather[2 * i + 1])),
      );
      const octets = Buffer.concat(pieces);
      ring.taken(octets.length);
      this.decoder.push(octets);
    }
    this.core.record().endTurn();
    return this.records.slice(before);
  }
}
