/** Why a flow ended. A reason is a small int in the engine; the names are what people and programs read. */
export const FLOW_END_REASONS = [
  /** TCP: both sides closed. */
  "closed",
  /** TCP: the guest reset it. */
  "guest-reset",
  /** TCP: the host's peer reset it, or its socket failed. */
  "host-reset",
  /** TCP: the host's peer would not connect; the host error says how. */
  "refused",
  /** TCP: nobody answered in time: the host's peer while connecting, or a guest that fell silent. */
  "timed-out",
  /** TCP: the host had no descriptor, port or memory for it, or too many connections wait to be decided about. */
  "no-resources",
  /** UDP: unused for the time that a mapping lives. */
  "expired",
  /** UDP: the host's way out is another one now, and its socket led elsewhere. */
  "network-changed",
  /** It gave way to newer flows in a full table. */
  "evicted",
  /** TCP: the policy did not allow the name it showed, or it showed none; or who was asked about it said no. */
  "denied",
  /** The policy is another one now, and does not allow it. */
  "policy-changed",
  /** Somebody ended it through the control API. */
  "killed",
  /** The engine ended. */
  "stopped",
] as const;

export type FlowEndReason = (typeof FLOW_END_REASONS)[number];

/** Whose doing an end was: what an end's int has in its second octet. */
export const FLOW_ENDED_BY = ["guest", "host", "sluice"] as const;
const BY_SHIFT = 8;

/** An end as one int: its reason, and whose doing it was. Looked up once at module load. */
export function flowEndBy(name: FlowEndReason, by: (typeof FLOW_ENDED_BY)[number]): number {
  return FLOW_END_REASONS.indexOf(name) | (FLOW_ENDED_BY.indexOf(by) << BY_SHIFT);
}

export function endReason(end: number): number {
  return end & ((1 << BY_SHIFT) - 1);
}

export function endedBy(end: number): number {
  return end >> BY_SHIFT;
}
