/** Rates of flows, from what two listings say of each; and their order. */
import { formatEnd } from "./end-text.ts";
import type { Flow } from "./schema.ts";

/** What a listing tells of a flow. */
export interface ListedFlow {
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
}

/** A flow of the API as lists show it. */
export function listed(flow: Flow): ListedFlow {
  return { ...flow, guest: formatEnd(flow.guest), remote: formatEnd(flow.remote) };
}

/** A flow with its rates, octets a second. */
export interface RatedFlow extends ListedFlow {
  readonly rateFromGuest: number;
  readonly rateToGuest: number;
}

interface Seen {
  readonly fromGuest: number;
  readonly toGuest: number;
}

export class FlowRates {
  #seen = new Map<number, Seen>();
  #atMs = 0;

  /** The flows of a listing made at `atMs`; one that was not in the last listing has come since, with all its octets. */
  rate(flows: readonly ListedFlow[], atMs: number): RatedFlow[] {
    const isFirst = this.#atMs === 0;
    const seconds = Math.max(atMs - this.#atMs, 1) / 1000;
    const seen = new Map<number, Seen>();
    const rated = flows.map((flow): RatedFlow => {
      const { octetsFromGuest: fromGuest, octetsToGuest: toGuest } = flow;
      const last =
        this.#seen.get(flow.id) ?? (isFirst ? { fromGuest, toGuest } : { fromGuest: 0, toGuest: 0 });
      seen.set(flow.id, { fromGuest, toGuest });
      return {
        ...flow,
        rateFromGuest: Math.max(0, fromGuest - last.fromGuest) / seconds,
        rateToGuest: Math.max(0, toGuest - last.toGuest) / seconds,
      };
    });
    this.#seen = seen;
    this.#atMs = atMs;
    return rated;
  }
}

/** What flows can be sorted by. */
export const SORTS = ["rate", "octets", "idle", "name"] as const;
export type Sort = (typeof SORTS)[number];

/** The remote as people know it: by its first name, with the port. */
export function remoteLabel({ names, remote }: ListedFlow): string {
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
