/** The supervisor's reading of an engine's records: an engine that has been taken over writes what it likes. */
import assert from "node:assert/strict";
import { eventOf } from "../../src/control/events.ts";
import { type FlowRecord, RecordDecoder, RecordError } from "../../src/control/record-decoder.ts";
import type { EngineRecord } from "../../src/control/records.ts";
import { eventSchema } from "../../src/control/schema.ts";
import * as layout from "../../src/engine/wire/record.ts";
import { type FuzzTarget, join } from "./target.ts";

/** What reaches a terminal or a page: no control characters, no markup. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
const UNFIT = /[\u0000-\u001f\u007f-\uffff<>"&]/;

function record(type: number, length: number, edit: (view: DataView) => void): Uint8Array {
  const octets = new Uint8Array(length);
  const view = new DataView(octets.buffer);
  layout.writeRecord(view, 0, type, length, 1000);
  edit(view);
  return octets;
}

function flow(view: DataView): void {
  view.setFloat64(layout.FLOW_SERIAL, 17);
  view.setUint8(layout.FLOW_PROTOCOL, 6);
  layout.writeAddress(view, layout.FLOW_GUEST, 0, 0, 0xffff, 0x0a00020f);
}

function expectFit(seen: EngineRecord): void {
  const parsed = eventSchema.safeParse(eventOf(seen));
  assert.ok(parsed.success, JSON.stringify(parsed.error?.issues));
  if (seen.type === "dns") assert.ok(!UNFIT.test(seen.name), `the name ${JSON.stringify(seen.name)}`);
}

/** In two pieces, cut where the first octet says. */
function run(input: Uint8Array): void {
  const rows: FlowRecord[] = [];
  const decoder = new RecordDecoder(
    {
      record: expectFit,
      row: (_, row) => rows.push(structuredClone(row)),
      rowsEnd: (_, next) => assert.ok(next >= 0),
    },
    1_000_000,
    0,
  );
  const octets = Buffer.from(input.subarray(1));
  const cut = Math.min(input[0] ?? 0, octets.length);
  try {
    decoder.push(octets.subarray(0, cut));
    decoder.push(octets.subarray(cut));
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
  }
  for (const row of rows) assert.ok(Number.isSafeInteger(row.flow) && row.flow > 0 && row.state !== "");
}

export const recordTarget: FuzzTarget = {
  name: "records",
  seeds: () => [
    join([9], record(layout.RECORD_FLOW_ENDED, layout.FLOW_ENDED_OCTETS, flow)),
    join(
      [0],
      record(layout.RECORD_ROW, layout.ROW_OCTETS, flow),
      record(layout.RECORD_LOST, layout.LOST_OCTETS, () => {}),
    ),
    join(
      [40],
      record(layout.RECORD_DNS, 52, (view) => {
        view.setUint8(layout.DNS_NAME_OCTETS, 3);
        view.setUint16(layout.DNS_ADDRESSES, 0x0141);
      }),
      record(layout.RECORD_ROWS_END, layout.ROWS_END_OCTETS, () => {}),
    ),
    join(
      [200],
      record(layout.RECORD_DROP, layout.DROP_SAMPLE + 56, (view) => {
        view.setUint16(layout.DROP_REASON, 3);
        view.setUint16(layout.DROP_SAMPLE_OCTETS, 54);
        view.setUint16(layout.DROP_SAMPLE + 12, 0x0800);
        view.setUint8(layout.DROP_SAMPLE + 14, 0x45);
      }),
    ),
    join(
      [1],
      record(layout.RECORD_CLOCK, layout.CLOCK_OCTETS, (view) => view.setFloat64(layout.CLOCK_WALL_MS, 5e12)),
    ),
  ],
  dictionary: [
    Uint8Array.of(0x7f, 0xf8),
    Uint8Array.of(0, 132, 2),
    Uint8Array.of(0x86, 0xdd),
    Uint8Array.of(0xff, 0xff),
  ],
  lengthMax: 2048,
  run,
  reset: () => {},
};
