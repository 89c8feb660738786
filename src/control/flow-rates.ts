/** Rates of flows, from what two listings say of each; and their order. */
import { formatEnd } from "./end-text.ts";
import type { Flow } from "./schema.ts";

/** A flow as lists show it, with its rates. */
export interface RatedFlow {
  /** Never used again. */
  readonly id: number;
  readonly protocol: "tcp" | "udp";
  readonly direction: "out" | "in";
  readonly state: string;
  readonly guest: string;
  /** The address the guest sees. */
  readonly remote: string;
  readonly octetsFromGuest: number;
  readonly octetsToGuest: number;
  readonly idleMs: number;
  /** Names that were answered with the remote's address. */
  readonly names: readonly string[];
  /** Octets a second. */
  readonly rateFromGuest: number;
  readonly rateToGuest: number;
}

/** What of a flow changes, and is changed in place. */
type Row = { -readonly [Key in keyof RatedFlow]: RatedFlow[Key] } & { ageMs: number };

function newRow(flow: Flow): Row {
  return {
    ...flow,
    guest: formatEnd(flow.guest),
    remote: formatEnd(flow.remote),
    rateFromGuest: 0,
    rateToGuest: 0,
  };
}

const equal = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((name, i) => name === b[i]);

function update(row: Row, { state, names, octetsFromGuest, octetsToGuest, ageMs, idleMs }: Flow): void {
  row.state = state;
  if (!equal(row.names, names)) row.names = names;
  row.octetsFromGuest = octetsFromGuest;
  row.octetsToGuest = octetsToGuest;
  row.ageMs = ageMs;
  row.idleMs = idleMs;
}

/** A flow is the same object from one listing to the next: ten thousand new ones a second are work for the collector. */
export class FlowRates {
  #rows = new Map<number, Row>();
  #atMs = 0;

  /** The flows of a listing made at `atMs`; one that was not in the last listing has come since, with all its octets. */
  rate(flows: readonly Flow[], atMs: number): RatedFlow[] {
    const isFirst = this.#atMs === 0;
    const seconds = Math.max(atMs - this.#atMs, 1) / 1000;
    const before = this.#rows;
    this.#rows = new Map();
    this.#atMs = atMs;
    return flows.map((flow): RatedFlow => {
      const known = before.get(flow.id);
      const row = known ?? newRow(flow);
      const isNew = known === undefined;
      const [from, to] = isNew ? [0, 0] : [row.octetsFromGuest, row.octetsToGuest];
      row.rateFromGuest = isNew && isFirst ? 0 : Math.max(0, flow.octetsFromGuest - from) / seconds;
      row.rateToGuest = isNew && isFirst ? 0 : Math.max(0, flow.octetsToGuest - to) / seconds;
      if (!isNew) update(row, flow);
      this.#rows.set(flow.id, row);
      return row;
    });
  }
}

/** What flows can be sorted by. */
export const SORTS = ["rate", "octets", "idle", "name"] as const;
export type Sort = (typeof SORTS)[number];

/** The remote as people know it: by its first name, with the port. */
export function remoteLabel({ names, remote }: RatedFlow): string {
  const [name] = names;
  return name === undefined ? remote : `${name}${remote.slice(remote.lastIndexOf(":"))}`;
}

const COMPARE: Readonly<Record<Sort, (a: RatedFlow, b: RatedFlow) => number>> = {
  rate: (a, b) => b.rateFromGuest + b.rateToGuest - a.rateFromGuest - a.rateToGuest,
  octets: (a, b) => b.octetsFromGuest + b.octetsToGuest - a.octetsFromGuest - a.octetsToGuest,
  idle: (a, b) => a.idleMs - b.idleMs,
  name: (a, b) => (remoteLabel(a) < remoteLabel(b) ? -1 : remoteLabel(a) > remoteLabel(b) ? 1 : 0),
};

/** Those that `filter` is found in (any column, either case), in order; equal ones by their ids. */
export function arrange(flows: readonly RatedFlow[], sort: Sort, filter: string): RatedFlow[] {
  const wanted = filter.toLowerCase();
  const compare = COMPARE[sort];
  return flows.filter((flow) => matches(flow, wanted)).sort((a, b) => compare(a, b) || a.id - b.id);
}

/**
 * The same flows in the order in which they stood before: those that have ended leave, new ones stand at the end. For as
 * long as somebody points at one.
 */
export function keepOrder(flows: readonly RatedFlow[], before: readonly RatedFlow[]): RatedFlow[] {
  const place = new Map(before.map(({ id }, i) => [id, i]));
  const placeOf = ({ id }: RatedFlow): number => place.get(id) ?? before.length;
  return [...flows].sort((a, b) => placeOf(a) - placeOf(b));
}

function matches(flow: RatedFlow, wanted: string): boolean {
  if (wanted === "") return true;
  const { protocol, direction, state, guest, remote, names } = flow;
  return [protocol, direction, state, guest, remote, ...names].some((text) =>
    text.toLowerCase().includes(wanted),
  );
}
