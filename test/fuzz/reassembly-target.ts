/** Fragments in any order and of any shape, against a model that remembers every octet it was shown. */
import assert from "node:assert/strict";
import { Counters } from "../../src/engine/metrics/counters.ts";
import { REASSEMBLY_REGION_OCTETS, Reassembly } from "../../src/engine/network/reassembly.ts";
import { type FuzzTarget, join } from "./target.ts";

const REGION_AT = 4096;
const FRAGMENT_AT = REGION_AT + REASSEMBLY_REGION_OCTETS;
const HEADER_OCTETS = 20;
const HEADER6_OCTETS = 40;
/** Octets of one step of an input: id and family (0x40: IPv6), offset in eights (2), flags, length (2). */
const STEP_OCTETS = 6;
const buffer = new ArrayBuffer(REGION_AT + REASSEMBLY_REGION_OCTETS + 66_560);
const view = new DataView(buffer);
const octets = new Uint8Array(buffer);

/** What was sent of one datagram: value by offset, -1 where nothing was; and where it ended. */
interface Sent {
  readonly values: Map<number, Set<number>>;
  readonly ends: Set<number>;
}

/** Steps of one input go to one fresh reassembly; every octet's value is drawn from a counter. */
function run(input: Uint8Array): void {
  const reassembly = new Reassembly(octets, view, REGION_AT, new Counters());
  const sent = new Map<string, Sent>();
  let now = 0;
  for (let at = 0; at + STEP_OCTETS <= input.length; at += STEP_OCTETS) {
    const id = input[at] & 31;
    now += input[at] & 0x80 ? 5000 : 1;
    reassembly.poll(now);
    const offset = ((input[at + 1] << 8) | input[at + 2]) & 0x1fff;
    const more = (input[at + 3] & 1) !== 0;
    const length = Math.min(
      ((input[at + 4] << 8) | input[at + 5]) & (input[at + 3] & 2 ? 0xffff : 0xff),
      65_515,
    );
    const value = (at / STEP_OCTETS) & 255;
    const isIpv6 = (input[at] & 0x40) !== 0;
    const key = `${isIpv6} ${id}`;
    const datagram = sent.get(key) ?? { values: new Map(), ends: new Set() };
    sent.set(key, datagram);
    for (let i = 0; i < length; i += 8) {
      const values = datagram.values.get(offset * 8 + i) ?? new Set();
      datagram.values.set(offset * 8 + i, values.add(value));
    }
    if (!more) datagram.ends.add(offset * 8 + length);
    if (isIpv6) {
      writeFragment6(id, offset, more, length, value);
      const fragmentAt = FRAGMENT_AT + HEADER6_OCTETS;
      const whole = reassembly.add6(FRAGMENT_AT, fragmentAt, fragmentAt + 8 + length, now);
      if (whole > 0) {
        checkPayload(whole + HEADER6_OCTETS, reassembly.completedLength - HEADER6_OCTETS, datagram);
        assert.equal(view.getUint16(whole + 4), reassembly.completedLength - HEADER6_OCTETS);
        assert.equal(octets[whole + 6], 17);
      }
    } else {
      writeFragment(id, offset, more, length, value);
      const whole = reassembly.add(FRAGMENT_AT, HEADER_OCTETS, HEADER_OCTETS + length, now);
      if (whole > 0) checkWhole(whole, reassembly.completedLength, datagram);
    }
    assert.ok(reassembly.inUse >= 0 && reassembly.inUse <= 16);
  }
  for (let waited = 0; waited <= 61_000; waited += 1000) reassembly.poll(now + waited);
  assert.equal(reassembly.inUse, 0);
  assert.equal(reassembly.nextDeadlineMs(now), -1);
}

function writeFragment(id: number, offset: number, more: boolean, length: number, value: number): void {
  view.setUint16(FRAGMENT_AT, 0x4500);
  view.setUint16(FRAGMENT_AT + 2, HEADER_OCTETS + length);
  view.setUint16(FRAGMENT_AT + 4, id);
  view.setUint16(FRAGMENT_AT + 6, (more ? 0x2000 : 0) | offset);
  view.setUint16(FRAGMENT_AT + 8, 0x4011);
  view.setUint32(FRAGMENT_AT + 12, 0x0a00020f);
  view.setUint32(FRAGMENT_AT + 16, 0xc6336407);
  octets.fill(value, FRAGMENT_AT + HEADER_OCTETS, FRAGMENT_AT + HEADER_OCTETS + length);
}

function writeFragment6(id: number, offset: number, more: boolean, length: number, value: number): void {
  octets.fill(0, FRAGMENT_AT, FRAGMENT_AT + HEADER6_OCTETS + 8);
  view.setUint16(FRAGMENT_AT, 0x6000);
  view.setUint16(FRAGMENT_AT + 4, 8 + length);
  view.setUint16(FRAGMENT_AT + 6, (44 << 8) | 64);
  view.setUint32(FRAGMENT_AT + 20, 0x0a00020f);
  view.setUint32(FRAGMENT_AT + 36, 0xc6336407);
  // IPv4's key of the same datagram, so that only the family tells them apart.
  view.setUint32(FRAGMENT_AT + HEADER6_OCTETS + 4, (id << 16) | 17);
  view.setUint16(FRAGMENT_AT + HEADER6_OCTETS, 17 << 8);
  view.setUint16(FRAGMENT_AT + HEADER6_OCTETS + 2, (offset << 3) | (more ? 1 : 0));
  octets.fill(value, FRAGMENT_AT + HEADER6_OCTETS + 8, FRAGMENT_AT + HEADER6_OCTETS + 8 + length);
}

function checkWhole(at: number, total: number, datagram: Sent): void {
  checkPayload(at + HEADER_OCTETS, total - HEADER_OCTETS, datagram);
  assert.equal(view.getUint16(at + 2), total);
  assert.equal(view.getUint16(at + 6), 0);
}

/** A datagram that is said to be whole has an end that was announced and no octet that was not sent there. */
function checkPayload(at: number, length: number, { values, ends }: Sent): void {
  assert.ok(ends.has(length), `${length} octets, which no last fragment announced`);
  for (let i = 0; i < length; i += 8) {
    const known = values.get(i);
    assert.ok(known?.has(octets[at + i]), `octet ${i} was never sent`);
  }
}

const step = (id: number, offset: number, more: boolean, length: number): number[] => [
  id,
  offset >>> 8,
  offset,
  more ? 1 : 0,
  length >>> 8,
  length,
];

export const reassemblyTarget: FuzzTarget = {
  name: "reassembly",
  seeds: () => [
    join(step(1, 0, true, 64), step(1, 8, false, 30)),
    join(step(2, 8, false, 30), step(2, 0, true, 64)),
    join(step(3, 0, true, 64), step(3, 4, true, 64), step(3, 12, false, 9)),
    join(step(0x41, 0, true, 64), step(1, 0, true, 64), step(0x41, 8, false, 30), step(1, 8, false, 30)),
    join(...Array.from({ length: 20 }, (_, i) => step(i, 0, true, 8))),
    join(...Array.from({ length: 130 }, (_, i) => step(1, i * 2, true, 8))),
  ],
  dictionary: [
    Uint8Array.from(step(1, 8, false, 30)),
    Uint8Array.from(step(1, 0, true, 64)),
    Uint8Array.of(0x1f, 0xff),
  ],
  lengthMax: 1200,
  run,
  reset: () => {},
};
