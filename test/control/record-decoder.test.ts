/** An engine that lies: whatever it writes is a record in every field, or an error. */
import { describe, expect, it } from "vitest";
import { type FlowRecord, RecordDecoder, RecordError } from "../../src/control/record-decoder.ts";
import type { EngineRecord } from "../../src/control/records.ts";
import * as layout from "../../src/engine/wire/record.ts";

function decode(octets: Uint8Array, cutAt = octets.length): { records: EngineRecord[]; rows: FlowRecord[] } {
  const records: EngineRecord[] = [];
  const rows: FlowRecord[] = [];
  const decoder = new RecordDecoder(
    {
      record: (record) => records.push(record),
      row: (_, row) => rows.push(structuredClone(row)),
      rowsEnd: () => {},
    },
    1_000_000,
    0,
  );
  decoder.push(Buffer.from(octets.subarray(0, cutAt)));
  decoder.push(Buffer.from(octets.subarray(cutAt)));
  return { records, rows };
}

type Edit = (view: DataView, octets: Uint8Array) => void;

function record(type: number, length: number, edit: Edit = () => {}): Uint8Array {
  const octets = new Uint8Array(length);
  const view = new DataView(octets.buffer);
  layout.writeRecord(view, 0, type, length, 5);
  edit(view, octets);
  return octets;
}

const flow: Edit = (view) => {
  view.setFloat64(layout.FLOW_SERIAL, 17);
  view.setUint8(layout.FLOW_PROTOCOL, 6);
  for (const at of [layout.FLOW_GUEST, layout.FLOW_REMOTE, layout.FLOW_TARGET])
    layout.writeAddress(view, at, 0, 0, 0xffff, 0x0a00020f);
};
const ended = (edit: Edit = () => {}): Uint8Array =>
  record(layout.RECORD_FLOW_ENDED, layout.FLOW_ENDED_OCTETS, (view, octets) => {
    flow(view, octets);
    edit(view, octets);
  });
const dns = (name: readonly number[], edit: Edit = () => {}): Uint8Array =>
  record(layout.RECORD_DNS, (layout.DNS_ADDRESSES + name.length + 3) & ~3, (view, octets) => {
    view.setUint8(layout.DNS_NAME_OCTETS, name.length);
    octets.set(name, layout.DNS_ADDRESSES);
    edit(view, octets);
  });

describe("a record", () => {
  it("comes whole, however it is cut", () => {
    const both = Buffer.concat([ended(), dns([1, 0x41, 0])]);
    for (let cut = 0; cut <= both.length; cut++) {
      expect(decode(both, cut).records.map(({ type }) => type)).toEqual(["flow-ended", "dns"]);
    }
  });

  it("has the time of the host's clock, which moves with what the engine tells of it", () => {
    const clock = record(layout.RECORD_CLOCK, layout.CLOCK_OCTETS, (view) => {
      view.setFloat64(layout.CLOCK_WALL_MS, 2_000_005);
    });
    const { records } = decode(Buffer.concat([ended(), clock, ended()]));
    expect(records.map(({ atMs }) => atMs)).toEqual([1_000_005, 2_000_005]);
  });
});

describe("what is no record", () => {
  it.each<[string, Uint8Array]>([
    ["a length of 0", record(0, 12, (view) => view.setUint16(0, 0))],
    ["a length that is no multiple of 4", record(0, 12, (view) => view.setUint16(0, 6))],
    ["a length beyond any record's", record(0, 12, (view) => view.setUint16(0, 4096))],
    ["an unknown type", record(77, 64)],
    ["a flow's record that is short", record(layout.RECORD_FLOW_ENDED, layout.FLOW_OPENED_OCTETS, flow)],
    ["a protocol that is neither TCP nor UDP", ended((view) => view.setUint8(layout.FLOW_PROTOCOL, 1))],
    ["flow 0", ended((view) => view.setFloat64(layout.FLOW_SERIAL, 0))],
    ["flow 1.5", ended((view) => view.setFloat64(layout.FLOW_SERIAL, 1.5))],
    ["a count that is NaN", ended((view) => view.setFloat64(layout.FLOW_OCTETS_TO_GUEST, Number.NaN))],
    ["a count below 0", ended((view) => view.setFloat64(layout.FLOW_OCTETS_FROM_GUEST, -1))],
    ["an end that has no name", ended((view) => view.setUint8(layout.ENDED_REASON, 200))],
    ["an end that is nobody's", ended((view) => view.setUint8(layout.ENDED_BY, 3))],
    ["an errno above 0", ended((view) => view.setInt32(layout.ENDED_ERRNO, 5))],
    ["a forward of an outbound flow", ended((view) => view.setInt32(layout.FLOW_FORWARD, 3))],
    ["a time that is infinite", ended((view) => view.setFloat64(layout.RECORD_AT, Number.POSITIVE_INFINITY))],
    ["a name whose label runs past its end", dns([9, 0x41, 0])],
    ["a name without an end", dns([1, 0x41])],
    ["a name with something behind its end", dns([0, 0x41])],
    [
      "more addresses than there is room for",
      dns([0], (view) => view.setUint8(layout.DNS_ADDRESS_COUNT, 17)),
    ],
    ["an rcode that is none", dns([0], (view) => view.setInt16(layout.DNS_RCODE, 16))],
    [
      "a sample longer than the record",
      record(layout.RECORD_DROP, layout.DROP_SAMPLE, (view) => {
        view.setUint16(layout.DROP_REASON, 1);
        view.setUint16(layout.DROP_SAMPLE_OCTETS, 40);
      }),
    ],
    ["a drop of what was handled", record(layout.RECORD_DROP, layout.DROP_SAMPLE)],
    [
      "a row in no state",
      record(layout.RECORD_ROW, layout.ROW_OCTETS, (view, octets) => {
        flow(view, octets);
        view.setUint8(layout.FLOW_STATE, 60);
      }),
    ],
  ])("%s ends the reading", (_what, octets) => {
    expect(() => decode(octets)).toThrow(RecordError);
  });
});

describe("a name", () => {
  it.each([
    [[0], "."],
    [[], ""],
    [[3, 0x57, 0x77, 0x57, 4, 0x65, 0x2d, 0x5f, 0x39, 0], "www.e-_9"],
    [[2, 0x1b, 0x5b, 1, 0x2e, 0], "\\027\\091.\\046"],
    [[3, 0xc3, 0xa9, 0x3c, 0], "\\195\\169\\060"],
  ] as const)("%j is %s", (octets, name) => {
    expect(decode(dns(octets)).records).toMatchObject([{ type: "dns", name }]);
  });
});
