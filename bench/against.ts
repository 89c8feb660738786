/**
 * `npm run bench:against -- DIR [ROUNDS]`: the whole core of this build beside that of another checkout, which was built
 * with `tsc -p bench/tsconfig.json`. Both are warm in one process and take turns of some 25 ms, each going first every
 * other time, so that a neighbour of the machine disturbs both alike: two runs of `npm run bench` differ by more than
 * what this is to tell. Prints nanoseconds per call as medians, with the least.
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { EngineRig } from "./engine/engine-rig.ts";

const CALLS = 50_000;
const WARM_UP_ROUNDS = 3;
const ROUNDS = 21;

/** What both builds have of the rig. */
type Rig = Pick<EngineRig, "connect" | "tcpUp" | "tcpDown" | "udpUp" | "udpDown">;

const connected = (rig: Rig): Rig => {
  rig.connect();
  return rig;
};
const mapped = (rig: Rig): Rig => {
  rig.udpUp(64);
  return rig;
};

const CASES: readonly [name: string, ready: (rig: Rig) => Rig, call: (rig: Rig) => void][] = [
  ["TCP up, 1 octet", connected, (rig) => rig.tcpUp(1)],
  ["TCP up, 1460 octets", connected, (rig) => rig.tcpUp(1460)],
  ["TCP down, 1 octet", connected, (rig) => rig.tcpDown(1)],
  ["TCP down, 1460 octets", connected, (rig) => rig.tcpDown(1460)],
  ["UDP up, 64 octets", mapped, (rig) => rig.udpUp(64)],
  ["UDP up, 1472 octets", mapped, (rig) => rig.udpUp(1472)],
  ["UDP down, 64 octets", mapped, (rig) => rig.udpDown(64)],
  ["UDP down, 1472 octets", mapped, (rig) => rig.udpDown(1472)],
];

function nanosecondsPerCall(rig: Rig, call: (rig: Rig) => void): number {
  const start = process.hrtime.bigint();
  for (let i = 0; i < CALLS; i++) call(rig);
  return Number(process.hrtime.bigint() - start) / CALLS;
}

function compare(rigs: readonly [Rig, Rig], call: (rig: Rig) => void, rounds: number): [number[], number[]] {
  const times: [number[], number[]] = [[], []];
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    for (const which of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
      const time = nanosecondsPerCall(rigs[which], call);
      if (round >= 0) times[which].push(time);
    }
  }
  for (const list of times) list.sort((a, b) => a - b);
  return times;
}

const [directory, rounds = String(ROUNDS)] = process.argv.slice(2);
if (directory === undefined || !(Number(rounds) >= 1)) {
  console.error(
    "usage: npm run bench:against -- DIR [ROUNDS]; DIR: a checkout built with tsc -p bench/tsconfig.json",
  );
  process.exit(2);
}
const path = resolve(directory, "dist/bench/engine/engine-rig.js");
const other: { EngineRig: new () => Rig } = await import(pathToFileURL(path).href);
const median = (sorted: readonly number[]): number => sorted[sorted.length >> 1];
const cell = (sorted: readonly number[]): string =>
  `${median(sorted).toFixed(0)} (${sorted[0].toFixed(0)})`.padStart(14);
console.log(`${"ns, median (least)".padEnd(24)}${"theirs".padStart(14)}${"ours".padStart(14)}   ratio`);
for (const [name, ready, call] of CASES) {
  const [theirs, ours] = compare(
    [ready(new other.EngineRig()), ready(new EngineRig())],
    call,
    Number(rounds),
  );
  const ratio = (median(ours) / median(theirs)).toFixed(2);
  console.log(`${name.padEnd(24)}${cell(theirs)}${cell(ours)}${ratio.padStart(8)}`);
}
