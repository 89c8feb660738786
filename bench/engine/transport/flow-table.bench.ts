/** Looking up a flow: the cost must not depend on how many there are. */
import { FLOWS_MAX } from "../../../src/engine/limits.ts";
import { FlowTable } from "../../../src/engine/transport/flow-table.ts";
import { type Entry, keep, runSuite } from "../../suite.ts";

const PROTOCOL_TCP = 6;
const GUEST = 0x0a00020f;
const REMOTE = 0xc6336401 | 0;

const PAIR = Int32Array.from([0xfd711ae0 | 0, 0xd44d0002 | 0, 0, 0x15, 0x20010db8, 0, 0, 1]);

let seed = 1;
const entropy = {
  int32: () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) | 0;
    return seed;
  },
};

function portsOf(i: number): number {
  return ((1024 + (i % 60_000)) << 16) | (80 + Math.trunc(i / 60_000));
}

/** Finds each flow of a table in turn, so that the cache sees what a busy engine's would. */
function finder(flows: number): Entry {
  const table = new FlowTable(entropy);
  for (let i = 0; i < flows; i++) table.insert(PROTOCOL_TCP, GUEST, REMOTE, portsOf(i));
  let i = 0;
  return [
    `find one of ${flows.toLocaleString("en-GB")} flows`,
    () => {
      i = i + 1 < flows ? i + 1 : 0;
      keep(table.find(PROTOCOL_TCP, GUEST, REMOTE, portsOf(i)));
    },
  ];
}

/** `finder` with IPv6 addresses. */
function finder6(flows: number): Entry {
  const table = new FlowTable(entropy);
  for (let i = 0; i < flows; i++) table.insert6(PROTOCOL_TCP, PAIR, portsOf(i));
  let i = 0;
  return [
    `find one of ${flows.toLocaleString("en-GB")} IPv6 flows`,
    () => {
      i = i + 1 < flows ? i + 1 : 0;
      keep(table.find6(PROTOCOL_TCP, PAIR, portsOf(i)));
    },
  ];
}

const busy = new FlowTable(entropy);
for (let i = 0; i < 10_000; i++) busy.insert(PROTOCOL_TCP, GUEST, REMOTE, portsOf(i));
const busy6 = new FlowTable(entropy);
for (let i = 0; i < 10_000; i++) busy6.insert6(PROTOCOL_TCP, PAIR, portsOf(i));

runSuite([
  finder(10),
  finder(10_000),
  finder(FLOWS_MAX - 1),
  ["find the same one of 10,000 flows", () => keep(busy.find(PROTOCOL_TCP, GUEST, REMOTE, portsOf(7)))],
  finder6(10),
  finder6(10_000),
  ["find the same one of 10,000 IPv6 flows", () => keep(busy6.find6(PROTOCOL_TCP, PAIR, portsOf(7)))],
  ["find none, beside 10,000 flows", () => keep(busy.find(PROTOCOL_TCP, GUEST, REMOTE, portsOf(70_000)))],
  [
    "insert and remove, beside 10,000 flows",
    () => {
      const id = busy.insert(PROTOCOL_TCP, GUEST, REMOTE, portsOf(70_001));
      busy.remove(id);
    },
  ],
]);
