/** Random policies and timelines of random flows, judged twice. */
import fc from "fast-check";
import type { PolicyConfig } from "../../../../src/engine/config.ts";
import { Compiled } from "./compiled.ts";
import { ADDRESSES, type Flow, flow } from "./flows.ts";
import { policy } from "./policies.ts";
import { type Place, Reference } from "./reference.ts";

/** In one timeline: fewer than questions may be open. */
const FLOWS_MAX = 59;
const FLOWS_PER_POLICY = (1 + FLOWS_MAX) / 2;
/** More names of one address are not kept. */
const NAMES_PER_ADDRESS = 16;
const V4_MAPPED = 0xffffn << 32n;

/** How often each came about: what decided about flows, with `yes` or `no` before it, and what became of questions for names. */
export type Tally = Record<string, number>;

const ADDRESS_BITS = ADDRESSES.map(({ words }) =>
  words.reduce((value, word) => (value << 32n) | BigInt(word >>> 0), 0n),
);

function placesOf(address: number): Place[] {
  const { inside, andItself } = ADDRESSES[address];
  return [...inside, ...(andItself ? [address] : [])].map((each) => ({
    address: ADDRESS_BITS[each],
    isPrivate: ADDRESSES[each].isPrivate,
  }));
}

/** The one that a name's answer is kept for; null: there are two. */
function answeredAt(address: number): bigint | null {
  const { inside } = ADDRESSES[address];
  return inside.length > 1 ? null : ADDRESS_BITS[inside[0] ?? address];
}

const isIpv4 = (address: number): boolean => ADDRESS_BITS[address] >> 32n === 0xffffn;

class Timeline {
  private readonly reference: Reference;
  private readonly compiled: Compiled;
  private readonly namesAt = new Map<bigint, Set<string>>();
  private readonly standIns = new Map<string, number>();
  private now = 1000;

  constructor(
    private readonly config: PolicyConfig,
    private readonly tally: Tally,
  ) {
    this.reference = new Reference(config);
    this.compiled = new Compiled(config);
  }

  private count(what: string): void {
    this.tally[what] = (this.tally[what] ?? 0) + 1;
  }

  step(each: Flow): void {
    this.now += each.afterMs;
    this.compiled.at(this.now);
    for (const { name, seconds } of each.asked) this.ask(name, each.address, seconds);
    const standIn = each.toStandIn ? this.standIns.get(each.asked[0]?.name ?? "") : undefined;
    const places: Place[] =
      standIn === undefined
        ? placesOf(each.address)
        : [{ address: V4_MAPPED | BigInt(standIn >>> 0), isPrivate: false }];
    const words =
      standIn === undefined
        ? Int32Array.from(ADDRESSES[each.address].words)
        : Int32Array.of(0, 0, 0xffff, standIn);
    const { why, ...expected } = this.reference.flow(each, places, this.now);
    const found = this.compiled.flow(each, words);
    // What refuses a flow has no rule and way, what is only audited no rule that lets it go.
    const isSame =
      found.reaches === expected.reaches &&
      (!found.reaches ||
        why === "audit" ||
        (found.rule === expected.rule && JSON.stringify(found.way) === JSON.stringify(expected.way ?? null)));
    if (!isSame) {
      const text = JSON.stringify({ expected, why, found, flow: each, standIn });
      throw new Error(`${text}\nby ${JSON.stringify(this.config)}`);
    }
    this.count(`${expected.reaches ? "yes" : "no"} ${why}`);
  }

  private ask(name: string, address: number, seconds: number): void {
    const answered = answeredAt(address);
    const names = this.namesAt.get(answered ?? 0n) ?? new Set();
    if (names.size === NAMES_PER_ADDRESS && !names.has(name)) return;
    this.namesAt.set(answered ?? 0n, names.add(name));
    const { outcome, standIn } = this.compiled.ask(name, address, seconds);
    if (outcome === "stands-in") this.standIns.set(name, standIn);
    const at = { answered, standIn: V4_MAPPED | BigInt(standIn >>> 0) };
    const expected = this.reference.ask(name, isIpv4(address), at, seconds, this.now);
    if (outcome !== expected) {
      throw new Error(`${name}: found ${outcome}, expected ${expected} by ${JSON.stringify(this.config)}`);
    }
    this.count(`question ${outcome}`);
  }
}

export function flowsOf(tally: Tally): number {
  return Object.entries(tally).reduce((sum, [what, count]) => sum + (/^(yes|no) /.test(what) ? count : 0), 0);
}

/**
 * Judges about so many flows twice. Throws the smallest policy and timeline that the two do not agree about.
 */
export function agree(flows: number, seed: number): Tally {
  const tally: Tally = {};
  fc.assert(
    fc.property(
      policy,
      fc.array(flow, { minLength: 1, maxLength: FLOWS_MAX, size: "max" }),
      (config, timeline) => {
        const both = new Timeline(config, tally);
        for (const each of timeline) both.step(each);
      },
    ),
    { numRuns: Math.ceil(flows / FLOWS_PER_POLICY), seed },
  );
  return tally;
}
