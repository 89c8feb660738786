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
  /** TCP: the host had no descriptor, port or memory for it. */
  "no-resources",
  /** UDP: unused for the time that a mapping lives. */
  "expired",
  /** It gave way to newer flows in a full table. */
  "evicted",
  /** Somebody ended it through the control API. */
  "killed",
  /** The engine ended. */
  "stopped",
] as const;

export type FlowEndReason = (typeof FLOW_END_REASONS)[number];

/** The int of a reason, looked up once at module load. */
export function flowEnd(name: FlowEndReason): number {
  return FLOW_END_REASONS.indexOf(name);
}
